//! Progress of long operations, and their cancellation: counters that one side adds to and the other reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The operation was cancelled through [`Progress::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// Counters of a running operation; share it in an `Arc`.
///
/// The operation adds to it at least every few MiB and checks for cancellation as often.
#[derive(Debug, Default)]
pub struct Progress {
    users: AtomicU64,
    bytes: AtomicU64,
    total_users: AtomicU64,
    total_bytes: AtomicU64,
    cancelled: AtomicBool,
    phase: Mutex<&'static str>,
}

impl Progress {
    /// Adds `n` to the users done.
    pub fn add_users(&self, n: u64) {
        self.users.fetch_add(n, Relaxed);
    }

    /// Adds `n` to the bytes done.
    pub fn add_bytes(&self, n: u64) {
        self.bytes.fetch_add(n, Relaxed);
    }

    /// Users done in this phase.
    #[must_use]
    pub fn users(&self) -> u64 {
        self.users.load(Relaxed)
    }

    /// Bytes done in this phase.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// How many users this phase has in all; 0 when that is not known.
    #[must_use]
    pub fn total_users(&self) -> u64 {
        self.total_users.load(Relaxed)
    }

    /// How many bytes this phase has in all; 0 when that is not known.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Relaxed)
    }

    /// States how many users the phase has.
    pub fn set_total_users(&self, n: u64) {
        self.total_users.store(n, Relaxed);
    }

    /// States how many bytes the phase has.
    pub fn set_total_bytes(&self, n: u64) {
        self.total_bytes.store(n, Relaxed);
    }

    /// Begins a phase with a short name such as `reading` or `sorting`: counters start again at 0.
    pub fn set_phase(&self, name: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = name;
        for counter in [&self.users, &self.bytes, &self.total_users, &self.total_bytes] {
            counter.store(0, Relaxed);
        }
    }

    /// Name of the running phase; empty before the first.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the operation to stop; it ends with a `Cancelled` error and leaves nothing behind.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// `Err(Cancelled)` once cancelled, for use with `?`.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_its_own_and_a_phase_begins_anew() {
        let progress = Progress::default();
        assert_eq!(progress.phase(), "");
        progress.add_users(2);
        progress.add_bytes(3);
        progress.add_bytes(4);
        progress.set_total_users(5);
        progress.set_total_bytes(11);
        let counters = || [progress.users(), progress.bytes(), progress.total_users(), progress.total_bytes()];
        assert_eq!(counters(), [2, 7, 5, 11]);
        progress.set_phase("sorting");
        assert_eq!((progress.phase(), counters()), ("sorting", [0; 4]));
        assert!(!progress.is_cancelled() && progress.check().is_ok());
        progress.cancel();
        assert!(progress.is_cancelled() && progress.check().is_err());
    }
}
