//! The log of a delta: one generation, in sled. The only file that knows sled, and records in bincode.
//!
//! What sled 0.34 is and is not trusted with:
//! - Its `flush` does not fsync on Linux (`sync_file_range` is no barrier), so every acknowledged group is followed by an
//!   fdatasync of our own handle of its file, and the files and directories of a new database are fsynced once.
//! - What is longer than a quarter of a segment it keeps in a file of its own, without any fsync, even where it only
//!   writes again what was durable. Segments are so long that a full leaf of our longest values is never that.
//! - A generation is written in one life of the process, insert-only, and never cleaned: it gives no space back.
//! - A leftover `snap.*.generating` makes every later open fail, and what a snapshot says it believes: both are removed
//!   first, under our own lock. An open of the log alone finds the same.
//! - It asks for as much memory as a message has it believe (`delta/pages.rs`): that ends the process, and is looked for.
//! - Its drop panics after an I/O error: [`Log::close`] takes the database apart where that cannot reach the caller.
//! - It takes damage in its log for the end of it. What was written is therefore looked for in the file as well.
//! - Its threads may hold the file, written to and locked, for a moment after the drop: closing waits for them.
//!
//! A group of commits is one insert batch. Keys are the group's first seq and a chunk number, big-endian; values are at
//! most 64 KiB: the chunk, and in front of it format, number of chunks, length of the group and checksum of it.

mod check;
mod pages;
mod scan;

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bincode::Options as _;
use headcount_block::{Damage, RowRef, checksum};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use check::Checker;
use pages::Refused;
use scan::{Shown, first_seq};

/// Version of the records.
const FORMAT: u8 = 1;
/// format 1, chunks 4, length of the group 4, checksum 8.
const HEAD: usize = 17;
/// Bytes of a group in one value.
const CHUNK: usize = (64 << 10) - HEAD;
/// Longest group: a reader may refuse to allocate more.
const GROUP_MAX: u64 = 256 << 20;
/// Bytes of pages that sled keeps in memory: what is written is not read again.
const CACHE: u64 = 1 << 20;
/// Longest wait for sled's threads to let go of a database.
const LET_GO: Duration = Duration::from_secs(2);
/// Length of sled's segments. A leaf has at most 17 values before it is split, a little over 1 MiB: less than a quarter.
const SEGMENT: usize = 8 << 20;
/// The file of a sled database that holds the data.
const DB: &str = "db";
/// The file with its settings.
const CONF: &str = "conf";
/// The directory for values that are too long: there are none.
const BLOBS: &str = "blobs";

/// One commit as it is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    /// Counts and length sums to add, wrapping: of registered and of pending users.
    pub(crate) sums: [[u64; 10]; 2],
    pub(crate) changes: Vec<Logged>,
}

/// One user's change as it is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Logged {
    /// The encoded row.
    Row(#[serde(with = "bytes")] Vec<u8>),
    /// The UID of a user that was deleted.
    Deleted(#[serde(with = "bytes")] Vec<u8>),
}

impl Logged {
    /// UID and row.
    pub(crate) fn parts(&self) -> (&[u8], Option<&[u8]>) {
        match self {
            Self::Row(row) => (RowRef::parse(row).map_or(&[][..], |r| r.uid()), Some(row)),
            Self::Deleted(uid) => (uid, None),
        }
    }
}

/// Byte strings as such: serde would take a vector of bytes for a sequence of numbers.
mod bytes {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }

        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// The directory of generation `number` below the store in `dir`.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(files::generation_name(number))
}

/// A generation that is being written.
#[derive(Debug)]
pub(crate) struct Log {
    number: u64,
    path: PathBuf,
    db: Option<sled::Db>,
    file: File,
}

