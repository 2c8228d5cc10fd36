//! Logs whose messages have right checksums and say anything.
//!
//! How sled writes them is told in `crates/store/src/delta/entries.rs`.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use headcount_block::{Progress, UidRange, User, checksum};
use headcount_store::{Batch, Error, Options, Store, salvage};

use crate::records::agrees;
use crate::stores::{left_open, use_open};

/// Changes that are carried out at most.
const CHANGES: usize = 32;
/// Bytes of nothing behind the messages.
const TAIL: usize = 64 << 10;
/// Bytes of a segment's header.
const HEAD: usize = 20;
/// Messages have these kinds; the first one is what fills up.
const KINDS: u8 = 12;

/// A store that was not closed: its files, the log among them, and that as messages.
struct Patient {
    files: Vec<(PathBuf, Vec<u8>)>,
    log: PathBuf,
    head: Vec<u8>,
    messages: Vec<Message>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    kind: u8,
    segment: u64,
    page: u64,
    body: Vec<u8>,
}

/// A number as sled writes it, and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    Some(match first {
        0..=240 => (u64::from(first), rest),
        241..=248 => (240 + 256 * (u64::from(first) - 241) + u64::from(*rest.first()?), &rest[1..]),
        249 => (2288 + 256 * u64::from(*rest.first()?) + u64::from(*rest.get(1)?), &rest[2..]),
        _ => {
            let (low, rest) = rest.split_at_checked(usize::from(first) - 247)?;
            (low.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest)
        }
    })
}

/// The longest form of a number, which sled reads as well as its own.
fn put_number(number: u64, to: &mut Vec<u8>) {
    if number <= 240 {
        to.push(number as u8);
    } else {
        to.push(255);
        to.extend(number.to_le_bytes());
    }
}

/// sled keeps the complement.
fn sum(bytes: &[u8]) -> [u8; 4] {
    (!u32::try_from(checksum(bytes)).expect("32 bits")).to_le_bytes()
}

impl Message {
    /// The message that `bytes` begin with, and what follows it; `None` where sled takes it for none.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (stated, covered) = bytes.split_first_chunk::<4>()?;
        let (&kind, rest) = covered.split_first()?;
        let (len, rest) = number(rest)?;
        let (segment, rest) = number(rest)?;
        let (page, rest) = number(rest)?;
        let head = &covered[..covered.len() - rest.len()];
        let (body, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        let is_whole = kind > 0 && sum(&[body, head].concat()) == *stated;
        is_whole.then(|| (Self { kind, segment, page, body: body.to_vec() }, rest))
    }

    fn write(&self, to: &mut Vec<u8>) {
        let mut head = vec![self.kind];
        for part in [self.body.len() as u64, self.segment, self.page] {
            put_number(part, &mut head);
        }
        to.extend(sum(&[&self.body[..], &head].concat()));
        to.extend(&head);
        to.extend(&self.body);
    }
}

fn patient() -> &'static Patient {
    static PATIENT: OnceLock<Patient> = OnceLock::new();
    PATIENT.get_or_init(|| {
        let user = |n: u32| User::new(format!("u{n:02}")).with_identity("site", format!("{n}"));
        let (_dir, path) = left_open(|store| {
            store.load((0..20).map(user)).expect("valid users");
            // As many values as have sled make a new page.
            for n in 0..24 {
                let mut batch = Batch::new();
                batch.put(user(n).with_identity("long", "\u{fc}".repeat(1 + n as usize)));
                batch.delete(format!("u{:02}", n + 1));
                store.commit(batch).expect("a commit");
            }
            // A group of two values.
            let mut batch = Batch::new();
            for n in 0..18 {
                batch.put(user(n + 50).with_identity("long", format!("{n:02}").repeat(2_000)));
            }
            store.commit(batch).expect("a commit");
        });
        let mut files = Vec::new();
        collect(&path, &path, &mut files);
        let is_log = |path: &Path| path.file_name().is_some_and(|name| name == "db");
        let at = files.iter().position(|(path, _)| is_log(path)).expect("a log");
        let (log, bytes) = files.remove(at);
        let mut messages = Vec::new();
        let mut rest = &bytes[HEAD..];
        while let Some((message, more)) = Message::read(rest) {
            messages.push(message);
            rest = more;
        }
        assert!(messages.len() > 25 && rest.iter().all(|byte| *byte == 0), "{} messages", messages.len());
        let patient = Patient { files, log, head: bytes[..HEAD].to_vec(), messages };
        let (_dir, path) = patient.write(&patient.head, &patient.messages);
        let store = Store::open_read_only(&path, &Options::default()).expect("a log that nothing was done to");
        assert!(store.snapshot().get_user("u67").expect("a whole store").is_some(), "the last group is read");
        patient
    })
}

