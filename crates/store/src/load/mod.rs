//! Bulk load: sorted within a memory budget, checked against a fixed version, written as one segment, all or nothing.
//!
//! 1. [`Shard`]s take encoded rows from any number of threads, in any order; each sorts, and spills sorted runs.
//! 2. One merge brings the rows of each UID together in the order of their [`Place`]s, and unites, replaces or rejects.
//! 3. The segment writer builds blocks and indexes; identities with equal hashes come out side by side, which is how
//!    one that two users claim is found. Then, and only then, the merge is repeated with what has to be left out.
//! 4. Publication: fsync, rename, manifest.

mod arena;
mod combine;
mod conflict;
mod finish;
mod options;
mod publish;
mod runs;
mod shard;

pub use finish::BulkLoad;
pub use options::{
    Existing, LoadOptions, LoadReport, OnConflict, OnDuplicate, Place, RejectReason, Rejection, RowKind,
};
pub use shard::Shard;
