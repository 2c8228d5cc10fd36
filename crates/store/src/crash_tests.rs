//! Every step between two changes on disk, broken off: what was acknowledged is there afterwards, and nothing half.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use headcount_block::{Identity, Progress, UidRange, User};

use crate::fault::tests::{plan, seen};
use crate::manifest::Manifest;
use crate::{Batch, Compaction, Options, Result, Store};

type Model = BTreeMap<String, User>;

/// A store in work beside what it has acknowledged, and what the operation that is under way would make of it.
struct Run {
    store: Store,
    sure: Model,
    maybe: Model,
}

fn user(uid: &str, generation: u32) -> User {
    let identity = Identity::new("p", format!("{uid}/{generation}"));
    User { identities: vec![identity], ..User::new(uid) }
}

impl Run {
    fn new(dir: &Path, options: Options) -> Self {
        let mut store = Store::create(dir, &options).unwrap();
        // Everything on this thread: steps are counted by thread.
        store.threads = None;
        Self { store, sure: Model::new(), maybe: Model::new() }
    }

    fn put(&mut self, uid: &str, generation: u32) -> Result<()> {
        self.maybe.insert(uid.into(), user(uid, generation));
        let mut batch = Batch::new();
        batch.put(user(uid, generation));
        self.done(|store| store.commit(batch).map(drop))
    }

    fn load(&mut self, uids: &[&str], generation: u32) -> Result<()> {
        let users: Vec<User> = uids.iter().map(|uid| user(uid, generation)).collect();
        self.maybe.extend(users.iter().map(|u| (u.uid.clone(), u.clone())));
        self.done(|store| store.load(users).map(drop))
    }

    fn erase(&mut self, uid: &str) -> Result<()> {
        self.maybe.remove(uid);
        self.done(|store| store.erase(&[uid], Duration::ZERO, &Progress::default()).map(drop))
    }

    fn done(&mut self, operation: impl FnOnce(&Store) -> Result<()>) -> Result<()> {
        operation(&self.store)?;
        self.sure = self.maybe.clone();
        Ok(())
    }
}

fn content(store: &Store) -> Model {
    store.snapshot().users(UidRange::all()).map(|u| u.unwrap()).map(|u| (u.uid.clone(), u)).collect()
}

fn names(dir: &Path, needle: &str) -> usize {
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
    files.filter(|f| std::fs::read(f).unwrap().windows(needle.len()).any(|w| w == needle.as_bytes())).count()
}

/// Runs `scenario` again and again, each time broken off one step later, and looks at what the next open finds.
fn at_every_step(options: Options, scenario: impl Fn(&mut Run) -> Result<()>) -> Vec<&'static str> {
    for after in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        plan(None);
        let mut run = Run::new(&path, options);
        plan(Some(after));
        let outcome = scenario(&mut run);
        let steps = seen();
        plan(None);
        if outcome.is_ok() {
            assert!(steps.len() <= after, "a step failed and nobody noticed");
        }
        let (sure, maybe) = (run.sure, run.maybe);
        drop(run.store);
        let step = steps.last().copied().unwrap_or_default();
        let read = Store::open_read_only(&path, &options).unwrap();
        let found = content(&read);
        assert!(found == sure || found == maybe, "{step}: {found:?}\nexpected {sure:?}\nor {maybe:?}");
        read.close().unwrap();
        let begun = Manifest::read(&path, false).unwrap().erasing;
        let store = Store::open(&path, &options).unwrap();
        assert_eq!(content(&store), found, "{step}");
        let recovery = store.recovery().cloned().unwrap_or_default();
        let (there, gone): (Vec<_>, Vec<_>) = begun.into_iter().partition(|uid| found.contains_key(uid));
        assert_eq!((recovery.erased, recovery.not_erased), (gone.len(), there), "{step}");
        let report = store.verify(&Progress::default(), &mut |damage| panic!("{step}: {damage}")).unwrap();
        assert_eq!(report.damages, 0);
        // Before anything else is written, which could take away what an erasure has left.
        if !found.contains_key("victim") {
            assert_eq!(names(&path, "victim"), 0, "{step}");
        }
        let mut batch = Batch::new();
        batch.put(user("afterwards", 0));
        store.commit(batch).unwrap();
        store.close().unwrap();
        let left: Vec<_> = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|n| !n.to_string_lossy().starts_with("delta-")), "{step}: {left:?}");
        if outcome.is_ok() {
            return steps;
        }
    }
    unreachable!("a scenario has an end")
}

