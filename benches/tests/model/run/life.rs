//! What befalls a whole store: erasure, backup, reopening, and being copied while it is written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headcount_block::User;
use headcount_store::{Error, Store};

use super::{GAP, Kept, Run, quiet};
use crate::model::state::{Changes, Op, State, batch_of};

impl Run<'_> {
    pub(super) fn erase(&mut self) {
        let mut uids: Vec<String> = (0..=self.dice.below(3)).map(|_| self.known_uid()).collect();
        uids.sort();
        uids.dedup();
        self.note(format_args!("erase {uids:?} beside {} snapshots", self.kept.len()));
        let names: Vec<&str> = uids.iter().map(String::as_str).collect();
        let known: Vec<String> = uids.iter().filter(|uid| self.state.seqs.contains_key(*uid)).cloned().collect();
        let live: Changes =
            known.iter().filter(|u| self.state.users.contains_key(*u)).map(|u| (u.clone(), None)).collect();
        // Who is forgotten may still stand in files that snapshots hold.
        let named =
            |uid: &String| known.contains(uid) || files_that_name(&self.path, uid).iter().any(|p| is_segment(p));
        let begun: Vec<String> = uids.iter().filter(|uid| named(uid)).cloned().collect();
        // Without snapshots nothing but a passing look of another thread is waited for.
        let bases = self.loading.iter().map(|begun| &begun.base);
        let holders: Vec<u64> = self.kept.iter().map(|k| &k.state).chain(bases).map(|s| s.seq).collect();
        let wait = Duration::from_millis(if holders.is_empty() { 600_000 } else { 20 });
        let outcome = self.store().erase(&names, wait, &quiet());
        self.undurable.clear();
        if !live.is_empty() {
            self.state.commit(live);
        }
        known.iter().for_each(|uid| self.state.erase(uid));
        self.erasing.extend(begun);
        let floor = self.store().stats().changes_floor;
        erased_before(&mut self.state, &self.erasing, floor);
        match outcome {
            Ok(report) => {
                self.erasing.clear();
                assert_eq!(report.seq, self.state.seq);
                let unknown = uids.iter().filter(|uid| !known.contains(uid));
                assert!(report.not_found.iter().all(|uid| uids.contains(uid)), "{report:?}");
                assert!(unknown.count() >= report.not_found.len(), "{report:?}");
                for uid in &uids {
                    let named = files_that_name(&self.path, uid);
                    assert!(named.is_empty(), "{uid:?} is erased and named by {named:?}");
                }
            }
            Err(Error::Pinned { oldest }) => {
                assert!(holders.contains(&oldest), "pinned by a snapshot at {oldest}, there are {holders:?}");
            }
            Err(other) => panic!("erase {uids:?}: {other:?}"),
        }
    }

    pub(super) fn backup(&mut self) {
        let at = self.dice.below(self.kept.len() + 1);
        self.note(format_args!("backup of snapshot {at}"));
        let dest = self.dir.path().join("copy");
        let (report, state) = match self.kept.get(at) {
            Some(kept) => (kept.snapshot.backup(&dest, &quiet()).unwrap(), kept.state.clone()),
            None => (self.store().backup(&dest, &quiet()).unwrap(), self.state.clone()),
        };
        assert_eq!((report.seq, report.users), (state.seq, state.users.len() as u64));
        let copy = Store::open_read_only(&dest, &self.config.options).unwrap();
        self.compare(&Kept { snapshot: copy.snapshot(), state: state.clone() });
        copy.close().unwrap();
        self.elsewhere(&dest, state, true, &[]);
    }

    /// Opens another store for writing, compares it, changes it and removes it.
    pub(super) fn elsewhere(&mut self, path: &Path, mut state: State, renewed: bool, erasing: &[String]) {
        let copy = Store::open(path, &self.config.options).unwrap();
        assert_eq!(copy.recovery().is_some_and(|r| r.new_incarnation), renewed);
        let same = copy.stats().origin.incarnation == self.store().stats().origin.incarnation;
        assert_eq!(same, !renewed, "incarnation");
        if renewed {
            state.seq += GAP;
            state.floor = state.seq;
        }
        erased_before(&mut state, erasing, copy.stats().changes_floor);
        self.compare(&Kept { snapshot: copy.snapshot(), state: state.clone() });
        let ops = [Op::Delete(self.known_uid()), Op::Put(User::new("elsewhere"))];
        let changes = state.apply(&ops).unwrap();
        assert_eq!(copy.commit(batch_of(&ops)).unwrap().seq, state.seq + 1);
        state.commit(changes);
        self.compare(&Kept { snapshot: copy.snapshot(), state: state.clone() });
        copy.close().unwrap();
        fs::remove_dir_all(path).unwrap();
    }

    /// Closes the store, or lets go of it as a crash would, reads it, and opens it again.
    pub(super) fn reopen(&mut self, close: bool) {
        self.abandon();
        self.note(if close { "close" } else { "drop" });
        let origin = self.store().stats().origin;
        let store = self.store.take().unwrap();
        if close {
            store.close().unwrap();
            self.unsynced = false;
        } else {
            drop(store);
        }
        self.undurable.clear();
        if self.dice.one_in(2) {
            let readers = [(); 2].map(|()| Store::open_read_only(&self.path, &self.config.options).unwrap());
            assert!(matches!(Store::open(&self.path, &self.config.options), Err(Error::Locked { .. })));
            assert!(matches!(readers[0].commit(batch_of(&[])), Err(Error::ReadOnly { .. })));
            for reader in readers {
                let state = self.state.clone();
                assert_eq!(reader.stats().origin.incarnation, origin.incarnation);
                self.compare(&Kept { snapshot: reader.snapshot(), state });
                reader.close().unwrap();
            }
        }
        let store = Store::open(&self.path, &self.config.options).unwrap();
        let renewed = store.recovery().is_some_and(|r| r.new_incarnation);
        assert_eq!(renewed, self.unsynced, "a new incarnation where commits may have been lost, and only there");
        assert_eq!(store.stats().origin.incarnation == origin.incarnation, !renewed);
        if renewed {
            self.state.seq += GAP;
            self.state.floor = self.state.seq;
        }
        self.unsynced = false;
        erased_before(&mut self.state, &std::mem::take(&mut self.erasing), store.stats().changes_floor);
        self.store = Some(store);
        self.glance();
    }

    /// Copies the files of the store at work: what `kill -9` would leave. All that was durable is in the copy, and of the
    /// rest a beginning.
    pub(super) fn copy(&mut self) {
        self.note("copy as it is");
        let dest = self.dir.path().join("killed");
        loop {
            let manifest = fs::read(self.path.join("MANIFEST")).unwrap();
            let whole = copy_tree(&self.path, &dest);
            if whole.is_ok() && fs::read(self.path.join("MANIFEST")).unwrap() == manifest {
                break;
            }
            // Maintenance was at it.
            fs::remove_dir_all(&dest).unwrap();
        }
        let reader = Store::open_read_only(&dest, &self.config.options).unwrap();
        let found = reader.stats().origin.seq;
        let mut state = self.state.clone();
        let mut undurable = self.undurable.clone();
        while state.seq > found {
            state.undo(undurable.pop().unwrap_or_else(|| panic!("durable commits are lost from seq {found} on")));
        }
        self.compare(&Kept { snapshot: reader.snapshot(), state: state.clone() });
        reader.close().unwrap();
        self.elsewhere(&dest, state, self.unsynced, &self.erasing.clone());
    }
}

/// Copies a directory with all that is in it.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Earlier erasures that were begun have been completed. Who came back since stays; of who came back and was deleted again,
/// nothing does. `floor` is what the store says.
fn erased_before(state: &mut State, erasing: &[String], floor: u64) {
    for uid in erasing.iter().filter(|uid| !state.users.contains_key(*uid)).cloned().collect::<Vec<_>>() {
        state.erase(&uid);
    }
    if !erasing.is_empty() {
        // Deletions of who came back again may have been forgotten.
        assert!((state.floor..=state.seq).contains(&floor), "{} {floor} {}", state.floor, state.seq);
        state.floor = floor;
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "seg")
}

/// Files below `dir` that hold the bytes of `text`.
fn files_that_name(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_that_name(&path, text));
        } else if let Ok(bytes) = fs::read(&path)
            // A log has eight mebibytes, nearly all of them zeros.
            && memchr::memmem::find(&bytes, text.as_bytes()).is_some()
        {
            found.push(path);
        }
    }
    found
}
