//! A store against a model of it: random histories, compared in everything that can be asked.

pub(crate) mod check;
pub(crate) mod dice;
pub(crate) mod run;
pub(crate) mod state;
