//! What the benchmarks, the oracle test and the crash tests share: settings, synthetic users, the slow way to export
//! them, and a program to be killed.

pub mod crash;
pub mod measure;
pub mod oracle;
mod settings;
mod synth;

pub use settings::{criterion, env_or, users};
pub use synth::{Mix, Synth};
