//! What a log gives back, whatever is in its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use headcount_block::{UidRange, User};

use super::entries::{Place, entries};
use super::read::{latest, scan};
use super::scan::Shown;
use super::*;
use crate::{Batch, Options, Store, salvage};

/// A copy of the log in `path`, with `db` as its file.
fn copied(path: &Path, to: &Path, db: &[u8]) {
    files::remove_tree(to).unwrap();
    fs::create_dir(to).unwrap();
    fs::copy(path.join("conf"), to.join("conf")).unwrap();
    fs::write(to.join(DB), db).unwrap();
}

/// What our reader finds in a log, and what sled does in a copy of it.
fn compared(path: &Path) -> usize {
    let (dir, file) = (tempfile::tempdir().unwrap(), File::open(path.join(DB)).unwrap());
    let to = dir.path().join("copy");
    copied(path, &to, &fs::read(path.join(DB)).unwrap());
    let theirs: BTreeMap<Vec<u8>, Vec<u8>> =
        open(&to).unwrap().iter().map(|entry| entry.unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
    let value = |place: Place| {
        let mut value = vec![0; place.len];
        file.read_exact_at(&mut value, place.offset).unwrap();
        value
    };
    let ours: BTreeMap<Vec<u8>, Vec<u8>> =
        entries(&file).unwrap().into_iter().map(|(key, place)| (key.to_vec(), value(place))).collect();
    assert!(ours.keys().eq(theirs.keys()), "{} entries, sled has {}", ours.len(), theirs.len());
    assert!(ours == theirs);
    ours.len()
}

#[test]
fn a_database_that_another_thread_still_holds_is_closed_when_it_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::create(dir.path(), 1).unwrap();
    let path = log.path.clone();
    let held = log.db.clone();
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        drop(held);
    });
    drop(log);
    open(&path).unwrap();
    thread.join().unwrap();
}

/// sled gives its errors out in copies, of which the text is what `Debug` writes.
#[test]
fn an_error_that_sled_repeats_says_what_the_system_said() {
    let full = || io::Error::from_raw_os_error(28);
    let path = Path::new("s/delta-1");
    let (first, said) = (of_sled(full()), full().to_string());
    for error in [first.clone(), first.clone().clone(), first] {
        let error = guarded(path, || Err::<(), _>(error.clone())).unwrap_err();
        let Error::Io { source, .. } = &error else { panic!("{error}") };
        assert_eq!((source.kind(), source.to_string()), (io::ErrorKind::StorageFull, said.clone()));
        assert_eq!(error.to_string(), format!("cannot write the log in s/delta-1: {said}"));
    }
    let other = of_sled(io::Error::other("of its own"));
    assert!(guarded(path, || Err::<(), _>(other)).unwrap_err().to_string().ends_with(": of its own"));
}

/// What sled makes in there has the modes that it likes.
#[test]
fn nobody_else_looks_into_a_log() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let log = Log::create(dir.path(), 1).unwrap();
    assert_eq!(fs::metadata(&log.path).unwrap().permissions().mode() & 0o777, 0o700);
}

/// A record of about so many bytes.
fn group(seq: u64, bytes: usize) -> Record {
    // What each UID takes besides itself.
    const HEAD: usize = 12;
    let (mut changes, mut rest) = (Vec::new(), bytes + HEAD);
    while rest > HEAD {
        let len = (rest - HEAD).min(1000);
        // What is left has to be enough for another one.
        let len = if (1..=HEAD).contains(&(rest - HEAD - len)) { len - HEAD } else { len };
        changes.push(Logged::Deleted(vec![b'u'; len]));
        rest -= HEAD + len;
    }
    Record { seq, time_ms: 1 << 40, sums: [[0; 10]; 2], changes }
}

