//! Where each row of a block begins, found in one pass over its control entries: what a merge steps and searches by.

use std::ops::Range;

use crate::error::Fault;
use crate::find::uid_prefix;
use crate::header::ENTRY_LEN;
use crate::read::{Block, Mark, Pos, UID_LEN_MASK};

/// Where one row begins, and a number that orders its UID.
#[derive(Debug, Clone, Copy, Default)]
struct Start {
    key: u64,
    /// Where the row's control entries begin (24 bits), its text (24 bits), and how many exceptions come before (16 bits):
    /// a block is at most 4 MiB long and holds at most 4,096 rows.
    place: u64,
}

impl Start {
    #[inline]
    const fn new(key: u64, pos: Pos, exception: usize) -> Self {
        Self { key, place: (pos.ctl as u64) << 40 | (pos.text as u64) << 16 | exception as u64 }
    }

    #[inline]
    fn pos(&self) -> Pos {
        Pos { ctl: bits(self.place >> 40), text: bits(self.place >> 16 & 0xff_ffff) }
    }

    #[inline]
    fn exception(&self) -> usize {
        bits(self.place & 0xffff)
    }
}

/// A number of a few bits.
#[inline]
fn bits(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The starts of the rows of one block, and their UIDs as numbers; it is read anew for each block, in the same memory.
///
/// The number of a UID is the eight bytes after the first [`skip`](Self::read), which all UIDs of a range have in common.
/// Everything is checked again when it is used: with another block's bytes it gives wrong rows or faults, and no panic.
#[derive(Debug, Default)]
pub struct Outline {
    /// One a row, and the end.
    starts: Vec<Start>,
    skip: usize,
}

impl Outline {
    /// Reads the starts of all rows of `block`. Keys are made of what follows the first `skip` bytes of a UID.
    ///
    /// # Errors
    /// A [`Fault`] when control entries, text or exceptions do not fit the number of rows.
    pub fn read(&mut self, block: &Block<'_>, skip: usize) -> Result<(), Fault> {
        self.skip = skip;
        self.starts.clear();
        self.starts.resize(block.users() + 1, Start::default());
        let mut at = Mark::default();
        while let Some(exception) = block.exception(at.exception).filter(|_| at.exception < block.exceptions()) {
            self.compact(block, &mut at, exception.pos.ctl)?;
            if at.ordinal != exception.ordinal || at.pos != exception.pos {
                return Err(Fault::new("exception order", 44, at.ordinal as u64, exception.ordinal as u64));
            }
            let key = self.key(block.wide_row(&exception)?.uid());
            if let Some(start) = self.starts.get_mut(at.ordinal) {
                *start = Start::new(key, at.pos, at.exception);
            }
            (at.ordinal, at.exception) = (at.ordinal + 1, at.exception + 1);
        }
        self.compact(block, &mut at, block.header.entries)?;
        if at.ordinal != block.users() {
            return Err(block.ctl_fault("users in the control entries", at.pos.ctl));
        }
        if let Some(end) = self.starts.last_mut() {
            *end = Start::new(0, at.pos, at.exception);
        }
        Ok(())
    }

    /// The number that orders a UID.
    #[must_use]
    #[inline]
    pub fn key(&self, uid: &[u8]) -> u64 {
        uid_prefix(uid.get(self.skip..).unwrap_or_default())
    }

    /// Compact rows from `at` on, up to the control entry `to`.
    fn compact(&mut self, block: &Block<'_>, at: &mut Mark, to: usize) -> Result<(), Fault> {
        let fault = |ctl| block.ctl_fault("a row that begins outside the block", ctl);
        let entries = block.entries().get(at.pos.ctl..to).ok_or_else(|| fault(at.pos.ctl))?;
        if entries.first().is_some_and(|[head, ..]| head & UID_LEN_MASK == 0) {
            return Err(block.ctl_fault("a user begins without a UID", at.pos.ctl));
        }
        let Pos { ctl: first, mut text } = at.pos;
        let keyed = block.text.get(self.skip..).unwrap_or_default();
        let (mut row, mut shortest) = (at.ordinal, usize::MAX);
        let mut plain = true;
        // Every entry is written where the next row stands, and only one that begins a row goes on from there: how many
        // entries a row has cannot be guessed, and there is no branch that would try.
        for (ctl, &[head, _, len]) in (first..).zip(entries) {
            let uid_len = usize::from(head & UID_LEN_MASK);
            let key = keyed.get(text..).and_then(<[u8]>::first_chunk).map(|bytes| u64::from_be_bytes(*bytes));
            plain &= key.is_some();
            let start = self.starts.get_mut(row).ok_or_else(|| fault(ctl))?;
            *start = Start::new(key.unwrap_or_default(), Pos { ctl, text }, at.exception);
            let begins = uid_len != 0;
            row += usize::from(begins);
            shortest = shortest.min(if begins { uid_len } else { usize::MAX });
            text += uid_len + usize::from(len);
        }
        if text > block.header.text_len {
            return Err(fault(to));
        }
        if !plain || shortest < self.skip + size_of::<u64>() {
            self.shorten(block, at.ordinal..row)?;
        }
        *at = Mark { ordinal: row, pos: Pos { ctl: to, text }, ..*at };
        Ok(())
    }

    /// Makes keys of rows some of whose UIDs end within the bytes that a key is made of.
    #[cold]
    fn shorten(&mut self, block: &Block<'_>, rows: Range<usize>) -> Result<(), Fault> {
        for row in rows {
            let Some(start) = self.starts.get(row) else { break };
            let key = self.key(compact_uid(block, start.pos())?);
            if let Some(start) = self.starts.get_mut(row) {
                start.key = key;
            }
        }
        Ok(())
    }

    /// The key of row `ordinal`; 0 when there is no such row.
    #[must_use]
    #[inline]
    pub fn key_at(&self, ordinal: usize) -> u64 {
        self.starts.get(ordinal).map_or(0, |start| start.key)
    }

    /// A cursor to row `ordinal`, or to the end.
    #[must_use]
    #[inline]
    pub fn mark(&self, ordinal: usize) -> Mark {
        let start = self.starts.get(ordinal).or(self.starts.last()).copied().unwrap_or_default();
        let ordinal = ordinal.min(self.starts.len().saturating_sub(1));
        Mark { ordinal, pos: start.pos(), exception: start.exception() }
    }

    /// The UID of row `ordinal` of `block`; empty when there is no such row.
    ///
    /// # Errors
    /// A [`Fault`] when the row is damaged.
    #[inline]
    pub fn uid<'a>(&self, block: &Block<'a>, ordinal: usize) -> Result<&'a [u8], Fault> {
        let Some([start, next]) = self.starts.get(ordinal..).and_then(<[Start]>::first_chunk) else { return Ok(&[]) };
        if start.exception() != next.exception() {
            let missing = || Fault::new("exception number", 44, block.exceptions() as u64, start.exception() as u64);
            let exception = block.exception(start.exception()).ok_or_else(missing)?;
            return Ok(block.wide_row(&exception)?.uid());
        }
        compact_uid(block, start.pos())
    }

    /// The first row of `from..to` whose UID is not less than `uid`, or `to`. Only rows are compared whose UIDs share the
    /// first bytes that keys leave out, with each other and with `uid`. What it costs grows with the logarithm of the way.
    ///
    /// # Errors
    /// A [`Fault`] when a row on the way is damaged.
    #[inline]
    pub fn seek(&self, block: &Block<'_>, from: usize, to: usize, uid: &[u8], key: u64) -> Result<usize, Fault> {
        let less = |row: usize| {
            let own = self.key_at(row);
            Ok(own < key || own == key && self.uid(block, row)? < uid)
        };
        // By ever longer steps, then by halves: rows before `low` are less, `high` is not.
        let (mut low, mut step) = (from, 1);
        let mut high = loop {
            let next = low + step - 1;
            if next >= to {
                break to;
            }
            if !less(next)? {
                break next;
            }
            low = next + 1;
            step *= 2;
        };
        while low < high {
            let middle = usize::midpoint(low, high);
            if less(middle)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// The UID of the compact row at `pos`.
#[inline]
fn compact_uid<'a>(block: &Block<'a>, pos: Pos) -> Result<&'a [u8], Fault> {
    let head = block.ctl.get(pos.ctl * ENTRY_LEN).map_or(0, |head| head & UID_LEN_MASK);
    let uid = block.text.get(pos.text..pos.text + usize::from(head));
    uid.ok_or_else(|| block.ctl_fault("text ends before the users", pos.ctl))
}

#[cfg(test)]
mod tests;
