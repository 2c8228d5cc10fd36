//! A snapshot as a [`Source`]: what exports read.

use headcount_block::{
    Change, Cut, Error, Measured, Origin, Part, RowRef, Scan, Select, Source, Span, Totals, UidRange, UserRef, Visitor,
};
use std::ops::Bound;

use crate::changes::Changed;
use crate::layer::{STEP, Steps};
use crate::merge;
use crate::segment::Segment;
use crate::snapshot::Snapshot;

/// Bytes of rows in a part: rendered they are about two and a half times as much.
const PART_BYTES: u64 = 448 << 10;

/// Shows every user.
struct Each<'a> {
    go_on: &'a dyn Fn() -> Result<(), Error>,
    each: &'a mut dyn FnMut(Change<'_>) -> Result<(), Error>,
}

impl Visitor for Each<'_> {
    fn span(&mut self, span: &Span<'_>) -> Result<(), Error> {
        (self.go_on)()?;
        span.rows()?.try_for_each(|user| (self.each)(Change::User(user?)))
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), Error> {
        (self.each)(Change::User(row.into()))
    }
}

impl Source for Snapshot {
    fn origin(&self) -> Origin {
        self.0.origin
    }

    fn totals(&self) -> Totals {
        self.0.totals
    }

    fn measure(&self, select: &Select, scan: Scan) -> Result<Option<Measured>, Error> {
        self.measure_while(select, scan, &|| Ok(()))
    }

    fn measure_while(
        &self,
        select: &Select,
        scan: Scan,
        go_on: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Option<Measured>, Error> {
        let all = self.0.totals.selected(select.include_pending);
        let limit = select.limit.filter(|limit| *limit < all.users());
        if limit == Some(0) {
            // The empty string sorts before every UID: nothing lies in such a range.
            return Ok(Some(Measured { totals: Totals::default(), end: Some(Vec::new()) }));
        }
        if select.after.is_none() && limit.is_none() {
            return Ok(Some(Measured { totals: all, end: None }));
        }
        match self.0.only_segment() {
            _ if self.0.is_empty() => Ok(Some(Measured { totals: Totals::default(), end: None })),
            Some(segment) => measure_one(segment, select).map(Some),
            None if scan == Scan::Allowed => measure_all(self, select, go_on).map(Some),
            _ => Ok(None),
        }
    }

    fn changes(&self, since: u64, each: &mut dyn FnMut(Change<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.changes_while(since, &|| Ok(()), each)
    }

    fn changes_while(
        &self,
        since: u64,
        go_on: &dyn Fn() -> Result<(), Error>,
        each: &mut dyn FnMut(Change<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if since == 0 {
            return merge::visit(&self.0, &UidRange::all(), &mut Each { go_on, each });
        }
        self.walk_changes(since, go_on, &mut |changed| match changed {
            Changed::User { user, .. } => each(Change::User(user)),
            Changed::Deleted { uid, .. } => each(Change::Deleted(uid.as_bytes())),
        })
    }

    fn parts<'s>(
        &'s self,
        range: &UidRange,
    ) -> Result<Box<dyn Iterator<Item = Result<Part, Error>> + Send + 's>, Error> {
        let segments = self.0.segments.iter().map(|segment| {
            let next = match &range.start {
                Bound::Unbounded => 0,
                Bound::Included(uid) | Bound::Excluded(uid) => segment.index().blocks_up_to(uid),
            };
            Boundaries::Blocks { segment, next }
        });
        let deltas = self.0.deltas().map(|delta| {
            let mut rest = delta.range(range).steps();
            Boundaries::Changes { next: rest.next(), rest, bytes: delta.mean_bytes() * STEP as u64 }
        });
        Ok(Box::new(Parts { layers: deltas.chain(segments).collect(), rest: Some(range.clone()) }))
    }

    fn cut(&self, after: Option<&[u8]>, fits: &dyn Fn(&Totals) -> bool) -> Result<Option<Cut>, Error> {
        match self.0.only_segment() {
            Some(segment) => cut_one(segment, after, fits),
            None => cut_all(self, after, fits),
        }
    }

    fn visit(&self, part: &Part, visitor: &mut dyn Visitor) -> Result<(), Error> {
        merge::visit(&self.0, &part.range, visitor)
    }
}

/// Where a layer can be cut.
enum Boundaries<'s> {
    /// At the first UID of each block, from block `next` on.
    Blocks { segment: &'s Segment, next: usize },
    /// Before some changes of a delta, about `bytes` apart.
    Changes { next: Option<&'s [u8]>, rest: Steps<'s>, bytes: u64 },
}

impl<'s> Boundaries<'s> {
    /// The next UID to cut at.
    fn uid(&self) -> Option<&'s [u8]> {
        match self {
            Self::Blocks { segment, next } => (*next < segment.index().len()).then(|| segment.index().first_uid(*next)),
            Self::Changes { next, .. } => *next,
        }
    }

