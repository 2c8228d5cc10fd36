//! Settings of an open store.

use std::time::Duration;

use crate::backing::Backend;

/// When a commit is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on disk. Commits of several threads share one fsync.
    #[default]
    Sync,
    /// As soon as it is visible. It is on disk after at most `flush_within`, or after [`crate::Store::sync`]; what a crash
    /// takes away with it is a suffix of the commits, never a part of one.
    Buffered {
        /// Longest time until it is on disk.
        flush_within: Duration,
    },
}

/// Settings of an open store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How segments are read.
    pub backend: Backend,
    /// When [`crate::Store::commit`] answers.
    pub durability: Durability,
    /// Whether segments are compacted in the background. Without it, call [`crate::Store::compact`].
    pub maintenance: bool,
    /// Changes after which a delta is written out as a segment, at least 1.
    pub delta_changes: usize,
    /// Bytes of UIDs and rows after which a delta is written out.
    pub delta_bytes: usize,
    /// How long the deletion of a user is remembered for [`crate::Snapshot::changes_since`].
    pub tombstone_retention: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            durability: Durability::default(),
            maintenance: true,
            delta_changes: 200_000,
            delta_bytes: 64 << 20,
            tombstone_retention: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}
