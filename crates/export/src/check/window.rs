//! What is checked, as a window that moves over it: whole records are looked at in place.

use std::io::{self, Read};

use super::error::{Halt, Problem};

/// Bytes asked for at a time.
const PIECE: usize = 1 << 20;
/// No record of an export is longer: a user has at most 1 MiB of text, which escapes make six times as long.
const RECORD_MAX: usize = 16 << 20;

/// Why a parser stopped before the end of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The bytes end inside the record.
    More,
    /// The byte at this place is none that an export has there.
    Bad { at: usize, expected: &'static str },
}

/// A moving window over a stream.
pub(crate) struct Window<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the window starts in the stream.
    base: u64,
}

impl<R: Read> Window<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; 2 * PIECE], start: 0, end: 0, base: 0 }
    }

    /// What is in the window.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Moves on by `n` bytes, which have to be UTF-8.
    pub(crate) fn consume(&mut self, n: usize) -> Result<(), Problem> {
        let passed = self.bytes().get(..n).unwrap_or_default();
        if let Err(error) = std::str::from_utf8(passed) {
            return Err(self.bad(error.valid_up_to(), "UTF-8 text"));
        }
        self.start += n;
        self.base += n as u64;
        Ok(())
    }

    /// Reads more; `false` at the end of the stream.
    ///
    /// # Errors
    /// Those of reading, and a record that is too long.
    pub(crate) fn more(&mut self) -> Result<bool, Halt> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end >= RECORD_MAX {
            return Err(self.bad(0, "a record of at most 16 MiB").into());
        }
        if self.buffer.len() - self.end < PIECE {
            self.buffer.resize(self.buffer.len() + PIECE, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let mut read = 0;
        // Whole pieces, so that little is looked at twice.
        while read < PIECE {
            match self.reader.read(room.get_mut(read..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Halt::Unread { offset: self.base + (self.end + read) as u64, source });
                }
            }
        }
        self.end += read;
        Ok(read > 0)
    }

    /// Reads until `n` bytes are there, or the stream ends.
    pub(crate) fn fill(&mut self, n: usize) -> Result<(), Halt> {
        while self.bytes().len() < n && self.more()? {}
        Ok(())
    }

    /// The byte of the stream that the window starts at.
    pub(crate) const fn offset(&self) -> u64 {
        self.base
    }

    /// A byte that should not be there, `at` bytes into the window.
    pub(crate) fn bad(&self, at: usize, expected: &str) -> Problem {
        const SHOWN: usize = 24;
        let rest = self.bytes().get(at..).unwrap_or_default();
        let found = if rest.is_empty() {
            "the end of the file".to_owned()
        } else {
            format!("{:?}", String::from_utf8_lossy(rest.get(..SHOWN).unwrap_or(rest)))
        };
        Problem::Content { offset: self.base + at as u64, expected: expected.to_owned(), found }
    }

    /// The stream ends inside a record.
    pub(crate) fn cut_short(&self, inside: &'static str) -> Problem {
        Problem::CutShort { inside, offset: self.base + self.bytes().len() as u64 }
    }
}
