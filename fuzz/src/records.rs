//! Logs whose database and checksums are whole, and whose records are anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use headcount_block::{UidRange, User, checksum};
use headcount_store::{Batch, Options, Store};

use crate::stores::{left_open, use_open};

/// Groups that are written at most.
const GROUPS: usize = 4;
/// Bytes of a key: a seq and the number of a chunk.
const KEY: usize = 12;
/// Bytes in front of a group in its value, and the version that they begin with.
const HEAD: usize = 17;
const FORMAT: u8 = 1;

/// The files of a store that was not closed, without its log; where that lies, and its only group.
struct Patient {
    files: Vec<(PathBuf, Vec<u8>)>,
    log: PathBuf,
    seq: u64,
    group: Vec<u8>,
}

fn database(path: &Path) -> sled::Db {
    let config = sled::Config::new().path(path).segment_size(8 << 20).flush_every_ms(None).use_compression(false);
    config.mode(sled::Mode::HighThroughput).open().expect("a database")
}

fn patient() -> &'static Patient {
    static PATIENT: OnceLock<Patient> = OnceLock::new();
    PATIENT.get_or_init(|| {
        let user = |n: u32| User::new(format!("u{n:02}")).with_identity("site", format!("{n}"));
        let (_dir, path) = left_open(|store| {
            store.load((0..20).map(user)).expect("valid users");
            let mut batch = Batch::new();
            batch.put(user(3).with_identity("long", "\u{fc}".repeat(200)));
            batch.put(user(30).with_status(headcount_block::Status::Pending));
            batch.delete("u07");
            store.commit(batch).expect("a commit");
        });
        let entries = || fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path());
        let is_log = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("delta-"));
        let name = |path: &Path| PathBuf::from(path.file_name().expect("below the store"));
        let file = |path: PathBuf| (name(&path), fs::read(&path).expect("a file"));
        let files = entries().filter(|path| path.is_file()).map(file).collect();
        let log = entries().find(is_log).expect("a log");
        let written = database(&log).iter().map(|item| item.expect("an item")).collect::<Vec<_>>();
        let [(key, value)] = written.as_slice() else { panic!("one small group, not {}", written.len()) };
        let seq = u64::from_be_bytes(*key.first_chunk().expect("a seq"));
        assert_eq!((key.len(), value[0], &value[1..5]), (KEY, FORMAT, &[1, 0, 0, 0][..]));
        Patient { files, log: name(&log), seq, group: value[HEAD..].to_vec() }
    })
}

/// A group's key and value: `[seq, how, length, ...]` and so many bytes, which stand for themselves or, three at a time, for
/// changes of a group that is whole.
fn group(patient: &Patient, data: &mut &[u8]) -> Option<([u8; KEY], Vec<u8>)> {
    let ([seq, how, len], rest) = data.split_first_chunk()?;
    let (given, rest) = rest.split_at(rest.len().min(usize::from(*len)));
    *data = rest;
    let mut bytes = if how & 1 == 0 { given.to_vec() } else { patient.group.clone() };
    if how & 1 == 1 {
        for [a, b, by] in given.as_chunks::<3>().0 {
            let at = usize::from(u16::from_le_bytes([*a, *b])) % bytes.len();
            bytes[at] = bytes[at].wrapping_add(*by);
        }
    }
    let mut key = [0; KEY];
    key[..8].copy_from_slice(&patient.seq.wrapping_add(u64::from(*seq)).to_be_bytes());
    key[KEY - 1] = how >> 1 & 1;
    let mut value = vec![FORMAT];
    value.extend(1_u32.to_le_bytes());
    value.extend(u32::try_from(bytes.len()).expect("few bytes").to_le_bytes());
    value.extend(checksum(&bytes).to_le_bytes());
    value.extend(bytes);
    Some((key, value))
}

/// Opens a store whose log holds the groups that `data` says.
///
/// # Panics
/// When the store's answers contradict each other.
pub fn logged(mut data: &[u8]) {
    let patient = patient();
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in &patient.files {
        fs::write(dir.path().join(name), bytes).expect("a file");
    }
    let log = database(&dir.path().join(&patient.log));
    for _ in 0..GROUPS {
        let Some((key, value)) = group(patient, &mut data) else { break };
        log.insert(key, value).expect("it is written");
    }
    log.flush().expect("it is written");
    drop(log);
    let Ok(store) = Store::open_read_only(dir.path(), &Options::default()) else { return };
    use_open(&store, &[], true);
    agrees(&store);
}

/// That a scan and lookups of a store agree, whatever it holds.
pub(crate) fn agrees(store: &Store) {
    let snapshot = store.snapshot();
    for user in snapshot.users(UidRange::all()) {
        let Ok(user) = user else { break };
        if let Ok(found) = snapshot.get_user(&user.uid) {
            assert_eq!(found.as_ref(), Some(&user), "a scan and a lookup differ");
        }
        for identity in &user.identities {
            if let Ok(Some(owner)) = snapshot.find_user(&identity.provider, &identity.provider_uid) {
                assert!(owner.identities.contains(identity), "{owner:?} does not have {identity:?}");
            }
        }
    }
}
