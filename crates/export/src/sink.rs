//! Where buffers go: the destinations of an export.

use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;

use crate::buffer::Buffer;
use crate::digest::{Digest, Hashing};
use crate::error::Error;
use crate::file::Partial;

/// Takes the bytes of an export in order, from one thread after the other. After an error it is not called again.
pub(crate) trait Sink: Send {
    /// Takes what `buffer` holds. The buffer may be swapped for another one; what it holds afterwards is of no account.
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error>;

    /// Whether an export that fails is to be continued here, so that nothing is written after its last user.
    fn is_resumable(&self) -> bool {
        false
    }
}

/// Any writer.
pub(crate) struct WriteSink<'a, W: Write + Send> {
    to: &'a mut W,
    name: &'a str,
    /// Bytes of a write at most.
    piece: usize,
}

impl<'a, W: Write + Send> WriteSink<'a, W> {
    /// A sink that writes to `to`, which errors call `name`.
    pub(crate) const fn new(to: &'a mut W, name: &'a str) -> Self {
        Self { to, name, piece: usize::MAX }
    }

    /// Writes at most so many bytes at a time.
    pub(crate) const fn in_pieces(self, piece: usize) -> Self {
        Self { piece, ..self }
    }

    /// Flushes the writer.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.to.flush().map_err(|source| Error::Write { destination: self.name.to_owned(), source })
    }
}

impl<W: Write + Send> Sink for WriteSink<'_, W> {
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        let written = buffer.as_slice().chunks(self.piece).try_for_each(|piece| self.to.write_all(piece));
        written.map_err(|source| Error::Write { destination: self.name.to_owned(), source })
    }
}

/// What errors call standard output.
pub(crate) const STDOUT: &str = "standard output";

/// Standard output as a file, past any buffer of this process.
pub(crate) fn stdout() -> Result<File, Error> {
    let own = io::stdout().lock().as_fd().try_clone_to_owned();
    own.map(File::from).map_err(|source| Error::Write { destination: STDOUT.to_owned(), source })
}

/// Writes to regular files begin and end at multiples of this, but for the first after a cut and the last.
const ALIGN: usize = 64 << 10;

/// A file in work, written in aligned pieces: what is over is carried to the next write.
///
/// What an earlier run left in the file is not written but compared, until the first byte that differs: there the file
/// is cut, and writing begins.
pub(crate) struct FileSink<'a> {
    partial: &'a Partial,
    /// Length that room is set aside for; 0: none.
    reserved: u64,
    digest: Option<Hashing>,
    /// Where the carried bytes belong.
    at: u64,
    carry: Vec<u8>,
    earlier: Option<Earlier>,
}

/// What an earlier run left in the file.
struct Earlier {
    len: u64,
    piece: Vec<u8>,
}

impl<'a> FileSink<'a> {
    /// A sink that writes `partial`, compares with what is in it, and sets room aside for `reserved` bytes.
    ///
    /// # Errors
    /// [`Error::NoSpace`], and when the file's length is not known.
    pub(crate) fn new(partial: &'a Partial, reserved: u64, digest: Option<Hashing>) -> Result<Self, Error> {
        partial.reserve(reserved)?;
        let len = partial.len()?;
        let earlier = (len > 0).then(|| Earlier { len, piece: vec![0; ALIGN] });
        Ok(Self { partial, reserved, digest, at: 0, carry: Vec::with_capacity(ALIGN), earlier })
    }

    /// Writes what is carried, and cuts what an earlier run has too much. Returns the digest of the file.
    pub(crate) fn finish(mut self) -> Result<Option<Digest>, Error> {
        let carry = std::mem::take(&mut self.carry);
        self.write(&carry, &[])?;
        if let Some(earlier) = self.earlier.take()
            && earlier.len > self.at
        {
            self.partial.cut(self.at)?;
        }
        self.digest.map(Hashing::finish).transpose()
    }

