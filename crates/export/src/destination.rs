//! Where files of other makers go: written and compressed as exports are, and put in place only when they are whole.

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread::available_parallelism;

use crate::buffer::{Buffer, CHUNK};
use crate::compress::{Compression, Stage};
use crate::error::Error;
use crate::file::{self, Partial, Target};
use crate::sink::{FileSink, STDOUT, Sink, WriteSink, enlarge_pipe, stdout};

/// A file or standard output, for what somebody else renders.
///
/// A regular file is `F.partial` until it is whole, and `F` is replaced only then. What cannot be gone on with does not stay:
/// after a failure there is no `F.partial`. An export that broke off there before is given up.
#[derive(Debug, Clone, Default)]
pub struct Destination {
    file: Option<PathBuf>,
    compression: Option<Compression>,
    threads: Option<usize>,
    fsync: bool,
}

/// How much was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes written.
    pub bytes: u64,
    /// Bytes before compression; as `bytes` where there is none.
    pub content_bytes: u64,
}

impl Destination {
    /// A file, created or replaced; what is no regular file is written in place. Standard output without one.
    #[must_use]
    pub fn new(file: impl Into<Option<PathBuf>>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }

    /// Compresses what is written.
    #[must_use]
    pub fn compress(mut self, compression: impl Into<Option<Compression>>) -> Self {
        self.compression = compression.into();
        self
    }

