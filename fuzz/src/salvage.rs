//! Salvage of damaged stores: what comes out is a form that a user once had, whatever was changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use headcount_block::{Identity, Progress, Status, UidRange, User};
use headcount_store::{Batch, Error, Options, Store, salvage};

use crate::forge;
use crate::stores::left_open;

/// Changes that are carried out at most.
const CHANGES: usize = 64;
/// Bytes that are copied from one place of a file to another.
const SECTOR: usize = 512;

/// The files of a store that was not closed, and what its users were.
struct Patient {
    /// By their path in the store; the log aside.
    files: Vec<(PathBuf, Vec<u8>)>,
    log: Vec<(PathBuf, Vec<u8>)>,
    /// Every form that a user ever had.
    forms: BTreeMap<String, Vec<User>>,
    newest: BTreeMap<String, User>,
}

impl Patient {
    fn commit(&mut self, store: &Store, users: impl Iterator<Item = User>, gone: &[u32]) {
        let mut batch = Batch::new();
        for uid in gone.iter().map(|n| user(*n, 0).uid) {
            self.newest.remove(&uid);
            batch.delete(uid);
        }
        for user in users {
            self.have(&user);
            batch.put(user);
        }
        store.commit(batch).expect("a commit");
    }

    fn have(&mut self, user: &User) {
        self.newest.insert(user.uid.clone(), user.clone());
        self.forms.entry(user.uid.clone()).or_default().push(user.clone());
    }

    /// Whether a user was once this one, but for identities that a newer user has taken.
    fn had(&self, found: &User) -> bool {
        let identities: BTreeSet<&Identity> = found.identities.iter().collect();
        self.forms.get(&found.uid).into_iter().flatten().any(|form| {
            let moves = |identity: &&Identity| identity.provider == "moves" && !identities.contains(identity);
            let kept: Vec<&Identity> = form.identities.iter().filter(|identity| !moves(identity)).collect();
            found.status == form.status && kept.into_iter().eq(&found.identities)
        })
    }
}

fn user(n: u32, generation: u32) -> User {
    let status = if n % 9 == 4 { Status::Pending } else { Status::Registered };
    let user = User::new(format!("u{n:04}")).with_status(status).with_identity("site", format!("{n}/{generation}"));
    match n % 13 {
        // One of them has it at a time.
        0 if generation == n / 13 => user.with_identity("moves", "from user to user"),
        2 => user.with_identity("long", format!("{n} {}", "\u{fc}".repeat(200))),
        _ => user,
    }
}

/// Three segments, of rows, of tombstones, and of both; two manifests, and a log.
fn patient() -> &'static Patient {
    static PATIENT: OnceLock<Patient> = OnceLock::new();
    PATIENT.get_or_init(|| {
        let (files, log, forms, newest) = Default::default();
        let mut patient = Patient { files, log, forms, newest };
        let (_dir, path) = left_open(|store| {
            let load: Vec<User> = (0..400).map(|n| user(n, 0)).collect();
            load.iter().for_each(|user| patient.have(user));
            store.load(load).expect("valid users");
            patient.commit(store, std::iter::empty(), &[20, 300, 0]);
            store.flush().expect("a flush");
            patient.commit(store, (10..40).map(|n| user(n, 1)), &[21]);
            store.flush().expect("a flush");
            patient.commit(store, [26, 27, 20].into_iter().map(|n| user(n, 2)), &[13]);
        });
        collect(&path, &path, &mut patient);
        assert!(patient.files.len() >= 5 && !patient.log.is_empty());
        patient
    })
}

fn collect(store: &Path, dir: &Path, patient: &mut Patient) {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    for path in entries.collect::<BTreeSet<PathBuf>>() {
        if path.is_dir() {
            collect(store, &path, patient);
        } else {
            let (name, bytes) = (path.strip_prefix(store).expect("below the store"), fs::read(&path).expect("a file"));
            let to = if dir == store { &mut patient.files } else { &mut patient.log };
            to.push((name.to_owned(), bytes));
        }
    }
    // The names of segments are random: by their content, which is not, the same input damages the same file.
    patient.files.sort_by_key(|(name, bytes)| (name.extension().is_some(), bytes.len()));
}

