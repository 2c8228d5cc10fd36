//! A store with something of everything in it, on a disk in memory, and where each part of its files lies.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use headcount_block::{Progress, Status, UidRange, User};
use headcount_export::{Export, Format};
use headcount_store::{Batch, Compaction, Options, Snapshot, Store};

use crate::support::{files, scratch};

pub(crate) type Users = BTreeMap<String, User>;

/// A store of which every file can be changed and put back.
pub(crate) struct Fixture {
    dir: tempfile::TempDir,
    /// Files by their path in the store.
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    /// What the store holds after each commit that is in its log; the last is what it holds now.
    pub(crate) states: Vec<Users>,
    /// The seq that it stands at.
    pub(crate) seq: usize,
    /// Its export, whole.
    pub(crate) export: Vec<u8>,
    /// Every form that a user ever had.
    pub(crate) forms: BTreeMap<String, Vec<User>>,
}

/// A stretch of a file.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub(crate) name: &'static str,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

fn user(i: usize, generation: usize) -> User {
    let mut user = User::new(format!("u{i:05}{}", "-".repeat(i % 17)));
    if i % 9 == 4 {
        user.status = Status::Pending;
    }
    if i % 11 != 3 {
        user = user.with_identity(["site", "facebook", "x\"y"][i % 3], format!("{i}"));
        user = user.with_identity("g", format!("{i}/{generation}"));
    }
    match i % 13 {
        2 => user.with_identity("long", format!("{i} {}", "ü".repeat(150 + i % 400))),
        7 => user.with_identity("escaped", format!("\"{i}\\\t,\u{1}")),
        _ => user,
    }
}

impl Fixture {
    /// Four segments: the oldest of several blocks, one with other seqs for its rows, one of tombstones alone, one of both;
    /// and, with `log`, commits that are in no segment since the store was dropped and not closed.
    pub(crate) fn new(log: bool) -> Self {
        let dir = scratch();
        let path = dir.path().join("s");
        let options = Options { maintenance: false, ..Options::default() };
        let store = Store::create(&path, &options).unwrap();
        let mut this = Self {
            dir,
            files: BTreeMap::new(),
            states: vec![Users::new()],
            seq: 0,
            export: Vec::new(),
            forms: BTreeMap::new(),
        };
        let load: Vec<User> = (0..1100).map(|i| user(i, 0)).collect();
        this.have(&load, &[]);
        store.load(load).unwrap();
        for (from, gone) in [(200, vec![]), (260, vec![5, 6])] {
            this.commit(&store, (from..from + 80).map(|i| user(i, 1)).collect(), &gone);
        }
        store.flush().unwrap();
        this.commit(&store, Vec::new(), &[20, 300]);
        store.flush().unwrap();
        this.commit(&store, vec![user(1200, 0), user(5, 2), user(400, 2)], &[21]);
        store.flush().unwrap();
        this.states.drain(..this.states.len() - 1);
        if log {
            for n in 0..6 {
                this.commit(&store, (n..n + 4).map(|i| user(i * 7, 3)).collect(), &[500 + n]);
            }
            drop(store);
        } else {
            store.close().unwrap();
        }
        this.files = files(&path);
        for file in this.files.keys() {
            let file = path.join(file);
            let bytes = fs::read(&file).unwrap();
            fs::remove_file(&file).unwrap();
            fs::write(&file, bytes).unwrap();
        }
        let store = this.open();
        let held: Users =
            store.snapshot().users(UidRange::all()).map(|u| u.unwrap()).map(|u| (u.uid.clone(), u)).collect();
        assert!(held == *this.truth(), "the fixture is not what it should be");
        assert_eq!(store.stats().segments.len(), 4);
        this.seq = store.stats().origin.seq as usize;
        this.export = export(&store.snapshot()).unwrap();
        this
    }

    fn commit(&mut self, store: &Store, users: Vec<User>, gone: &[usize]) {
        let gone: Vec<String> = gone.iter().map(|i| user(*i, 0).uid).collect();
        self.have(&users, &gone);
        let mut batch = Batch::new();
        for user in users {
            batch.put(user);
        }
        for uid in gone {
            batch.delete(uid);
        }
        store.commit(batch).unwrap();
    }