impl Log {
    /// Creates generation `number` below `dir`, empty, and durable but for its name there, which is left to the caller.
    pub(crate) fn create(dir: &Path, number: u64) -> Result<Self> {
        let path = path_of(dir, number);
        files::create_dir(&path)?;
        let db = open(&path)?;
        match settle(&db, &path) {
            Ok(file) => Ok(Self { number, path, db: Some(db), file }),
            Err(error) => {
                // Its drop fsyncs too, and panics when that fails.
                let _ = guarded(&path, || {
                    drop(db);
                    Ok(())
                });
                Err(error)
            }
        }
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Adds a group of commits. It is durable after the next [`sync`](Self::sync).
    pub(crate) fn append(&self, group: &[Record]) -> Result<()> {
        let Some(first) = group.first() else { return Ok(()) };
        let fail = |e: bincode::Error| Error::io("encode a record of", &self.path, io::Error::other(e));
        let bytes = codec().serialize(group).map_err(fail)?;
        let too_large = |found| Error::TooLarge { what: "bytes of a group of commits", max: GROUP_MAX, found };
        let chunks = u32::try_from(bytes.len().div_ceil(CHUNK)).map_err(|_| too_large(u64::MAX))?;
        let len = u32::try_from(bytes.len()).map_err(|_| too_large(bytes.len() as u64))?;
        let sum = checksum(&bytes);
        let mut values = Vec::new();
        for (number, chunk) in (0_u32..).zip(bytes.chunks(CHUNK)) {
            let mut value = Vec::with_capacity(HEAD + chunk.len());
            value.push(FORMAT);
            value.extend_from_slice(&chunks.to_le_bytes());
            value.extend_from_slice(&len.to_le_bytes());
            value.extend_from_slice(&sum.to_le_bytes());
            value.extend_from_slice(chunk);
            values.push((key(first.seq, number), value));
        }
        let Some(db) = &self.db else { return Err(closed(&self.path)) };
        guarded(&self.path, || match values.as_mut_slice() {
            // One value is atomic by itself: a batch would cost a change of threads.
            [(key, value)] => db.insert(&key[..], std::mem::take(value)).map(drop),
            _ => {
                let mut batch = sled::Batch::default();
                values.into_iter().for_each(|(key, value)| batch.insert(&key[..], value));
                db.apply_batch(batch)
            }
        })
    }

    /// Makes everything durable that was added.
    pub(crate) fn sync(&self) -> Result<()> {
        let Some(db) = &self.db else { return Err(closed(&self.path)) };
        flush(db, &self.path)?;
        self.file.sync_data().map_err(|e| Error::io("fsync", &self.path.join(DB), e))
    }

    /// Closes the database; what was not synced may be lost.
    pub(crate) fn close(mut self) -> Result<()> {
        let Some(db) = self.db.take() else { return Ok(()) };
        let_go(db, &self.path, &self.file)
    }

    /// Closes and deletes a log that no manifest names.
    pub(crate) fn remove(self) -> Result<()> {
        let path = self.path.clone();
        self.close()?;
        files::remove_tree(&path)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Nobody can be told here, and what was acknowledged is on disk.
        let _ = self.db.take().map(|db| let_go(db, &self.path, &self.file));
    }
}

fn key(seq: u64, chunk: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&seq.to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}

fn closed(path: &Path) -> Error {
    Error::io("write to", path, io::Error::other("the log is closed"))
}

fn open(path: &Path) -> Result<sled::Db> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE)
        .segment_size(SEGMENT)
        .flush_every_ms(None)
        .use_compression(false)
        .mode(sled::Mode::HighThroughput);
    guarded(path, || config.open())
}

/// Drops a database, and waits until its file, of which `file` is another handle, is not locked any more.
fn let_go(db: sled::Db, path: &Path, file: &File) -> Result<()> {
    guarded(path, || {
        drop(db);
        Ok(())
    })?;
    let deadline = Instant::now() + LET_GO;
    while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    let _ = file.unlock();
    Ok(())
}

/// Makes a new database in `path` durable, and opens its file.
fn settle(db: &sled::Db, path: &Path) -> Result<File> {
    flush(db, path)?;
    for entry in files::entries(path)? {
        if entry.is_dir() {
            files::sync_dir(&entry)?;
        } else {
            files::sync_file(&entry)?;
        }
    }
    files::sync_dir(path)?;
    let file = path.join(DB);
    File::options().read(true).write(true).open(&file).map_err(|e| Error::io("open", &file, e))
}

fn flush(db: &sled::Db, path: &Path) -> Result<()> {
    guarded(path, || db.flush().map(drop))
}

/// Runs a call into sled; errors and panics, some of which it uses for I/O errors, become ours.
fn guarded<T>(path: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(e))) => Err(Error::io("write the log in", path, e)),
        Ok(Err(other)) => Err(damage(path, "log", "a whole sled database", other.to_string())),
        Err(_) => Err(Error::io("write the log in", path, io::Error::other("sled gave up, see its message"))),
    }
}

