//! What a store has to be after a crash: everything acknowledged, nothing half, whole, and usable without help.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;

use headcount_block::{Progress, UidRange, User};
use headcount_store::{Batch, Error, Options, Recovery, Store};

use super::acks::{Acks, LATER};
use super::workload::Workload;

/// Looks at stores that hold more and more of one workload.
#[derive(Debug, Clone)]
pub struct Checker {
    options: Options,
    /// Each thread's workload at its last durable step.
    threads: Vec<Workload>,
    /// UIDs whose erasure was acknowledged lately.
    erased: VecDeque<String>,
}

/// UIDs that files are searched for.
const ERASED_MAX: usize = 12;

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Steps of each thread that are there.
    pub steps: Vec<u64>,
    /// What the open for writing recovered.
    pub recovery: Option<Recovery>,
}

type Users = BTreeMap<String, User>;

impl Checker {
    /// A checker of the workload that the hammer has with these settings.
    #[must_use]
    pub fn new(seed: u64, threads: u64, largest: usize, options: Options) -> Self {
        let threads = (0..threads).map(|thread| Workload::new(seed, thread, largest)).collect();
        Self { options, threads, erased: VecDeque::new() }
    }

    /// Opens the store in `dir` for reading, then for writing, and compares it with what `acks` say. `acks` may only grow
    /// from call to call. With `probe`, writes to it, closes it, opens it again; otherwise it is dropped unclosed.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&mut self, dir: &Path, acks: &Acks, probe: bool) -> Result<Found, String> {
        for (thread, workload) in (0..).zip(&mut self.threads) {
            workload.skip_to(acks.durable(thread));
            for (step, uid) in workload.erased().iter().rev().take(ERASED_MAX) {
                if acks.answered(thread, *step) && !self.erased.contains(uid) {
                    self.erased.push_front(uid.clone());
                    self.erased.truncate(ERASED_MAX * 2);
                }
            }
        }
        let read = Store::open_read_only(dir, &self.options).map_err(|e| format!("open for reading: {e}"))?;
        let users = content(&read)?;
        let steps = self.place(&users, acks)?;
        let least = acks.check_order(&steps)?;
        let seq = read.stats().origin.seq;
        if seq < least {
            return Err(format!("the store stands at seq {seq}, {least} was acknowledged"));
        }
        inspect(&read, &users).map_err(|e| format!("read-only: {e}"))?;
        read.close().map_err(|e| format!("close after reading: {e}"))?;

        let store = Store::open(dir, &self.options).map_err(|e| format!("open for writing: {e}"))?;
        let recovery = store.recovery().cloned();
        if content(&store)? != users {
            return Err("opened for writing it holds other users than opened for reading".to_owned());
        }
        inspect(&store, &users).map_err(|e| format!("recovered: {e}"))?;
        unnamed(dir, &self.erased)?;
        if probe {
            self.probe(store, dir, users)?;
        }
        Ok(Found { steps, recovery })
    }

    /// How many steps of each thread the users show, which has to be between those durable and those begun.
    fn place(&self, users: &Users, acks: &Acks) -> Result<Vec<u64>, String> {
        if acks.later && !users.contains_key(LATER) {
            return Err("the commit after an error is lost".to_owned());
        }
        let may_be = acks.later || acks.begun_later > 0;
        let owned = |uid: &str| may_be && uid == LATER || self.threads.iter().any(|workload| workload.owns(uid));
        if let Some(uid) = users.keys().find(|uid| !owned(uid)) {
            return Err(format!("nobody wrote user {uid:?}"));
        }
        let mut steps = Vec::new();
        for (thread, workload) in (0..).zip(&self.threads) {
            let mine: Users =
                users.iter().filter(|(u, _)| workload.owns(u)).map(|(u, v)| (u.clone(), v.clone())).collect();
            let (durable, begun) = (acks.durable(thread), acks.begun(thread));
            let mut at = workload.clone();
            while *at.users() != mine {
                if at.taken() >= begun {
                    let difference = difference(workload.users(), &mine);
                    return Err(format!(
                        "thread {thread}: what is there fits no step from {durable} (durable) to {begun} (begun); \
                         against the durable one: {difference}"
                    ));
                }
                at.step();
            }
            // A compaction changes nothing: where steps are alike, it is the earliest that is known to be complete.
            steps.push(at.taken());
        }
        Ok(steps)
    }

    fn probe(&self, store: Store, dir: &Path, mut users: Users) -> Result<(), String> {
        let user = User::new("probe").with_identity("site", "probe");
        let mut batch = Batch::new();
        batch.put(user.clone());
        store.commit(batch).map_err(|e| format!("a commit afterwards: {e}"))?;
        users.insert("probe".to_owned(), user);
        store.close().map_err(|e| format!("close afterwards: {e}"))?;
        for entry in fs::read_dir(dir).map_err(|e| e.to_string())? {
            let name = entry.map_err(|e| e.to_string())?.file_name().to_string_lossy().into_owned();
            if name.starts_with("delta-") || name.ends_with(".new") {
                return Err(format!("{name} is left in a closed store"));
            }
        }
        let store = Store::open(dir, &self.options).map_err(|e| format!("open again: {e}"))?;
        if store.recovery().is_some() || content(&store)? != users {
            return Err("closed and opened again it is another one".to_owned());
        }
        store.close().map_err(|e| format!("close again: {e}"))
    }
}