fn collect(store: &Path, dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(store, &path, files);
        } else {
            files.push((path.strip_prefix(store).expect("below it").to_owned(), fs::read(&path).expect("a file")));
        }
    }
}

impl Patient {
    /// A store with these messages in its log.
    fn write(&self, head: &[u8], messages: &[Message]) -> (tempfile::TempDir, PathBuf) {
        let mut log = [&sum(&head[4..]), &head[4..]].concat();
        messages.iter().for_each(|message| message.write(&mut log));
        // Zeros up to the end of the segment, of which some do as well.
        log.resize(log.len() + TAIL, 0);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("store");
        for (name, bytes) in self.files.iter().chain(&[(self.log.clone(), log)]) {
            let path = path.join(name);
            fs::create_dir_all(path.parent().expect("below the store")).expect("a directory");
            fs::write(path, bytes).expect("a file");
        }
        (dir, path)
    }
}

/// Does to the messages what `change` says: what, to which one, where, and by how much.
fn tell(head: &mut [u8], messages: &mut Vec<Message>, change: [u8; 6]) {
    let [what, which, a, b, c, by] = change;
    let count = messages.len();
    // The last ones are those that count.
    let index = count.wrapping_sub(1 + usize::from(which));
    let Some(message) = messages.get_mut(index) else { return };
    let place = usize::from(u16::from_le_bytes([a, b]));
    let some_number = u64::from(a) + if b & 1 == 1 { 1 << (c % 64) } else { 0 };
    match what % 13 {
        0 => message.kind = 1 + by % (KINDS - 1),
        1 => message.segment = some_number,
        2 => message.page = some_number,
        3 => message.body.truncate(place),
        4 => message.body.extend(std::iter::repeat_n(c, usize::from(by) << 4)),
        5 => {
            let from = place.min(message.body.len());
            let to = (from + usize::from(by % 16)).min(message.body.len());
            let mut written = Vec::new();
            put_number(1_u64.checked_shl(u32::from(c)).unwrap_or(0).wrapping_sub(u64::from(by >> 4)), &mut written);
            message.body.splice(from..to, written);
        }
        6 => drop(messages.remove(index)),
        7 => {
            let copy = message.clone();
            messages.insert(place % count, copy);
        }
        8 => messages.swap(index, place % count),
        9 => head[4 + usize::from(a % 16)] ^= by,
        _ if !message.body.is_empty() => {
            let at = place % message.body.len();
            message.body[at] = message.body[at].wrapping_add(by);
        }
        _ => {}
    }
}

/// Opens, recovers or salvages a store whose log's messages were changed as `data` says.
///
/// # Panics
/// When the store's answers contradict each other, or those from before and after a recovery; when what a recovery or a
/// salvage made is damaged.
pub fn retold(data: &[u8]) {
    let Some((flags, changes)) = data.split_first() else { return };
    let patient = patient();
    let (mut head, mut messages) = (patient.head.clone(), patient.messages.clone());
    for change in changes.as_chunks::<6>().0.iter().take(CHANGES) {
        tell(&mut head, &mut messages, *change);
    }
    let (dir, path) = patient.write(&head, &messages);
    let read = Store::open_read_only(&path, &Options::default());
    let users = |store: &Store| -> Vec<User> {
        store.snapshot().users(UidRange::all()).map(|user| user.expect("rows of a log were checked")).collect()
    };
    let seen = read.ok().map(|store| {
        use_open(&store, &[], true);
        agrees(&store);
        let _ = store.snapshot().changes_since(0, &mut |_| ControlFlow::Continue(()));
        users(&store)
    });
    let whole = |store: &Store| {
        let checked = store.verify(&Progress::default(), &mut |damage| eprintln!("{damage}")).expect("it is verified");
        assert_eq!(checked.damages, 0);
    };
    if flags & 1 == 1 {
        let to = dir.path().join("to");
        match salvage(&path, &to, &Arc::new(Progress::default())) {
            Ok(report) => {
                let store = Store::open(&to, &Options::default()).expect("what was salvaged opens");
                assert_eq!(users(&store).len() as u64, report.users);
                whole(&store);
            }
            Err(error) => assert!(!to.exists(), "something is left after {error}"),
        }
    }
    if flags & 2 == 2 {
        match Store::open(&path, &Options { maintenance: false, ..Options::default() }) {
            Ok(store) => {
                let recovered = users(&store);
                assert!(seen.is_none_or(|seen| seen == recovered), "a recovery finds others than a reader");
                whole(&store);
                store.close().expect("it closes");
                let store = Store::open_read_only(&path, &Options::default()).expect("what was closed opens");
                assert!(users(&store) == recovered, "a close has changed users");
                whole(&store);
            }
            Err(error) => assert!(!matches!(error, Error::Panicked(_)), "{error}"),
        }
    }
}
