//! Anything that can hand out a snapshot's users in UID order.

use std::ops::Bound;

use crate::error::Error;
use crate::row::RowRef;
use crate::span::Span;
use crate::sums::Totals;
use crate::view::UserRef;

/// Which state of which store a source shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Random id of the store, for ever.
    pub store_id: u128,
    /// Random id of one unbroken history of seqs.
    pub incarnation: u128,
    /// The last seq that the state holds.
    pub seq: u64,
    /// When that seq was committed, in milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
}

/// A range of UIDs in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UidRange {
    /// Where it begins.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}

impl UidRange {
    /// Every UID.
    #[must_use]
    pub const fn all() -> Self {
        Self { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// UIDs that sort after `uid`.
    #[must_use]
    pub fn after(uid: &str) -> Self {
        Self { start: Bound::Excluded(uid.as_bytes().to_vec()), end: Bound::Unbounded }
    }

    /// UIDs that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &str) -> Self {
        let start = prefix.as_bytes().to_vec();
        // The least string above all with this prefix: the last byte that can grow, grown, and the rest cut.
        let mut end = start.clone();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                return Self { start: Bound::Included(start), end: Bound::Excluded(end) };
            }
        }
        Self { start: Bound::Included(start), end: Bound::Unbounded }
    }

    /// Whether `uid` lies in the range.
    #[must_use]
    pub fn contains(&self, uid: &[u8]) -> bool {
        !self.is_before(uid) && !self.is_after(uid)
    }

    /// Whether `uid` lies before the range.
    #[must_use]
    pub fn is_before(&self, uid: &[u8]) -> bool {
        match &self.start {
            Bound::Included(start) => uid < start.as_slice(),
            Bound::Excluded(start) => uid <= start.as_slice(),
            Bound::Unbounded => false,
        }
    }

    /// Whether `uid` lies after the range.
    #[must_use]
    pub fn is_after(&self, uid: &[u8]) -> bool {
        match &self.end {
            Bound::Included(end) => uid > end.as_slice(),
            Bound::Excluded(end) => uid >= end.as_slice(),
            Bound::Unbounded => false,
        }
    }
}

/// An independent, ordered piece of a source. Parts of one call are disjoint and in UID order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The users it holds.
    pub range: UidRange,
    /// About how many bytes of rows it holds.
    pub bytes: u64,
}

/// Which users are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Select {
    /// Users whose UID sorts after this one.
    pub after: Option<Vec<u8>>,
    /// At most so many of the selected users, the first in UID order.
    pub limit: Option<u64>,
    /// Whether pending users are selected too.
    pub include_pending: bool,
}

/// Whether an answer may cost a pass over the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Only what is known without one.
    Never,
    /// Scan where it takes one.
    Allowed,
}

/// The exact size of a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Counts and length sums of the selected users; pending users are zero unless selected.
    pub totals: Totals,
    /// The last UID of a selection that its limit cuts: the range ends there, inclusive. The empty string, before every UID,
    /// where the limit is 0.
    pub end: Option<Vec<u8>>,
}

/// A place between two users of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The user after it.
    pub uid: Vec<u8>,
    /// Counts and length sums of the users before it, registered and pending.
    pub before: Totals,
}

/// One user that changed.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// The user as it is now.
    User(UserRef<'a>),
    /// The UID of a user that is gone: deleted, or renamed to another UID.
    Deleted(&'a [u8]),
}

/// Receives the users of a part in UID order. An error ends the visit.
pub trait Visitor {
    /// Consecutive rows of a block.
    ///
    /// # Errors
    /// Whatever the receiver finds wrong, or [`Error::Stopped`].
    fn span(&mut self, span: &Span<'_>) -> Result<(), Error>;

    /// A single row that lies in no block.
    ///
    /// # Errors
    /// As [`span`](Self::span).
    fn row(&mut self, row: RowRef<'_>) -> Result<(), Error>;
}

/// One state of a set of users, in UID order, each once.
///
/// Nothing here assumes a local file: an embedded store is a source, and so may be a cluster or an object store.
pub trait Source: Send + Sync {
    /// Which state this is.
    fn origin(&self) -> Origin;

    /// Counts and length sums of all users.
    fn totals(&self) -> Totals;

    /// Exact sums of a selection, or `None` when that takes a scan and `scan` forbids it.
    ///
    /// # Errors
    /// Damage and I/O errors.
    fn measure(&self, select: &Select, scan: Scan) -> Result<Option<Measured>, Error>;

    /// The users of `range` as parts of about 1 MiB of rows, found as they are asked for.
    ///
    /// # Errors
    /// Damage and I/O errors, at once or in place of a part.
    fn parts<'s>(
        &'s self,
        range: &UidRange,
    ) -> Result<Box<dyn Iterator<Item = Result<Part, Error>> + Send + 's>, Error>;

    /// Hands the users of `part` to `visitor`. The checksum of every block is verified, each time.
    ///
    /// # Errors
    /// Damage, I/O errors and what the visitor returned.
    fn visit(&self, part: &Part, visitor: &mut dyn Visitor) -> Result<(), Error>;

    /// Looks for the last cut such that `fits` accepts the sums of the users after `after` and before the cut. `fits` accepts no
    /// greater sums than ones that it refuses. Users before the cut may be read and summed up; nobody hands them out.
    ///
    /// `None` where there is no such cut, or where looking for one would take as long as handing the users out, as for every
    /// source that does not know better.
    ///
    /// # Errors
    /// Damage and I/O errors.
    fn cut(&self, after: Option<&[u8]>, fits: &dyn Fn(&Totals) -> bool) -> Result<Option<Cut>, Error> {
        let _ = (after, fits);
        Ok(None)
    }

    /// Shows what changed after seq `since` to `each`, in UID order: each user once, in its newest form. Since 0 that is
    /// every user.
    ///
    /// # Errors
    /// [`Error::TooOld`] and [`Error::FutureSeq`], damage and I/O errors, and what `each` returned.
    fn changes(&self, since: u64, each: &mut dyn FnMut(Change<'_>) -> Result<(), Error>) -> Result<(), Error>;

    /// As [`measure`](Self::measure); a scan asks `go_on` at each block, and ends with its error. A source that does not know
    /// better asks once.
    ///
    /// # Errors
    /// As there, and that of `go_on`.
    fn measure_while(
        &self,
        select: &Select,
        scan: Scan,
        go_on: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Option<Measured>, Error> {
        go_on()?;
        self.measure(select, scan)
    }

    /// As [`changes`](Self::changes); it asks `go_on` at each block, where nothing changed too, and ends with its error. A source
    /// that does not know better asks once.
    ///
    /// # Errors
    /// As there, and that of `go_on`.
    fn changes_while(
        &self,
        since: u64,
        go_on: &dyn Fn() -> Result<(), Error>,
        each: &mut dyn FnMut(Change<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        go_on()?;
        self.changes(since, each)
    }
}
