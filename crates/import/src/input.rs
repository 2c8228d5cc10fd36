//! Inputs: opening them, decompressing them by content, and looking at their beginning.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use headcount_block::Progress;

use crate::choose::{Reading, Unchosen, choose};
use crate::csv::{self, Header};
use crate::detect::{bom_len, text_start};
use crate::error::ImportError;
use crate::format::Format;
use crate::mapped::Settings;
use crate::scan::newlines;

/// How much of an input is looked at to tell its format.
const HEAD: usize = 1 << 20;
/// How much is looked at of one of our own formats, when it is given; a CSV header must end within it.
const NATIVE_HEAD: usize = 64 << 10;
/// Bytes that a decoder is fed with at a time.
const FEED: usize = 256 << 10;

/// One file, pipe or other stream to import.
pub struct Input {
    name: String,
    source: Source,
    /// What it is, where that is known though the caller did not say it.
    format: Option<Format>,
}

enum Source {
    Path(PathBuf),
    Reader(Box<dyn Read + Send>),
}

impl Input {
    /// The file at `path`. It is opened by [`Import::run`](crate::Import::run).
    #[must_use]
    pub fn path(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { name: path.display().to_string(), source: Source::Path(path), format: None }
    }

    /// A stream, such as standard input; `name` stands for it in messages.
    #[must_use]
    pub fn reader(name: impl Into<String>, reader: Box<dyn Read + Send>) -> Self {
        Self { name: name.into(), source: Source::Reader(reader), format: None }
    }

    /// The same input, known to be of this format.
    pub(crate) fn known(self, format: Format) -> Self {
        Self { format: Some(format), ..self }
    }

    /// The directory that it is, if it is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match &self.source {
            Source::Path(path) if fs::metadata(path).is_ok_and(|m| m.is_dir()) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How an input was compressed, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, of any number of members.
    Gzip,
    /// Zstandard, of any number of frames.
    Zstd,
}

impl Compression {
    fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// log2 of the windows that zstd's frames may have whatever the memory: what levels up to 19 need.
const WINDOW_MIN: u32 = 23;
/// log2 of the largest window that is read at all: that of `--long` and of level 22.
const WINDOW_MAX: u32 = 27;

/// log2 of the largest window of a zstd frame beside a load of so many bytes of memory.
fn window_log(memory: u64) -> u32 {
    memory.max(1).ilog2().clamp(WINDOW_MIN, WINDOW_MAX)
}

/// What a decoder says of a window that is too large.
const WINDOW_ERROR: &str = "requires too much memory";
const WINDOW_HINT: &str = "it was compressed with a larger window than the memory allows: give as much as it needs with \
                           --memory, 128MiB for `zstd --long`, or decompress it first (zstd -d --long=31)";

/// Reading `file` failed after `offset` decompressed bytes.
pub(crate) fn read_error(file: &str, compression: Compression, offset: u64, source: io::Error) -> ImportError {
    // What the operating system says is not the decoder's complaint.
    if compression == Compression::None || source.raw_os_error().is_some() {
        return ImportError::io("read", file, source);
    }
    if compression == Compression::Zstd && source.to_string().contains(WINDOW_ERROR) {
        return ImportError::io("decompress", file, io::Error::new(io::ErrorKind::OutOfMemory, WINDOW_HINT));
    }
    ImportError::Compressed { file: file.to_owned(), compression: compression.name(), offset, source }
}

/// Counts what is read of the input as it lies there, compressed or not.
struct Counted<R> {
    inner: R,
    progress: Option<Arc<Progress>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some(progress) = &self.progress {
            progress.add_bytes(n as u64);
        }
        Ok(n)
    }
}

/// The decompressed content of an input.
pub(crate) struct Content {
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) compression: Compression,
}

