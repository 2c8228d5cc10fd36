//! Small stores: loaded, imported into, damaged, and used in every way that reads.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use headcount_block::{Progress, RowBuf, UidRange, User};
use headcount_export::{Export, Format as Out};
use headcount_import::{Format, Import, Input, Mapping};
use headcount_store::{LoadOptions, Options, Place, RowKind, Store};

use crate::forge;

/// Loads `users` through one shard.
///
/// # Errors
/// The store's.
pub fn load(store: &Store, users: &[User], options: LoadOptions) -> Result<(), headcount_store::Error> {
    let load = store.bulk_load(options, &Arc::new(Progress::default()))?;
    let (mut shard, mut row) = (load.shard(), RowBuf::new());
    for (line, user) in (1..).zip(users) {
        shard.push(
            row.encode(user).expect("within the limits"),
            Place { file: 0, line, offset: line },
            RowKind::User,
        )?;
    }
    load.finish(vec![shard], &mut |_| Ok(())).map(|_| ())
}

fn export(store: &Store) -> Vec<u8> {
    let fields = "uid,status,provider,providerUID".parse().expect("known fields");
    let mut out = Vec::new();
    let export = Export::new(&store.snapshot()).format(Out::Ndjson).fields(fields).include_pending(true).threads(1);
    export.write_to(&mut out).expect("a whole store");
    out
}

fn import_into(import: Import<'_>, data: &[u8], skip_rejected: bool) -> bool {
    let options = LoadOptions { memory: 16 << 20, threads: 1, skip_rejected, ..LoadOptions::default() };
    let input = Input::reader("fuzz", Box::new(std::io::Cursor::new(data.to_vec())));
    let rejects: Option<Box<dyn std::io::Write + Send>> = Some(Box::new(std::io::sink()));
    import.input(input).options(options).rejects(rejects.filter(|_| skip_rejected)).run().is_ok()
}

/// Imports `data`, strictly and skipping what is invalid; what was accepted comes out and goes in again unchanged.
pub fn import(data: &[u8], format: Format) {
    import_with(data, &|import| import.format(format));
}

/// The same by a mapping.
pub fn import_by(data: &[u8], mapping: &Mapping) {
    import_with(data, &|import| import.mapping(Some(mapping.clone())));
}

fn import_with(data: &[u8], how: &dyn for<'s> Fn(Import<'s>) -> Import<'s>) {
    for skip in [false, true] {
        let store = Store::temporary().expect("a temporary store");
        if !import_into(how(Import::new(&store)), data, skip) {
            assert_eq!(store.stats().totals.users(), 0, "a failed import loads nothing");
            continue;
        }
        let first = export(&store);
        let again = Store::temporary().expect("a temporary store");
        let own = Import::new(&again).format(Format::Ndjson);
        assert!(import_into(own, &first, false), "our own export is refused");
        assert!(export(&again) == first, "a round trip changed the users");
    }
}

/// A store that was not closed, in the directory, with what `fill` did to it.
pub(crate) fn left_open(fill: impl FnOnce(&Store)) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("store");
    let store = Store::create(&path, &Options { maintenance: false, ..Options::default() }).expect("a store");
    fill(&store);
    drop(store);
    (dir, path)
}

/// A store whose files are damaged over and over.
struct Patient {
    path: PathBuf,
    users: Vec<User>,
    _dir: tempfile::TempDir,
}

fn patient() -> &'static Patient {
    static PATIENT: OnceLock<Patient> = OnceLock::new();
    PATIENT.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("store");
        let store = Store::create(&path, &Options::default()).expect("a store");
        let user = |n: u32| {
            let user = User::new(format!("user{n:04}")).with_identity("facebook", format!("{n}"));
            if n % 7 == 0 { user.with_identity("a,b", format!("\"{n}\"")) } else { user }
        };
        let users: Vec<User> = (0..300).map(user).collect();
        load(&store, &users, LoadOptions { threads: 1, ..LoadOptions::default() }).expect("valid users");
        store.close().expect("a store");
        Patient { path, users, _dir: dir }
    })
}

fn find(dir: &Path, ending: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    entries.sort();
    entries
        .iter()
        .find(|p| p.is_file() && p.to_string_lossy().ends_with(ending))
        .cloned()
        .or_else(|| entries.iter().filter(|p| p.is_dir()).find_map(|p| find(p, ending)))
}

/// Changes the file that ends in `ending` as `data` says (each five bytes: a position and what to change it by; an
/// odd first byte cuts the file off, and the bit above it makes the checksums right), and uses the store.
///
/// # Panics
/// When something wrong is answered; with right checksums it may be.
pub fn mutate(ending: &str, data: &[u8]) {
    let patient = patient();
    let file = find(&patient.path, ending).expect("the store has such a file");
    let whole = fs::read(&file).expect("readable");
    let mut bytes = whole.clone();
    let Some((&kind, changes)) = data.split_first() else { return };
    for change in changes.as_chunks::<5>().0 {
        let [a, b, c, d, by] = *change;
        // Half of the positions are counted from the end: footers and indexes are small.
        let at = u32::from_le_bytes([a, b, c, d & 0x7f]) as usize % bytes.len();
        let at = if d & 0x80 == 0 { at } else { bytes.len() - 1 - at % 4096.min(bytes.len()) };
        bytes[at] = bytes[at].wrapping_add(by);
    }
    if kind & 1 == 1 {
        bytes.truncate(bytes.len() * usize::from(kind) / 256);
    }
    let forged = kind & 2 == 2;
    match ending {
        ".seg" if forged => forge::segment(&mut bytes),
        _ if forged => forge::manifest(&mut bytes),
        _ => {}
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our file");
    fs::write(&file, &bytes).expect("writable");
    if let Ok(store) = Store::open_read_only(&patient.path, &Options::default()) {
        use_open(&store, &patient.users, !forged);
    }
    fs::write(&file, &whole).expect("writable");
}

/// Uses a store in every way that reads. Answers about `users` are errors, or right if they are `honest`.
pub(crate) fn use_open(store: &Store, users: &[User], honest: bool) {
    let snapshot = store.snapshot();
    for user in users {
        if let Ok(found) = snapshot.get_user(&user.uid) {
            // A manifest that names no segment, and is whole, is an empty store: then nobody is there.
            assert!(!honest || found.as_ref().is_none_or(|f| f == user), "a wrong user");
        }
        for identity in &user.identities {
            if let Ok(found) = snapshot.find_user(&identity.provider, &identity.provider_uid) {
                assert!(!honest || found.as_ref().is_none_or(|f| f == user), "a wrong owner");
            }
        }
    }
    let keys: Vec<&str> = users.iter().map(|u| u.uid.as_str()).collect();
    let _ = snapshot.get_many(&keys, |_, _| {});
    let _ = snapshot.scan(&UidRange::all(), |_| ControlFlow::Continue(()));
    let _ = Export::new(&snapshot).threads(1).write_to(&mut std::io::sink());
    let _ = store.verify(&Progress::default(), &mut |_| {});
}
