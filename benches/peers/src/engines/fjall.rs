//! fjall: UID to row, identity to UID, in a keyspace each.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::Outcome;
use crate::peers::compact::{self, Row};
use crate::peers::keys::Seen;
use crate::peers::render::Output;
use crate::peers::sorted;
use crate::peers::{Home, Peer, Reader, Text};

pub(super) const PEER: Peer = Peer::new("fjall", "fjall", load, open);

fn database(home: &Home) -> Outcome<(Database, Keyspace, Keyspace)> {
    let database = Database::builder(home.dir.join("fjall")).cache_size(4 << 30).open()?;
    // Whoever asks for a user that is not there is not measured.
    let options = || KeyspaceCreateOptions::default().expect_point_read_hits(true);
    let users = database.keyspace("users", options)?;
    let identities = database.keyspace("identities", options)?;
    Ok((database, users, identities))
}

/// Its bulk ingestion, in key order.
fn load(home: &Home) -> Outcome {
    let input = sorted::read(&home.input, compact::encode, true)?;
    let (database, users, identities) = database(home)?;
    for (keyspace, entries) in [(&users, &input.users), (&identities, &input.identities)] {
        let mut ingestion = keyspace.start_ingestion()?;
        entries.each(|key, value| Ok(ingestion.write(key, value)?))?;
        ingestion.finish()?;
    }
    Ok(database.persist(PersistMode::SyncAll)?)
}

struct Loaded {
    users: Keyspace,
    identities: Keyspace,
    _database: Database,
}

fn open(home: &Home) -> Outcome<Box<dyn Reader>> {
    let (database, users, identities) = database(home)?;
    Ok(Box::new(Loaded { users, identities, _database: database }))
}

impl Loaded {
    fn see(&self, uid: &[u8], seen: &mut Seen) -> Outcome {
        if let Some(row) = self.users.get(uid)? {
            let (links, pending) = Row::new(&row)?;
            seen.user(pending, links);
        }
        Ok(())
    }
}

impl Reader for Loaded {
    fn export(&mut self, text: Text, to: &Path) -> Outcome {
        let mut output = Output::create(to, text)?;
        for entry in self.users.iter() {
            let (uid, row) = entry.into_inner()?;
            let (links, pending) = Row::new(&row)?;
            if !pending {
                output.user(&uid, links)?;
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
            if let Some(uid) = self.identities.get(&key)? {
                self.see(&uid, seen)?;
            }
        }
        Ok(())
    }
}