    /// Passes it; returns the bytes of rows that lie between it and the one after it.
    fn pass(&mut self) -> u64 {
        match self {
            Self::Blocks { segment, next } => {
                *next += 1;
                segment.index().entry(*next - 1).map_or(0, |e| u64::from(e.len))
            }
            Self::Changes { next, rest, bytes } => {
                *next = rest.next();
                *bytes
            }
        }
    }
}

/// Cuts a range at first UIDs of blocks and at changes, each time enough bytes have been passed.
struct Parts<'s> {
    layers: Vec<Boundaries<'s>>,
    rest: Option<UidRange>,
}

impl Iterator for Parts<'_> {
    type Item = Result<Part, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let range = self.rest.take()?;
        let mut bytes = 0;
        loop {
            // The next boundary of all layers, in UID order.
            let next = self.layers.iter_mut().filter_map(|layer| Some((layer.uid()?, layer)));
            let Some((first, layer)) = next.min_by(|a, b| a.0.cmp(b.0)) else { break };
            if range.is_after(first) {
                break;
            }
            if bytes >= PART_BYTES && !range.is_before(first) {
                let cut = first.to_vec();
                self.rest = Some(UidRange { start: Bound::Included(cut.clone()), end: range.end });
                return Some(Ok(Part { range: UidRange { start: range.start, end: Bound::Excluded(cut) }, bytes }));
            }
            bytes += layer.pass();
        }
        Some(Ok(Part { range, bytes }))
    }
}

/// Measures a selection of one segment, out of its sums.
fn measure_one(segment: &Segment, select: &Select) -> Result<Measured, Error> {
    let before = select.after.as_ref().map_or(Ok(Totals::default()), |uid| segment.sums_up_to(uid))?;
    let skipped = before.selected(select.include_pending).users();
    let all = segment.footer().totals;
    let available = all.selected(select.include_pending).users().saturating_sub(skipped);
    let (mut totals, end) = match select.limit.filter(|limit| *limit < available) {
        None => (all, None),
        Some(limit) => {
            let (uid, totals) = segment.nth_selected(skipped.saturating_add(limit), select)?;
            (totals, Some(uid))
        }
    };
    totals -= before;
    Ok(Measured { totals: totals.selected(select.include_pending), end })
}

/// Measures a selection by a pass over it.
fn measure_all(snapshot: &Snapshot, select: &Select, go_on: &dyn Fn() -> Result<(), Error>) -> Result<Measured, Error> {
    let start = select.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
    let range = UidRange { start, end: Bound::Unbounded };
    let mut meter = Meter { select, go_on, totals: Totals::default(), last: None, cut: false };
    match merge::visit(&snapshot.0, &range, &mut meter) {
        Ok(()) | Err(Error::Stopped) => {}
        Err(error) => return Err(error),
    }
    Ok(Measured { totals: meter.totals, end: meter.last.filter(|_| meter.cut) })
}

