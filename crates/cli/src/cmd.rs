//! The subcommands, one file each: its options, its help and what it does.

pub(crate) mod completions;
pub(crate) mod export;
pub(crate) mod find;
pub(crate) mod generate;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod man;
pub(crate) mod quickstart;
pub(crate) mod stats;
pub(crate) mod verify;