fn damage(path: &Path, what: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Damage(Box::new(Damage {
        file: path.to_path_buf(),
        offset: 0,
        what: what.to_owned(),
        expected: expected.into(),
        found: found.into(),
        uids: None,
    }))
}

/// Shows the commits of the generation in `path`, which begins at seq `first`, to `each`: an unbroken sequence. A group
/// at the end that is not whole was never acknowledged and is left out. Returns the last seq, `first - 1` when empty.
/// Without a `first` it begins where it does: for salvage.
///
/// `synced`: each group was durable before the next one was written. Then one that lies behind a missing one is damage, and
/// not what a crash leaves.
///
/// sled writes to what it opens. For a store that is open for reading only, copy the directory first.
pub(crate) fn read(
    path: &Path,
    first: impl Into<Option<u64>>,
    synced: bool,
    each: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<u64> {
    let first = first.into();
    for entry in files::entries(path)? {
        expect_kind(&entry, fs::symlink_metadata(&entry))?;
        // A leftover or a snapshot: the file has all that it says, and places beyond the end of it are believed.
        if entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")) {
            files::remove_if_there(&entry)?;
        }
    }
    if !path.join(DB).is_file() {
        return Err(damage(path, "log of the delta", "a sled database", "no file `db`"));
    }
    look(path)?;
    // sled writes to what it opens.
    let latest = if synced { latest(path)? } else { None };
    // sled panics over some damage: that is damage to us, too.
    let last = catch_unwind(AssertUnwindSafe(|| read_open(path, first, each))).unwrap_or_else(|_| {
        Err(damage(path, "log of the delta", "a whole sled database", "one that sled gave up on"))
    })?;
    match latest {
        Some((offset, seq)) if seq > last.saturating_add(1) => Err(Error::Damage(Box::new(Damage {
            file: path.join(DB),
            offset,
            what: "log of the delta (commits before this one are missing)".to_owned(),
            expected: format!("commits up to seq {last} alone"),
            found: format!("a commit with seq {seq}"),
            uids: None,
        }))),
        _ => Ok(last),
    }
}

/// Checks what sled would believe of the file of a log.
fn look(path: &Path) -> Result<()> {
    let file = path.join(DB);
    let looked =
        files::open_file(&file).and_then(|file| pages::look(&file)).map_err(|e| Error::io("read", &file, e))?;
    let Some(Refused { offset, expected, found }) = looked else { return Ok(()) };
    let what = "message of the log".to_owned();
    Err(Error::Damage(Box::new(Damage { file, offset, what, expected, found, uids: None })))
}

/// Greatest seq that a group in the file of a log begins with, and where that lies.
fn latest(path: &Path) -> Result<Option<(u64, u64)>> {
    let mut latest = None;
    scan(path, &mut |offset, shown| {
        let (Shown::Whole(bytes) | Shown::Begun(bytes)) = shown;
        if let Some(found) = first_seq(bytes)
            && latest.is_none_or(|(_, seq)| seq < found)
        {
            latest = Some((offset, found));
        }
    })?;
    Ok(latest)
}

/// Shows the groups of commits that lie in the file of a log, whole, to `each`: in no order, and some more than once. sled
/// has no part in it. Records that no commit can have written are left out.
pub(crate) fn groups(path: &Path, each: &mut dyn FnMut(Vec<Record>)) -> Result<()> {
    let mut checker = Checker::default();
    scan(path, &mut |_, shown| {
        // What has the checksum of a group is one, unless somebody else wrote it.
        if let Shown::Whole(bytes) = shown
            && let Ok(mut records) = codec().deserialize::<Vec<Record>>(bytes)
        {
            records.retain(|record| checker.check(path, record).is_ok());
            each(records);
        }
    })
}

