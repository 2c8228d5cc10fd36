//! What a log gives back, whatever is in its files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headcount_block::{UidRange, User};

use super::*;
use crate::{Batch, Options, Store, salvage};

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
    assert_eq!(blobs(), 0);
    assert!(scanned.iter().all(|(seq, group)| *group == found[*seq as usize - 1..*seq as usize]));
    // What sled has written anew stands without its key: of longer groups the file then shows the beginning alone.
    let len = |record: &Record| record.changes.iter().map(|change| change.parts().0.len() + 12).sum::<usize>();
    let short = |record: &&Record| len(record) < CHUNK;
    assert!(found.iter().filter(short).all(|record| scanned.contains_key(&record.seq)));
    let mut begun = BTreeSet::new();
    let mut begins = |bytes: &[u8]| begun.extend(first_seq(bytes));
    scan(&path, &mut |_, shown| match shown {
        Shown::Whole(bytes) | Shown::Begun(bytes) => begins(bytes),
    })
    .unwrap();
    assert!(begun.into_iter().eq(1..=399), "the file shows every group that sled shows");
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
        let (Shown::Whole(bytes) | Shown::Begun(bytes)) = shown;
        starts.push((offset as usize, first_seq(bytes).unwrap()));
    })
    .unwrap();
    let there = dir.path().join("copy");
    let broken = |at: usize, synced: bool| {
        files::remove_tree(&there).unwrap();
        copy(&path, &there).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(there.join(DB), bytes).unwrap();
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

/// Adds records to generation 1 of the store in `dir` as they are, behind the back of whoever checks them.
fn forge(dir: &Path, groups: &[Vec<Record>]) {
    let path = path_of(dir, 1);
    let (db, file) = (open(&path).unwrap(), File::open(path.join(DB)).unwrap());
    let log = Log { number: 1, path, db: Some(db), file };
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
        // A group of the log that is whole but stands behind a gap is what the file shows and sled does not.
        let at = if gap { 4 } else { 3 };
        forge(&from, &[vec![good(2)], vec![good(at), record(at + 1, bad.clone()), good(at + 2)], vec![good(at + 3)]]);
        let report = salvage(&from, &to, &Arc::default()).unwrap();
        assert!(!report.is_whole(), "{n}");
        let store = Store::open_read_only(&to, &options).unwrap();
        let found: Vec<String> = store.snapshot().users(UidRange::all()).map(|user| user.unwrap().uid).collect();
        // Of groups of several values the file shows the beginning alone, and sled what stands before the bad record.
        let long = bad.parts().1.is_some_and(|row| row.len() > CHUNK);
        let there = |seq: &u64| !long || *seq != at + 2 && (*seq != at || !gap);
        let expected = [1, 2, at, at + 2, at + 3].into_iter().filter(there).map(|seq| format!("u{seq}"));
        assert!(found.iter().cloned().eq(expected), "{n}: {found:?}");
        for opened in [Store::open_read_only(&from, &options), Store::open(&from, &options)] {
            let Error::Damage(damage) = opened.unwrap_err() else { panic!("{n}") };
            assert!(damage.file.starts_with(path_of(&from, 1)), "{damage}");
            assert!(gap || damage.what.contains("seq 4"), "{damage}");
        }
    }
}

/// sled asked for a table of as many pages as one message said that there are: the process ended.
#[test]
fn a_message_of_more_pages_than_the_log_has_room_for_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::create(dir.path(), 1).unwrap();
    for seq in 1..=3_000 {
        log.append(&[group(seq, 30)]).unwrap();
    }
    log.close().unwrap();
    let (path, db) = (path_of(dir.path(), 1), path_of(dir.path(), 1).join(DB));
    let (messages, bytes, page, end) = pages::tests::measure(&File::open(&db).unwrap());
    assert!(messages > 3_000 && page > 100, "{messages} messages, {page} pages");
    assert!(bytes / page > 4 * 128, "{bytes} bytes, {page} pages");
    let (there, whole) = (dir.path().join("copy"), fs::read(&db).unwrap());
    let with = |message: &[u8]| {
        files::remove_tree(&there).unwrap();
        copy(&path, &there).unwrap();
        let mut bytes = whole.clone();
        bytes.truncate(usize::try_from(end).unwrap());
        bytes.extend(message);
        fs::write(there.join(DB), bytes).unwrap();
        read(&there, 1, true, &mut |_| Ok(()))
    };
    assert_eq!(with(&[]).unwrap(), 3_000);
    assert_eq!(with(&pages::tests::message(4, 0, page, &[])[..9]).unwrap(), 3_000, "half a message is the end");
    let torn = [&[1], &pages::tests::message(8, 0, 1 << 33, b"x")[1..]].concat();
    assert_eq!(with(&torn).unwrap(), 3_000, "one with another checksum too");
    for (kind, page) in [(8, 1 << 33), (4, 1 << 40), (8, u64::MAX), (9, 5)] {
        let Error::Damage(damage) = with(&pages::tests::message(kind, 0, page, &[0; 8])).unwrap_err() else { panic!() };
        assert_eq!((damage.offset, &damage.file), (end, &there.join(DB)), "{damage}");
        assert!(damage.found.starts_with(&format!("page {page}")), "{damage}");
    }
}

/// Links to the directory itself were followed forty levels deep, and a pipe was waited for.
#[test]
fn a_generation_is_its_own_files_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::create(dir.path(), 1).unwrap();
    log.append(&[group(1, 30)]).unwrap();
    log.close().unwrap();
    let (path, there) = (path_of(dir.path(), 1), dir.path().join("copy"));
    let pipe =
        |name: &str| assert!(std::process::Command::new("mkfifo").arg(path.join(name)).status().unwrap().success());
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, path.join(name)).unwrap();
    link(".", "a");
    link(".", "b");
    pipe("c");
    copy(&path, &there).unwrap();
    let mut names: Vec<_> = files::entries(&there).unwrap();
    names.sort();
    assert_eq!(names, [there.join("conf"), there.join(DB)]);
    assert_eq!(read(&there, 1, true, &mut |_| Ok(())).unwrap(), 1);
    // sled itself would open some of them.
    let refused = |names: &[&str]| {
        let Error::Damage(damage) = read(&path, 1, true, &mut |_| Ok(())).unwrap_err() else { panic!() };
        assert!(names.iter().any(|name| damage.file == path.join(name)) && damage.what == "file of a log", "{damage}");
        fs::remove_file(&damage.file).unwrap();
    };
    (0..3).for_each(|_| refused(&["a", "b", "c"]));
    for name in ["conf", DB] {
        let _ = fs::rename(path.join(name), dir.path().join("kept"));
        link("../kept", name);
        files::remove_tree(&there).unwrap();
        assert!(matches!(copy(&path, &there), Err(Error::Damage(damage)) if damage.file == path.join(name)));
        refused(&[name]);
        pipe(name);
        files::remove_tree(&there).unwrap();
        assert!(matches!(copy(&path, &there), Err(Error::Damage(damage)) if damage.file == path.join(name)));
        refused(&[name]);
        fs::rename(dir.path().join("kept"), path.join(name)).unwrap();
    }
    assert_eq!(read(&path, 1, true, &mut |_| Ok(())).unwrap(), 1);
}
