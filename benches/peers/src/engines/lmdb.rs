//! LMDB with its default, full durability: UID to row, identity to UID.

use std::path::Path;

use headcount_block::User;
use lmdb::{
    Cursor, Database, DatabaseFlags, Environment, EnvironmentFlags, RoTransaction, RwTransaction, Transaction,
    WriteFlags,
};

use super::{Engine, check_by, row};
use crate::Outcome;
use crate::peers::compact::{self, Record, Row, decode_json};
use crate::peers::keys::Seen;
use crate::peers::render::Output;
use crate::peers::sorted::{self, Encode, Sorted};
use crate::peers::{Home, Peer, Reader, Text, not_measured};

/// Address space, and the length of a file with holes: far more than any run writes.
const MAP_BYTES: usize = 8 << 30;

struct Lmdb {
    environment: Environment,
    users: Database,
    identities: Database,
}

pub(super) fn open(dir: &Path) -> Outcome<Box<dyn Engine>> {
    let environment = Environment::new().set_max_dbs(2).set_map_size(MAP_BYTES).open(dir)?;
    let users = environment.create_db(Some("users"), DatabaseFlags::empty())?;
    let identities = environment.create_db(Some("identities"), DatabaseFlags::empty())?;
    Ok(Box::new(Lmdb { environment, users, identities }))
}