/// sled wrote leaves over 128 KiB to files of their own, which nobody fsynced: a power cut lost commits that had been
/// durable long before.
#[test]
fn everything_is_in_the_one_file_that_is_fsynced() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::create(dir.path(), 1).unwrap();
    // Values as long as they get, short ones, and groups of several values.
    let sizes = [CHUNK - 300, 10, 3 * CHUNK, CHUNK - 300, 8_000, 20 * CHUNK];
    let groups: Vec<Record> = (1..).zip(sizes.into_iter().cycle().take(240)).map(|(s, b)| group(s, b)).collect();
    let blobs = || fs::read_dir(path_of(dir.path(), 1).join("blobs")).unwrap().count();
    for record in &groups {
        log.append(std::slice::from_ref(record)).unwrap();
        log.sync().unwrap();
        assert_eq!(blobs(), 0, "at seq {}", record.seq);
    }
    for seq in 241..400 {
        log.append(&[group(seq, CHUNK - 300)]).unwrap();
    }
    log.close().unwrap();
    assert_eq!(blobs(), 0);
    let mut found = Vec::new();
    let path = path_of(dir.path(), 1);
    let mut scanned = BTreeMap::new();
    super::groups(&path, &mut |records| drop(scanned.insert(records[0].seq, records))).unwrap();
    assert_eq!(latest(&path).unwrap().unwrap().1, 399);
    let last = read(&path, 1, true, &mut |record| {
        found.push(record);
        Ok(())
    });
    assert_eq!(last.unwrap(), 399);
    assert!(found[..240] == groups);
    assert!(compared(&path) > 1_000);
    assert!(scanned.iter().all(|(seq, group)| *group == found[*seq as usize - 1..*seq as usize]));
    assert!(scanned.len() == 399, "salvage finds them all");
    // Beyond damage the bytes alone are left, of groups of several values their beginning.
    let (mut begun, mut whole) = (BTreeSet::new(), BTreeSet::new());
    scan(&path, &mut |_, shown| {
        begun.extend(shown.first_seq());
        whole.extend(shown.first_seq().filter(|_| matches!(shown, Shown::Whole(_))));
    })
    .unwrap();
    let len = |record: &Record| record.changes.iter().map(|change| change.parts().0.len() + 12).sum::<usize>();
    assert!(found.iter().filter(|record| len(record) < CHUNK).all(|record| whole.contains(&record.seq)));
    assert!(begun.into_iter().eq(1..=399), "the file shows every group that its messages show");
}

/// sled writes over a segment whose pages it has written elsewhere, which is not on disk before an fsync: a power cut among
/// buffered commits took those that were durable long before. Here all that was written since is lost but one segment.
#[test]
fn what_is_durable_is_not_written_over_before_the_next_fsync() {
    let heads = |file: &File| -> Vec<[u8; 20]> {
        let offsets = (0..file.metadata().unwrap().len()).step_by(SEGMENT);
        let mut head = [0; 20];
        offsets.map_while(|at| file.read_exact_at(&mut head, at).ok().map(|()| head)).collect()
    };
    let mut written_over = 0;
    for (bytes, count) in [(3 * CHUNK, 120), (8_000, 3_600)] {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(dir.path(), 1).unwrap();
        let (path, there) = (path_of(dir.path(), 1), dir.path().join("copy"));
        log.append(&[group(1, bytes)]).unwrap();
        log.sync().unwrap();
        let file = File::open(path.join(DB)).unwrap();
        // What the disk has for sure, and how far that goes.
        let (mut durable, mut known, mut last) = (fs::read(path.join(DB)).unwrap(), heads(&file), 1);
        for seq in 2..count {
            let before = log.pending.load(Relaxed);
            log.append(&[group(seq, bytes)]).unwrap();
            let now = heads(&file);
            for (i, _) in known.iter().zip(&now).enumerate().filter(|(_, (old, new))| old != new) {
                let (all, at) = (fs::read(path.join(DB)).unwrap(), i * SEGMENT);
                let mut bytes = durable.clone();
                bytes[at..].iter_mut().zip(&all[at..]).take(SEGMENT).for_each(|(old, new)| *old = *new);
                copied(&path, &there, &bytes);
                let found = read(&there, 1, false, &mut |_| Ok(())).unwrap();
                assert!(found >= last, "of {last} commits that were durable {found} are left at seq {seq}");
                written_over += 1;
            }
            known = now;
            if log.pending.load(Relaxed) <= before {
                (durable, last) = (fs::read(path.join(DB)).unwrap(), seq - 1);
            }
        }
    }
    assert!(written_over > 0, "no segment was used again");
}

