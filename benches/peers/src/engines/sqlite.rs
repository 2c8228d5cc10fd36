//! SQLite in WAL mode, `synchronous=FULL`: two tables, prepared statements.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use headcount_block::{Identity, Status, User};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Engine, check_by};
use crate::Outcome;
use crate::peers::compact::{self, Row};
use crate::peers::keys::Seen;
use crate::peers::render::Output;
use crate::peers::{Home, Peer, Reader, Text, sorted};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS users (uid TEXT PRIMARY KEY, status INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS identities (
        provider TEXT NOT NULL, provider_uid TEXT NOT NULL, uid TEXT NOT NULL, ord INTEGER NOT NULL,
        PRIMARY KEY (provider, provider_uid)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS identities_by_uid ON identities (uid, ord);";

/// One connection: SQLite has one writer at a time, and waiting for a mutex is cheaper than its busy handler's sleep.
struct Sqlite(Mutex<Connection>);

pub(super) fn open(dir: &Path) -> Outcome<Box<dyn Engine>> {
    let connection = Connection::open(dir.join("users.sqlite"))?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("SQLite's journal mode is {mode}").into());
    }
    connection.execute_batch("PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;")?;
    connection.execute_batch(SCHEMA)?;
    Ok(Box::new(Sqlite(Mutex::new(connection))))
}

