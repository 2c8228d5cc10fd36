//! SQLite in WAL mode, `synchronous=FULL`: two tables, prepared statements.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use headcount_block::{Identity, Status, User};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Engine, check_by};
use crate::Outcome;

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
