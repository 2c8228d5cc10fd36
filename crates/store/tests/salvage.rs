//! Salvage: what is intact comes out, what is not is listed, and nothing comes out that was never there.

#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise and count small things"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headcount_block::{Progress, Status, UidRange, User};
use headcount_store::{Batch, Error, Loss, Options, SalvageReport, SalvagedBy, Store, salvage};

type Users = BTreeMap<String, User>;

/// A store on disk, what it holds, and every form that each user ever had.
struct Fixture {
    dir: tempfile::TempDir,
    truth: Users,
    forms: BTreeMap<String, Vec<User>>,
}

const PROVIDERS: [&str; 3] = ["facebook", "site", "x"];

fn user(i: usize, generation: usize) -> User {
    let mut user = User::new(format!("user-{i:05}"));
    if i % 50 == 1 {
        user.status = Status::Pending;
    }
    // Users without identities, and rows that stand beside the compact ones.
    if i % 10 != 3 {
        user = user.with_identity(PROVIDERS[i % 3], format!("{i}"));
        user = user.with_identity("g", format!("{i}/{generation}"));
    }
    if i % 40 == 7 {
        user = user.with_identity("long", format!("\"{i}\" {}", "x".repeat(300)));
    }
    user
}

impl Fixture {
    /// Three segments (the oldest has several blocks, the newest two tombstones) and a log that was not closed.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut this = Self { dir, truth: Users::new(), forms: BTreeMap::new() };
        let options = Options { maintenance: false, ..Options::default() };
        let store = Store::create(this.store(), &options).unwrap();
        this.load(&store, (0..6000).map(|i| user(i, 0)).collect());
        this.load(&store, (2000..2900).map(|i| user(i, 1)).collect());
        this.commit(&store, (4000..4010).map(|i| user(i, 2)).collect(), &["user-00005", "user-02500"]);
        store.flush().unwrap();
        this.commit(&store, vec![user(10, 3)], &["user-00020"]);
        this.commit(&store, vec![user(2000, 3), user(7000, 0)], &[]);
        drop(store);
        this
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn have(&mut self, users: &[User]) {
        for user in users {
            self.truth.insert(user.uid.clone(), user.clone());
            self.forms.entry(user.uid.clone()).or_default().push(user.clone());
        }
    }

    fn load(&mut self, store: &Store, users: Vec<User>) {
        self.have(&users);
        store.load(users).unwrap();
    }

    fn commit(&mut self, store: &Store, users: Vec<User>, gone: &[&str]) {
        self.have(&users);
        let mut batch = Batch::new();
        for user in users {
            batch.put(user);
        }
        for uid in gone {
            self.truth.remove(*uid);
            batch.delete(*uid);
        }
        store.commit(batch).unwrap();
    }

    /// Segments as the manifest names them, newest first.
    fn segments(&self) -> Vec<PathBuf> {
        let store = Store::open_read_only(self.store(), &Options::default()).unwrap();
        store.stats().segments.iter().map(|s| self.store().join(&s.name)).collect()
    }

    fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Salvages, and checks what holds whatever is damaged: the store is as it was; what came out verifies; every user has
    /// a form that it once had; a user that is missing, older or back is one of those that the report speaks of.
    #[track_caller]
    fn salvage(&self) -> (Users, SalvageReport) {
        let before = content(&self.store());
        let to = self.dir.path().join("new");
        let report = salvage(self.store(), &to, &Arc::new(Progress::default())).unwrap();
        assert!(before == content(&self.store()), "the store was touched");
        let store = Store::open(&to, &Options::default()).unwrap();
        store.verify(&Progress::default(), &mut |damage| panic!("{damage}")).unwrap();
        let users: Users =
            store.snapshot().users(UidRange::all()).map(|u| u.unwrap()).map(|u| (u.uid.clone(), u)).collect();
        assert_eq!(users.len() as u64, report.users);
        let (mut older, mut back) = (0, 0);
        for (uid, found) in &users {
            assert!(self.forms[uid].contains(found), "{uid} never was {found:?}");
            match self.truth.get(uid) {
                Some(user) if user == found => {}
                Some(_) => older += 1,
                None => back += 1,
            }
            if self.truth.get(uid) != Some(found) {
                let told = |l: &Loss| {
                    (if self.truth.contains_key(uid) { l.older } else { l.deleted || l.older }) && covers(l, uid)
                };
                assert!(report.losses.iter().any(told), "nothing is said of {uid}: {report:#?}");
            }
        }
        assert!(older <= report.older, "{older} {report:#?}");
        assert!(report.by != SalvagedBy::Manifest || back <= report.returned + report.older, "{back} {report:#?}");
        for uid in self.truth.keys().filter(|uid| !users.contains_key(*uid)) {
            assert!(report.losses.iter().any(|l| covers(l, uid)), "nothing is said of {uid}: {report:#?}");
        }
        assert_eq!(report.is_whole(), report.losses.is_empty());
        assert!(!report.is_whole() || users == self.truth, "it says that all is there");
        fs::remove_dir_all(&to).unwrap();
        (users, report)
    }
}

