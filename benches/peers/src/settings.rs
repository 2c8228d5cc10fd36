//! Settings, by environment variables: `benches/README.md` lists them.

use headcount_benches::env_or;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Users in the stores before anything is measured.
    pub(crate) users: u64,
    /// Measured rounds; one more goes before them.
    pub(crate) rounds: usize,
}

impl Settings {
    /// `HEADCOUNT_BENCH_USERS` and `HEADCOUNT_BENCH_ROUNDS`, or these defaults.
    pub(crate) fn or(users: u64, rounds: usize) -> Self {
        Self { users: env_or("HEADCOUNT_BENCH_USERS", users), rounds: env_or("HEADCOUNT_BENCH_ROUNDS", rounds).max(1) }
    }
}
