//! NDJSON line by line as it comes: user objects and operations for a program that commits them.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::Arc;

use headcount_block::{Progress, RowBuf, User};

use crate::chunk::RECORD_MAX;
use crate::detect::bom_len;
use crate::error::{BadDocument, BadRecord, ImportError, Position, Unit};
use crate::format::Format;
use crate::input::{Compression, Content, Input, read_error};
use crate::json::{self, Refusal};
use crate::names::ProviderNames;
use crate::operation::{self, Operation};
use crate::scan::spaces;

/// Bytes asked of the input at a time; a pipe gives what it has.
const BUFFER: usize = 128 << 10;

/// The lines of an input, decompressed by content. Blank lines are skipped, but count.
///
/// ```
/// # use std::sync::Arc;
/// # use headcount_import::{Input, Lines};
/// let input = Input::reader("memory", Box::new(&b"{\"UID\":\"a\"}\n\n{\"UID\":7}\n"[..]));
/// let mut lines = Lines::open(input, &Arc::default())?;
/// assert_eq!(lines.next_line()?.map(|mut line| line.user()).transpose()?.map(|user| user.uid).as_deref(), Some("a"));
/// let error = lines.next_line()?.map(|mut line| line.user()).transpose().unwrap_err();
/// assert!(error.to_string().starts_with("memory: line 3, byte 20: "), "{error}");
/// # Ok::<(), headcount_import::ImportError>(())
/// ```
pub struct Lines {
    name: String,
    compression: Compression,
    reader: BufReader<Box<dyn Read + Send>>,
    progress: Arc<Progress>,
    row: RowBuf,
    /// The line last read, its number from 1, and where it begins.
    bytes: Vec<u8>,
    number: u64,
    offset: u64,
}

impl Lines {
    /// Opens `input`. Bytes read of it are added to `progress`, which can cancel.
    ///
    /// # Errors
    /// [`ImportError::Io`]; [`ImportError::Cancelled`] when `progress` was cancelled before anything came.
    pub fn open(input: Input, progress: &Arc<Progress>) -> Result<Self, ImportError> {
        let opened = Content::open(input, progress);
        let (name, Content { reader, compression }) = opened.map_err(|error| match error {
            ImportError::Io { .. } if progress.is_cancelled() => ImportError::Cancelled,
            error => error,
        })?;
        Ok(Self {
            name,
            compression,
            reader: BufReader::with_capacity(BUFFER, reader),
            progress: Arc::clone(progress),
            row: RowBuf::new(),
            bytes: Vec::new(),
            number: 0,
            offset: 0,
        })
    }

    /// Name of the input, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next line that is not blank, as soon as it is whole.
    ///
    /// # Errors
    /// [`ImportError::Io`], [`ImportError::Compressed`], [`ImportError::Cancelled`], and [`ImportError::Document`] for
    /// a line of more than 8 MiB.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, ImportError> {
        while self.read_line()? {
            let bom = if self.offset == 0 { bom_len(&self.bytes) } else { 0 };
            let rest = self.bytes.len() - bom;
            if spaces(self.bytes.get(bom..).unwrap_or_default()) < rest {
                return Ok(Some(Line {
                    file: &self.name,
                    number: self.number,
                    offset: self.offset + bom as u64,
                    bytes: self.bytes.get(bom..).unwrap_or_default(),
                    row: &mut self.row,
                }));
            }
        }
        Ok(None)
    }

    /// Reads a line with its end; false at the end of the input.
    fn read_line(&mut self) -> Result<bool, ImportError> {
        self.progress.check()?;
        self.offset += self.bytes.len() as u64;
        self.bytes.clear();
        let read = (&mut self.reader).take(RECORD_MAX as u64 + 1).read_until(b'\n', &mut self.bytes);
        read.map_err(|e| {
            let at = self.offset + self.bytes.len() as u64;
            read_error(&self.name, self.compression, at, e)
        })?;
        if self.bytes.is_empty() {
            return Ok(false);
        }
        self.number += 1;
        if self.bytes.len() > RECORD_MAX {
            return Err(ImportError::Document {
                file: self.name.clone(),
                offset: Some(self.offset),
                reason: BadDocument::TooLong { what: "a line", max: RECORD_MAX, format: Format::Ndjson },
            });
        }
        Ok(true)
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("name", &self.name).field("number", &self.number).finish_non_exhaustive()
    }
}

/// One line of [`Lines`].
#[derive(Debug)]
pub struct Line<'l> {
    file: &'l str,
    number: u64,
    offset: u64,
    bytes: &'l [u8],
    row: &'l mut RowBuf,
}

impl Line<'_> {
    /// Where it begins.
    #[must_use]
    pub fn position(&self) -> Position {
        self.inside(0)
    }

    /// Its length in bytes; the text that it stands for is never longer.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is empty: never, as blank lines are skipped.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The user object on the line, read as an import does.
    ///
    /// # Errors
    /// [`ImportError::Record`] with the byte of the problem.
    pub fn user(&mut self) -> Result<User, ImportError> {
        let parsed =
            utf8(self.bytes).and_then(|text| json::parse(text, self.row, ProviderNames::Kept)).and_then(|_| {
                let user = self.row.finish().map(|row| row.to_user());
                match user {
                    Ok(Ok(user)) => Ok(user),
                    Ok(Err(_)) => Err(Refusal { reason: BadRecord::Utf8, at: 0 }),
                    Err(limit) => Err(Refusal { reason: limit.into(), at: 0 }),
                }
            });
        parsed.map_err(|refusal| self.refused(refusal))
    }

    /// The operation on the line.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn operation(&mut self) -> Result<Operation, ImportError> {
        let parsed = utf8(self.bytes).and_then(|text| operation::parse(text, self.row));
        parsed.map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: Refusal) -> ImportError {
        ImportError::Record { at: self.inside(refusal.at), reason: refusal.reason }
    }

    fn inside(&self, at: usize) -> Position {
        Position { file: self.file.to_owned(), unit: Unit::Line, number: self.number, offset: self.offset + at as u64 }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|e| Refusal { reason: BadRecord::Utf8, at: e.valid_up_to() })
}

#[cfg(test)]
mod tests;
