//! redb with `Durability::Immediate`: UID to row, identity to UID.

use std::path::Path;

use headcount_block::User;
use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::{Engine, check_by, row};
use crate::Outcome;

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
