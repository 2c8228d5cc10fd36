//! Stores of ours in the states that are measured.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headcount_benches::{Mix, Synth};
use headcount_block::{Progress, RowBuf, Status, User};
use headcount_store::{Batch, Durability, Existing, LoadOptions, Options, Place, RowKind, Store};

use crate::Outcome;
use crate::work::scattered;

/// For changes that are made fast: on disk with the next [`Store::sync`].
pub(crate) const BUFFERED: Durability = Durability::Buffered { flush_within: Duration::from_secs(1) };

/// Changes of one batch where their number a batch is not what is measured.
const BATCH: usize = 1_000;

/// User number `n` of a large store.
pub(crate) fn user(n: u64) -> User {
    Synth::new(1, Mix::USUAL).user(n)
}

/// Nothing is written in the background, and a delta holds `changes` changes before it becomes a segment.
pub(crate) fn still(changes: usize) -> Options {
    Options { maintenance: false, delta_changes: changes, delta_bytes: usize::MAX >> 1, ..Options::default() }
}

/// Loads users as one segment; those that are there are replaced.
pub(crate) fn load(store: &Store, users: impl Iterator<Item = User>) -> Outcome<u64> {
    let options = LoadOptions { threads: 1, existing: Existing::Replace, ..LoadOptions::default() };
    let load = store.bulk_load(options, &Arc::new(Progress::default()))?;
    let mut shard = load.shard();
    let mut row = RowBuf::new();
    for (line, user) in (1..).zip(users) {
        shard.push(row.encode(&user)?, Place { file: 0, line, offset: line }, RowKind::User)?;
    }
    Ok(load.finish(vec![shard], &mut |_| Ok(()))?.users)
}

/// Replaces one user in 25, another choice for each `tier`, by one load: a segment over all before it.
pub(crate) fn load_tier(store: &Store, users: u64, tier: u64) -> Outcome<u64> {
    let chosen = (0..users).filter(|n| scattered(n ^ (tier << 48)).is_multiple_of(25));
    load(store, chosen.map(|n| changed(n, tier)))
}

/// User number `n` with another first identity, the same for the same `edition`.
fn changed(n: u64, edition: u64) -> User {
    let mut user = user(n);
    match user.identities.first_mut() {
        Some(identity) => identity.provider_uid.push_str(&format!("-{edition}")),
        None => user.status = Status::Pending,
    }
    user
}

/// Writes `count` users all over the store anew, into the delta, differently for each `edition`.
pub(crate) fn rewrite(store: &Store, users: u64, count: u64, edition: u64) -> Outcome {
    let stride = (users / count.max(1)).max(1);
    let mut batch = Batch::new();
    for i in 0..count {
        batch.put(changed(i * stride % users.max(1), edition));
        if batch.len() >= BATCH {
            store.commit_with(std::mem::take(&mut batch), BUFFERED)?;
        }
    }
    store.commit_with(batch, BUFFERED)?;
    Ok(store.sync()?)
}

/// Makes `changes` changes to users all over the store, each to another user: six in ten write a user anew, and one in
/// ten each links an identity, sets a status, deletes, adds a user.
pub(crate) fn change(store: &Store, users: u64, changes: u64) -> Outcome {
    let stride = users / changes.max(1);
    let mut batch = Batch::new();
    for i in 0..changes {
        let n = i * stride + scattered(i) % stride.max(1);
        let uid = || user(n).uid;
        match i % 10 {
            6 => batch.link(uid(), headcount_block::Identity::new("linked", format!("{n}"))),
            7 => batch.set_status(uid(), if i % 20 == 7 { Status::Pending } else { Status::Registered }),
            8 => batch.delete(uid()),
            9 => batch.put(user(users + i)),
            _ => batch.put(changed(n, 9)),
        };
        if batch.len() >= BATCH {
            store.commit_with(std::mem::take(&mut batch), BUFFERED)?;
        }
    }
    store.commit_with(batch, BUFFERED)?;
    Ok(store.sync()?)
}

/// Copies a directory and what is below it.
pub(crate) fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
