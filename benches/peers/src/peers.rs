//! The same users in every engine: loads, exports, lookups, disk and memory. `benches/peers.sh` prints the tables.

mod child;
pub(crate) mod compact;
mod compare;
pub(crate) mod keys;
pub(crate) mod render;
mod report;
mod rounds;
pub(crate) mod sorted;

use std::path::{Path, PathBuf};

use crate::Outcome;
pub(crate) use child::run as child;
use keys::Seen;
pub(crate) use rounds::run;

/// What every export has in its envelope.
pub(crate) const CALL_ID: &str = "0123456789abcdef0123456789abcdef";
/// What every export has in its envelope.
pub(crate) const TIME: &str = "2015-03-22T11:42:25.943Z";

/// Lookups measured of an engine that answers in about a microsecond.
pub(crate) const MANY: u64 = 1_000_000;
/// Lookups measured of an engine that takes a hundred times that.
pub(crate) const FEW: u64 = 20_000;
/// Lookups measured of an engine that reads a whole table for one: DuckDB's indexes of two columns serve uniqueness only.
pub(crate) const SCANS: u64 = 200;

/// Formats of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    /// The documented envelope.
    Json,
    /// A row an identity.
    Csv,
    /// A user a line.
    Ndjson,
}

impl Text {
    pub(crate) const ALL: [Self; 3] = [Self::Json, Self::Csv, Self::Ndjson];

    /// The name on command lines and of files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }
}

/// Where an engine's files are, and the users.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// A directory of the engine's own.
    pub(crate) dir: PathBuf,
    /// NDJSON of all users, in no order.
    pub(crate) input: PathBuf,
}

/// An engine with all users in it, open for reading by one thread.
///
/// Loops are on this side, so that nothing is measured but the engine's own calls.
pub(crate) trait Reader {
    /// Writes a new file.
    fn export(&mut self, text: Text, to: &Path) -> Outcome;

    /// Gets users one by one.
    fn get(&mut self, uids: &[&str], seen: &mut Seen) -> Outcome;

    /// Gets users many at a time, or says that there is no such thing.
    fn get_many(&mut self, uids: &[&str], seen: &mut Seen) -> Outcome<bool> {
        let _ = (uids, seen);
        Ok(false)
    }

    /// Finds users by an identity: the whole user each time.
    fn find(&mut self, links: &[(&str, &str)], seen: &mut Seen) -> Outcome;

    /// Bytes on disk where that is not what the directory takes.
    fn disk(&mut self) -> Outcome<Option<u64>> {
        Ok(None)
    }
}

/// What runs a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Runner {
    /// This program.
    Here {
        /// Loads all users: on return they are on the disk, found by UID and by identity, and every identity is one user's.
        load: Option<fn(&Home) -> Outcome>,
        /// Opens what was loaded.
        open: fn(&Home) -> Outcome<Box<dyn Reader>>,
    },
    /// A Python program with the same arguments and answers.
    Python(&'static str),
}

/// An engine, or another way to use one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The name on command lines.
    pub(crate) id: &'static str,
    /// The name in tables.
    pub(crate) name: &'static str,
    /// Whose store it reads: the `id` of this one, or of one above it in the list.
    pub(crate) store: &'static str,
    pub(crate) runner: Runner,
    /// Lookups of a round; 0: they are another line's.
    pub(crate) lookups: u64,
    /// What it exports.
    pub(crate) exports: &'static [Text],
    /// The environment variable without which it is skipped.
    pub(crate) needs: Option<&'static str>,
    /// Its name in the table of durable commits.
    pub(crate) commits: Option<&'static str>,
    /// Whether it is an engine that keeps users on a disk and finds them there, so that a comparison means something.
    pub(crate) is_store: bool,
}

impl Peer {
    /// An engine with everything.
    pub(crate) const fn new(
        id: &'static str,
        name: &'static str,
        load: fn(&Home) -> Outcome,
        open: fn(&Home) -> Outcome<Box<dyn Reader>>,
    ) -> Self {
        let runner = Runner::Here { load: Some(load), open };
        let exports = &[Text::Json, Text::Csv];
        Self { id, name, store: id, runner, lookups: MANY, exports, needs: None, commits: None, is_store: true }
    }

    /// Another way to export what `of` has loaded.
    pub(crate) const fn also(
        of: &'static str,
        id: &'static str,
        name: &'static str,
        open: fn(&Home) -> Outcome<Box<dyn Reader>>,
    ) -> Self {
        let runner = Runner::Here { load: None, open };
        let exports = &[Text::Json, Text::Csv];
        Self { id, name, store: of, runner, lookups: 0, exports, needs: None, commits: None, is_store: true }
    }
}

/// The refusal of what a way to use an engine has no line for.
pub(crate) fn not_measured<T>() -> Outcome<T> {
    Err("this is another line's".into())
}
