//! Merge on read: the users of overlapping layers, each once, the newest form, in UID order.
//!
//! At each step the layer with the least UID hands out what it has up to the least UID of the others; a segment does it
//! as one span: untouched stretches of a block are never taken apart, and a clean export is the same code with one layer.
//! Of equal UIDs the newest layer wins and the others step over theirs. Exports, scans, changes, compaction and the
//! flush of a delta all go through here; they differ in what they do with a tombstone, and in which layers they show.

use std::cmp::Ordering;
use std::ops::Bound;

use headcount_block::{Block, Error, Fault, Mark, RowRef, Span, UidRange, Visitor, uid_prefix};

use crate::backing::Bytes;
use crate::error::Result;
use crate::layer::{Change, Changes, Delta, Stamp};
use crate::segment::Segment;
use crate::version::{LayerRef, Version};

/// Takes what a merge hands out, in UID order.
pub(crate) trait Receiver {
    /// Consecutive rows of a block, which lies at `offset` of `segment`.
    fn rows(&mut self, segment: &Segment, span: &Span<'_>, offset: u64) -> Result<(), Error>;

    /// A row of a delta.
    fn row(&mut self, row: RowRef<'_>, stamp: Stamp) -> Result<(), Error>;

    /// A user that was deleted.
    fn tombstone(&mut self, uid: &[u8], seq: u64, time_ms: u64) -> Result<(), Error>;
}

/// Shows live users to a visitor.
struct Live<'a>(&'a mut dyn Visitor);

impl Receiver for Live<'_> {
    fn rows(&mut self, _: &Segment, span: &Span<'_>, _: u64) -> Result<(), Error> {
        self.0.span(span)
    }

    fn row(&mut self, row: RowRef<'_>, _: Stamp) -> Result<(), Error> {
        self.0.row(row)
    }

    fn tombstone(&mut self, _: &[u8], _: u64, _: u64) -> Result<(), Error> {
        Ok(())
    }
}

/// Hands the users of `range` to `visitor`. Every block that is touched is verified.
pub(crate) fn visit(version: &Version, range: &UidRange, visitor: &mut dyn Visitor) -> Result<(), Error> {
    walk(&version.layers(), range, &mut Live(visitor))
}

/// Hands what `layers`, newest first, have of `range` to `receiver`: of each UID the newest row or tombstone.
pub(crate) fn walk(layers: &[LayerRef<'_>], range: &UidRange, receiver: &mut impl Receiver) -> Result<(), Error> {
    let mut cursors = Vec::new();
    for layer in layers {
        match layer {
            LayerRef::Delta(delta) => cursors.extend(Cursor::changes(delta, range)),
            LayerRef::Segment(segment) => {
                cursors.extend(Cursor::rows(segment, range)?);
                cursors.extend(Cursor::tombstones(segment, range)?);
            }
        }
    }
    let mut bound = Vec::new();
    while let Some((least, bounded)) = next_stretch(&mut cursors, &mut bound)? {
        let Some(cursor) = cursors.get_mut(least) else { break };
        cursor.emit(bounded.then_some(bound.as_slice()), receiver)?;
        if cursor.done {
            cursors.remove(least);
        }
    }
    Ok(())
}

/// The cursor with the least UID, the newest of equals, and whether there are others: `bound` is then the least UID of
/// those, after stepping them over an equal one.
fn next_stretch(cursors: &mut Vec<Cursor<'_>>, bound: &mut Vec<u8>) -> Result<Option<(usize, bool)>, Error> {
    // `min_by` returns the first of equals: the newest.
    let least = cursors.iter().enumerate().min_by(|a, b| a.1.order(b.1)).map(|(i, _)| i);
    let Some(least) = least else { return Ok(None) };
    let (front, rest) = cursors.split_at_mut(least + 1);
    let Some(first) = front.last() else { return Ok(None) };
    // Equal UIDs are only behind the least one: in front of it they would have been it.
    let mut ended = false;
    for cursor in rest {
        if cursor.order(first) == Ordering::Equal {
            cursor.step()?;
            ended |= cursor.done;
        }
    }
    if ended {
        cursors.retain(|cursor| !cursor.done);
    }
    let others = cursors.iter().enumerate().filter(|(i, _)| *i != least).map(|(_, c)| c);
    let Some(next) = others.min_by(|a, b| a.order(b)) else { return Ok(Some((least, false))) };
    bound.clear();
    bound.extend_from_slice(&next.uid);
    Ok(Some((least, true)))
}

/// Where the merge stands in one layer's rows, tombstones or changes of a range.
struct Cursor<'v> {
    /// UID of the next row or tombstone, and the number that orders it by its first bytes.
    uid: Vec<u8>,
    prefix: u64,
    done: bool,
    kind: Kind<'v>,
}

