//! Consecutive rows of a block that nothing interrupts: what sources hand out and renderers take.

use std::ops::Range;
use std::path::Path;

use crate::dictionary::Dictionary;
use crate::error::{Error, Fault};
use crate::header::ENTRY_LEN;
use crate::read::{Block, Mark, Pos, Rows};
use crate::row::RowRef;
use crate::sums::Totals;
use crate::view::UserRef;

/// Rows `rows` of one block, and where the block came from.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    block: &'a Block<'a>,
    rows: Range<usize>,
    file: &'a Path,
    offset: u64,
    /// Where the rows begin and end, where that is known.
    ends: Option<(Mark, Mark)>,
}

/// Compact rows without an exception between them.
///
/// No UID and no providerUID in them needs JSON escaping or CSV quoting; a provider's name may. Each control entry is
/// three bytes: the UID's length (low seven bits; 0 means "the same user as the entry before") with the pending bit above
/// it; 0 for no identity, else the provider's dictionary id + 1; the providerUID's length.
#[derive(Debug, Clone, Copy)]
pub struct Clean<'a> {
    /// Control entries, three bytes each, and at least one byte more that may be read.
    pub ctl: &'a [u8],
    /// Number of control entries.
    pub entries: usize,
    /// Text in output order: UID, providerUID, providerUID, …; at least [`crate::PADDING`] bytes more may be read.
    pub text: &'a [u8],
    /// Bytes of text that belong to these rows.
    pub text_len: usize,
    /// Users.
    pub users: usize,
}

/// A stretch of a [`Span`].
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// Compact rows.
    Clean(Clean<'a>),
    /// A row that needs care: long values, a rare provider, or text to escape or quote.
    Row(RowRef<'a>),
}

impl<'a> Span<'a> {
    /// The rows `rows` of `block`, which lies at byte `offset` of `file`.
    #[must_use]
    #[inline]
    pub fn new(block: &'a Block<'a>, rows: Range<usize>, file: &'a Path, offset: u64) -> Self {
        let end = rows.end.min(block.users());
        Self { rows: rows.start.min(end)..end, block, file, offset, ends: None }
    }

    /// The rows from one cursor to another that went forward from there in the same block, as [`new`](Self::new): saves
    /// looking for both ends.
    #[must_use]
    #[inline]
    pub fn between(block: &'a Block<'a>, from: Mark, to: Mark, file: &'a Path, offset: u64) -> Self {
        Self { ends: Some((from, to)), ..Self::new(block, from.ordinal..to.ordinal, file, offset) }
    }

    fn start(&self) -> Result<Rows<'a>, Error> {
        match self.ends {
            Some((from, _)) => Ok(self.block.rows_at(from)),
            None => self.block.rows_from(self.rows.start).map_err(|f| self.damage(f)),
        }
    }

    /// Users in the span.
    #[must_use]
    pub fn users(&self) -> usize {
        self.rows.len()
    }

    /// The block.
    #[must_use]
    pub const fn block(&self) -> &'a Block<'a> {
        self.block
    }

    /// Numbers of the span's rows in the block.
    #[must_use]
    pub const fn ordinals(&self) -> &Range<usize> {
        &self.rows
    }

    /// The block's sums when the span is a whole block.
    #[must_use]
    pub fn whole_totals(&self) -> Option<Totals> {
        (self.rows == (0..self.block.users())).then(|| self.block.totals())
    }

    /// The provider dictionary.
    #[must_use]
    pub const fn dictionary(&self) -> &'a Dictionary {
        self.block.dictionary()
    }

    /// `fault`, with the block's place.
    #[must_use]
    pub fn damage(&self, fault: Fault) -> Error {
        fault.at(self.file, self.offset)
    }

    /// The span as one clean stretch, where it is known at once to be one: what a merge hands out most often.
    #[must_use]
    #[inline]
    pub fn as_clean(&self) -> Option<Clean<'a>> {
        let (from, to) = self.ends.filter(|(from, to)| from.exception == to.exception)?;
        stretch(self.block, from.pos, to.pos, self.rows.len())
    }

    /// The span as clean stretches and single rows, in order.
    ///
    /// # Errors
    /// Damage found on the way to the first row.
    pub fn pieces(&self) -> Result<Pieces<'_>, Error> {
        let from = self.start()?.mark();
        let end = match self.ends {
            Some((_, to)) => to.pos,
            None => self.block.rows_from(self.rows.end).map_err(|f| self.damage(f))?.pos(),
        };
        Ok(Pieces { exception: from.exception, span: self, next: self.rows.start, pos: from.pos, end })
    }

    /// The users of the span, one by one.
    ///
    /// # Errors
    /// Damage found on the way to the first row.
    pub fn rows(&self) -> Result<SpanRows<'_>, Error> {
        let rows = self.start()?;
        Ok(SpanRows { span: self, rows })
    }
}

/// The `users` compact rows between two positions; `None` when they are not inside the block, one after the other.
#[inline]
fn stretch<'a>(block: &Block<'a>, from: Pos, to: Pos, users: usize) -> Option<Clean<'a>> {
    let entries = to.ctl.checked_sub(from.ctl)?;
    let text_len = to.text.checked_sub(from.text).filter(|_| to.text <= block.header.text_len)?;
    let ctl = block.ctl.get(from.ctl * ENTRY_LEN..).filter(|ctl| ctl.len() > entries * ENTRY_LEN)?;
    Some(Clean { ctl, entries, text: block.text.get(from.text..)?, text_len, users })
}

/// Iterator over the pieces of a [`Span`].
#[derive(Debug)]
pub struct Pieces<'a> {
    span: &'a Span<'a>,
    next: usize,
    pos: Pos,
    exception: usize,
    end: Pos,
}

impl<'a> Pieces<'a> {
    /// Compact rows up to row `ordinal`, whose entries and text begin at `to`.
    fn clean(&mut self, ordinal: usize, to: Pos) -> Result<Piece<'a>, Error> {
        let block = self.span.block;
        let Some(clean) = stretch(block, self.pos, to, ordinal - self.next) else {
            let fault = Fault::new("exception position", 44, block.header.text_len as u64, to.text as u64);
            return Err(self.span.damage(fault));
        };
        self.next = ordinal;
        self.pos = to;
        Ok(Piece::Clean(clean))
    }

    fn step(&mut self) -> Result<Piece<'a>, Error> {
        let end = self.span.rows.end;
        let block = self.span.block;
        let exception = (self.exception < block.exceptions()).then(|| block.exception(self.exception)).flatten();
        match exception.filter(|e| e.ordinal < end) {
            None => self.clean(end, self.end),
            Some(e) if e.ordinal > self.next => self.clean(e.ordinal, e.pos),
            Some(e) if e.ordinal == self.next => {
                self.exception += 1;
                self.next += 1;
                block.wide_row(&e).map(Piece::Row).map_err(|f| self.span.damage(f))
            }
            Some(e) => Err(self.span.damage(Fault::new("exception order", 44, self.next as u64, e.ordinal as u64))),
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.span.rows.end {
            return None;
        }
        let piece = self.step();
        if piece.is_err() {
            self.next = self.span.rows.end;
        }
        Some(piece)
    }
}

/// Iterator over the users of a [`Span`].
#[derive(Debug)]
pub struct SpanRows<'a> {
    span: &'a Span<'a>,
    rows: Rows<'a>,
}

impl<'a> Iterator for SpanRows<'a> {
    type Item = Result<UserRef<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows.ordinal() >= self.span.rows.end {
            return None;
        }
        self.rows.next().map(|row| row.map_err(|f| self.span.damage(f)))
    }
}
