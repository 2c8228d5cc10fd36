//! Merge on read: the users of overlapping layers, each once, the newest form, in UID order.
//!
//! At each step the layer with the least UID hands out what it has up to the least UID of the others; a segment does it
//! as one span: untouched stretches of a block are never taken apart, and a clean export is the same code with one layer.
//! Of equal UIDs the newest layer wins and the others step over theirs. Exports, scans, changes, compaction and the
//! flush of a delta all go through here; they differ in what they do with a tombstone, and in which layers they show.

use std::cmp::Ordering;
use std::ops::Bound;

use headcount_block::{Block, Error, Fault, Mark, Outline, RowRef, Span, UidRange, Visitor, uid_prefix};

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
    let scope = Scope::new(range);
    let mut cursors = Vec::new();
    for layer in layers {
        match layer {
            LayerRef::Delta(delta) => cursors.extend(Cursor::changes(delta, scope)),
            LayerRef::Segment(segment) => {
                cursors.extend(Cursor::rows(segment, scope)?);
                cursors.extend(Cursor::tombstones(segment, scope)?);
            }
        }
    }
    while let Some((least, next)) = next_stretch(&mut cursors)? {
        let cursor = match next {
            Some(next) => {
                let Ok([cursor, bound]) = cursors.get_disjoint_mut([least, next]) else { break };
                cursor.emit(Some(bound), receiver)?;
                cursor
            }
            None => {
                let Some(cursor) = cursors.get_mut(least) else { break };
                cursor.emit(None, receiver)?;
                cursor
            }
        };
        if cursor.done {
            cursors.remove(least);
        }
    }
    Ok(())
}

/// The cursor with the least UID, the newest of equals, after stepping the others over an equal one; and the one with the
/// least UID of the others.
fn next_stretch(cursors: &mut Vec<Cursor<'_>>) -> Result<Option<(usize, Option<usize>)>, Error> {
    let (least, next, tied) = least_two(cursors);
    if !tied {
        return Ok(least.map(|least| (least, next)));
    }
    let Some((front, rest)) = least.and_then(|least| cursors.split_at_mut_checked(least + 1)) else { return Ok(None) };
    let Some(first) = front.last() else { return Ok(None) };
    // Equal UIDs are only behind the least one: in front of it they would have been it.
    for cursor in rest {
        if cursor.order(first) == Ordering::Equal {
            cursor.step()?;
        }
    }
    cursors.retain(|cursor| !cursor.done);
    let (least, next, _) = least_two(cursors);
    Ok(least.map(|least| (least, next)))
}

/// The cursor with the least UID, the first of equals; the next one; and whether they are equal.
fn least_two(cursors: &[Cursor<'_>]) -> (Option<usize>, Option<usize>, bool) {
    let mut all = cursors.iter().enumerate();
    let Some(mut least) = all.next() else { return (None, None, false) };
    let mut next: Option<(usize, &Cursor<'_>)> = None;
    let mut tied = false;
    for other in all {
        match other.1.order(least.1) {
            Ordering::Less => (next, least, tied) = (Some(least), other, false),
            order => {
                tied |= order == Ordering::Equal;
                if next.is_none_or(|next| other.1.order(next.1) == Ordering::Less) {
                    next = Some(other);
                }
            }
        }
    }
    (Some(least.0), next.map(|(i, _)| i), tied)
}

/// The range of a merge, and how many bytes all its UIDs begin with: what is left of eight bytes after them tells most UIDs
/// apart, however much they look alike.
#[derive(Debug, Clone, Copy)]
struct Scope<'v> {
    range: &'v UidRange,
    skip: usize,
}

impl<'v> Scope<'v> {
    fn new(range: &'v UidRange) -> Self {
        let (Bound::Included(start) | Bound::Excluded(start)) = &range.start else { return Self { range, skip: 0 } };
        let (Bound::Included(end) | Bound::Excluded(end)) = &range.end else { return Self { range, skip: 0 } };
        Self { range, skip: start.iter().zip(end).take_while(|(a, b)| a == b).count() }
    }

    /// A number that orders the UIDs of the range, nearly always.
    fn key(&self, uid: &[u8]) -> u64 {
        uid_prefix(uid.get(self.skip..).unwrap_or_default())
    }
}

/// Where the merge stands in one layer's rows, tombstones or changes of a range.
struct Cursor<'v> {
    /// The number that orders the UID it stands at.
    key: u64,
    done: bool,
    scope: Scope<'v>,
    kind: Kind<'v>,
}