    /// How many of the first `bytes` an earlier run has written; at the first that it has not, its part ends.
    fn compare(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let Some(earlier) = &mut self.earlier else { return Ok(0) };
        let left = usize::try_from(earlier.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let mut same = 0;
        for wanted in bytes.get(..left).unwrap_or(bytes).chunks(ALIGN) {
            let piece = earlier.piece.get_mut(..wanted.len()).unwrap_or_default();
            let read = self.partial.file().read_exact_at(piece, self.at);
            read.map_err(|source| Error::File { op: "read", path: self.partial.path().to_path_buf(), source })?;
            let equal = if *piece == *wanted {
                wanted.len()
            } else {
                piece.iter().zip(wanted).take_while(|(a, b)| a == b).count()
            };
            same += equal;
            self.at += equal as u64;
            if equal < wanted.len() {
                break;
            }
        }
        if same < bytes.len() {
            self.cut()?;
        }
        Ok(same)
    }

    /// Ends the comparison: from here on the file is written.
    fn cut(&mut self) -> Result<(), Error> {
        if let Some(earlier) = self.earlier.take()
            && earlier.len > self.at
        {
            self.partial.cut(self.at)?;
            self.partial.reserve(self.reserved)?;
        }
        let sought = self.partial.file().seek(SeekFrom::Start(self.at));
        sought.map(|_| ()).map_err(|source| self.failed(source))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let start = self.at + self.carry.len() as u64;
        let aligned = (start + bytes.len() as u64) / ALIGN as u64 * ALIGN as u64;
        let now = aligned.checked_sub(start).and_then(|n| usize::try_from(n).ok());
        let Some((now, later)) = now.and_then(|n| bytes.split_at_checked(n)) else {
            self.carry.extend_from_slice(bytes);
            return Ok(());
        };
        let mut carry = std::mem::take(&mut self.carry);
        let written = self.write(&carry, now);
        carry.clear();
        carry.extend_from_slice(later);
        self.carry = carry;
        written
    }

    fn write(&mut self, first: &[u8], second: &[u8]) -> Result<(), Error> {
        let mut slices = [IoSlice::new(first), IoSlice::new(second)];
        write_all_vectored(self.partial.file(), &mut slices).map_err(|source| self.failed(source))?;
        self.at += (first.len() + second.len()) as u64;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write { destination: self.partial.path().display().to_string(), source }
    }
}

impl Sink for FileSink<'_> {
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        let bytes = buffer.as_slice();
        let same = if self.earlier.is_some() { self.compare(bytes)? } else { 0 };
        if let Some(rest) = bytes.get(same..).filter(|rest| !rest.is_empty()) {
            self.take(rest)?;
        }
        self.digest.as_mut().map_or(Ok(()), |digest| digest.put(buffer))
    }

    fn is_resumable(&self) -> bool {
        true
    }
}

/// Writes all of `slices`, in order.
fn write_all_vectored(mut file: &File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Empty slices at the front would make a write of nothing look like a full device.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut slices, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The size that pipes are enlarged to, in bytes: the most that an ordinary user may ask for.
const PIPE_SIZE: usize = 1 << 20;

/// Writes into pipes by several threads in turns, at most: the reader begins while the rest is written. Twice as many bytes, or
/// half as many, were 7 % slower (docs/PERFORMANCE.md).
pub(crate) const PIPE_PIECE: usize = 128 << 10;

/// Enlarges the pipe `fd`; whatever is no pipe, and a pipe that may not grow, stays as it is. Whether it was enlarged.
pub(crate) fn enlarge_pipe(fd: impl AsFd) -> bool {
    #[cfg(target_os = "linux")]
    {
        // It is an offer to write faster: failing changes nothing that the caller asked for.
        rustix::pipe::fcntl_setpipe_size(fd, PIPE_SIZE).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (fd, PIPE_SIZE);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{DigestAlgorithm, Hasher};
    use crate::file::{self, Target};

    fn buffer(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::new();
        buffer.extend(bytes);
        buffer
    }

    #[test]
    fn aligned_writes_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // What is written after a cut goes up to a piece's end first.
        for earlier in [0, 5, ALIGN, 3 * ALIGN + 17] {
            let Target::Replace(partial) = file::open(&dir.path().join("out")).unwrap() else { panic!("no file") };
            let pieces = [0, 5, ALIGN - 5, 1, ALIGN * 3, ALIGN - 1, 7, 0, 2 * ALIGN + 3].into_iter().enumerate();
            let piece = |(i, len)| (0..len).map(|j| u8::try_from((i * 31 + j) % 251).unwrap()).collect::<Vec<u8>>();
            let pieces: Vec<Vec<u8>> = pieces.map(piece).collect();
            let expected = pieces.concat();
            partial.file().write_all(&expected[..earlier]).unwrap();
            let hashing = Hashing::begin(DigestAlgorithm::Blake3, false);
            let mut sink = FileSink::new(&partial, 0, Some(hashing)).unwrap();
            for piece in &pieces {
                sink.put(&mut buffer(piece)).unwrap();
                let len = partial.len().unwrap();
                assert!(len.is_multiple_of(ALIGN as u64) || len == earlier as u64, "a write that is not aligned");
            }
            let mut whole = Hasher::new(DigestAlgorithm::Blake3);
            whole.update(&expected);
            assert_eq!(sink.finish().unwrap(), Some(whole.finish()));
            assert!(std::fs::read(partial.path()).unwrap() == expected);
        }
    }
}
