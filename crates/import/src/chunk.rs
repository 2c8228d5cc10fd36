//! Inputs cut into chunks of whole records, so that workers can parse them independently.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use crate::csv::{self, Header};
use crate::error::BadDocument;
use crate::format::Format;
use crate::ldif::LdifJob;
use crate::mapped::Job;
use crate::scan::newlines;
use crate::table_rows::TableJob;

/// Bytes that are read and handed to a worker at a time. A compromise: it stays in a core's cache, and a hand-over
/// costs little beside parsing it.
pub(crate) const CHUNK: usize = 512 << 10;
/// Longest record, its line end included; a chunk with one long record may be as long.
pub(crate) const RECORD_MAX: usize = 8 << 20;

/// What the records of a chunk look like.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// An object a line.
    Lines,
    /// Objects with commas between them.
    Elements,
    /// CSV records under this header.
    Rows(Arc<Header>),
    /// Records of another system, at this path of its job, with commas or white space between them.
    Mapped(Arc<Job>, usize),
    /// Records of another system, one a line.
    MappedLines(Arc<Job>),
    /// Rows of another system's table.
    Table(Arc<TableJob>),
    /// Entries of LDIF.
    Ldif(Arc<LdifJob>),
}

impl Layout {
    fn format(&self) -> Format {
        match self {
            Self::Lines => Format::Ndjson,
            Self::Elements => Format::GigyaJson,
            Self::Rows(_) => Format::Csv,
            Self::Mapped(job, _) | Self::MappedLines(job) => job.format,
            Self::Table(job) => job.columns.format,
            Self::Ldif(_) => Format::Ldif,
        }
    }
}

/// Whole records of one input.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Number of the chunk in the order of all inputs.
    pub(crate) seq: u64,
    /// Index of the input.
    pub(crate) file: u16,
    pub(crate) layout: Layout,
    /// Line, or number of the element, at the start of the records.
    pub(crate) number: u64,
    /// Offset of the records in the decompressed input.
    pub(crate) offset: u64,
    data: Vec<u8>,
    records: Range<usize>,
}

impl Chunk {
    /// The records.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.data.get(self.records.clone()).unwrap_or_default()
    }

    /// The buffer, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.data
    }
}

/// What a cutter made of the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Whole records among them; may be empty.
    pub(crate) records: Range<usize>,
    /// Line, or number of the element, at their start.
    pub(crate) number: u64,
    /// Bytes that need not be shown again. When it is 0, more are needed.
    pub(crate) consumed: usize,
}

/// A document that cannot be cut: what is wrong, and where among the bytes shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Uncut {
    pub(crate) reason: BadDocument,
    pub(crate) at: usize,
}

/// Finds whole records at the start of bytes.
pub(crate) trait Cutter {
    /// Cuts `bytes`, which go on where the last cut's consumed ones ended; `eof` says that no more will come.
    fn cut(&mut self, bytes: &[u8], eof: bool) -> Result<Cut, Uncut>;

    /// What the records look like.
    fn layout(&self) -> Layout;

    /// What a record is called when it is too long.
    fn record_name(&self) -> &'static str;
}

/// Cuts after the last newline.
#[derive(Debug)]
pub(crate) struct LineCutter {
    layout: Layout,
    line: u64,
}

impl LineCutter {
    /// A cutter of lines that hold records of this layout.
    pub(crate) const fn new(layout: Layout) -> Self {
        Self { layout, line: 1 }
    }
}

impl Cutter for LineCutter {
    fn cut(&mut self, bytes: &[u8], eof: bool) -> Result<Cut, Uncut> {
        let end = if eof { bytes.len() } else { memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1) };
        let number = self.line;
        self.line += newlines(bytes.get(..end).unwrap_or_default());
        Ok(Cut { records: 0..end, number, consumed: end })
    }

    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn record_name(&self) -> &'static str {
        "a line"
    }
}

/// Cuts after the last CSV record.
#[derive(Debug)]
pub(crate) struct RowCutter {
    layout: Layout,
    line: u64,
    /// Whether the input ended without a line end.
    open: bool,
}

impl RowCutter {
    /// A cutter of the records of this layout, after a header that ended before `line`.
    pub(crate) const fn new(layout: Layout, line: u64) -> Self {
        Self { layout, line, open: false }
    }

    /// Whether the input ended without a line end.
    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }

    /// Length of the whole records at the start of `bytes`.
    fn whole(bytes: &[u8]) -> usize {
        if memchr::memchr(b'"', bytes).is_none() {
            return memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
        }
        let mut end = 0;
        while let Some(len) = bytes.get(end..).and_then(csv::record_end) {
            end += len;
        }
        end
    }
}

