//! LMDB with its default, full durability: UID to row, identity to UID.

use std::path::Path;

use headcount_block::User;
use lmdb::{Database, DatabaseFlags, Environment, Transaction, WriteFlags};

use super::{Engine, check_by, row};
use crate::Outcome;

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
