//! What the benchmarks and the oracle test share: settings, synthetic users, stores filled with them.

mod settings;
mod synth;

pub use settings::{criterion, env_or, users};
pub use synth::{Mix, Synth};
