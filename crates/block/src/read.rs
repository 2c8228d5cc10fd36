//! The checked reader of blocks.
//!
//! [`Block::parse`] checks the structure (lengths that add up), [`Block::verify`] the checksums. Every access after that
//! is bounds-checked on its own, so that bytes that change, or a checksum that lies, give an error and nothing worse.

use crate::bytes::{get_u16, get_u32, get_u64};
use crate::dictionary::Dictionary;
use crate::error::Fault;
use crate::header::{
    BlockId, ENTRY_LEN, EXCEPTION_LEN, GROUP_EXCEPTIONS, Header, RESTART_LEN, ROWS_PER_GROUP, read_totals, verify_body,
    verify_header,
};
use crate::row::RowRef;
use crate::sums::Totals;
use crate::view::UserRef;

/// Low bits of a control entry's first byte: the UID's length.
pub(crate) const UID_LEN_MASK: u8 = 0x7f;
/// High bit of a control entry's first byte: the user is pending.
pub(crate) const PENDING_BIT: u8 = 0x80;

/// Positions inside a block: the next control entry and the next byte of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pos {
    pub(crate) ctl: usize,
    pub(crate) text: usize,
}

/// A row that stands beside the compact ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) ordinal: usize,
    pub(crate) pos: Pos,
    pub(crate) wide: usize,
}

/// A block of users, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    bytes: &'a [u8],
    dict: &'a Dictionary,
    pub(crate) header: Header,
    pub(crate) ctl: &'a [u8],
    restarts: &'a [u8],
    exceptions: &'a [u8],
    seqs: &'a [u8],
    wide: &'a [u8],
    pub(crate) text: &'a [u8],
}

impl<'a> Block<'a> {
    /// Reads the block at the start of `bytes` and checks that its lengths add up. Checksums are not looked at.
    ///
    /// # Errors
    /// A [`Fault`] with the offset in the block.
    pub fn parse(bytes: &'a [u8], dict: &'a Dictionary) -> Result<Self, Fault> {
        Self::with_header(bytes, dict, Header::read(bytes)?)
    }

    /// As [`parse`](Self::parse), for a block that was parsed before: bounds are checked, fields are not looked at again.
    ///
    /// # Errors
    /// A [`Fault`] when a section lies outside `bytes`.
    #[inline]
    pub fn parse_again(bytes: &'a [u8], dict: &'a Dictionary) -> Result<Self, Fault> {
        Self::with_header(bytes, dict, Header::read_again(bytes)?)
    }

    #[inline]
    fn with_header(bytes: &'a [u8], dict: &'a Dictionary, header: Header) -> Result<Self, Fault> {
        let at = header.sections();
        let part = |from: usize, to: usize| {
            bytes.get(from..to).ok_or(Fault::new("block section", from, to as u64, bytes.len() as u64))
        };
        Ok(Self {
            bytes: part(0, header.block_len)?,
            dict,
            header,
            ctl: part(at.control, at.text)?,
            restarts: part(at.restarts, at.exceptions)?,
            exceptions: part(at.exceptions, at.seqs)?,
            seqs: part(at.seqs, at.wide)?,
            wide: part(at.wide, at.wide + header.wide_len)?,
            text: part(at.text, at.end)?,
        })
    }

    /// Checks both checksums, and that this is the block `id`.
    ///
    /// # Errors
    /// A [`Fault`] with the offset in the block.
    pub fn verify(&self, id: BlockId) -> Result<(), Fault> {
        verify_header(self.bytes, id)?;
        verify_body(self.bytes)
    }

    /// Checks the header's checksum alone: enough to trust [`totals`](Self::totals).
    ///
    /// # Errors
    /// A [`Fault`] with the offset in the block.
    pub fn verify_header(&self, id: BlockId) -> Result<(), Fault> {
        verify_header(self.bytes, id)
    }

