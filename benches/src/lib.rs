//! What the benchmarks and the oracle test share: settings, synthetic users, and the slow way to export them.

pub mod oracle;
mod settings;
mod synth;

pub use settings::{criterion, env_or, users};
pub use synth::{Mix, Synth};