enum Kind<'v> {
    Rows(Box<Rows<'v>>),
    Tombstones { segment: &'v Segment, next: usize, range: &'v UidRange },
    Changes { current: Option<Change<'v>>, rest: Box<Changes<'v>> },
}

impl<'v> Cursor<'v> {
    /// The order of the UIDs: nearly always told by eight bytes.
    fn order(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| self.uid.cmp(&other.uid))
    }

    /// The changes of a delta, or `None` when it has none in `range`.
    fn changes(delta: &'v Delta, range: &UidRange) -> Option<Self> {
        let mut rest = delta.range(range);
        let current = rest.next();
        let kind = Kind::Changes { current, rest: Box::new(rest) };
        let mut cursor = Self { uid: Vec::new(), prefix: 0, done: false, kind };
        // Nothing is read: it cannot fail.
        cursor.settle().ok()?;
        Some(cursor).filter(|c| !c.done)
    }

    fn tombstones(segment: &'v Segment, range: &'v UidRange) -> Result<Option<Self>, Error> {
        let all = segment.tombstones();
        let mut next = match &range.start {
            Bound::Unbounded => 0,
            Bound::Included(uid) | Bound::Excluded(uid) => all.lower_bound(uid),
        };
        if let Bound::Excluded(uid) = &range.start
            && all.at(next).is_some_and(|(found, _)| found == uid.as_slice())
        {
            next += 1;
        }
        let mut cursor =
            Self { uid: Vec::new(), prefix: 0, done: false, kind: Kind::Tombstones { segment, next, range } };
        cursor.settle()?;
        Ok(Some(cursor).filter(|c| !c.done))
    }

    fn rows(segment: &'v Segment, range: &'v UidRange) -> Result<Option<Self>, Error> {
        let Some(rows) = Rows::open(segment, range)? else { return Ok(None) };
        let mut cursor = Self { uid: Vec::new(), prefix: 0, done: false, kind: Kind::Rows(Box::new(rows)) };
        cursor.settle()?;
        Ok(Some(cursor).filter(|c| !c.done))
    }

    /// Steps over the current UID.
    fn step(&mut self) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Rows(rows) => rows.at = rows.after,
            Kind::Tombstones { next, .. } => *next += 1,
            Kind::Changes { current, rest } => *current = rest.next(),
        }
        self.settle()
    }

    /// Reads the UID that the cursor stands at, or notes that there is none.
    fn settle(&mut self) -> Result<(), Error> {
        let uid = &mut self.uid;
        self.done = match &mut self.kind {
            Kind::Rows(rows) => !rows.settle(uid)?,
            Kind::Tombstones { segment, next, range } => {
                match segment.tombstones().at(*next).filter(|(found, _)| !range.is_after(found)) {
                    Some((found, _)) => set(uid, found),
                    None => true,
                }
            }
            Kind::Changes { current, .. } => current.is_none_or(|(record, _)| set(uid, record.uid())),
        };
        self.prefix = uid_prefix(&self.uid);
        Ok(())
    }

    /// Hands out what lies before `bound`, which is greater than the current UID; at least the current one.
    fn emit(&mut self, bound: Option<&[u8]>, receiver: &mut impl Receiver) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Rows(rows) => {
                rows.emit(bound, receiver)?;
                self.settle()
            }
            Kind::Tombstones { segment, next, .. } => {
                if let Some((uid, tombstone)) = segment.tombstones().at(*next) {
                    receiver.tombstone(uid, tombstone.seq, tombstone.time_ms)?;
                }
                self.step()
            }
            Kind::Changes { current, .. } => {
                if let Some((record, stamp)) = *current {
                    match record.row() {
                        Some(row) => receiver.row(row, stamp)?,
                        None => receiver.tombstone(record.uid(), stamp.seq, stamp.time_ms)?,
                    }
                }
                self.step()
            }
        }
    }
}

/// Replaces the UID; `false`, for the cursor is not done.
fn set(uid: &mut Vec<u8>, found: &[u8]) -> bool {
    uid.clear();
    uid.extend_from_slice(found);
    false
}

/// One segment's rows of a range, from a cursor on.
struct Rows<'v> {
    segment: &'v Segment,
    range: &'v UidRange,
    block: u32,
    bytes: Bytes<'v>,
    /// The block in mapped bytes; bytes that were read are parsed each time.
    mapped: Option<Block<'v>>,
    offset: u64,
    /// The rows of the block that are not handed out yet: from `at` to row number `end`.
    at: Mark,
    /// Where the row after the one at `at` begins.
    after: Mark,
    end: usize,
}