    /// The block's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The dictionary of the block's segment.
    #[must_use]
    pub const fn dictionary(&self) -> &'a Dictionary {
        self.dict
    }

    /// Users in the block.
    #[must_use]
    pub const fn users(&self) -> usize {
        self.header.users
    }

    /// Restart groups of [`ROWS_PER_GROUP`] users.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.header.groups()
    }

    /// Rows that stand beside the compact ones.
    #[must_use]
    pub const fn exceptions(&self) -> usize {
        self.header.exceptions
    }

    /// Counts and length sums, as the header states them.
    #[must_use]
    pub fn totals(&self) -> Totals {
        read_totals(self.bytes)
    }

    /// Least and greatest seq of a row, relative to the segment's base.
    #[must_use]
    pub const fn seq_range(&self) -> (u64, u64) {
        (self.header.min_seq, self.header.max_seq)
    }

    /// Seq of the row `ordinal`, relative to the segment's base.
    ///
    /// # Errors
    /// A [`Fault`] when there is no such row.
    pub fn seq(&self, ordinal: usize) -> Result<u64, Fault> {
        let at = ordinal.saturating_mul(self.header.seq_width);
        let offset = match self.header.seq_width {
            0 => Some(0),
            1 => self.seqs.get(at).map(|b| u64::from(*b)),
            2 => get_u16(self.seqs, at).map(u64::from),
            4 => get_u32(self.seqs, at).map(u64::from),
            _ => get_u64(self.seqs, at),
        };
        offset.filter(|_| ordinal < self.header.users).map(|o| self.header.min_seq.wrapping_add(o)).ok_or(Fault::new(
            "row number in a block",
            28,
            self.header.users as u64,
            ordinal as u64,
        ))
    }

    /// All rows in order.
    #[must_use]
    pub const fn rows(&self) -> Rows<'a> {
        Rows { block: *self, ordinal: 0, pos: Pos { ctl: 0, text: 0 }, exception: 0 }
    }

    /// Rows from the start of `group` on.
    ///
    /// # Errors
    /// A [`Fault`] when there is no such group, or its restart point lies outside the block.
    pub fn rows_from_group(&self, group: usize) -> Result<Rows<'a>, Fault> {
        let ordinal = group.saturating_mul(ROWS_PER_GROUP);
        let pos = self.restart(group)?;
        Ok(Rows { block: *self, ordinal, pos, exception: self.exceptions_before(ordinal) })
    }

    /// Rows from a mark on that a cursor over the same bytes left.
    #[must_use]
    pub const fn rows_at(&self, mark: Mark) -> Rows<'a> {
        Rows { block: *self, ordinal: mark.ordinal, pos: mark.pos, exception: mark.exception }
    }

    /// Rows from `ordinal` on.
    ///
    /// # Errors
    /// As [`rows_from_group`](Self::rows_from_group), or when a row on the way is damaged.
    pub fn rows_from(&self, ordinal: usize) -> Result<Rows<'a>, Fault> {
        if ordinal >= self.header.users {
            let pos = Pos { ctl: self.header.entries, text: self.header.text_len };
            return Ok(Rows { block: *self, ordinal: self.header.users, pos, exception: self.header.exceptions });
        }
        let mut rows = self.rows_from_group(ordinal / ROWS_PER_GROUP)?;
        while rows.ordinal < ordinal {
            rows.next().transpose()?;
        }
        Ok(rows)
    }

    /// The user in row `ordinal`.
    ///
    /// # Errors
    /// A [`Fault`] when there is no such row or it is damaged.
    pub fn user(&self, ordinal: usize) -> Result<UserRef<'a>, Fault> {
        let missing = Fault::new("row number in a block", 28, self.header.users as u64, ordinal as u64);
        self.rows_from(ordinal)?.next().ok_or(missing)?
    }

    /// Restart point of `group`.
    pub(crate) fn restart(&self, group: usize) -> Result<Pos, Fault> {
        let at = group.saturating_mul(RESTART_LEN);
        let pos = match (get_u32(self.restarts, at), get_u32(self.restarts, at.saturating_add(4))) {
            (Some(ctl), Some(text)) => Pos { ctl: (ctl & !GROUP_EXCEPTIONS) as usize, text: text as usize },
            _ => return Err(Fault::new("restart group", 28, self.groups() as u64, group as u64)),
        };
        if pos.ctl > self.header.entries || pos.text > self.header.text_len {
            let found = (pos.ctl as u64) << 32 | pos.text as u64;
            return Err(Fault::new("restart point", self.header.sections().restarts + at, 0, found));
        }
        Ok(pos)
    }

    /// Whether a row of `group` is an exception: most lookups need not look for it.
    #[inline]
    pub(crate) fn group_has_exceptions(&self, group: usize) -> bool {
        let ctl = group.checked_mul(RESTART_LEN).and_then(|at| get_u32(self.restarts, at));
        ctl.is_none_or(|ctl| ctl & GROUP_EXCEPTIONS != 0)
    }

    /// The exception number `index`.
    pub(crate) fn exception(&self, index: usize) -> Option<Exception> {
        let at = index.checked_mul(EXCEPTION_LEN)?;
        let word = |i: usize| get_u32(self.exceptions, at + 4 * i).map(|v| v as usize);
        Some(Exception { ordinal: word(0)?, pos: Pos { ctl: word(1)?, text: word(2)? }, wide: word(3)? })
    }

    /// Number of the row that the exception number `index` is.
    #[inline]
    pub(crate) fn exception_ordinal(&self, index: usize) -> Option<usize> {
        get_u32(self.exceptions, index.checked_mul(EXCEPTION_LEN)?).map(|v| v as usize)
    }

    /// How many exceptions stand before row `ordinal`.
    pub(crate) fn exceptions_before(&self, ordinal: usize) -> usize {
        let (mut low, mut high) = (0, self.header.exceptions);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.exception_ordinal(middle).is_some_and(|e| e < ordinal) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The self-contained row of an exception.
    pub(crate) fn wide_row(&self, exception: &Exception) -> Result<RowRef<'a>, Fault> {
        let wide_at = self.header.sections().wide;
        let bytes = self.wide.get(exception.wide..).ok_or(Fault::new(
            "wide row offset",
            wide_at,
            self.wide.len() as u64,
            exception.wide as u64,
        ))?;
        RowRef::parse_prefix(bytes).map_err(|f| Fault { offset: wide_at + exception.wide + f.offset, ..f })
    }

    /// Control entries, without the padding.
    pub(crate) fn entries(&self) -> &'a [[u8; ENTRY_LEN]] {
        self.ctl.as_chunks().0.get(..self.header.entries).unwrap_or_default()
    }

    /// Text, without the padding.
    pub(crate) fn text_bytes(&self) -> &'a [u8] {
        self.text.get(..self.header.text_len).unwrap_or_default()
    }

    pub(crate) fn ctl_fault(&self, what: &'static str, at: usize) -> Fault {
        let found = self.entries().get(at).map_or(0, |[a, b, c]| u64::from(u32::from_le_bytes([*a, *b, *c, 0])));
        Fault::new(what, self.header.sections().control + at * ENTRY_LEN, self.header.entries as u64, found)
    }
}

