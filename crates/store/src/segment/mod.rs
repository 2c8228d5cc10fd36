//! The immutable file: blocks in UID order with their indexes.
//!
//! ```text
//! file header 64 | blocks, each at a multiple of 64 | UID index pages, at a multiple of 4096 | identity index pages
//! | block index | provider dictionary | tombstones | footer 512
//! ```

mod block_index;
mod footer;
mod hash_build;
pub(crate) mod hash_index;
mod lookup;
mod output;
mod read;
mod remains;
mod sums;
#[cfg(test)]
mod tests;
mod tombstones;
mod writer;

pub(crate) use block_index::CHECKPOINT;
pub(crate) use hash_build::Entry;
pub(crate) use lookup::BATCH;
pub use lookup::UserGuard;
pub(crate) use read::{Segment, Tenure};
pub(crate) use remains::{Found, Remains};
pub(crate) use writer::{Finished, SegmentWriter};