/// `None` where the key is absent.
fn optional(found: lmdb::Result<&[u8]>) -> Outcome<Option<&[u8]>> {
    match found {
        Ok(bytes) => Ok(Some(bytes)),
        Err(lmdb::Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Engine for Lmdb {
    fn commit(&self, users: &[User]) -> Outcome {
        let mut transaction = self.environment.begin_rw_txn()?;
        for user in users {
            let gone = match optional(transaction.get(self.users, &user.uid))? {
                Some(old) => row::unlinked(old, user)?,
                None => Vec::new(),
            };
            for key in gone {
                transaction.del(self.identities, &key, None)?;
            }
            for identity in &user.identities {
                let key = row::key_of(identity);
                match optional(transaction.get(self.identities, &key))? {
                    Some(owner) if owner == user.uid.as_bytes() => {}
                    Some(_) => return row::taken(identity),
                    None => transaction.put(self.identities, &key, &user.uid, WriteFlags::empty())?,
                }
            }
            transaction.put(self.users, &user.uid, &row::encode(user)?, WriteFlags::empty())?;
        }
        Ok(transaction.commit()?)
    }

    fn check(&self, users: &mut dyn Iterator<Item = User>) -> Outcome {
        let transaction = self.environment.begin_ro_txn()?;
        let count = transaction.stat(self.users)?.entries() as u64;
        let get = |uid: &str| optional(transaction.get(self.users, &uid))?.map(row::decode).transpose();
        let owner = |provider: &str, uid: &str| {
            let found = optional(transaction.get(self.identities, &row::key(provider, uid)))?;
            Ok(found.map(|uid| String::from_utf8_lossy(uid).into_owned()))
        };
        check_by(users, count, get, owner)
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(())
    }
}

/// Address space for the peers' part: 5,000,000 users take an eighth of it.
const LARGE_MAP: usize = 64 << 30;

/// Compact rows; the same, but rendered by serde_json; and finished JSON as the value.
pub(super) const PEER: Peer = Peer { commits: Some("LMDB"), ..Peer::new("lmdb", "LMDB", load, open_peer) };
pub(super) const BY_SERDE: Peer =
    Peer { exports: &[Text::Json], ..Peer::also("lmdb", "lmdb-serde", "LMDB, serde_json renders", open_serde) };
pub(super) const FINISHED: Peer = Peer {
    lookups: 0,
    exports: &[Text::Json],
    ..Peer::new("lmdb-json", "LMDB, values stored as finished JSON", load_finished, open_finished)
};

fn load(home: &Home) -> Outcome {
    load_as(home, compact::encode)
}

fn load_finished(home: &Home) -> Outcome {
    load_as(home, compact::encode_json)
}

/// One transaction without syncs, in key order with `MDB_APPEND`, into a writable map; then one sync.
fn load_as(home: &Home, encode: Encode) -> Outcome {
    let input = sorted::read(&home.input, encode, true)?;
    let flags = EnvironmentFlags::NO_SYNC | EnvironmentFlags::WRITE_MAP | EnvironmentFlags::NO_MEM_INIT;
    let environment = Environment::new().set_max_dbs(2).set_map_size(LARGE_MAP).set_flags(flags).open(&home.dir)?;
    let users = environment.create_db(Some("users"), DatabaseFlags::empty())?;
    let identities = environment.create_db(Some("identities"), DatabaseFlags::empty())?;
    let mut transaction = environment.begin_rw_txn()?;
    append(&mut transaction, users, &input.users)?;
    append(&mut transaction, identities, &input.identities)?;
    transaction.commit()?;
    Ok(environment.sync(true)?)
}

fn append(transaction: &mut RwTransaction<'_>, to: Database, entries: &Sorted) -> Outcome {
    let mut cursor = transaction.open_rw_cursor(to)?;
    entries.each(|key, value| Ok(cursor.put(&key, &value, WriteFlags::APPEND)?))
}

/// How a value becomes JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    Compact,
    BySerde,
    Finished,
}

struct Loaded {
    lmdb: Lmdb,
    values: Values,
}

fn open_as(home: &Home, values: Values) -> Outcome<Box<dyn Reader>> {
    let flags = EnvironmentFlags::READ_ONLY;
    let environment = Environment::new().set_max_dbs(2).set_map_size(LARGE_MAP).set_flags(flags).open(&home.dir)?;
    let users = environment.open_db(Some("users"))?;
    let identities = environment.open_db(Some("identities"))?;
    Ok(Box::new(Loaded { lmdb: Lmdb { environment, users, identities }, values }))
}

fn open_peer(home: &Home) -> Outcome<Box<dyn Reader>> {
    open_as(home, Values::Compact)
}

fn open_serde(home: &Home) -> Outcome<Box<dyn Reader>> {
    open_as(home, Values::BySerde)
}

fn open_finished(home: &Home) -> Outcome<Box<dyn Reader>> {
    open_as(home, Values::Finished)
}

impl Loaded {
    fn see(&self, transaction: &RoTransaction<'_>, uid: &[u8], seen: &mut Seen) -> Outcome {
        if let Some(bytes) = optional(transaction.get(self.lmdb.users, &uid))? {
            let (links, pending) = Row::new(bytes)?;
            seen.user(pending, links);
        }
        Ok(())
    }
}

impl Reader for Loaded {
    fn export(&mut self, text: Text, to: &Path) -> Outcome {
        let mut output = Output::create(to, text)?;
        let transaction = self.lmdb.environment.begin_ro_txn()?;
        let mut cursor = transaction.open_ro_cursor(self.lmdb.users)?;
        for entry in cursor.iter() {
            let (uid, value) = entry?;
            if self.values == Values::Finished {
                let (pending, identities, json) = decode_json(value)?;
                if !pending {
                    output.finished(json, identities)?;
                }
                continue;
            }
            let (links, pending) = Row::new(value)?;
            if pending {
            } else if self.values == Values::Compact {
                output.user(uid, links)?;
            } else {
                let record = Record::of(uid, links)?;
                output.by(record.identities.len() as u64, |out| Ok(serde_json::to_writer(out, &record)?))?;
            }
        }
        output.finish()
    }

    fn get(&mut self, uids: &[&str], seen: &mut Seen) -> Outcome {
        if self.values == Values::Finished {
            return not_measured();
        }
        let transaction = self.lmdb.environment.begin_ro_txn()?;
        uids.iter().try_for_each(|uid| self.see(&transaction, uid.as_bytes(), seen))
    }

    fn find(&mut self, links: &[(&str, &str)], seen: &mut Seen) -> Outcome {
        let transaction = self.lmdb.environment.begin_ro_txn()?;
        let mut key = Vec::new();
        for (provider, provider_uid) in links {
            key.clear();
            compact::key(provider, provider_uid, &mut key);
            if let Some(uid) = optional(transaction.get(self.lmdb.identities, &key))? {
                self.see(&transaction, uid, seen)?;
            }
        }
        Ok(())
    }
}