enum Kind<'v> {
    Rows(Box<Rows<'v>>),
    Tombstones { segment: &'v Segment, next: usize },
    Changes { current: Option<Change<'v>>, rest: Box<Changes<'v>> },
}

impl<'v> Cursor<'v> {
    /// The order of the UIDs: nearly always told by a number.
    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then_with(|| self.uid().cmp(other.uid()))
    }

    /// The UID that the cursor stands at; empty when it is done.
    fn uid(&self) -> &[u8] {
        match &self.kind {
            Kind::Rows(rows) => rows.uid(),
            Kind::Tombstones { segment, next } => segment.tombstones().at(*next).map_or(&[], |(uid, _)| uid),
            Kind::Changes { current, .. } => current.map_or(&[], |(record, _)| record.uid()),
        }
    }

    /// The changes of a delta, or `None` when it has none in the range.
    fn changes(delta: &'v Delta, scope: Scope<'v>) -> Option<Self> {
        let mut rest = delta.range(scope.range);
        let current = rest.next();
        let kind = Kind::Changes { current, rest: Box::new(rest) };
        let mut cursor = Self { key: 0, done: false, scope, kind };
        // Nothing is read: it cannot fail.
        cursor.settle().ok()?;
        Some(cursor).filter(|c| !c.done)
    }

    fn tombstones(segment: &'v Segment, scope: Scope<'v>) -> Result<Option<Self>, Error> {
        let all = segment.tombstones();
        let mut next = match &scope.range.start {
            Bound::Unbounded => 0,
            Bound::Included(uid) | Bound::Excluded(uid) => all.lower_bound(uid),
        };
        if let Bound::Excluded(uid) = &scope.range.start
            && all.at(next).is_some_and(|(found, _)| found == uid.as_slice())
        {
            next += 1;
        }
        let mut cursor = Self { key: 0, done: false, scope, kind: Kind::Tombstones { segment, next } };
        cursor.settle()?;
        Ok(Some(cursor).filter(|c| !c.done))
    }

    fn rows(segment: &'v Segment, scope: Scope<'v>) -> Result<Option<Self>, Error> {
        let Some(rows) = Rows::open(segment, scope)? else { return Ok(None) };
        let mut cursor = Self { key: 0, done: false, scope, kind: Kind::Rows(Box::new(rows)) };
        cursor.settle()?;
        Ok(Some(cursor).filter(|c| !c.done))
    }

    /// Steps over the current UID.
    fn step(&mut self) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Rows(rows) => rows.step()?,
            Kind::Tombstones { next, .. } => *next += 1,
            Kind::Changes { current, rest } => *current = rest.next(),
        }
        self.settle()
    }

    /// Goes to the next UID if the current one has been passed, and reads its key, or notes that there is none.
    fn settle(&mut self) -> Result<(), Error> {
        let key = match &mut self.kind {
            Kind::Rows(rows) => rows.settle()?,
            Kind::Tombstones { segment, next } => {
                let found = segment.tombstones().at(*next).filter(|(uid, _)| !self.scope.range.is_after(uid));
                found.map(|(uid, _)| self.scope.key(uid))
            }
            Kind::Changes { current, .. } => current.map(|(record, _)| self.scope.key(record.uid())),
        };
        self.done = key.is_none();
        self.key = key.unwrap_or(u64::MAX);
        Ok(())
    }

    /// Hands out what lies before `bound`, whose UID is greater than the current one; at least the current one.
    #[inline]
    fn emit(&mut self, bound: Option<&Self>, receiver: &mut impl Receiver) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Rows(rows) => {
                rows.emit(bound, receiver)?;
                self.settle()
            }
            Kind::Tombstones { segment, next } => {
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

/// One segment's rows of a range, from a cursor on.
struct Rows<'v> {
    segment: &'v Segment,
    scope: Scope<'v>,
    number: u32,
    bytes: Bytes<'v>,
    /// The block in mapped bytes; bytes that were read are parsed each time.
    mapped: Option<Block<'v>>,
    offset: u64,
    /// The rows of the block that are not handed out yet.
    at: usize,
    end: usize,
    /// First UID of the block after this one, and its key; empty when the range ends before it.
    next: (&'v [u8], u64),
    /// Where the rows of the block begin. Read when the merge comes between them often: most blocks are handed out whole.
    outline: Outline,
    outlined: bool,
    /// Where row `at` begins, as long as there is no outline.
    mark: Mark,
    /// How often the merge came between the rows of the block, and whether it did so often in the block before.
    cuts: usize,
    dense: bool,
}

/// A block is outlined when the merge comes between its rows more often than once in so many: below that, walking from the
/// nearest group is faster than reading where all rows begin.
const SPARSE: usize = 150;

impl<'v> Rows<'v> {
    /// The rows of `segment`, or `None` when no block can have one in the range.
    fn open(segment: &'v Segment, scope: Scope<'v>) -> Result<Option<Self>, Error> {
        let (index, range) = (segment.index(), scope.range);
        if index.len() == 0 || range.is_after(segment.bounds().0) || range.is_before(segment.bounds().1) {
            return Ok(None);
        }
        let first = match &range.start {
            Bound::Unbounded => 0,
            Bound::Included(uid) | Bound::Excluded(uid) => index.blocks_up_to(uid).saturating_sub(1),
        };
        let number = u32::try_from(first).unwrap_or(u32::MAX);
        let mut rows = Self {
            segment,
            scope,
            number,
            bytes: Bytes::Borrowed(&[]),
            mapped: None,
            offset: 0,
            at: 0,
            end: 0,
            next: (&[], 0),
            outline: Outline::default(),
            outlined: false,
            mark: Mark::default(),
            cuts: 0,
            dense: false,
        };
        rows.load(number)?;
        rows.mark = match &range.start {
            // Parts mostly begin where blocks do.
            Bound::Included(uid) if index.first_uid(first) != uid.as_slice() => rows.find(uid, false)?,
            Bound::Excluded(uid) => rows.find(uid, true)?,
            _ => Mark::default(),
        };
        rows.at = rows.mark.ordinal();
        Ok(Some(rows))
    }

    /// Reads and verifies a block, and finds where the range ends in it.
    fn load(&mut self, number: u32) -> Result<(), Error> {
        (self.bytes, self.offset) = self.segment.block(number, true)?;
        self.mapped = match self.bytes {
            Bytes::Borrowed(bytes) => Some(self.segment.parse(bytes, self.offset)?),
            Bytes::Owned(_) => None,
        };
        let users = self.parse()?.users();
        self.dense = self.cuts > users / SPARSE;
        (self.number, self.at, self.mark, self.cuts, self.outlined) = (number, 0, Mark::default(), 0, false);
        let index = self.segment.index();
        let next = index.first_uid(number as usize + 1);
        // Beyond the range keys say nothing.
        let inside = Some(next).filter(|next| !self.scope.range.is_after(next)).unwrap_or_default();
        self.next = (inside, self.scope.key(inside));
        let last = if next.is_empty() { index.last_uid() } else { next };
        self.end = match &self.scope.range.end {
            Bound::Included(end) if self.scope.range.is_after(last) => self.find(end, true)?.ordinal(),
            Bound::Excluded(end) if self.scope.range.is_after(last) => self.find(end, false)?.ordinal(),
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
        self.segment.block_fault(fault, self.number).into()
    }

    /// The first row of the block that is not less than `uid`, or greater than it: where the range begins or ends.
    fn find(&self, uid: &[u8], greater: bool) -> Result<Mark, Error> {
        let block = self.parse()?;
        let mark = block.seek(Mark::default(), uid).map_err(|f| self.fault(f))?;
        let row = if greater { block.row_at(mark).map_err(|f| self.fault(f))? } else { None };
        Ok(row.filter(|(found, _)| *found == uid).map_or(mark, |(_, next)| next))
    }

    /// The UID of the row at the cursor in a block without an outline, and where the next row begins.
    fn row(&self) -> Result<(&[u8], Mark), Error> {
        let missing = || Fault::new("users of a block", 28, self.end as u64, self.at as u64);
        let row = self.parse()?.row_at(self.mark);
        row.and_then(|row| row.ok_or_else(missing)).map_err(|f| self.fault(f))
    }

    /// Goes to the next row of the block.
    #[inline]
    fn step(&mut self) -> Result<(), Error> {
        if !self.outlined {
            self.mark = self.row()?.1;
        }
        self.at += 1;
        Ok(())
    }

    /// Sees to it that the block's outline is there.
    #[inline]
    fn outline(&mut self) -> Result<(), Error> {
        if !self.outlined {
            let mut outline = std::mem::take(&mut self.outline);
            let read = self.parse().map(|block| outline.read(&block, self.scope.skip));
            self.outline = outline;
            read?.map_err(|f| self.fault(f))?;
            self.outlined = true;
        }
        Ok(())
    }

    /// The UID of the row at the cursor; empty when it is done or the row is damaged, which `settle` reports.
    fn uid(&self) -> &[u8] {
        if self.at == 0 {
            return self.segment.index().first_uid(self.number as usize);
        }
        if !self.outlined {
            return self.row().map_or(&[], |(uid, _)| uid);
        }
        match (&self.mapped, &self.bytes) {
            (Some(block), _) => self.outline.uid(block, self.at).unwrap_or_default(),
            (None, bytes) => {
                let block = self.segment.parse(bytes, self.offset).ok();
                block.and_then(|block| self.outline.uid(&block, self.at).ok()).unwrap_or_default()
            }
        }
    }

    /// Goes to the next row of the range, which may lie in a later block, and reads its key; `None` when there is none.
    #[inline]
    fn settle(&mut self) -> Result<Option<u64>, Error> {
        while self.at >= self.end {
            if self.next.0.is_empty() {
                return Ok(None);
            }
            self.load(self.number + 1)?;
        }
        if self.at == 0 {
            return Ok(Some(self.scope.key(self.uid())));
        }
        if self.outlined {
            return Ok(Some(self.outline.key_at(self.at)));
        }
        if self.dense {
            self.outline()?;
            return Ok(Some(self.outline.key_at(self.at)));
        }
        Ok(Some(self.scope.key(self.row()?.0)))
    }

    /// Hands out the rows of the block up to `bound`.
    #[inline]
    fn emit(&mut self, bound: Option<&Cursor<'_>>, receiver: &mut impl Receiver) -> Result<(), Error> {
        // Most often the whole rest of the block lies before the bound: the next block's first UID tells.
        let ends = match bound.filter(|bound| !self.ends_before(bound)) {
            Some(bound) => Some(self.cut(bound)?),
            None if self.outlined => Some((self.outline.mark(self.at), self.outline.mark(self.end))),
            None => None,
        };
        let block = self.parse()?;
        let (path, offset) = (self.segment.path(), self.offset);
        let (span, mark) = match ends {
            Some((from, to)) => (Span::between(&block, from, to, path, offset), to),
            None => (Span::new(&block, self.at..self.end, path, offset), self.mark),
        };
        receiver.rows(self.segment, &span, offset)?;
        self.at = if ends.is_some() { mark.ordinal() } else { self.end };
        self.mark = mark;
        Ok(())
    }

    /// Where the rows up to `bound` begin and end: at least one, whatever damaged bytes say, so that the merge ends.
    #[inline]
    fn cut(&mut self, bound: &Cursor<'_>) -> Result<(Mark, Mark), Error> {
        self.cuts += 1;
        if self.outlined {
            return self.cut_outlined(bound);
        }
        let block = self.parse()?;
        if self.dense || self.cuts > block.users() / SPARSE {
            self.outline()?;
            return self.cut_outlined(bound);
        }
        // What lies beyond the range need not share the range's first bytes.
        let skip = if self.end == block.users() { self.scope.skip } else { 0 };
        let to = block.seek_past(self.mark, bound.uid(), skip).map_err(|f| self.fault(f))?;
        let to = if to.ordinal() > self.at { to } else { self.row()?.1 };
        Ok((self.mark, to))
    }

    #[inline]
    fn cut_outlined(&self, bound: &Cursor<'_>) -> Result<(Mark, Mark), Error> {
        let found = self.outline.seek(&self.parse()?, self.at + 1, self.end, bound.uid(), bound.key);
        let to = found.map_err(|f| self.fault(f))?;
        Ok((self.outline.mark(self.at), self.outline.mark(to)))
    }

    /// Whether the block ends before what the other cursor stands at.
    fn ends_before(&self, bound: &Cursor<'_>) -> bool {
        let (next, key) = self.next;
        !next.is_empty() && (key < bound.key || key == bound.key && next <= bound.uid())
    }
}