/// sled took the damage for the end of the log: all commits after it were gone, and nobody was told.
#[test]
fn damage_in_the_middle_of_a_log_is_not_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::create(dir.path(), 1).unwrap();
    for seq in 1..=9 {
        log.append(&[group(seq, 400)]).unwrap();
        log.sync().unwrap();
    }
    log.close().unwrap();
    let (path, db) = (path_of(dir.path(), 1), path_of(dir.path(), 1).join(DB));
    let whole = fs::read(&db).unwrap();
    let mut starts = Vec::new();
    scan(&path, &mut |offset, shown| {
        starts.push((offset as usize, shown.first_seq().unwrap()));
    })
    .unwrap();
    let there = dir.path().join("copy");
    let broken = |at: usize, synced: bool| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        copied(&path, &there, &bytes);
        read(&there, 1, synced, &mut |_| Ok(()))
    };
    for (at, seq) in starts {
        match (seq, broken(at + 100, true)) {
            // What a crash leaves of a group that nobody was told of looks the same.
            (9, last) => assert_eq!(last.unwrap(), 8),
            (_, Err(Error::Damage(damage))) => {
                assert_eq!(damage.found, "a commit with seq 9");
                assert_eq!(damage.file, there.join(DB));
            }
            (_, other) => panic!("{seq}: {other:?}"),
        }
        assert_eq!(broken(at + 100, false).unwrap(), seq - 1, "buffered groups are lost in any order");
    }
}

