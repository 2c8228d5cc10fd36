//! The engines, all behind one trait and on the same work.

mod fjall;
mod floor;
mod lmdb;
mod ours;
mod postgres;
mod redb;
mod row;
mod sled;
mod sqlite;
#[cfg(test)]
mod tests;
mod vector;

use std::path::Path;

use headcount_block::User;

use crate::Outcome;
use crate::peers::{Peer, Runner, SCANS, Text};

/// Name of the row that the others are compared to: what the disk asks for one durable append.
pub(crate) const FLOOR: &str = "4 KiB append + fdatasync";

/// Name of our own row.
pub(crate) const OURS: &str = "Headcount";

/// A store of users that several threads may write to.
///
/// All do the same work: an upsert reads the user's old row, takes back identities that are no longer linked, and
/// refuses an identity that belongs to another user.
pub(crate) trait Engine: Send + Sync {
    /// Writes users in one transaction. On return they are on the disk.
    fn commit(&self, users: &[User]) -> Outcome;

    /// Whether exactly these users are there, each found by its UID and by each of its identities.
    ///
    /// # Errors
    /// The first difference, in words.
    fn check(&self, users: &mut dyn Iterator<Item = User>) -> Outcome;

    /// Closes what has to be closed.
    fn close(self: Box<Self>) -> Outcome;
}

/// How to open an engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// Its name in tables.
    pub(crate) name: &'static str,
    /// Whether it keeps users, and not only time.
    pub(crate) keeps: bool,
    /// Opens or creates its files in a directory of its own.
    pub(crate) open: fn(&Path) -> Outcome<Box<dyn Engine>>,
}

/// All of them, the floor first.
pub(crate) const KINDS: [Kind; 6] = [
    Kind { name: FLOOR, keeps: false, open: floor::append },
    Kind { name: "4 KiB overwrite + fdatasync", keeps: false, open: floor::overwrite },
    Kind { name: OURS, keeps: true, open: ours::open },
    Kind { name: "SQLite, WAL, synchronous=FULL", keeps: true, open: sqlite::open },
    Kind { name: "LMDB", keeps: true, open: lmdb::open },
    Kind { name: "redb, Durability::Immediate", keeps: true, open: redb::open },
];

/// DuckDB has no Rust package that builds in a minute or two, so its own Python package runs it.
const DUCKDB: Peer = Peer {
    id: "duckdb",
    name: "DuckDB, from Python",
    store: "duckdb",
    runner: Runner::Python("src/engines/duckdb_peer.py"),
    lookups: SCANS,
    exports: &[Text::Ndjson, Text::Csv],
    needs: Some("HEADCOUNT_PEERS_DUCKDB"),
    commits: None,
    is_store: true,
};

/// All that load, export and look up, ours first: its exports are what the others' are compared with.
pub(crate) const PEERS: [Peer; 12] = [
    ours::PEER,
    ours::ONE_THREAD,
    lmdb::PEER,
    lmdb::BY_SERDE,
    lmdb::FINISHED,
    redb::PEER,
    sqlite::PEER,
    fjall::PEER,
    sled::PEER,
    DUCKDB,
    postgres::PEER,
    vector::PEER,
];

/// The first difference that a check found.
fn differs<T>(what: &str, user: &User) -> Outcome<T> {
    Err(format!("{what}: user {:?}", user.uid).into())
}

/// Checks by an engine's lookups: `get` by UID, `owner` of an identity, `count` of all users.
fn check_by(
    users: &mut dyn Iterator<Item = User>,
    count: u64,
    mut get: impl FnMut(&str) -> Outcome<Option<User>>,
    mut owner: impl FnMut(&str, &str) -> Outcome<Option<String>>,
) -> Outcome {
    let mut expected = 0;
    for user in users {
        expected += 1;
        match get(&user.uid)? {
            None => return differs("lost", &user),
            Some(found) if found != user => return differs("not as it was written", &user),
            Some(_) => {}
        }
        for identity in &user.identities {
            if owner(&identity.provider, &identity.provider_uid)?.as_deref() != Some(&*user.uid) {
                return differs("not found by an identity", &user);
            }
        }
    }
    if count != expected {
        return Err(format!("{count} users where {expected} were written").into());
    }
    Ok(())
}
