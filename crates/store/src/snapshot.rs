//! Snapshots: a pinned version, and the lookups and scans on it.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use headcount_block::{Damage, Error as BlockError, RowRef, Span, UidRange, User, UserRef, Visitor};

pub use crate::segment::UserGuard;

use crate::error::{Error, Result};
use crate::merge;
use crate::segment::BATCH;
use crate::version::Version;

/// One version of a store, pinned: its files stay until the last snapshot of it is gone.
///
/// Cloning is O(1). A snapshot is a [`headcount_block::Source`], which is what an export reads.
#[derive(Debug, Clone)]
pub struct Snapshot(pub(crate) Arc<Version>);

impl Snapshot {
    /// The last seq that the snapshot holds.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.0.origin.seq
    }

    /// The user with this UID, borrowed from the store's files.
    ///
    /// # Errors
    /// [`Error::Damage`] and [`Error::Io`].
    pub fn get(&self, uid: &str) -> Result<Option<UserGuard<'_>>> {
        self.0.get(uid.as_bytes())
    }

    /// The user with this UID, as an owned copy.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_user(&self, uid: &str) -> Result<Option<User>> {
        self.get(uid)?.map(|guard| owned(&guard.user())).transpose()
    }

    /// The user that carries this identity, borrowed from the store's files.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn find(&self, provider: &str, provider_uid: &str) -> Result<Option<UserGuard<'_>>> {
        self.0.find(provider.as_bytes(), provider_uid.as_bytes())
    }

    /// The user that carries this identity, as an owned copy.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn find_user(&self, provider: &str, provider_uid: &str) -> Result<Option<User>> {
        self.find(provider, provider_uid)?.map(|guard| owned(&guard.user())).transpose()
    }

    /// Looks many users up; calls `each` with the position in `uids` and the user, in order. Memory accesses of 16
    /// lookups overlap, which is more than twice as fast as one after the other.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many<S: AsRef<str>>(&self, uids: &[S], mut each: impl FnMut(usize, Option<UserRef<'_>>)) -> Result<()> {
        let single = self.0.only_segment().filter(|segment| segment.is_mapped());
        for (batch, uids) in uids.chunks(BATCH).enumerate() {
            let Some(segment) = single else {
                for (i, uid) in uids.iter().enumerate() {
                    let found = self.get(uid.as_ref())?;
                    each(batch * BATCH + i, found.as_ref().map(UserGuard::user));
                }
                continue;
            };
            segment.find_batch(uids, |i, user| each(batch * BATCH + i, user))?;
        }
        Ok(())
    }

    /// Shows the users of `range` in UID order to `each` until it breaks off.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn scan(&self, range: &UidRange, each: impl FnMut(UserRef<'_>) -> ControlFlow<()>) -> Result<()> {
        match merge::visit(&self.0, range, &mut EachUser(each)) {
            Err(BlockError::Stopped) => Ok(()),
            other => Ok(other?),
        }
    }

    /// The users of `range` in UID order, as owned copies.
    #[must_use]
    pub fn users(&self, range: UidRange) -> Users {
        Users { snapshot: self.clone(), range, ready: Vec::new().into_iter(), last: String::new(), done: false }
    }
}

/// An owned copy of a user that was read.
pub(crate) fn owned(user: &UserRef<'_>) -> Result<User> {
    user.to_user().map_err(|f| Error::fault(f, std::path::Path::new("a row of the store"), 0))
}

/// Calls a closure for each user of a visit.
struct EachUser<F>(F);

impl<F: FnMut(UserRef<'_>) -> ControlFlow<()>> EachUser<F> {
    fn show(&mut self, user: UserRef<'_>) -> Result<(), BlockError> {
        match (self.0)(user) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BlockError::Stopped),
        }
    }
}

impl<F: FnMut(UserRef<'_>) -> ControlFlow<()>> Visitor for EachUser<F> {
    fn span(&mut self, span: &Span<'_>) -> Result<(), BlockError> {
        span.rows()?.try_for_each(|user| self.show(user?))
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), BlockError> {
        self.show(row.into())
    }
}

/// Users that are fetched at a time.
const FETCH: usize = 512;

/// The error for a user who does not come after the one before.
fn disorder(before: &str, uid: &str) -> Error {
    Error::Damage(Box::new(Damage {
        file: "a row of the store".into(),
        offset: 0,
        what: "order of users".to_owned(),
        expected: format!("a UID after {before:?}"),
        found: format!("{uid:?}"),
        uids: Some((before.to_owned(), String::new())),
    }))
}

/// Iterator over owned users of a snapshot, in UID order. After an error it ends.
#[derive(Debug)]
pub struct Users {
    snapshot: Snapshot,
    range: UidRange,
    ready: std::vec::IntoIter<User>,
    /// The last user that was fetched: the next ones come after it, or damaged files would be gone through for ever.
    last: String,
    done: bool,
}

impl Users {
    fn fetch(&mut self) -> Result<()> {
        let mut users: Vec<User> = Vec::with_capacity(FETCH);
        let mut failed = None;
        let before = &self.last;
        self.snapshot.scan(&self.range, |user| {
            match owned(&user) {
                Ok(user) if user.uid <= *users.last().map_or(before, |last| &last.uid) => {
                    failed = Some(disorder(users.last().map_or(before, |last| &last.uid), &user.uid));
                }
                Ok(user) => users.push(user),
                Err(e) => failed = Some(e),
            }
            if users.len() < FETCH && failed.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.done = users.len() < FETCH;
        if let Some(last) = users.last() {
            self.last.clone_from(&last.uid);
            self.range.start = Bound::Excluded(last.uid.as_bytes().to_vec());
        }
        self.ready = users.into_iter();
        Ok(())
    }
}

impl Iterator for Users {
    type Item = Result<User>;

    fn next(&mut self) -> Option<Result<User>> {
        if self.ready.as_slice().is_empty()
            && !self.done
            && let Err(error) = self.fetch()
        {
            self.done = true;
            return Some(Err(error));
        }
        self.ready.next().map(Ok)
    }
}