/// Whether a loss is about users like this one.
fn covers(loss: &Loss, uid: &str) -> bool {
    loss.damage
        .uids
        .as_ref()
        .is_none_or(|(first, next)| first.as_str() <= uid && (next.is_empty() || uid < next.as_str()))
}

fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn word(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

/// Where a section of the footer begins, and its length: 0 block index, 1 dictionary, 2 tombstones.
fn section(bytes: &[u8], number: usize) -> (usize, usize) {
    let at = bytes.len() - 512 + 96 + 24 * number;
    (word(bytes, at), word(bytes, at + 8))
}

#[test]
fn an_intact_store_comes_out_whole_with_its_log() {
    let fixture = Fixture::new();
    let (users, report) = fixture.salvage();
    assert!(report.is_whole(), "{report:#?}");
    assert_eq!(users, fixture.truth);
    assert_eq!((report.by, report.segments, report.commits), (SalvagedBy::Manifest, 3, 2));
    assert_eq!(report.expected_users, Some(report.users));
    assert_eq!((report.lost, report.older, report.returned, report.identities_left_out), (0, 0, 0, 0));
}

#[test]
fn a_damaged_block_costs_its_users_and_says_which() {
    let fixture = Fixture::new();
    let oldest = fixture.segments().pop().unwrap();
    fixture.change(&oldest, |bytes| bytes[64 + 300] ^= 1);
    let (users, report) = fixture.salvage();
    let [loss] = report.losses.as_slice() else { panic!("{report:#?}") };
    assert_eq!((&loss.damage.file, loss.damage.offset), (&oldest, 64 + 232), "{loss:?}");
    assert_eq!(loss.blocks, Some((0, 0)));
    assert!(loss.damage.uids.as_ref().unwrap().0 == "user-00000", "{loss:?}");
    let missing = fixture.truth.len() - users.len();
    // Five of them have newer forms in the next segment and one in the log, and two were deleted since.
    let newer = 8;
    assert_eq!(loss.users.unwrap() as usize, missing + newer, "{report:#?}");
    assert_eq!((report.lost, report.older), (loss.users.unwrap(), 0));
}

#[test]
fn a_block_of_a_newer_segment_brings_older_forms_back_and_says_so() {
    let fixture = Fixture::new();
    let newer = fixture.segments()[1].clone();
    fixture.change(&newer, |bytes| bytes[64 + 1000] ^= 1);
    let (users, report) = fixture.salvage();
    assert_eq!(users.len(), fixture.truth.len(), "{report:#?}");
    assert_eq!(users["user-02100"], user(2100, 0), "older, but there");
    // Every tenth was not in the block, but nobody can know; 2000 is newer in the log, 2500 deleted.
    assert_eq!((report.lost, report.older), (810, 898), "{report:#?}");
    assert!(report.losses[0].older && !report.losses[0].deleted);
}

#[test]
fn a_damaged_block_index_costs_nothing() {
    let fixture = Fixture::new();
    for segment in fixture.segments() {
        let whole = fs::read(&segment).unwrap();
        let (at, len) = section(&whole, 0);
        for change in [at, at + len / 2, at + len - 1] {
            fixture.change(&segment, |bytes| bytes[change] ^= 1);
            let (users, report) = fixture.salvage();
            assert_eq!(users, fixture.truth, "byte {change}: {report:#?}");
            assert_eq!((report.losses.len(), report.lost, report.older, report.returned), (1, 0, 0, 0), "{report:#?}");
            fixture.change(&segment, |bytes| bytes.clone_from(&whole));
        }
    }
}

/// A section counts by its own checksum, which the footer holds wherever else it is damaged.
#[test]
fn a_flipped_byte_of_a_footer_costs_a_section_at_most() {
    let fixture = Fixture::new();
    let segment = fixture.segments()[1].clone();
    let whole = fs::read(&segment).unwrap();
    let footer = whole.len() - 512;
    for at in (0..512).step_by(43).chain([40, 56, 96, 104, 112, 120, 136, 144, 152, 160]) {
        fixture.change(&segment, |bytes| bytes[footer + at] ^= 0x11);
        let (users, report) = fixture.salvage();
        fixture.change(&segment, |bytes| bytes.clone_from(&whole));
        assert!(!report.is_whole());
        let lost = match at {
            // Which footer it is, where it begins, where the dictionary lies and what its checksum is.
            0..8 | 40..56 | 120..144 => continue,
            _ => fixture.truth.iter().filter(|(uid, user)| users.get(*uid) != Some(*user)).count(),
        };
        assert_eq!(lost, 0, "byte {at}: {report:#?}");
    }
}

#[test]
fn without_the_dictionary_users_come_out_whose_rows_do_not_need_it() {
    let fixture = Fixture::new();
    let oldest = fixture.segments().pop().unwrap();
    let whole = fs::read(&oldest).unwrap();
    let (at, _) = section(&whole, 1);
    fixture.change(&oldest, |bytes| bytes[at + 2] ^= 1);
    let (users, report) = fixture.salvage();
    assert!(users.contains_key("user-00013") && users.contains_key("user-00047"), "bare, and a row of its own");
    assert!(!users.contains_key("user-00014"));
    let unnamed = report.losses.iter().find_map(|l| l.users).unwrap();
    let compact = (0..6000).filter(|i| i % 10 != 3 && i % 40 != 7).count();
    assert_eq!(unnamed as usize, compact);
    assert_eq!(report.lost, unnamed);
    // The same when the footer is gone, with which nobody knows where the dictionary ends.
    fixture.change(&oldest, |bytes| bytes.clone_from(&whole));
    fixture.change(&oldest, |bytes| bytes.truncate(whole.len() - 512));
    let (users, report) = fixture.salvage();
    assert!(users.contains_key("user-00013") && !users.contains_key("user-00014"), "{report:#?}");
    assert_eq!(report.lost, unnamed);
}

#[test]
fn damaged_tombstones_bring_deleted_users_back_and_say_so() {
    let fixture = Fixture::new();
    let newest = fixture.segments().remove(0);
    let (at, len) = section(&fs::read(&newest).unwrap(), 2);
    assert!(len > 0);
    fixture.change(&newest, |bytes| bytes[at + len - 1] ^= 1);
    let (users, report) = fixture.salvage();
    assert_eq!(users.len(), fixture.truth.len() + 2);
    assert!(users.contains_key("user-00005") && users.contains_key("user-02500"));
    assert!(!users.contains_key("user-00020"), "of the log");
    assert!(report.losses.iter().any(|l| l.deleted && l.damage.what == "tombstones checksum"));
    assert!(report.returned >= 2);
}

#[test]
fn a_file_that_is_cut_short_or_missing_costs_what_was_in_it() {
    let fixture = Fixture::new();
    let segment = fixture.segments().pop().unwrap();
    let whole = fs::read(&segment).unwrap();
    for keep in [0, 64, 70_000, 140_000, whole.len() - 600] {
        fixture.change(&segment, |bytes| bytes.truncate(keep));
        let (_, report) = fixture.salvage();
        assert!(!report.is_whole());
        assert_eq!(report.expected_users, Some(fixture.truth.len() as u64));
        fixture.change(&segment, |bytes| bytes.clone_from(&whole));
    }
    fixture.change(&segment, |bytes| bytes.extend_from_slice(&[0; 700]));
    let (users, _) = fixture.salvage();
    assert_eq!(users, fixture.truth, "what follows the footer does not matter");
    fs::remove_file(&segment).unwrap();
    let (users, report) = fixture.salvage();
    assert!(users.len() < 1000 && report.losses[0].damage.file == segment, "{report:#?}");
}

#[test]
fn without_the_manifest_the_files_say_what_there_is() {
    let fixture = Fixture::new();
    let (manifest, previous) = (fixture.store().join("MANIFEST"), fixture.store().join("MANIFEST.prev"));
    fixture.change(&manifest, |bytes| bytes[100] ^= 1);
    let (users, report) = fixture.salvage();
    assert_eq!((users == fixture.truth, report.by), (true, SalvagedBy::Previous), "{report:#?}");
    assert!(!report.is_whole() && report.losses[0].deleted && report.losses[0].damage.file == manifest);
    fs::remove_file(&previous).unwrap();
    let (users, report) = fixture.salvage();
    assert_eq!((users == fixture.truth, report.by), (true, SalvagedBy::Files), "{report:#?}");
    // Then a footer is needed to know how new a segment is; a guess is named as one.
    let segment = fixture.segments_by_name()[0].clone();
    fixture.change(&segment, |bytes| {
        let at = bytes.len() - 8;
        bytes[at] ^= 1;
    });
    let (users, report) = fixture.salvage();
    assert_eq!(users, fixture.truth);
    assert!(report.losses.iter().any(|l| l.older && l.damage.what.starts_with("base seq")), "{report:#?}");
}

impl Fixture {
    fn segments_by_name(&self) -> Vec<PathBuf> {
        content(&self.store()).into_keys().filter(|p| p.extension().is_some_and(|e| e == "seg")).collect()
    }
}

#[test]
fn a_log_that_is_gone_is_told() {
    let fixture = Fixture::new();
    let logs = content(&fixture.store()).into_keys().filter(|p| p.ends_with("db"));
    for db in logs.collect::<Vec<_>>() {
        fs::remove_file(db).unwrap();
    }
    let (users, report) = fixture.salvage();
    assert_eq!(users["user-00010"], user(10, 0));
    assert!(users.contains_key("user-00020") && !users.contains_key("user-07000"));
    assert!(report.losses.iter().any(|l| l.damage.what == "log of the delta" && l.older && l.deleted), "{report:#?}");
    assert_eq!(report.expected_users, None, "nobody knows");
}

/// An identity that moved to another user: when the block of its former owner's newer form is lost, both claim it.
#[test]
fn the_newer_of_two_claims_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("s"), dir.path().join("new"));
    let store = Store::create(&from, &Options { maintenance: false, ..Options::default() }).unwrap();
    let with = |uid: &str, id: &str| User::new(uid).with_identity("p", id);
    store.load([with("b", "1"), with("c", "2")]).unwrap();
    let put = |user: User| {
        let mut batch = Batch::new();
        batch.put(user);
        store.commit(batch).unwrap();
        store.flush().unwrap();
    };
    put(with("b", "3"));
    put(with("a", "1"));
    let middle = store.stats().segments[1].name.clone();
    store.close().unwrap();
    let path = from.join(middle);
    let mut bytes = fs::read(&path).unwrap();
    bytes[64 + 256] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let report = salvage(&from, &to, &Arc::new(Progress::default())).unwrap();
    assert_eq!(
        (report.users, report.identities, report.identities_left_out, report.older),
        (3, 2, 1, 1),
        "{report:#?}"
    );
    let store = Store::open(&to, &Options::default()).unwrap();
    assert_eq!(store.find("p", "1").unwrap().unwrap().uid, "a");
    assert_eq!(store.get("b").unwrap().unwrap().identities.len(), 0);
}