impl Content {
    /// Opens `input`, to be read once from its start; `progress` learns its length where it has one.
    pub(crate) fn open(input: Input, progress: &Arc<Progress>) -> Result<(String, Self), ImportError> {
        let Input { name, source, .. } = input;
        let counting = Some(Arc::clone(progress));
        let content = match source {
            Source::Reader(reader) => Self::of(&name, reader, counting, u64::MAX)?,
            Source::Path(path) => {
                let file = open(&name, &path)?;
                let metadata = file.metadata().map_err(|e| ImportError::io("open", &name, e))?;
                if metadata.is_file() {
                    progress.set_total_bytes(metadata.len());
                }
                Self::of(&name, file, counting, u64::MAX)?
            }
        };
        Ok((name, content))
    }

    /// `memory` bounds the window of zstd.
    fn of(
        name: &str,
        raw: impl Read + Send + 'static,
        progress: Option<Arc<Progress>>,
        memory: u64,
    ) -> Result<Self, ImportError> {
        let mut raw = Counted { inner: raw, progress };
        let mut magic = Vec::new();
        (&mut raw).take(4).read_to_end(&mut magic).map_err(|e| ImportError::io("read", name, e))?;
        let compression = Compression::of(&magic);
        let whole = Cursor::new(magic).chain(raw);
        let reader: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(whole),
            Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(FEED, whole))),
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(FEED, whole));
                let bounded = decoder.and_then(|mut decoder| {
                    decoder.window_log_max(window_log(memory))?;
                    Ok(decoder)
                });
                Box::new(bounded.map_err(|e| ImportError::io("decompress", name, e))?)
            }
        };
        Ok(Self { reader, compression })
    }

    /// The first `max` bytes, fewer only when there are no more.
    fn head(&mut self, name: &str, max: usize) -> Result<Vec<u8>, ImportError> {
        let mut head = Vec::new();
        let read = (&mut self.reader).take(max as u64).read_to_end(&mut head);
        read.map_err(|e| read_error(name, self.compression, head.len() as u64, e))?;
        Ok(head)
    }
}

/// An input whose format is known.
pub(crate) struct Prepared {
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) compression: Compression,
    pub(crate) reading: Reading,
    /// Bytes before the first record: a byte order mark, and the header.
    pub(crate) skip: u64,
    /// Of a CSV: its header, and the line after it.
    pub(crate) header: Option<(Arc<Header>, u64)>,
    /// The line on which the records begin.
    pub(crate) line: u64,
    /// Of the load.
    memory: u64,
    source: Again,
}

/// A regular file is opened again when its turn comes, so that there is no limit on their number.
enum Again {
    File(PathBuf, u64),
    Stream(Box<dyn Read + Send>),
}

impl Prepared {
    /// Opens an input, looks at its beginning, and tells its format unless it is given.
    pub(crate) fn new(
        input: Input,
        format: Format,
        settings: &Arc<Settings>,
        progress: &Arc<Progress>,
    ) -> Result<Self, ImportError> {
        let Input { name, source, format: known } = input;
        let (mut content, regular) = match source {
            Source::Reader(reader) => (Content::of(&name, reader, Some(Arc::clone(progress)), settings.memory)?, None),
            Source::Path(path) => {
                let file = open(&name, &path)?;
                let metadata = file.metadata().map_err(|e| ImportError::io("open", &name, e))?;
                // What is only looked at does not count as read.
                let counted = (!metadata.is_file()).then(|| Arc::clone(progress));
                let content = Content::of(&name, file, counted, settings.memory)?;
                (content, metadata.is_file().then_some((path, metadata.len())))
            }
        };
        let head = content.head(&name, if format.is_native() { NATIVE_HEAD } else { HEAD })?;
        let chosen = choose(&head, known.filter(|_| format == Format::Auto).unwrap_or(format), settings);
        let (format, reading) = chosen.map_err(|why| unchosen(&name, why))?;
        let (skip, line, header) = match (&reading, format) {
            (Reading::Native, Format::Csv) => {
                let (skip, (header, line)) = header(&name, &head)?;
                (skip, line, Some((header, line)))
            }
            (Reading::Rows(job), _) if !job.columns.unquoted => {
                let (_, record) = header_record(&head);
                (record.end, 1 + newlines(head.get(..record.end).unwrap_or_default()), None)
            }
            _ => (bom_len(&head), 1, None),
        };
        let compression = content.compression;
        let source = match regular {
            Some((path, len)) => Again::File(path, len),
            None => Again::Stream(Box::new(Cursor::new(head).chain(content.reader))),
        };
        Ok(Self {
            name,
            format,
            compression,
            reading,
            skip: skip as u64,
            header,
            line,
            memory: settings.memory,
            source,
        })
    }