fn write(store: &Path, files: &[(PathBuf, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = store.join(name);
        fs::create_dir_all(path.parent().expect("below the store")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }
}

/// Does to one of the files what `change` says: its first byte picks the file and the kind of damage, four a place, and the
/// last one by how much.
fn damage(files: &mut [(PathBuf, Vec<u8>)], change: [u8; 6]) {
    let [what, a, b, c, d, by] = change;
    let number = usize::from(what >> 2) % files.len();
    let Some((_, bytes)) = files.get_mut(number).filter(|(_, bytes)| !bytes.is_empty()) else { return };
    // Half of the places are counted from the end: footers and indexes are small.
    let at = u32::from_le_bytes([a, b, c, d & 0x7f]) as usize % bytes.len();
    let at = if d & 0x80 == 0 { at } else { bytes.len() - 1 - at % 4096.min(bytes.len()) };
    match what & 3 {
        0 | 1 => bytes[at] = bytes[at].wrapping_add(by),
        2 => bytes.truncate(at),
        _ => {
            // What a disk does that writes to, or reads from, another place.
            let from = usize::from(by) * SECTOR % bytes.len();
            let len = SECTOR.min(bytes.len() - from.max(at));
            bytes.copy_within(from..from + len, at);
        }
    }
}

/// Damages the manifests and segments of a store as `data` says, makes their checksums right or leaves them, and salvages it.
///
/// The log stays as it is, or is gone: damage at its end looks like what a crash leaves. The test of bit rot damages it, and
/// so does [`retold`](crate::retold).
///
/// # Panics
/// When a user comes out that never was, the damaged store is changed, or a store that nothing was done to comes out otherwise
/// than whole.
pub fn salvaged(data: &[u8]) {
    let patient = patient();
    let Some((flags, changes)) = data.split_first() else { return };
    let mut files = patient.files.clone();
    for change in changes.as_chunks::<6>().0.iter().take(CHANGES) {
        damage(&mut files, *change);
    }
    let forged = flags & 2 == 2;
    if forged {
        for (name, bytes) in &mut files {
            if name.extension().is_some_and(|name| name == "seg") {
                forge::segment(bytes)
            } else {
                forge::manifest(bytes)
            }
        }
    }
    let has_log = flags & 1 == 1;
    let is_whole = has_log && files == patient.files;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).expect("a directory");
    write(&from, &files);
    if has_log {
        write(&from, &patient.log);
    }
    let report = match salvage(&from, &to, &Arc::new(Progress::default())) {
        Ok(report) => report,
        Err(error) => {
            assert!(!is_whole, "a whole store: {error}");
            assert!(!matches!(error, Error::Io { .. } | Error::Panicked(_)), "{error}");
            assert!(!to.exists(), "something is left after {error}");
            return;
        }
    };
    for (name, bytes) in &files {
        assert!(fs::read(from.join(name)).expect("it is there") == *bytes, "{} was changed", name.display());
    }
    let store = Store::open(&to, &Options::default()).expect("what was salvaged opens");
    let found: Vec<User> = store.snapshot().users(UidRange::all()).map(|user| user.expect("a user")).collect();
    assert_eq!(found.len() as u64, report.users);
    for user in &found {
        assert!(forged || patient.had(user), "nobody was ever {user:?}");
    }
    if is_whole {
        assert!(report.is_whole() && report.identities_left_out == 0, "{report:?}");
        assert!(found.iter().eq(patient.newest.values()), "a whole store comes out otherwise");
    } else if !forged && found.iter().ne(patient.newest.values()) {
        assert!(!report.is_whole(), "something is missing, and nobody is told");
    }
    let checked = store.verify(&Progress::default(), &mut |_| {}).expect("it is verified");
    assert_eq!(checked.damages, 0);
}