impl Cutter for RowCutter {
    fn cut(&mut self, bytes: &[u8], eof: bool) -> Result<Cut, Uncut> {
        let mut end = Self::whole(bytes);
        if eof {
            let last = bytes.get(end..).unwrap_or_default();
            if csv::is_open(last) {
                let reason = BadDocument::Truncated("a quoted CSV field of the record that begins here");
                return Err(Uncut { reason, at: end });
            }
            self.open |= end < bytes.len();
            end = bytes.len();
        }
        let number = self.line;
        self.line += newlines(bytes.get(..end).unwrap_or_default());
        Ok(Cut { records: 0..end, number, consumed: end })
    }

    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn record_name(&self) -> &'static str {
        "a CSV record (an opening quote that is never closed?)"
    }
}

/// Reads an input through a cutter.
pub(crate) struct Chunker<'a> {
    reader: &'a mut dyn Read,
    cutter: &'a mut dyn Cutter,
    /// Bytes read that are not consumed; their offset in the decompressed input.
    buffer: Vec<u8>,
    filled: usize,
    offset: u64,
    eof: bool,
}

/// Why an input could not be read to its end, and at which byte of its decompressed content.
#[derive(Debug)]
pub(crate) enum Broken {
    Read(io::Error, u64),
    Document(BadDocument, u64),
}

/// One chunk's records, before it has a number.
#[derive(Debug)]
pub(crate) struct Piece {
    data: Vec<u8>,
    records: Range<usize>,
    number: u64,
    offset: u64,
    layout: Layout,
}

impl Piece {
    pub(crate) fn into_chunk(self, seq: u64, file: u16) -> Chunk {
        let Self { data, records, number, offset, layout } = self;
        Chunk { seq, file, layout, number, offset, data, records }
    }
}

impl<'a> Chunker<'a> {
    /// Cuts what `reader` gives, whose first byte is at `offset` of the input.
    pub(crate) fn new(reader: &'a mut dyn Read, cutter: &'a mut dyn Cutter, offset: u64) -> Self {
        Self { reader, cutter, buffer: Vec::new(), filled: 0, offset, eof: false }
    }

    /// The next records; `None` at the end of the input. `spare` gives buffers to be used again.
    pub(crate) fn next(&mut self, spare: &mut dyn FnMut() -> Vec<u8>) -> Result<Option<Piece>, Broken> {
        loop {
            self.fill()?;
            let bytes = self.buffer.get(..self.filled).unwrap_or_default();
            let cut =
                self.cutter.cut(bytes, self.eof).map_err(|e| Broken::Document(e.reason, self.offset + e.at as u64))?;
            if !cut.records.is_empty() {
                return Ok(Some(self.hand_over(cut, spare())));
            }
            self.keep_from(cut.consumed);
            if self.eof {
                return Ok(None);
            }
        }
    }

    /// Reads until the buffer is full or the input ends. A full buffer in which nothing was cut grows.
    fn fill(&mut self) -> Result<(), Broken> {
        if self.filled == self.buffer.len() && !self.eof {
            if self.filled >= RECORD_MAX {
                return Err(Broken::Document(self.too_long(), self.offset));
            }
            self.buffer.resize((self.filled * 2).clamp(CHUNK, RECORD_MAX), 0);
        }
        while !self.eof && self.filled < self.buffer.len() {
            match self.reader.read(self.buffer.get_mut(self.filled..).unwrap_or_default()) {
                Ok(0) => self.eof = true,
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Broken::Read(e, self.offset + self.filled as u64)),
            }
        }
        Ok(())
    }

    fn too_long(&self) -> BadDocument {
        let format = self.cutter.layout().format();
        BadDocument::TooLong { what: self.cutter.record_name(), max: RECORD_MAX, format }
    }

    /// Gives the buffer away and goes on with the bytes behind the cut in `next`.
    fn hand_over(&mut self, cut: Cut, mut next: Vec<u8>) -> Piece {
        let rest = self.buffer.get(cut.consumed..self.filled).unwrap_or_default();
        next.resize(CHUNK.max(rest.len()), 0);
        if let Some(start) = next.get_mut(..rest.len()) {
            start.copy_from_slice(rest);
        }
        let offset = self.offset + cut.records.start as u64;
        self.filled = rest.len();
        self.offset += cut.consumed as u64;
        let data = std::mem::replace(&mut self.buffer, next);
        Piece { data, records: cut.records, number: cut.number, offset, layout: self.cutter.layout() }
    }

    /// Drops consumed bytes that hold no records.
    fn keep_from(&mut self, consumed: usize) {
        self.buffer.copy_within(consumed..self.filled, 0);
        self.filled -= consumed;
        self.offset += consumed as u64;
    }

    /// Offset of the first byte that is not consumed; at the end, the length of the input.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }
}

#[cfg(test)]
mod tests;
