//! What the crash tests share: a workload that is a function of its seed, a program that carries it out and says what
//! was acknowledged, and the check of what is found afterwards.

mod acks;
mod check;
mod hammer;
mod workload;

pub use acks::Acks;
pub use check::{Checker, Found};
pub use hammer::{Settings, run};
pub use workload::{Step, Workload};