    fn have(&mut self, users: &[User], gone: &[String]) {
        let mut state = self.truth().clone();
        for user in users {
            state.insert(user.uid.clone(), user.clone());
            self.forms.entry(user.uid.clone()).or_default().push(user.clone());
        }
        gone.iter().for_each(|uid| drop(state.remove(uid)));
        self.states.push(state);
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    /// A place beside the store.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn open(&self) -> Store {
        Store::open_read_only(self.store(), &Options::default()).unwrap()
    }

    /// What the store holds.
    pub(crate) fn truth(&self) -> &Users {
        self.states.last().unwrap()
    }

    /// Writes these bytes in the place of a file's own.
    pub(crate) fn put(&self, file: &Path, bytes: &[u8]) {
        fs::write(self.store().join(file), bytes).unwrap();
    }

    /// Puts a file back as it was.
    pub(crate) fn restore(&self, file: &Path) {
        self.put(file, &self.files[file]);
    }

    /// The directory of the log.
    pub(crate) fn log(&self) -> PathBuf {
        let inside = self.files.keys().find(|f| f.ends_with("db")).unwrap();
        inside.parent().unwrap().to_path_buf()
    }

    /// Where in the file of the log the group begins that was written last: behind what the one before it deleted.
    pub(crate) fn last_group(&self, db: &[u8]) -> usize {
        let before = user(504, 0).uid;
        db.windows(before.len()).rposition(|w| w == before.as_bytes()).unwrap() + before.len()
    }

    /// Segments by path, the largest first.
    pub(crate) fn segments(&self) -> Vec<&PathBuf> {
        let mut all: Vec<&PathBuf> = self.files.keys().filter(|f| f.extension().is_some_and(|e| e == "seg")).collect();
        all.sort_by_key(|f| std::cmp::Reverse(self.files[*f].len()));
        all
    }
}

/// An export of everything as JSON, by two threads.
pub(crate) fn export(snapshot: &Snapshot) -> Result<Vec<u8>, headcount_export::Error> {
    let mut out = Vec::new();
    Export::new(snapshot).format(Format::Json).include_pending(true).threads(2).write_to(&mut out)?;
    Ok(out)
}

fn long(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

/// The parts of a segment, in order and without gaps between them, as `docs/FORMAT.md` has them.
pub(crate) fn regions(bytes: &[u8]) -> Vec<Region> {
    let footer = bytes.len() - 512;
    let section = |i: usize| {
        let at = footer + 96 + 24 * i;
        (long(bytes, at), long(bytes, at + 8))
    };
    let mut parts = vec![("file header", 0, 64)];
    let (pages, _) = section(3);
    let mut at = 64;
    while at + 256 <= pages && bytes[at..].starts_with(b"HCBK") {
        let len = u32::from_le_bytes(bytes[at + 32..at + 36].try_into().unwrap()) as usize;
        parts.push(("block header", at, at + 256));
        parts.push(("block body", at + 256, at + len));
        at += len;
    }
    for (i, name) in [(3, "UID index"), (4, "identity index"), (0, "block index"), (1, "dictionary"), (2, "tombstones")]
    {
        let (from, len) = section(i);
        let step = if i > 2 { 4096 } else { len.max(1) };
        parts.extend((from..from + len).step_by(step).map(|at| (name, at, (at + step).min(from + len))));
    }
    parts.push(("footer", footer, bytes.len()));
    let mut regions: Vec<Region> = Vec::new();
    let mut end = 0;
    for (name, start, to) in parts {
        if start > end {
            regions.push(Region { name: "gap", start: end, end: start });
        }
        regions.push(Region { name, start, end: to });
        end = to;
    }
    regions
}

/// A full compaction of a copy: what a store makes of damage when it rewrites what it holds.
pub(crate) fn compacted(fixture: &Fixture) -> Result<Users, headcount_store::Error> {
    let copy = fixture.beside("copy");
    crate::support::copy(&fixture.store(), &copy);
    let outcome = Store::open(&copy, &Options { maintenance: false, ..Options::default() }).and_then(|store| {
        store.compact(Compaction::Full, &Progress::default())?;
        store.snapshot().users(UidRange::all()).map(|user| user.map(|u| (u.uid.clone(), u))).collect()
    });
    fs::remove_dir_all(&copy).unwrap();
    outcome
}