/// sled zeroed what lies behind damage as it opened the log, before we had compared: the first open told of it, and the
/// second one had no commit after it, and used their seqs again.
#[test]
fn damage_is_found_again_by_every_open_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (from, there, to) = (dir.path().join("s"), dir.path().join("there"), dir.path().join("new"));
    let options = Options { maintenance: false, ..Options::default() };
    let store = Store::create(&from, &options).unwrap();
    for n in 1..=4 {
        let mut batch = Batch::new();
        batch.put(User::new(format!("u{n}")).with_identity("p", "x".repeat(30 * n)));
        store.commit(batch).unwrap();
    }
    drop(store);
    let (log, db) = (path_of(&from, 1), fs::read(path_of(&from, 1).join(DB)).unwrap());
    let end = entries::tests::end(&File::open(log.join(DB)).unwrap());
    let manifest = fs::read(from.join("MANIFEST")).unwrap();
    let mut refused = 0;
    for at in (0..end).step_by(9) {
        let _ = (fs::remove_dir_all(&there), fs::remove_dir_all(&to));
        fs::create_dir(&there).unwrap();
        fs::write(there.join("MANIFEST"), &manifest).unwrap();
        let mut bytes = db.clone();
        bytes[at] ^= 1 << (at % 8);
        copied(&log, &path_of(&there, 1), &bytes);
        let salvaged = |to: &Path| {
            let report = salvage(&there, to, &Arc::default()).unwrap();
            fs::remove_dir_all(to).unwrap();
            report
        };
        let before = salvaged(&to);
        let opened: Vec<_> = (0..2).map(|_| Store::open(&there, &options).map(|store| store.stats().totals)).collect();
        match opened.as_slice() {
            [Err(first), Err(second)] => {
                refused += 1;
                assert_eq!(first.to_string(), second.to_string());
                assert!(fs::read(path_of(&there, 1).join(DB)).unwrap() == bytes, "byte {at}: the log was written to");
                assert!(salvaged(&to) == before && !before.is_whole(), "byte {at}");
            }
            // In the last group it looks like a crash.
            [Ok(first), Ok(second)] => {
                assert!(first == second && first.users() >= 3, "byte {at}: {first:?}, {second:?}")
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
    assert!(refused > end / 18, "{refused} of {end}");
}

/// Adds records to generation 1 of the store in `dir` as they are, behind the back of whoever checks them.
fn forge(dir: &Path, groups: &[Vec<Record>]) {
    let path = path_of(dir, 1);
    let (db, file) = (open(&path).unwrap(), File::open(path.join(DB)).unwrap());
    let (pending, largest) = (AtomicU64::new(0), AtomicU64::new(0));
    let log = Log { number: 1, path, db: Some(db), file, pending, largest };
    groups.iter().for_each(|group| log.append(group).unwrap());
    log.sync().unwrap();
    log.close().unwrap();
}

fn record(seq: u64, change: Logged) -> Record {
    Record { changes: vec![change], ..group(seq, 0) }
}

fn row(uid: &[u8], identities: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(u16::try_from(uid.len()).unwrap().to_le_bytes());
    out.extend(u16::try_from(identities.len()).unwrap().to_le_bytes());
    for (provider, provider_uid) in identities {
        out.push(u8::try_from(provider.len()).unwrap());
        out.extend(u16::try_from(provider_uid.len()).unwrap().to_le_bytes());
    }
    out.extend(uid);
    identities.iter().for_each(|(provider, provider_uid)| out.extend([*provider, *provider_uid].concat()));
    out
}

/// Rows and UIDs beyond the limits went from the log into stores, or kept one from opening without a word of where they
/// stand, or ended its salvage.
#[test]
fn what_no_commit_can_have_written_is_damage_and_a_loss() {
    let long = vec![b'x'; 4096];
    let many: Vec<[u8; 2]> = (0..1100_u16).map(u16::to_be_bytes).map(|[a, b]| [a + b'a', b]).collect();
    let long_identities: Vec<(&[u8], &[u8])> = many.iter().map(|p| (&p[..1], &long[..])).collect();
    let twice: [(&[u8], &[u8]); 2] = [(b"p", b"1"), (b"p", b"1")];
    let bad = [
        Logged::Row(row(b"\xff", &[])),
        Logged::Row(row(b"a\0", &[])),
        Logged::Row(row(b"a", &[(b"\xff", b"1")])),
        Logged::Row(row(b"a", &twice)),
        Logged::Row(row(b"a", &long_identities)),
        Logged::Row([&row(b"a", &[])[..], b"x"].concat()),
        Logged::Row(Vec::new()),
        Logged::Deleted(vec![b'x'; 1025]),
        Logged::Deleted(vec![0xff]),
        Logged::Deleted(vec![0]),
        Logged::Deleted(Vec::new()),
    ];
    let good =
        |seq| record(seq, Logged::Row(row(format!("u{seq}").as_bytes(), &[(b"p", format!("{seq}").as_bytes())])));
    for (n, (bad, gap)) in bad.iter().flat_map(|bad| [(bad, false), (bad, true)]).enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("s"), dir.path().join("new"));
        let options = Options { maintenance: false, ..Options::default() };
        let store = Store::create(&from, &options).unwrap();
        let mut batch = Batch::new();
        batch.put(User::new("u1"));
        store.commit(batch).unwrap();
        drop(store);
        // A group of the log that is whole but stands behind a gap is is what the file shows and a reader does not go on to.
        let at = if gap { 4 } else { 3 };
        forge(&from, &[vec![good(2)], vec![good(at), record(at + 1, bad.clone()), good(at + 2)], vec![good(at + 3)]]);
        let report = salvage(&from, &to, &Arc::default()).unwrap();
        assert!(!report.is_whole(), "{n}");
        let store = Store::open_read_only(&to, &options).unwrap();
        let found: Vec<String> = store.snapshot().users(UidRange::all()).map(|user| user.unwrap().uid).collect();
        let expected = [1, 2, at, at + 2, at + 3].map(|seq| format!("u{seq}"));
        assert!(found == expected, "{n}: {found:?}");
        for opened in [Store::open_read_only(&from, &options), Store::open(&from, &options)] {
            let Error::Damage(damage) = opened.unwrap_err() else { panic!("{n}") };
            assert!(damage.file.starts_with(path_of(&from, 1)), "{damage}");
            assert!(gap || damage.what.contains("seq 4"), "{damage}");
        }
    }
}