/// Finds a cut of one segment, between blocks, out of its sums.
fn cut_one(segment: &Segment, after: Option<&[u8]>, fits: &dyn Fn(&Totals) -> bool) -> Result<Option<Cut>, Error> {
    let (first, base) = match after {
        None => (0, Totals::default()),
        Some(uid) => (segment.index().blocks_up_to(uid), segment.sums_up_to(uid)?),
    };
    let found = segment.last_fitting(first, base, fits)?;
    Ok(found.map(|(block, before)| Cut { uid: segment.index().first_uid(block).to_vec(), before }))
}

/// Finds a cut by a pass over the users before it.
fn cut_all(snapshot: &Snapshot, after: Option<&[u8]>, fits: &dyn Fn(&Totals) -> bool) -> Result<Option<Cut>, Error> {
    let start = after.map_or(Bound::Unbounded, |uid| Bound::Excluded(uid.to_vec()));
    let range = UidRange { start, end: Bound::Unbounded };
    let mut seeker = Seeker { fits, totals: Totals::default(), found: None };
    match merge::visit(&snapshot.0, &range, &mut seeker) {
        Ok(()) | Err(Error::Stopped) => Ok(seeker.found),
        Err(error) => Err(error),
    }
}

/// Adds users up until they no longer fit.
struct Seeker<'a> {
    fits: &'a dyn Fn(&Totals) -> bool,
    totals: Totals,
    found: Option<Cut>,
}

impl Seeker<'_> {
    /// The merge stands before the user `uid`: here it can be cut, if what lies before fits.
    fn before(&mut self, uid: &[u8]) -> Result<(), Error> {
        if !(self.fits)(&self.totals) {
            return Err(Error::Stopped);
        }
        let found = self.found.get_or_insert_with(|| Cut { uid: Vec::new(), before: Totals::default() });
        found.uid.clear();
        found.uid.extend_from_slice(uid);
        found.before = self.totals;
        Ok(())
    }

    fn add(&mut self, user: &UserRef<'_>) -> Result<(), Error> {
        self.before(user.uid())?;
        self.totals.add_user(user);
        Ok(())
    }
}

impl Visitor for Seeker<'_> {
    fn span(&mut self, span: &Span<'_>) -> Result<(), Error> {
        let Some(whole) = span.whole_totals() else { return span.rows()?.try_for_each(|user| self.add(&user?)) };
        let first = span.block().user(0).map_err(|fault| span.damage(fault))?;
        self.before(first.uid())?;
        self.totals += whole;
        Ok(())
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), Error> {
        self.add(&row.into())
    }
}

/// Adds users up until a limit.
struct Meter<'a> {
    select: &'a Select,
    go_on: &'a dyn Fn() -> Result<(), Error>,
    totals: Totals,
    last: Option<Vec<u8>>,
    cut: bool,
}

impl Meter<'_> {
    fn add(&mut self, user: &UserRef<'_>) -> Result<(), Error> {
        let mut one = Totals::default();
        one.add_user(user);
        let one = one.selected(self.select.include_pending);
        if one.users() == 0 {
            return Ok(());
        }
        if self.select.limit.is_some_and(|limit| self.totals.users() >= limit) {
            self.cut = true;
            return Err(Error::Stopped);
        }
        self.totals += one;
        if self.select.limit == Some(self.totals.users()) {
            self.last = Some(user.uid().to_vec());
        }
        Ok(())
    }
}

impl Visitor for Meter<'_> {
    fn span(&mut self, span: &Span<'_>) -> Result<(), Error> {
        (self.go_on)()?;
        if self.select.limit.is_none()
            && let Some(totals) = span.whole_totals()
        {
            self.totals += totals.selected(self.select.include_pending);
            return Ok(());
        }
        span.rows()?.try_for_each(|user| self.add(&user?))
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), Error> {
        self.add(&row.into())
    }
}
