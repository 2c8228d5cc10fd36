//! Headcount as a program gets it: default options, every commit durable.

use std::path::Path;

use headcount_block::User;
use headcount_store::{Batch, Durability, Options, Store};

use super::{Engine, check_by};
use crate::Outcome;

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
