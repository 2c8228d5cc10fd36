//! sled: UID to row, identity to UID, in a tree each.

use std::fs::File;
use std::path::Path;

use sled::{Batch, Db, Mode, Tree};

use crate::Outcome;
use crate::peers::compact::{self, Row};
use crate::peers::keys::Seen;
use crate::peers::render::Output;
use crate::peers::sorted::{self, Sorted};
use crate::peers::{Home, Peer, Reader, Text};

pub(super) const PEER: Peer = Peer::new("sled", "sled", load, open);

/// Entries of a batch.
const BATCH: usize = 1_000;

fn database(home: &Home) -> Outcome<Db> {
    let config = sled::Config::new().path(home.dir.join("sled")).mode(Mode::HighThroughput).cache_capacity(4 << 30);
    // Writing what is full is enough; the rest is written at the end.
    Ok(config.flush_every_ms(None).open()?)
}

/// Batches in key order, one flush, and the sync that sled's flush is not on Linux.
fn load(home: &Home) -> Outcome {
    let input = sorted::read(&home.input, compact::encode, true)?;
    let database = database(home)?;
    insert(&database.open_tree("users")?, &input.users)?;
    insert(&database.open_tree("identities")?, &input.identities)?;
    database.flush()?;
    drop(database);
    for name in ["db", "conf"] {
        File::open(home.dir.join("sled").join(name))?.sync_all()?;
    }
    Ok(())
}

fn insert(tree: &Tree, entries: &Sorted) -> Outcome {
    let (mut batch, mut size) = (Batch::default(), 0);
    entries.each(|key, value| {
        batch.insert(key, value);
        size += 1;
        if size == BATCH {
            tree.apply_batch(std::mem::take(&mut batch))?;
            size = 0;
        }
        Ok(())
    })?;
    Ok(tree.apply_batch(batch)?)
}

struct Loaded {
    users: Tree,
    identities: Tree,
}

fn open(home: &Home) -> Outcome<Box<dyn Reader>> {
    let database = database(home)?;
    Ok(Box::new(Loaded { users: database.open_tree("users")?, identities: database.open_tree("identities")? }))
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
        for entry in &self.users {
            let (uid, row) = entry?;
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