#[test]
fn what_cannot_be_salvaged_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let progress = Arc::new(Progress::default());
    let refused = |from: &str, to: &str| salvage(path(from), path(to), &progress).unwrap_err();
    assert!(matches!(refused("missing", "new"), Error::NotFound { .. }));
    fs::write(path("file"), "x").unwrap();
    assert!(matches!(refused("file", "new"), Error::NotAStore { .. }));
    fs::create_dir(path("empty")).unwrap();
    assert!(matches!(refused("empty", "new"), Error::NotAStore { why, .. } if why.contains("no log")));
    let store = Store::create(path("s"), &Options::default()).unwrap();
    assert!(matches!(refused("s", "new"), Error::Locked { .. }));
    store.close().unwrap();
    assert!(matches!(refused("s", "s"), Error::Exists { .. }));
    assert!(matches!(refused("s", "s/new"), Error::Io { .. }));
    assert!(!path("new").exists() && !path("s/new").exists());
    progress.cancel();
    let fixture = Fixture::new();
    let cancelled = salvage(fixture.store(), path("new"), &progress).unwrap_err();
    assert!(matches!(cancelled, Error::Cancelled), "{cancelled}");
    assert!(!path("new").exists());
}

/// They were left out by their UID alone: what had been acknowledged after the erasure was gone, and no loss.
#[test]
fn who_came_back_after_an_unfinished_erasure_comes_out() {
    for (flushed, manifest) in [(false, true), (true, true), (true, false)] {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("store"), dir.path().join("salvaged"));
        let store = Store::create(&from, &Options { maintenance: false, ..Options::default() }).unwrap();
        store.load(["a", "b", "c"].map(|uid| User::new(uid).with_identity("p", uid))).unwrap();
        let pin = store.snapshot();
        let erased = store.erase(&["a", "b"], Duration::ZERO, &Progress::default());
        assert!(matches!(erased, Err(Error::Pinned { .. })), "{erased:?}");
        let back = User::new("a").with_identity("q", "again");
        let mut batch = Batch::new();
        batch.put(back.clone());
        store.commit(batch).unwrap();
        if flushed {
            store.flush().unwrap();
        }
        drop(store);
        if !manifest {
            // The one before it is read, and all files that are there: that of the snapshot too.
            fs::write(from.join("MANIFEST"), "damaged").unwrap();
        }
        let report = salvage(&from, &to, &Arc::default()).unwrap();
        let salvaged = Store::open(&to, &Options::default()).unwrap();
        let found: Vec<User> = salvaged.snapshot().users(UidRange::all()).map(|user| user.unwrap()).collect();
        assert_eq!(found, [back, User::new("c").with_identity("p", "c")], "{flushed} {manifest} {report:?}");
        let told = report.losses.iter().filter(|loss| loss.damage.what.contains("erasure")).map(|loss| loss.users);
        assert_eq!(told.collect::<Vec<_>>(), if manifest { vec![] } else { vec![Some(1)] });
        assert_eq!(report.is_whole(), manifest, "{:?}", report.losses);
        drop(pin);
    }
}