fn small() -> Options {
    Options { delta_changes: 2, maintenance: false, ..Options::default() }
}

#[test]
fn the_generation_switch() {
    let steps = at_every_step(small(), |run| {
        for i in 0..7 {
            run.put(&format!("u{}", i % 4), i)?;
        }
        Ok(())
    });
    for step in [
        "generation: create",
        "commit: logged",
        "commit: synced",
        "switch 1: created",
        "switch 2: named",
        "switch 3: routed",
        "flush 4: written",
        "flush 4: renamed",
        "flush 5: published",
        "flush 6: deleted",
        "manifest: before",
        "manifest: after",
    ] {
        assert!(steps.contains(&step), "{step} was never reached: {steps:?}");
    }
}

#[test]
fn a_load() {
    let steps = at_every_step(small(), |run| {
        run.put("a", 0)?;
        run.load(&["a", "b", "c"], 1)?;
        run.put("b", 2)?;
        run.load(&["b", "d"], 3)
    });
    for step in ["load 1: synced", "load 2: flushed", "load 3: renamed", "load 4: published"] {
        assert!(steps.contains(&step), "{step} was never reached: {steps:?}");
    }
}

#[test]
fn a_compaction() {
    let steps = at_every_step(small(), |run| {
        for i in 0..9 {
            run.put(&format!("u{}", i % 5), i)?;
        }
        run.done(|store| store.compact(Compaction::Tiered, &Progress::default()).map(drop))?;
        run.put("u1", 100)?;
        run.done(|store| store.compact(Compaction::Full, &Progress::default()).map(drop))
    });
    for step in ["compaction 1: written", "compaction 1: renamed", "compaction 2: published", "compaction 3: retired"] {
        assert!(steps.contains(&step), "{step} was never reached: {steps:?}");
    }
}

#[test]
fn an_erasure() {
    let steps = at_every_step(small(), |run| {
        run.load(&["a", "victim", "z"], 0)?;
        run.put("victim", 1)?;
        run.put("b", 1)?;
        run.erase("victim")?;
        assert_eq!(names(run.store.path(), "victim"), 0);
        run.put("a", 3)
    });
    for step in ["erase 1: written", "erase 2: purged"] {
        assert!(steps.contains(&step), "{step} was never reached: {steps:?}");
    }
}

#[test]
fn a_close() {
    at_every_step(small(), |run| {
        run.put("a", 0)?;
        run.done(Store::settle)
    });
}

#[test]
fn a_store_that_failed_takes_no_more_writes_and_names_the_first_cause() {
    let dir = tempfile::tempdir().unwrap();
    plan(None);
    let mut run = Run::new(&dir.path().join("s"), small());
    run.put("a", 0).unwrap();
    plan(Some(0));
    assert!(run.put("b", 0).is_err());
    plan(None);
    for _ in 0..2 {
        match run.put("c", 0) {
            Err(crate::Error::Poisoned { cause, .. }) => assert!(cause.contains("commit: logged"), "{cause}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(run.store.compact(Compaction::Full, &Progress::default()).is_err());
    assert!(run.store.load([User::new("d")]).is_err());
    assert_eq!(run.store.get("a").unwrap().unwrap().uid, "a");
    assert!(run.store.get("b").unwrap().is_none());
    assert!(run.store.close().is_err());
}