fn content(store: &Store) -> Result<Users, String> {
    let users = store.snapshot().users(UidRange::all()).map(|user| user.map(|u| (u.uid.clone(), u)));
    users.collect::<Result<Users, Error>>().map_err(|e| format!("scan: {e}"))
}

/// Checksums, counts, and that every user and identity is found.
fn inspect(store: &Store, users: &Users) -> Result<(), String> {
    let mut damages = Vec::new();
    let report = store.verify(&Progress::default(), &mut |damage| damages.push(damage.to_string()));
    let report = report.map_err(|e| format!("verify: {e}"))?;
    if report.damages > 0 || !damages.is_empty() {
        return Err(format!("verify found damage: {}", damages.join("; ")));
    }
    let totals = store.stats().totals;
    let identities: usize = users.values().map(|u| u.identities.len()).sum();
    if (totals.users(), totals.identities()) != (users.len() as u64, identities as u64) {
        return Err(format!(
            "counts {} and {}, held {} and {identities}",
            totals.users(),
            totals.identities(),
            users.len()
        ));
    }
    let snapshot = store.snapshot();
    for user in users.values() {
        if snapshot.get_user(&user.uid).map_err(|e| e.to_string())?.as_ref() != Some(user) {
            return Err(format!("user {:?} is not found by its UID", user.uid));
        }
        for identity in &user.identities {
            let owner = snapshot.find_user(&identity.provider, &identity.provider_uid).map_err(|e| e.to_string())?;
            if owner.as_ref() != Some(user) {
                return Err(format!("user {:?} is not found by {identity:?}", user.uid));
            }
        }
    }
    Ok(())
}

/// The first user that differs.
fn difference(expected: &Users, found: &Users) -> String {
    let mut uids: Vec<&String> = expected.keys().chain(found.keys()).collect();
    uids.sort();
    uids.dedup();
    let differ = uids.into_iter().filter(|uid| expected.get(*uid) != found.get(*uid));
    let shown = |user: Option<&User>| {
        user.map_or("absent".to_owned(), |u| {
            let first = u.identities.first().map(|i| i.provider_uid.chars().take(20).collect::<String>());
            format!("{} with {} identities, first {first:?}", u.status, u.identities.len())
        })
    };
    let of = |uid: &String| format!("{uid}: expected {}, found {}", shown(expected.get(uid)), shown(found.get(uid)));
    differ.take(3).map(of).collect::<Vec<_>>().join("; ")
}

/// Checks that no file of the store names a user that was erased.
fn unnamed(dir: &Path, uids: &VecDeque<String>) -> Result<(), String> {
    for entry in fs::read_dir(dir).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            unnamed(&path, uids)?;
            continue;
        }
        let bytes = fs::read(&path).map_err(|e| e.to_string())?;
        if let Some(uid) = uids.iter().find(|uid| memchr::memmem::find(&bytes, uid.as_bytes()).is_some()) {
            return Err(format!("{} names {uid}, whose erasure was acknowledged", path.display()));
        }
    }
    Ok(())
}
