//! Brings the records of each UID together: unites fragments and duplicates, meets what the store has.

use headcount_block::{RowBuf, RowRef, UserRef};

use super::arena::Record;
use super::options::{Existing, LoadOptions, OnDuplicate, Place, RejectReason, Rejection, RowKind};
use super::runs::Merge;
use crate::error::{Error, Result};
use crate::snapshot::owned;
use crate::version::Version;

/// A user that a load would write, before conflicts over identities are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) row: RowRef<'a>,
    pub(super) at: Place,
    /// Number among the candidates of a merge, from 0: the same each time the merge is repeated.
    pub(super) ordinal: u64,
}

/// Counts of what was brought together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Combined {
    pub(super) merged: u64,
    pub(super) superseded: u64,
    pub(super) repeated: u64,
    pub(super) rejected: u64,
}

/// Walks a merge and yields one candidate a UID.
#[derive(Debug)]
pub(super) struct Combiner<'r> {
    merge: Merge<'r>,
    options: &'r LoadOptions,
    base: &'r Version,
    ordinal: u64,
    row: RowBuf,
    bytes: Vec<u8>,
    next: Vec<u8>,
    pub(super) counts: Combined,
}

impl<'r> Combiner<'r> {
    pub(super) fn new(merge: Merge<'r>, options: &'r LoadOptions, base: &'r Version) -> Self {
        let (row, bytes, next) = (RowBuf::new(), Vec::new(), Vec::new());
        Self { merge, options, base, ordinal: 0, row, bytes, next, counts: Combined::default() }
    }

    /// Records that were brought together so far.
    pub(super) const fn taken(&self) -> u64 {
        self.merge.taken
    }

    /// The next candidate; what cannot be one goes to `reject`.
    pub(super) fn next(&mut self, reject: &mut dyn FnMut(Rejection) -> Result<()>) -> Result<Option<Candidate<'_>>> {
        loop {
            let Some(first) = self.merge.record() else { return Ok(None) };
            let (mut at, kind) = (first.at, first.kind);
            self.bytes.clear();
            self.bytes.extend_from_slice(first.row.as_bytes());
            let key = self.merge.key();
            self.merge.advance()?;
            // Most UIDs come once.
            if self.merge.key() == key {
                self.absorb(&mut at, kind, reject)?;
            }
            if self.meet_existing(at, reject)? {
                let ordinal = self.ordinal;
                self.ordinal += 1;
                return Ok(Some(Candidate { row: parse(&self.bytes)?, at, ordinal }));
            }
        }
    }

    /// Takes in the other records of the UID in `bytes`.
    fn absorb(
        &mut self,
        at: &mut Place,
        mut kind: RowKind,
        reject: &mut dyn FnMut(Rejection) -> Result<()>,
    ) -> Result<()> {
        loop {
            let current = parse(&self.bytes)?;
            let Some(more) = self.merge.record().filter(|r| r.row.uid() == current.uid()) else { return Ok(()) };
            let fragments = kind == RowKind::Fragment && more.kind == RowKind::Fragment;
            let reason = if fragments && more.row.status() != current.status() {
                Some(RejectReason::StatusDiffers { first: *at })
            } else if !fragments && self.options.on_duplicate == OnDuplicate::Error {
                Some(RejectReason::DuplicateUid { first: *at })
            } else if !fragments && self.options.on_duplicate == OnDuplicate::Last {
                self.counts.superseded += 1;
                (*at, kind) = (more.at, more.kind);
                self.next.clear();
                self.next.extend_from_slice(more.row.as_bytes());
                None
            } else {
                self.counts.merged += u64::from(!fragments);
                match unite(&mut self.row, &current.into(), &more.row.into()) {
                    Ok((row, repeated)) => {
                        self.counts.repeated += repeated;
                        self.next.clear();
                        self.next.extend_from_slice(row.as_bytes());
                        None
                    }
                    Err(Error::Limit(limit)) => Some(RejectReason::Limit(limit)),
                    Err(other) => return Err(other),
                }
            };
            match reason {
                Some(reason) => {
                    self.counts.rejected += 1;
                    reject(rejection(&more, reason)?)?;
                }
                None => std::mem::swap(&mut self.bytes, &mut self.next),
            }
            self.merge.advance()?;
        }
    }

    /// Decides with what the store has of this UID; `false` when the candidate is rejected.
    fn meet_existing(&mut self, at: Place, reject: &mut dyn FnMut(Rejection) -> Result<()>) -> Result<bool> {
        if self.options.existing == Existing::Replace || self.base.is_empty() {
            return Ok(true);
        }
        let row = parse(&self.bytes)?;
        let Some(existing) = self.base.get(row.uid())? else { return Ok(true) };
        let reason = if self.options.existing == Existing::Error {
            RejectReason::AlreadyExists
        } else {
            match unite(&mut self.row, &existing.user(), &row.into()) {
                Ok((row, _)) => {
                    self.next.clear();
                    self.next.extend_from_slice(row.as_bytes());
                    std::mem::swap(&mut self.bytes, &mut self.next);
                    return Ok(true);
                }
                Err(Error::Limit(limit)) => RejectReason::Limit(limit),
                Err(other) => return Err(other),
            }
        };
        self.counts.rejected += 1;
        reject(rejection(&Record { row, at, kind: RowKind::User }, reason)?)?;
        Ok(false)
    }
}

/// One user of two: the identities of both in order, the status of the second; and how many identities repeated.
fn unite<'b>(row: &'b mut RowBuf, first: &UserRef<'_>, second: &UserRef<'_>) -> Result<(RowRef<'b>, u64)> {
    let (first, second) = (owned(first)?, owned(second)?);
    row.clear();
    row.set_uid(&first.uid)?;
    row.set_status(second.status);
    let mut repeated = 0;
    for identity in first.identities.iter().chain(&second.identities) {
        repeated += u64::from(!row.push_identity(&identity.provider, &identity.provider_uid)?);
    }
    Ok((row.finish()?, repeated))
}

/// A row that was encoded by this process.
pub(super) fn parse(bytes: &[u8]) -> Result<RowRef<'_>> {
    RowRef::parse(bytes).map_err(|f| Error::fault(f, std::path::Path::new("a row of the load"), 0))
}

pub(super) fn rejection(record: &Record<'_>, reason: RejectReason) -> Result<Rejection> {
    Ok(Rejection { user: owned(&record.row.into())?, at: record.at, reason })
}

/// `row` without the identities whose numbers are in `drop`.
pub(super) fn without<'b>(buf: &'b mut RowBuf, row: RowRef<'_>, drop: &[usize]) -> Result<RowRef<'b>> {
    let user = owned(&row.into())?;
    buf.clear();
    buf.set_uid(&user.uid)?;
    buf.set_status(user.status);
    for (i, identity) in user.identities.iter().enumerate() {
        if !drop.contains(&i) {
            buf.push_identity(&identity.provider, &identity.provider_uid)?;
        }
    }
    Ok(buf.finish()?)
}
