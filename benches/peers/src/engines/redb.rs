//! redb with `Durability::Immediate`: UID to row, identity to UID.

use std::path::Path;

use headcount_block::User;
use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};

use super::{Engine, check_by, row};
use crate::Outcome;
use crate::peers::compact::{self, Row};
use crate::peers::keys::Seen;
use crate::peers::render::Output;
use crate::peers::{Home, Peer, Reader, Text, sorted};

const USERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("users");
const IDENTITIES: TableDefinition<'_, &[u8], &str> = TableDefinition::new("identities");

struct Redb(Database);

pub(super) fn open(dir: &Path) -> Outcome<Box<dyn Engine>> {
    let database = Database::create(dir.join("users.redb"))?;
    let transaction = database.begin_write()?;
    transaction.open_table(USERS)?;
    transaction.open_table(IDENTITIES)?;
    transaction.commit()?;
    Ok(Box::new(Redb(database)))
}

impl Engine for Redb {
    fn commit(&self, users: &[User]) -> Outcome {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut rows = transaction.open_table(USERS)?;
            let mut identities = transaction.open_table(IDENTITIES)?;
            for user in users {
                let gone = match rows.insert(user.uid.as_str(), row::encode(user)?.as_slice())? {
                    Some(old) => row::unlinked(old.value(), user)?,
                    None => Vec::new(),
                };
                for key in gone {
                    identities.remove(key.as_slice())?;
                }
                for identity in &user.identities {
                    let old = identities.insert(row::key_of(identity).as_slice(), user.uid.as_str())?;
                    if old.is_some_and(|owner| owner.value() != user.uid) {
                        // Dropping the transaction takes everything back.
                        return row::taken(identity);
                    }
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn check(&self, users: &mut dyn Iterator<Item = User>) -> Outcome {
        let transaction = self.0.begin_read()?;
        let rows = transaction.open_table(USERS)?;
        let identities = transaction.open_table(IDENTITIES)?;
        let get = |uid: &str| rows.get(uid)?.map(|row| row::decode(row.value())).transpose();
        let owner = |provider: &str, uid: &str| {
            Ok(identities.get(row::key(provider, uid).as_slice())?.map(|owner| owner.value().to_owned()))
        };
        check_by(users, rows.len()?, get, owner)
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(())
    }
}

pub(super) const PEER: Peer =
    Peer { commits: Some("redb, Durability::Immediate"), ..Peer::new("redb", "redb", load, open_peer) };

/// UID to compact row; identity to UID. Bytes: comparing them is cheaper than checking UTF-8.
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const OWNERS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("owners");

/// One transaction, in key order.
fn load(home: &Home) -> Outcome {
    let input = sorted::read(&home.input, compact::encode, true)?;
    let database = Database::builder().set_cache_size(1 << 30).create(home.dir.join("users.redb"))?;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    for (table, entries) in [(ROWS, &input.users), (OWNERS, &input.identities)] {
        let mut table = transaction.open_table(table)?;
        entries.each(|key, value| {
            table.insert(key, value)?;
            Ok(())
        })?;
    }
    Ok(transaction.commit()?)
}

struct Loaded {
    rows: ReadOnlyTable<&'static [u8], &'static [u8]>,
    owners: ReadOnlyTable<&'static [u8], &'static [u8]>,
    /// Tables of a closed database cannot be read.
    _database: Database,
}

fn open_peer(home: &Home) -> Outcome<Box<dyn Reader>> {
    // The default cache of 1 GiB would be smaller than 5,000,000 users.
    let database = Database::builder().set_cache_size(4 << 30).open(home.dir.join("users.redb"))?;
    let transaction = database.begin_read()?;
    let (rows, owners) = (transaction.open_table(ROWS)?, transaction.open_table(OWNERS)?);
    Ok(Box::new(Loaded { rows, owners, _database: database }))
}

impl Loaded {
    fn see(&self, uid: &[u8], seen: &mut Seen) -> Outcome {
        if let Some(row) = self.rows.get(uid)? {
            let (links, pending) = Row::new(row.value())?;
            seen.user(pending, links);
        }
        Ok(())
    }
}

impl Reader for Loaded {
    fn export(&mut self, text: Text, to: &Path) -> Outcome {
        let mut output = Output::create(to, text)?;
        for entry in self.rows.iter()? {
            let (uid, row) = entry?;
            let (links, pending) = Row::new(row.value())?;
            if !pending {
                output.user(uid.value(), links)?;
            }
        }
        output.finish()
    }

    fn get(&mut self, uids: &[&str], seen: &mut Seen) -> Outcome {
        uids.iter().try_for_each(|uid| self.see(uid.as_bytes(), seen))
    }

    fn find(&mut self, links: &[(&str, &str)], seen: &mut Seen) -> Outcome {
        let mut key = Vec::new();
        for (provider, provider_uid) in links {
            key.clear();
            compact::key(provider, provider_uid, &mut key);
            if let Some(uid) = self.owners.get(key.as_slice())? {
                self.see(uid.value(), seen)?;
            }
        }
        Ok(())
    }
}
