//! The on-disk store of users and the identities linked to them.
//!
//! A store is a directory: a manifest that names immutable segments and the log of the delta, the changes that are not
//! in a segment yet. A [`Store`] is open for writing in one process or for reading in any number; a [`Snapshot`] is one
//! version of it, pinned, and is what exports, lookups and scans read. Users come in by [`Store::commit`], durable when
//! it returns, or by [`BulkLoad`]: sorted within a memory budget, checked, written as one segment, published at once.
//!
//! Files are mapped into memory by default; see [`Store::open`] for what that asks of the caller.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests count small things"))]

mod apply;
mod backing;
mod backup;
mod batch;
mod changes;
mod clock;
mod commit;
mod compact;
#[cfg(test)]
mod crash_tests;
mod delta;
#[cfg(test)]
mod durability_tests;
mod erase;
mod error;
mod fault;
mod files;
mod flush;
mod layer;
mod load;
mod lock;
mod maintain;
mod manifest;
mod merge;
mod mmap;
mod options;
#[cfg(test)]
mod provider_tests;
mod queue;
mod random;
mod recover;
mod rewrite;
mod salvage;
#[cfg(all(test, shuttle))]
mod schedule_tests;
mod segment;
mod snapshot;
mod source;
mod state;
mod store;
mod sync;
mod verify;
mod version;

pub use backing::Backend;
pub use backup::{BackupReport, store_around};
pub use batch::{Batch, Commit, Precondition, Refusal, RefuseReason};
pub use changes::Changed;
pub use compact::{CompactReport, Compaction};
pub use erase::EraseReport;
pub use error::{Error, Result};
pub use load::{
    BulkLoad, Existing, LoadOptions, LoadReport, OnConflict, OnDuplicate, Place, RejectReason, Rejection, RowKind,
    Shard,
};
pub use options::{Durability, Options};
pub use recover::Recovery;
pub use salvage::{Loss, SalvageReport, SalvagedBy, salvage};
pub use snapshot::{Snapshot, UserGuard, Users};
pub use store::{SegmentStats, Stats, Store, Work};
pub use verify::VerifyReport;

#[doc(no_inline)]
pub use headcount_block as block;