impl Sqlite {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Sqlite {
    fn commit(&self, users: &[User]) -> Outcome {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        {
            let mut put = transaction.prepare_cached(
                "INSERT INTO users VALUES (?1, ?2) ON CONFLICT (uid) DO UPDATE SET status = excluded.status",
            )?;
            let mut unlink = transaction.prepare_cached("DELETE FROM identities WHERE uid = ?1")?;
            // An identity that belongs to another user violates the primary key.
            let mut link = transaction.prepare_cached("INSERT INTO identities VALUES (?1, ?2, ?3, ?4)")?;
            for user in users {
                put.execute(params![user.uid, user.status == Status::Pending])?;
                unlink.execute([&user.uid])?;
                for (order, identity) in (0_i64..).zip(&user.identities) {
                    link.execute(params![identity.provider, identity.provider_uid, user.uid, order])?;
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn check(&self, users: &mut dyn Iterator<Item = User>) -> Outcome {
        let connection = self.connection();
        let count: i64 = connection.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?;
        let mut status = connection.prepare("SELECT status FROM users WHERE uid = ?1")?;
        let mut linked =
            connection.prepare("SELECT provider, provider_uid FROM identities WHERE uid = ?1 ORDER BY ord")?;
        let mut owner = connection.prepare("SELECT uid FROM identities WHERE provider = ?1 AND provider_uid = ?2")?;
        let get = |uid: &str| {
            let Some(pending) = status.query_row([uid], |row| row.get::<_, bool>(0)).optional()? else {
                return Ok(None);
            };
            let mut user = User::new(uid).with_status(if pending { Status::Pending } else { Status::Registered });
            let identities =
                linked.query_map([uid], |row| Ok(Identity::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            user.identities = identities.collect::<Result<_, _>>()?;
            Ok(Some(user))
        };
        let owner = |provider: &str, uid: &str| Ok(owner.query_row([provider, uid], |row| row.get(0)).optional()?);
        check_by(users, u64::try_from(count)?, get, owner)
    }

    fn close(self: Box<Self>) -> Outcome {
        let connection = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        connection.close().map_err(|(_, error)| error.into())
    }
}

pub(super) const PEER: Peer =
    Peer { commits: Some("SQLite, WAL, synchronous=FULL"), ..Peer::new("sqlite", "SQLite", load, open_peer) };

/// Here the identities lie beside each other user by user, for exports and `get`; the other index is made at the end.
const TABLES: &str = "
    CREATE TABLE users (uid TEXT PRIMARY KEY, pending INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE identities (
        uid TEXT NOT NULL, ord INTEGER NOT NULL, provider TEXT NOT NULL, provider_uid TEXT NOT NULL,
        PRIMARY KEY (uid, ord)) WITHOUT ROWID;";

fn text(bytes: &[u8]) -> Outcome<&str> {
    Ok(std::str::from_utf8(bytes)?)
}

/// No journal and no syncs while nobody uses it, one transaction in key order, the unique index last; then a sync.
fn load(home: &Home) -> Outcome {
    let input = sorted::read(&home.input, compact::encode, false)?;
    let path = home.dir.join("users.sqlite");
    let mut connection = Connection::open(&path)?;
    connection.execute_batch(
        "PRAGMA page_size=8192; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;
         PRAGMA temp_store=MEMORY; PRAGMA threads=2; PRAGMA cache_size=-1048576;",
    )?;
    connection.execute_batch(TABLES)?;
    let transaction = connection.transaction()?;
    {
        let mut put = transaction.prepare("INSERT INTO users VALUES (?1, ?2)")?;
        let mut link = transaction.prepare("INSERT INTO identities VALUES (?1, ?2, ?3, ?4)")?;
        input.users.each(|uid, row| {
            let (links, pending) = Row::new(row)?;
            let uid = text(uid)?;
            put.execute(params![uid, pending])?;
            for (order, (provider, provider_uid)) in (0_i64..).zip(links) {
                link.execute(params![uid, order, text(provider)?, text(provider_uid)?])?;
            }
            Ok(())
        })?;
    }
    transaction.execute_batch("CREATE UNIQUE INDEX identities_by_name ON identities (provider, provider_uid)")?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(File::open(&path)?.sync_all()?)
}

struct Loaded(Connection);

fn open_peer(home: &Home) -> Outcome<Box<dyn Reader>> {
    let connection = Connection::open(home.dir.join("users.sqlite"))?;
    connection.execute_batch(
        "PRAGMA mmap_size=68719476736; PRAGMA cache_size=-65536; PRAGMA locking_mode=EXCLUSIVE; PRAGMA query_only=1;",
    )?;
    Ok(Box::new(Loaded(connection)))
}

/// The bytes of a text column; none of NULL.
fn bytes(value: ValueRef<'_>) -> Option<&[u8]> {
    match value {
        ValueRef::Text(bytes) => Some(bytes),
        _ => None,
    }
}

/// A statement whose rows are those of one user: pending, provider, providerUID.
fn see(rows: &mut rusqlite::Rows<'_>, seen: &mut Seen) -> Outcome {
    let mut first = true;
    while let Some(row) = rows.next()? {
        if first {
            seen.head(row.get(0)?);
            first = false;
        }
        if let (Some(provider), Some(provider_uid)) = (bytes(row.get_ref(1)?), bytes(row.get_ref(2)?)) {
            seen.link(provider, provider_uid);
        }
    }
    Ok(())
}

impl Reader for Loaded {
    fn export(&mut self, text: Text, to: &Path) -> Outcome {
        let mut output = Output::create(to, text)?;
        // Two statements side by side: each is one walk over a table, and a join would be a search a user.
        let mut users = self.0.prepare("SELECT uid FROM users WHERE pending = 0 ORDER BY uid")?;
        let mut links = self.0.prepare("SELECT uid, provider, provider_uid FROM identities ORDER BY uid, ord")?;
        let (mut users, mut links) = (users.query([])?, links.query([])?);
        let mut link = links.next()?;
        while let Some(user) = users.next()? {
            let uid = bytes(user.get_ref(0)?).ok_or("a user without a UID")?;
            output.begin(uid);
            while let Some(row) = link {
                let owner = bytes(row.get_ref(0)?).ok_or("an identity without a user")?;
                if owner > uid {
                    break;
                }
                // A smaller one belongs to a pending user.
                if owner == uid {
                    output.link(bytes(row.get_ref(1)?).unwrap_or_default(), bytes(row.get_ref(2)?).unwrap_or_default());
                }
                link = links.next()?;
            }
            output.end()?;
        }
        output.finish()
    }

    fn get(&mut self, uids: &[&str], seen: &mut Seen) -> Outcome {
        // Without a transaction around them every statement would lock the file.
        let transaction = self.0.transaction()?;
        {
            let mut get = transaction.prepare(
                "SELECT u.pending, i.provider, i.provider_uid FROM users u LEFT JOIN identities i ON i.uid = u.uid
                 WHERE u.uid = ?1 ORDER BY i.ord",
            )?;
            for uid in uids {
                see(&mut get.query([uid])?, seen)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn find(&mut self, links: &[(&str, &str)], seen: &mut Seen) -> Outcome {
        let transaction = self.0.transaction()?;
        {
            let mut find = transaction.prepare(
                "SELECT u.pending, i.provider, i.provider_uid
                 FROM identities k JOIN users u ON u.uid = k.uid JOIN identities i ON i.uid = k.uid
                 WHERE k.provider = ?1 AND k.provider_uid = ?2 ORDER BY i.ord",
            )?;
            for (provider, provider_uid) in links {
                see(&mut find.query([provider, provider_uid])?, seen)?;
            }
        }
        Ok(transaction.commit()?)
    }
}