/// Where a cursor over rows stands: good for the same bytes only, and checked like any other bytes when it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    pub(crate) ordinal: usize,
    pub(crate) pos: Pos,
    pub(crate) exception: usize,
}

impl Mark {
    /// Number of the row that comes next.
    #[must_use]
    pub const fn ordinal(&self) -> usize {
        self.ordinal
    }
}

/// Cursor over the rows of a block, in order.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    block: Block<'a>,
    ordinal: usize,
    pos: Pos,
    exception: usize,
}

impl<'a> Rows<'a> {
    /// Number of the row that `next` returns.
    #[must_use]
    pub const fn ordinal(&self) -> usize {
        self.ordinal
    }

    pub(crate) const fn pos(&self) -> Pos {
        self.pos
    }

    /// Where the cursor stands.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { ordinal: self.ordinal, pos: self.pos, exception: self.exception }
    }

    fn compact(&mut self) -> Result<UserRef<'a>, Fault> {
        let Pos { ctl, text } = self.pos;
        let entries = self.block.entries();
        let mut next = entries.get(ctl..).unwrap_or_default().iter();
        let Some(&[head, _, len]) = next.next() else {
            return Err(self.block.ctl_fault("control entries end before the users", ctl));
        };
        let uid_len = usize::from(head & UID_LEN_MASK);
        if uid_len == 0 {
            return Err(self.block.ctl_fault("a user begins without a UID", ctl));
        }
        let mut text_len = usize::from(len);
        let mut count = 1;
        for &[b0, _, len] in next {
            if b0 & UID_LEN_MASK != 0 {
                break;
            }
            text_len += usize::from(len);
            count += 1;
        }
        let all = self.block.text_bytes();
        let uid = all.get(text..text + uid_len);
        let rest = all.get(text + uid_len..text + uid_len + text_len);
        let (Some(uid), Some(rest)) = (uid, rest) else {
            return Err(self.block.ctl_fault("text ends before the users", ctl));
        };
        let own = entries.get(ctl..ctl + count).unwrap_or_default();
        self.pos = Pos { ctl: ctl + count, text: text + uid_len + text_len };
        Ok(UserRef::compact(uid, head & PENDING_BIT != 0, own, rest, self.block.dict))
    }

    fn step(&mut self) -> Result<UserRef<'a>, Fault> {
        if self.block.header.exceptions > self.exception
            && let Some(exception) = self.block.exception(self.exception)
            && exception.ordinal == self.ordinal
        {
            self.exception += 1;
            return self.block.wide_row(&exception).map(UserRef::from);
        }
        self.compact()
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<UserRef<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ordinal >= self.block.header.users {
            return None;
        }
        let row = self.step();
        // After a fault nothing that follows has a known place.
        self.ordinal = if row.is_ok() { self.ordinal + 1 } else { self.block.header.users };
        Some(row)
    }
}
