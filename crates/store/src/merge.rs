//! Merge on read: the users of overlapping segments, each once, the newest row, in UID order.
//!
//! Every segment is a layer. At each step the layer with the least UID hands out the stretch of its block up to the least
//! UID of the others, as one span: untouched stretches are never taken apart, and a clean export is the same code with
//! one layer. Of equal UIDs the newest layer wins and the others step over theirs.

use std::ops::Bound;

use headcount_block::{Error, Span, UidRange, Visitor};

use crate::backing::Bytes;
use crate::error::Result;
use crate::segment::Segment;
use crate::version::Version;

/// Hands the users of `range` to `visitor`. Every block that is touched is verified.
pub(crate) fn visit(version: &Version, range: &UidRange, visitor: &mut dyn Visitor) -> Result<(), Error> {
    let mut layers = Vec::new();
    for segment in &version.segments {
        layers.extend(Layer::open(segment, range)?);
    }
    while let Some((least, bound)) = next_stretch(&mut layers)? {
        let Some(layer) = layers.get_mut(least) else { break };
        layer.emit(bound.as_deref(), visitor)?;
        if !layer.advance()? {
            layers.remove(least);
        }
    }
    Ok(())
}

/// Number of the layer whose turn it is, and the UID before which it has to stop.
type Stretch = (usize, Option<Vec<u8>>);

/// The layer with the least UID and the least UID of the others, after stepping the others over an equal one.
fn next_stretch(layers: &mut Vec<Layer<'_>>) -> Result<Option<Stretch>, Error> {
    // `min_by` returns the first of equals: the newest.
    let least = layers.iter().enumerate().min_by(|a, b| a.1.uid.cmp(&b.1.uid)).map(|(i, _)| i);
    let Some(least) = least else { return Ok(None) };
    let Some(uid) = layers.get(least).map(|l| l.uid.clone()).filter(|_| layers.len() > 1) else {
        return Ok(Some((least, None)));
    };
    let mut bound: Option<Vec<u8>> = None;
    let mut i = layers.len();
    while let Some(at) = i.checked_sub(1) {
        i = at;
        let Some(layer) = layers.get_mut(at).filter(|_| at != least) else { continue };
        if layer.uid == uid {
            layer.row += 1;
            if !layer.advance()? {
                // Only layers behind the least one are removed: its number stays.
                layers.remove(at);
                continue;
            }
        }
        if let Some(layer) = layers.get(at).filter(|l| bound.as_ref().is_none_or(|b| l.uid < *b)) {
            bound = Some(layer.uid.clone());
        }
    }
    Ok(Some((least, bound)))
}

/// One segment's rows of a range, from a cursor on.
struct Layer<'v> {
    segment: &'v Segment,
    range: &'v UidRange,
    block: u32,
    bytes: Bytes<'v>,
    offset: u64,
    /// Rows of the block that are not handed out yet: `row..end`.
    row: usize,
    end: usize,
    /// UID of row `row`.
    uid: Vec<u8>,
}

impl<'v> Layer<'v> {
    /// The layer of `segment`, or `None` when it has no user in `range`.
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
        let mut layer = Self { segment, range, block, bytes: empty, offset: 0, row: 0, end: 0, uid: Vec::new() };
        layer.load(block)?;
        layer.row = match &range.start {
            Bound::Unbounded => 0,
            Bound::Included(uid) => layer.bound(uid, false)?,
            Bound::Excluded(uid) => layer.bound(uid, true)?,
        };
        Ok(layer.advance()?.then_some(layer))
    }

    /// Reads and verifies a block, and finds where the range ends in it.
    fn load(&mut self, number: u32) -> Result<(), Error> {
        (self.bytes, self.offset) = self.segment.block(number, true)?;
        self.block = number;
        self.row = 0;
        let users = self.segment.parse(&self.bytes, self.offset)?.users();
        let next = self.segment.index().first_uid(number as usize + 1);
        let next = if next.is_empty() { self.segment.index().last_uid() } else { next };
        self.end = match &self.range.end {
            Bound::Included(end) if self.range.is_after(next) => self.bound(end, true)?,
            Bound::Excluded(end) if self.range.is_after(next) => self.bound(end, false)?,
            _ => users,
        };
        Ok(())
    }

    /// Number of the first row not less than `uid`, or greater than it.
    fn bound(&self, uid: &[u8], greater: bool) -> Result<usize, Error> {
        let block = self.segment.parse(&self.bytes, self.offset)?;
        let fault = |f| self.segment.block_fault(f, self.block);
        let row = block.lower_bound(uid).map_err(fault)?;
        let equal = greater && row < block.users() && block.user(row).map_err(fault)?.uid() == uid;
        Ok(row + usize::from(equal))
    }

    /// Goes to the next row of the range, which may lie in a later block; `false` when there is none.
    fn advance(&mut self) -> Result<bool, Error> {
        while self.row >= self.end {
            let next = self.block as usize + 1;
            if next >= self.segment.index().len() || self.range.is_after(self.segment.index().first_uid(next)) {
                return Ok(false);
            }
            self.load(self.block + 1)?;
        }
        let block = self.segment.parse(&self.bytes, self.offset)?;
        let user = block.user(self.row).map_err(|f| self.segment.block_fault(f, self.block))?;
        self.uid.clear();
        self.uid.extend_from_slice(user.uid());
        Ok(true)
    }

    /// Hands out the rows up to `bound`, which is greater than the current UID.
    fn emit(&mut self, bound: Option<&[u8]>, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let to = match bound {
            // Most often the whole rest of the block lies before the bound: the next block's first UID tells.
            Some(uid) if self.segment.index().first_uid(self.block as usize + 1) > uid || self.is_last() => {
                self.bound(uid, false)?.min(self.end)
            }
            _ => self.end,
        };
        // At least one row goes out, whatever damaged bytes say: the merge ends.
        let to = to.max(self.row + 1);
        let block = self.segment.parse(&self.bytes, self.offset)?;
        visitor.span(&Span::new(block, self.row..to, self.segment.path(), self.offset))?;
        self.row = to;
        Ok(())
    }

    fn is_last(&self) -> bool {
        self.block as usize + 1 >= self.segment.index().len()
    }
}
