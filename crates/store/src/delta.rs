//! The log of a delta: one generation, in sled. The only file that knows sled, and records in bincode.
//!
//! What sled 0.34 is and is not trusted with:
//! - Its `flush` does not fsync on Linux (`sync_file_range` is no barrier), so every acknowledged group is followed by an
//!   fdatasync of our own handle of its file, and the files and directories of a new database are fsynced once.
//! - What is longer than a quarter of a segment it keeps in a file of its own, without any fsync, even where it only
//!   writes again what was durable. Segments are so long that a full leaf of our longest values is never that.
//! - It writes pages anew elsewhere, and then writes over the segment that had them, as soon as its `flush` has passed, which is
//!   no fsync: a power cut could take what was durable with what was not. So what lies between two fsyncs is less than a segment.
//! - A generation is written in one life of the process, insert-only.
//! - Its drop panics after an I/O error: [`Log::close`] takes the database apart where that cannot reach the caller.
//! - It believes what it reads, takes damage for the end of its log, and writes to what it opens. So it opens none that is there already:
//!   `delta/read.rs` reads the file.
//! - Its threads may hold the file, written to and locked, for a moment after the drop: closing waits for them.
//!
//! A group of commits is one insert batch. Keys are the group's first seq and a chunk number, big-endian; values are at
//! most 64 KiB: the chunk, and in front of it format, number of chunks, length of the group and checksum of it.

mod check;
mod entries;
mod read;
mod scan;

use std::fs::{File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use bincode::Options as _;
use headcount_block::{Damage, RowRef, checksum};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
pub(crate) use read::{groups, read};

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
/// How often sled writes a value, at most: as an insert, in its page as that fills up and is split, and once more as a segment
/// of which little is left is emptied.
const WRITTEN: u64 = 5;
/// Values that a page has at most, each of which is written so often.
const PAGE: u64 = 17;
/// The file of a sled database that holds the data.
const DB: &str = "db";

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
    /// Bytes that sled may have written since the last fsync.
    pending: AtomicU64,
    /// Bytes of the longest value so far: of such ones the pages may be that are written anew.
    largest: AtomicU64,
}

impl Log {
    /// Creates generation `number` below `dir`, empty, and durable but for its name there, which is left to the caller.
    pub(crate) fn create(dir: &Path, number: u64) -> Result<Self> {
        let path = path_of(dir, number);
        files::create_dir(&path)?;
        let db = open(&path)?;
        match settle(&db, &path) {
            Ok(file) => {
                Ok(Self { number, path, db: Some(db), file, pending: AtomicU64::new(0), largest: AtomicU64::new(0) })
            }
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
        self.make_room(&values)?;
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

    /// Makes what was added durable before `values` could have sled fill a segment: until then it writes over none that it
    /// has left since. Of a long group it writes over none before all of it is there.
    fn make_room(&self, values: &[([u8; 12], Vec<u8>)]) -> Result<()> {
        let longest = values.iter().map(|(_, value)| value.len() as u64).max().unwrap_or_default();
        let largest = longest.max(self.largest.fetch_max(longest, Relaxed));
        let written = values.iter().map(|(_, value)| value.len() as u64 * WRITTEN + largest).sum::<u64>();
        // Half, since nobody promises us what sled does.
        let most = (SEGMENT as u64).saturating_sub(largest * PAGE * (WRITTEN - 1)) / 2;
        let pending = self.pending.load(Relaxed);
        if pending > 0 && pending + written > most {
            self.sync()?;
        }
        self.pending.fetch_add(written, Relaxed);
        Ok(())
    }

    /// Makes everything durable that was added.
    pub(crate) fn sync(&self) -> Result<()> {
        let Some(db) = &self.db else { return Err(closed(&self.path)) };
        // What is added meanwhile counts already.
        self.pending.store(0, Relaxed);
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

/// As sled gives it out.
#[cfg(test)]
const fn of_sled(error: io::Error) -> sled::Error {
    sled::Error::Io(error)
}

/// Runs a call into sled; errors and panics, some of which it uses for I/O errors, become ours.
fn guarded<T>(path: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(e))) => Err(Error::io("write the log in", path, of_the_system(e))),
        Ok(Err(other)) => Err(damage(path, 0, "log", "a whole sled database", other.to_string())),
        Err(_) => Err(Error::io("write the log in", path, io::Error::other("sled gave up, see its message"))),
    }
}

/// What the system said. sled repeats an error as a text with its `Debug` form: `Os { code: 28, kind: …, message: … }`.
fn of_the_system(error: io::Error) -> io::Error {
    let text = error.get_ref().map(ToString::to_string).unwrap_or_default();
    let code = text.split_once("Os { code: ").and_then(|(_, rest)| rest.split_once(',')?.0.parse().ok());
    code.map_or(error, io::Error::from_raw_os_error)
}

fn damage(file: &Path, offset: u64, what: &str, expected: &str, found: String) -> Error {
    let (what, expected) = (what.to_owned(), expected.to_owned());
    Error::Damage(Box::new(Damage { file: file.to_path_buf(), offset, what, expected, found, uids: None }))
}

/// Makes the file of the generation in `path` durable, which another process wrote.
pub(crate) fn sync(path: &Path) -> Result<()> {
    let db = path.join(DB);
    files::open_file(&db).and_then(|file| file.sync_all()).map_err(|e| Error::io("fsync", &db, e))
}

/// The records of a group.
fn decode(group: &[u8]) -> bincode::Result<Vec<Record>> {
    codec().deserialize(group)
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
