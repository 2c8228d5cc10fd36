//! The subcommands, one file each: its options, its help and what it does.

pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod changes;
pub(crate) mod check;
pub(crate) mod compact;
pub(crate) mod completions;
pub(crate) mod delete;
pub(crate) mod erase;
pub(crate) mod export;
pub(crate) mod find;
pub(crate) mod generate;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod link;
pub(crate) mod man;
pub(crate) mod put;
pub(crate) mod quickstart;
pub(crate) mod rename;
pub(crate) mod site;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod unlink;
pub(crate) mod verify;
