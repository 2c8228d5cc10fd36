//! Headcount as a program gets it: default options, every commit durable.

use std::path::Path;

use headcount_block::{Status, User, UserRef};
use headcount_export::{Export, Format};
use headcount_import::{Import, Input};
use headcount_store::{Batch, Durability, Options, Snapshot, Store};

use super::{Engine, OURS, check_by};
use crate::Outcome;
use crate::peers::keys::Seen;
use crate::peers::{CALL_ID, Home, Peer, Reader, TIME, Text, not_measured};

struct Ours(Store);

pub(super) fn open(dir: &Path) -> Outcome<Box<dyn Engine>> {
    let path = dir.join("store");
    let options = Options::default();
    Ok(Box::new(Ours(if path.exists() { Store::open(&path, &options)? } else { Store::create(&path, &options)? })))
}

impl Engine for Ours {
    fn commit(&self, users: &[User]) -> Outcome {
        let mut batch = Batch::new();
        for user in users {
            batch.put(user.clone());
        }
        self.0.commit_with(batch, Durability::Sync)?;
        Ok(())
    }

    fn check(&self, users: &mut dyn Iterator<Item = User>) -> Outcome {
        let snapshot = self.0.snapshot();
        let totals = snapshot.stats().totals;
        let owner = |provider: &str, uid: &str| Ok(snapshot.find_user(provider, uid)?.map(|user| user.uid));
        check_by(users, totals.registered.users + totals.pending.users, |uid| Ok(snapshot.get_user(uid)?), owner)
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(self.0.close()?)
    }
}

/// As programs get it, and the export with one thread: most peers read with one.
pub(super) const PEER: Peer = Peer { commits: Some(OURS), ..Peer::new("ours", OURS, load, open_peer) };
pub(super) const ONE_THREAD: Peer = Peer::also("ours", "ours-1", "Headcount, one thread", open_one);

/// How many UIDs a batch has.
const MANY: usize = 256;

/// An import with default options: both indexes, the check that every identity is one user's, everything on the disk.
fn load(home: &Home) -> Outcome {
    let store = Store::create(home.dir.join("store"), &Options::default())?;
    Import::new(&store).input(Input::path(&home.input)).run()?;
    Ok(store.close()?)
}

struct Loaded {
    snapshot: Snapshot,
    threads: Option<usize>,
}

fn open_as(home: &Home, threads: Option<usize>) -> Outcome<Box<dyn Reader>> {
    let store = Store::open_read_only(home.dir.join("store"), &Options::default())?;
    Ok(Box::new(Loaded { snapshot: store.snapshot(), threads }))
}

fn open_peer(home: &Home) -> Outcome<Box<dyn Reader>> {
    open_as(home, None)
}

fn open_one(home: &Home) -> Outcome<Box<dyn Reader>> {
    open_as(home, Some(1))
}

#[inline]
fn see(user: &UserRef<'_>, seen: &mut Seen) {
    let links = user.identities().map(|i| (i.provider, i.provider_uid));
    seen.user(user.status() == Status::Pending, links);
}

impl Reader for Loaded {
    fn export(&mut self, text: Text, to: &Path) -> Outcome {
        let format = match text {
            Text::Json => Format::Json,
            Text::Csv => Format::Csv,
            Text::Ndjson => Format::Ndjson,
        };
        Export::new(&self.snapshot).format(format).threads(self.threads).call_id(CALL_ID).time(TIME).write_file(to)?;
        Ok(())
    }

    fn get(&mut self, uids: &[&str], seen: &mut Seen) -> Outcome {
        if self.threads.is_some() {
            return not_measured();
        }
        for uid in uids {
            if let Some(user) = self.snapshot.get(uid)? {
                see(&user.user(), seen);
            }
        }
        Ok(())
    }

    fn get_many(&mut self, uids: &[&str], seen: &mut Seen) -> Outcome<bool> {
        for uids in uids.chunks(MANY) {
            self.snapshot.get_many(uids, |_, user| {
                if let Some(user) = user {
                    see(&user, seen);
                }
            })?;
        }
        Ok(true)
    }

    fn find(&mut self, links: &[(&str, &str)], seen: &mut Seen) -> Outcome {
        for (provider, provider_uid) in links {
            if let Some(user) = self.snapshot.find(provider, provider_uid)? {
                see(&user.user(), seen);
            }
        }
        Ok(())
    }
}