    /// Sets the number of threads that compress, by default as many as there are processors.
    #[must_use]
    pub fn threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.threads = threads.into();
        self
    }

    /// Syncs a file and its directory before it counts as written.
    #[must_use]
    pub const fn fsync(mut self, on: bool) -> Self {
        self.fsync = on;
        self
    }

    /// Has `fill` write everything, and puts the file in place. An error of the destination comes back as that, whatever
    /// `fill` makes of it.
    ///
    /// # Errors
    /// That of `fill`, or of the destination.
    pub fn write<T, E: From<Error>>(
        &self,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<(T, Written), E> {
        let Some(path) = &self.file else {
            let mut out = stdout()?;
            enlarge_pipe(&out);
            return self.stream(&mut out, STDOUT, fill);
        };
        match file::open(path)? {
            Target::InPlace(mut file) => self.stream(&mut file, &path.display().to_string(), fill),
            Target::Replace(partial) => {
                let done = self.partial(&partial, fill);
                let placed = done.and_then(|done| Ok(partial.place(None, self.fsync).map(|()| done)?));
                // There is no record that it could be resumed by.
                placed.inspect_err(|_| partial.discard())
            }
        }
    }

    fn stream<T, E: From<Error>>(
        &self,
        to: &mut (impl Write + Send),
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<(T, Written), E> {
        let mut sink = WriteSink::new(to, name);
        let done = self.sink(&mut sink, fill)?;
        sink.finish()?;
        Ok(done)
    }

    fn partial<T, E: From<Error>>(
        &self,
        partial: &Partial,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<(T, Written), E> {
        partial.unrecord()?;
        let mut sink = FileSink::new(partial, 0, None)?;
        let done = self.sink(&mut sink, fill)?;
        sink.finish()?;
        Ok(done)
    }

    fn sink<T, E: From<Error>>(
        &self,
        sink: &mut dyn Sink,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<(T, Written), E> {
        let Some(compression) = self.compression else {
            let (done, bytes) = pour(sink, fill)?;
            return Ok((done, Written { bytes, content_bytes: bytes }));
        };
        let threads = self.threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
        let mut stage = Stage::new(compression, threads, sink);
        let (done, content_bytes) = pour(&mut stage, fill)?;
        stage.finish()?;
        Ok((done, Written { bytes: stage.bytes, content_bytes }))
    }
}

/// Has `fill` write into `sink`; also tells how many bytes that were.
fn pour<T, E: From<Error>>(
    sink: &mut dyn Sink,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(T, u64), E> {
    let mut spout = Spout { sink, buffer: Buffer::short(), bytes: 0, failed: None };
    let filled = fill(&mut spout);
    match spout.failed.take() {
        Some(error) => Err(error.into()),
        None => {
            let done = filled?;
            spout.hand_on()?;
            Ok((done, spout.bytes))
        }
    }
}

/// A sink as a writer.
struct Spout<'a> {
    sink: &'a mut dyn Sink,
    buffer: Buffer,
    bytes: u64,
    /// The sink's error, which has no place in one of I/O.
    failed: Option<Error>,
}

impl Spout<'_> {
    fn hand_on(&mut self) -> Result<(), Error> {
        if self.buffer.len() == 0 {
            return Ok(());
        }
        self.bytes += self.buffer.len() as u64;
        let handed = self.sink.put(&mut self.buffer);
        self.buffer.clear();
        handed
    }
}

impl Write for Spout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.buffer.extend(bytes);
        if self.buffer.len() >= CHUNK
            && let Err(error) = self.hand_on()
        {
            self.failed = Some(error);
            return Err(io::Error::other("the destination took no more"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What a file held is there until another is whole, and nothing of a failure stays.
    #[test]
    fn a_file_is_replaced_on_success_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "old").unwrap();
        fs::write(dir.path().join("out.partial.json"), "{}").unwrap();
        let text = vec![b'x'; 3 * CHUNK + 7];
        let to = Destination::new(path.clone());
        let broken: Result<((), _), Error> = to.write(|out| {
            out.write_all(&text).unwrap();
            assert_eq!(
                names(dir.path()),
                ["out", "out.partial"],
                "the record of another export stands beside this one"
            );
            Err(Error::Cancelled)
        });
        assert!(matches!(broken, Err(Error::Cancelled)));
        assert_eq!((fs::read_to_string(&path).unwrap(), names(dir.path())), ("old".to_owned(), vec!["out".to_owned()]));
        let (done, written) = to.write::<_, Error>(|out| out.write_all(&text).map(|()| 7).map_err(failed)).unwrap();
        let bytes = text.len() as u64;
        assert_eq!((done, written), (7, Written { bytes, content_bytes: bytes }));
        assert!(fs::read(&path).unwrap() == text);
        assert_eq!(names(dir.path()), ["out"]);
    }

    /// There is no record that it could be resumed by.
    #[test]
    fn what_cannot_be_put_in_place_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let outcome = Destination::new(path.clone()).write::<(), Error>(|out| {
            out.write_all(b"text").map_err(failed)?;
            fs::create_dir(&path).unwrap();
            Ok(())
        });
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::File { op: "rename", .. }), "{error}");
        assert_eq!(names(dir.path()), ["out"]);
    }

    fn failed(source: io::Error) -> Error {
        Error::Write { destination: "a test".to_owned(), source }
    }

    #[test]
    fn what_is_compressed_is_the_same_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.gz");
        let text = b"user ".repeat(CHUNK);
        let to = Destination::new(path.clone()).compress(Compression::GZIP).threads(2).fsync(true);
        let ((), written) = to.write::<_, Error>(|out| out.write_all(&text).map_err(failed)).unwrap();
        assert_eq!((written.content_bytes, written.bytes), (text.len() as u64, fs::metadata(&path).unwrap().len()));
        let mut read = Vec::new();
        let mut members = flate2::read::MultiGzDecoder::new(fs::File::open(&path).unwrap());
        io::Read::read_to_end(&mut members, &mut read).unwrap();
        assert!(read == text);
    }

    /// The destination's own error is told, and not the one that the writer has for it.
    #[test]
    fn a_full_device_is_named() {
        let to = Destination::new(PathBuf::from("/dev/full"));
        let outcome = to.write::<(), Error>(|out| {
            let refused = (0..4).find_map(|_| out.write_all(&[b'x'; CHUNK]).err());
            assert!(refused.is_some(), "it took everything");
            Err(Error::Cancelled)
        });
        let error = outcome.unwrap_err();
        assert!(matches!(&error, Error::Write { destination, .. } if destination == "/dev/full"), "{error}");
    }
}