    /// Length of the file as it lies there; `None` for a stream.
    pub(crate) const fn file_len(&self) -> Option<u64> {
        match &self.source {
            Again::File(_, len) => Some(*len),
            Again::Stream(_) => None,
        }
    }

    /// The decompressed content from the first record on, to be read beforehand; `None` when it can be read once only.
    pub(crate) fn beforehand(&self) -> Result<Option<Box<dyn Read + Send>>, ImportError> {
        let Again::File(path, _) = &self.source else { return Ok(None) };
        let mut reader = Content::of(&self.name, open(&self.name, path)?, None, self.memory)?.reader;
        self.skip_head(&mut reader)?;
        Ok(Some(reader))
    }

    fn skip_head(&self, reader: &mut (dyn Read + Send)) -> Result<(), ImportError> {
        io::copy(&mut reader.take(self.skip), &mut io::sink())
            .map(|_| ())
            .map_err(|e| read_error(&self.name, self.compression, 0, e))
    }

    /// The decompressed content from the first record on.
    pub(crate) fn records(&mut self, progress: &Arc<Progress>) -> Result<Box<dyn Read + Send>, ImportError> {
        let mut reader = match std::mem::replace(&mut self.source, Again::Stream(Box::new(io::empty()))) {
            Again::Stream(reader) => reader,
            Again::File(path, _) => {
                let counted = Some(Arc::clone(progress));
                let content = Content::of(&self.name, open(&self.name, &path)?, counted, self.memory)?;
                if content.compression != self.compression {
                    return Err(ImportError::io("read", &self.name, io::Error::other("it changed while it was read")));
                }
                content.reader
            }
        };
        self.skip_head(&mut reader)?;
        Ok(reader)
    }
}

fn open(name: &str, path: &PathBuf) -> Result<File, ImportError> {
    // Opening a directory works, and reading it fails with a message that does not say so.
    let is_dir = fs::metadata(path).is_ok_and(|m| m.is_dir());
    if is_dir {
        return Err(ImportError::io("open", name, io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")));
    }
    File::open(path).map_err(|e| ImportError::io("open", name, e))
}

/// The header of a CSV: where the records begin, and the header with the line of the first of them.
fn header(name: &str, head: &[u8]) -> Result<(usize, (Arc<Header>, u64)), ImportError> {
    let (record, range) = header_record(head);
    let header = Header::parse(record).map_err(|reason| ImportError::Document {
        file: name.to_owned(),
        offset: Some(range.start as u64),
        reason,
    })?;
    let line = 1 + newlines(head.get(..range.end).unwrap_or_default());
    Ok((range.end, (header, line)))
}

/// The header record, which begins where the format is told by it, and where it is.
fn header_record(head: &[u8]) -> (&[u8], Range<usize>) {
    let start = text_start(head);
    let text = head.get(start..).unwrap_or_default();
    let record = csv::record_end(text).and_then(|len| text.get(..len)).unwrap_or(text);
    (record, start..start + record.len())
}

/// The error for an input whose format could not be chosen.
fn unchosen(name: &str, why: Unchosen) -> ImportError {
    match why {
        Unchosen::Undetected(e) => {
            ImportError::UnknownFormat { file: name.to_owned(), found: e.found, candidates: e.candidates }
        }
        Unchosen::Document(reason) => ImportError::Document { file: name.to_owned(), offset: None, reason },
        Unchosen::Usage(message) => ImportError::Usage(format!("{name}: {message}")),
    }
}

#[cfg(test)]
mod tests;