fn scan(path: &Path, each: &mut dyn FnMut(u64, Shown<'_>)) -> Result<()> {
    let name = path.join(DB);
    let file = files::open_file(&name).map_err(|e| Error::io("open", &name, e))?;
    scan::groups(&file, each).map_err(|e| match e.kind() {
        ErrorKind::InvalidData => damage(&name, "log of the delta", "the groups of a log", e.to_string()),
        _ => Error::io("read", &name, e),
    })
}

fn read_open(path: &Path, first: Option<u64>, each: &mut dyn FnMut(Record) -> Result<()>) -> Result<u64> {
    let db = open(path)?;
    let earliest =
        || db.first().ok().flatten().and_then(|(key, _)| key.first_chunk().map(|seq| u64::from_be_bytes(*seq)));
    let first = first.or_else(earliest).unwrap_or(1);
    let name = path.join(DB);
    let file = File::open(&name).map_err(|e| Error::io("open", &name, e))?;
    let mut expected = first;
    let (mut group, mut checker) = (Group::default(), Checker::default());
    let outcome = db.iter().try_for_each(|entry| {
        let (key, value) = entry.map_err(|e| damage(path, "log", "a readable entry", e.to_string()))?;
        let Some(whole) = group.add(path, expected, &key, &value)? else { return Ok(()) };
        let records: Vec<Record> = codec()
            .deserialize(&whole)
            .map_err(|e| damage(path, "record of the log", "a group of commits", e.to_string()))?;
        for record in records {
            if record.seq != expected {
                return Err(damage(path, "seq of a record of the log", expected.to_string(), record.seq.to_string()));
            }
            checker.check(path, &record)?;
            expected = expected.saturating_add(1);
            each(record)?;
        }
        Ok(())
    });
    let_go(db, path, &file)?;
    outcome.map(|()| expected.saturating_sub(1))
}

/// The chunks of one group as they are read.
#[derive(Debug, Default)]
struct Group {
    seq: u64,
    bytes: Vec<u8>,
    next: u32,
}

impl Group {
    /// Takes a chunk; returns the group's bytes when it is the last one.
    fn add(&mut self, path: &Path, expected: u64, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
        let broken = |what: &str| damage(path, what, format!("seq {expected}"), format!("key {key:02x?}"));
        let (seq, number) = key
            .split_first_chunk::<8>()
            .and_then(|(seq, rest)| Some((u64::from_be_bytes(*seq), u32::from_be_bytes(rest.try_into().ok()?))))
            .ok_or_else(|| broken("key of the log"))?;
        let Some((head, chunk)) = value.split_first_chunk::<HEAD>() else { return Err(broken("length of a value")) };
        let word = |at: usize| head.get(at..at + 4).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b));
        let [format, _, _, _, _, _, _, _, _, sum @ ..] = *head;
        let (chunks, len, sum) = (word(1), word(5) as usize, u64::from_le_bytes(sum));
        if format != FORMAT {
            return Err(damage(path, "format of a record of the log", FORMAT.to_string(), format.to_string()));
        }
        if number == 0 {
            (self.seq, self.next) = (seq, 0);
            self.bytes.clear();
        }
        if seq != expected || seq != self.seq || number != self.next {
            return Err(broken("sequence of the log (commits are missing)"));
        }
        self.next += 1;
        self.bytes.extend_from_slice(chunk);
        if self.next < chunks {
            return Ok(None);
        }
        if self.bytes.len() != len || checksum(&self.bytes) != sum {
            return Err(broken("checksum of a group of the log"));
        }
        Ok(Some(std::mem::take(&mut self.bytes)))
    }
}

/// Makes the file of the generation in `path` durable, which another process wrote.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    files::open_file(&path.join(DB)).and_then(|file| file.sync_all())
}

/// Copies the generation in `from` to the new directory `to`: what sled cannot do without.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    files::create_dir(to)?;
    for name in [CONF, DB] {
        let (entry, target) = (from.join(name), to.join(name));
        match fs::symlink_metadata(&entry) {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            found => expect_kind(&entry, found)?,
        }
        fs::copy(&entry, &target).map_err(|e| Error::io("copy", &entry, e))?;
        files::writable(&target)?;
    }
    Ok(())
}

/// Refuses what sled would follow or wait for: everything but files, and the directory that it makes.
fn expect_kind(entry: &Path, found: io::Result<Metadata>) -> Result<()> {
    let found = found.map_err(|e| Error::io("look at", entry, e))?;
    if found.is_file() || found.is_dir() && entry.ends_with(BLOBS) {
        return Ok(());
    }
    Err(damage(entry, "file of a log", "a regular file", "something else"))
}

fn codec() -> impl bincode::Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .with_limit(GROUP_MAX)
        .reject_trailing_bytes()
}

#[cfg(test)]
mod tests;