impl<'v> Rows<'v> {
    /// The rows of `segment`, or `None` when no block can have one in `range`.
    fn open(segment: &'v Segment, range: &'v UidRange) -> Result<Option<Self>, Error> {
        if segment.index().len() == 0 || range.is_after(segment.bounds().0) || range.is_before(segment.bounds().1) {
            return Ok(None);
        }
        let first = match &range.start {
            Bound::Unbounded => 0,
            Bound::Included(uid) | Bound::Excluded(uid) => segment.index().blocks_up_to(uid).saturating_sub(1),
        };
        let empty = Bytes::Borrowed(&[]);
        let block = u32::try_from(first).unwrap_or(u32::MAX);
        let mut rows = Self {
            segment,
            range,
            block,
            bytes: empty,
            mapped: None,
            offset: 0,
            at: Mark::default(),
            after: Mark::default(),
            end: 0,
        };
        rows.load(block)?;
        rows.at = match &range.start {
            Bound::Unbounded => rows.at,
            Bound::Included(uid) => rows.seek(uid, false)?,
            Bound::Excluded(uid) => rows.seek(uid, true)?,
        };
        Ok(Some(rows))
    }

    /// Reads and verifies a block, and finds where the range ends in it.
    fn load(&mut self, number: u32) -> Result<(), Error> {
        (self.bytes, self.offset) = self.segment.block(number, true)?;
        self.mapped = match self.bytes {
            Bytes::Borrowed(bytes) => Some(self.segment.parse(bytes, self.offset)?),
            Bytes::Owned(_) => None,
        };
        self.block = number;
        self.at = Mark::default();
        let users = self.parse()?.users();
        let next = self.segment.index().first_uid(number as usize + 1);
        let next = if next.is_empty() { self.segment.index().last_uid() } else { next };
        self.end = match &self.range.end {
            Bound::Included(end) if self.range.is_after(next) => self.seek(end, true)?.ordinal(),
            Bound::Excluded(end) if self.range.is_after(next) => self.seek(end, false)?.ordinal(),
            _ => users,
        };
        Ok(())
    }

    fn parse(&self) -> Result<Block<'_>, Error> {
        match self.mapped {
            Some(block) => Ok(block),
            None => Ok(self.segment.parse(&self.bytes, self.offset)?),
        }
    }

    fn fault(&self, fault: Fault) -> Error {
        self.segment.block_fault(fault, self.block).into()
    }

    /// The first row from here on that is not less than `uid`, or greater than it.
    fn seek(&self, uid: &[u8], greater: bool) -> Result<Mark, Error> {
        let block = self.parse()?;
        let mark = block.seek(self.at, uid).map_err(|f| self.fault(f))?;
        if !greater {
            return Ok(mark);
        }
        let row = block.row_at(mark).map_err(|f| self.fault(f))?;
        Ok(row.filter(|(found, _)| *found == uid).map_or(mark, |(_, after)| after))
    }

    /// Goes to the next row of the range, which may lie in a later block, and reads its UID; `false` when there is none.
    fn settle(&mut self, uid: &mut Vec<u8>) -> Result<bool, Error> {
        while self.at.ordinal() >= self.end {
            let next = self.block as usize + 1;
            if next >= self.segment.index().len() || self.range.is_after(self.segment.index().first_uid(next)) {
                return Ok(false);
            }
            self.load(self.block + 1)?;
        }
        let row = self.parse()?.row_at(self.at).map_err(|f| self.fault(f))?;
        let Some((found, after)) = row else { return Ok(false) };
        set(uid, found);
        self.after = after;
        Ok(true)
    }

    /// Hands out the rows of the block up to `bound`.
    fn emit(&mut self, bound: Option<&[u8]>, receiver: &mut impl Receiver) -> Result<(), Error> {
        // Most often the whole rest of the block lies before the bound: the next block's first UID tells.
        let next = self.segment.index().first_uid(self.block as usize + 1);
        let to = match bound.filter(|uid| next > *uid || self.is_last()) {
            Some(uid) => {
                let to = self.seek(uid, false)?;
                // At least one row goes out, whatever damaged bytes say: the merge ends.
                Some(to).filter(|to| to.ordinal() > self.at.ordinal() && to.ordinal() < self.end)
            }
            None => None,
        };
        let block = self.parse()?;
        let span = match to {
            Some(to) => Span::between(block, self.at, to, self.segment.path(), self.offset),
            None => Span::new(block, self.at.ordinal()..self.end, self.segment.path(), self.offset),
        };
        receiver.rows(self.segment, &span, self.offset)?;
        self.at = match to {
            Some(to) => to,
            None => block.rows_from(self.end).map_err(|f| self.fault(f))?.mark(),
        };
        Ok(())
    }

    fn is_last(&self) -> bool {
        self.block as usize + 1 >= self.segment.index().len()
    }
}