/// sled asked for a table of as many pages as one message said that there are, and the process ended; or it followed pages
/// that point at each other, for ever.
#[test]
fn messages_that_sled_never_wrote_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::create(dir.path(), 1).unwrap();
    for seq in 1..=3_000 {
        log.append(&[group(seq, 30)]).unwrap();
    }
    log.close().unwrap();
    let (path, db) = (path_of(dir.path(), 1), path_of(dir.path(), 1).join(DB));
    assert_eq!(compared(&path), 3_000);
    let (there, whole) = (dir.path().join("copy"), fs::read(&db).unwrap());
    let end = entries::tests::end(&File::open(&db).unwrap());
    let with = |message: &[u8]| {
        copied(&path, &there, &[&whole[..end], message].concat());
        read(&there, 1, true, &mut |_| Ok(()))
    };
    let message = entries::tests::message;
    assert_eq!(with(&[]).unwrap(), 3_000);
    assert_eq!(with(&message(4, 0, 0, &[])[..9]).unwrap(), 3_000, "half a message is the end");
    for kind in 0..=12 {
        for page in [1, u64::MAX] {
            for body in [&[][..], &[2, 1], &[1; 40], &[0, 0, 0, 9, 1, 1], &[255; 60]] {
                assert_eq!(with(&message(kind, 0, page, body)).unwrap(), 3_000, "{kind} {page} {body:?}");
            }
        }
    }
    // An insert counts, as does a page that comes before it, if they are of this segment.
    let entry = |seq: u64, key: &[u8]| {
        let group = codec().serialize(&[group(seq, 30)][..]).unwrap();
        let head = [
            &[FORMAT, 1, 0, 0, 0][..],
            &u32::try_from(group.len()).unwrap().to_le_bytes(),
            &checksum(&group).to_le_bytes(),
        ];
        let value = [&head.concat()[..], &group].concat();
        (key.to_vec(), value)
    };
    let text = |bytes: &[u8]| [&entries::tests::long(bytes.len())[..], bytes].concat();
    let link = |(key, value): (Vec<u8>, Vec<u8>)| [vec![0], text(&key), text(&value)].concat();
    assert_eq!(with(&message(10, 0, 1 << 40, &link(entry(3_001, &key(3_001, 0))))).unwrap(), 3_001);
    assert_eq!(with(&message(10, 1, 1 << 40, &link(entry(3_001, &key(3_001, 0))))).unwrap(), 3_000);
    let page = |shared: u8, entries: &[(Vec<u8>, Vec<u8>)]| {
        let (keys, values) = (entries.iter().flat_map(|e| text(&e.0)), entries.iter().flat_map(|e| text(&e.1)));
        let lo = text(&key(3_001, 0));
        let body = [vec![0, 0, 0, shared], lo, vec![0, 0, u8::try_from(entries.len()).unwrap()]].concat();
        body.into_iter().chain(keys).chain(values).collect::<Vec<u8>>()
    };
    let (first, second) = (entry(3_001, &key(3_001, 0)[7..]), entry(3_002, &key(3_002, 0)[7..]));
    let node = message(8, 0, 1 << 40, &page(7, &[first.clone(), second.clone()]));
    assert_eq!(with(&node).unwrap(), 3_002);
    let begun = message(8, 0, 1 << 40, &page(7, std::slice::from_ref(&first)));
    assert_eq!(with(&[begun, message(10, 0, 1 << 40, &link(second))].concat()).unwrap(), 3_002);
    // Of a page that is not there nobody knows what its keys begin with: such an insert was never acknowledged.
    assert_eq!(with(&message(10, 0, 1 << 40, &link(first))).unwrap(), 3_000);
}

/// What lies in a log's directory beside its file is sled's own, and is not looked at: links to the directory itself were
/// followed, and pipes were waited for.
#[test]
fn a_log_is_one_file_and_that_is_a_regular_one() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::create(dir.path(), 1).unwrap();
    log.append(&[group(1, 30)]).unwrap();
    log.close().unwrap();
    let path = path_of(dir.path(), 1);
    let pipe =
        |name: &str| assert!(std::process::Command::new("mkfifo").arg(path.join(name)).status().unwrap().success());
    std::os::unix::fs::symlink(".", path.join("a")).unwrap();
    fs::remove_file(path.join("conf")).unwrap();
    ["conf", "snap.0", "snap.0.generating"].into_iter().for_each(pipe);
    let before = files::entries(&path).unwrap();
    let whole = fs::read(path.join(DB)).unwrap();
    assert_eq!(read(&path, 1, true, &mut |_| Ok(())).unwrap(), 1);
    assert_eq!((files::entries(&path).unwrap(), fs::read(path.join(DB)).unwrap()), (before, whole), "it only reads");
    fs::remove_file(path.join(DB)).unwrap();
    let missing = read(&path, 1, true, &mut |_| Ok(()));
    assert!(matches!(missing, Err(Error::Damage(damage)) if damage.file == path.join(DB)));
    pipe(DB);
    let waited_for = read(&path, 1, true, &mut |_| Ok(()));
    assert!(matches!(waited_for, Err(Error::Damage(damage)) if damage.file == path.join(DB)));
}
