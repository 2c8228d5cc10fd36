//! The on-disk store of users and the identities linked to them.
//!
//! A store is a directory: a manifest that names immutable segments. A [`Store`] is open for writing in one process or
//! for reading in any number; a [`Snapshot`] is one version of it, pinned, and is what exports, lookups and scans read.
//! Users come in by [`BulkLoad`]: sorted within a memory budget, checked, written as one segment and published at once.
//!
//! Files are mapped into memory by default; see [`Store::open`] for what that asks of the caller.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests count small things"))]

mod backing;
mod clock;
mod error;
mod files;
mod load;
mod lock;
mod manifest;
mod merge;
mod mmap;
mod random;
mod segment;
mod snapshot;
mod source;
mod store;
mod verify;
mod version;

pub use backing::Backend;
pub use error::{Error, Result};
pub use load::{
    BulkLoad, Existing, LoadOptions, LoadReport, OnConflict, OnDuplicate, Place, RejectReason, Rejection, RowKind,
    Shard,
};
pub use snapshot::{Snapshot, UserGuard, Users};
pub use store::{Options, SegmentStats, Stats, Store};
pub use verify::VerifyReport;

#[doc(no_inline)]
pub use headcount_block as block;
