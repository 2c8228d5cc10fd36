//! A file of the signed requests that passed: the check against the start of a process does not refuse all of them after a
//! restart, and none where the clock is behind then.
//!
//! Each is one append, before the request is admitted; nothing is fsynced, so that it costs microseconds. It is there
//! after the process has ended in any way, and may be lost when the machine does. What is past goes in time; how late the
//! last of that ended stays.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::method::nonce::memory::{Id, Time};

/// One request that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: Id,
    pub(crate) key: Id,
    pub(crate) time: Time,
}

/// Bytes of a record: nonce, key, first and last second. One without nonce and key stands for all that is not in the file any
/// more, and did not end after its last second.
const RECORD: usize = 48;
/// Seconds after which all that was written before is past: twice the window, and some.
const PAST: u64 = 2 * super::WINDOW + 10;

impl Record {
    fn bytes(&self) -> Vec<u8> {
        let (first, until) = (self.time.first.to_le_bytes(), self.time.until.to_le_bytes());
        [&self.id[..], &self.key[..], &first[..], &until[..]].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (until, _) = rest.split_first_chunk()?;
        let time = Time { first: u64::from_le_bytes(*first), until: u64::from_le_bytes(*until) };
        Some(Self { id: *id, key: *key, time })
    }

    const fn of_forgotten(until: u64) -> Self {
        Self { id: [0; 16], key: [0; 16], time: Time { first: until, until } }
    }

    /// Whether it stands for what is not in the file any more: the hashes of a request are not zero.
    fn is_of_forgotten(&self) -> bool {
        (self.id, self.key) == ([0; 16], [0; 16])
    }
}

#[derive(Debug)]
struct Writing {
    file: File,
    /// Length of whole records.
    len: u64,
    /// Whether a part of one may stand after them.
    torn: bool,
    /// Second in which it was begun.
    begun: u64,
    /// Latest end of what is in it, 0 with nothing, and of what is in the file before.
    ends: [u64; 2],
    /// Latest end of what is in neither.
    forgotten: u64,
    fault: Option<io::Error>,
}

impl Writing {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
        }
        self.torn = true;
        self.file.write_all(bytes)?;
        self.torn = false;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

/// The file, and beside it the one before, with `.old` at its name's end, and an empty one, `.lock`, which is locked.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    writing: Mutex<Writing>,
    _lock: File,
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_path_buf().into_os_string();
    name.push(ending);
    name.into()
}

/// One process at a time writes a journal: two would replace each other's, and let a request pass twice. The lock is on a file
/// of its own, since the others are replaced.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(beside(path, ".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("another process keeps {}", path.display())))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn latest_end<'r>(records: impl IntoIterator<Item = &'r Record>) -> u64 {
    records.into_iter().map(|record| record.time.until).max().unwrap_or_default()
}

/// A new file with `records`, and the end of what was `forgotten`, not at its place yet.
fn create(path: &Path, records: &[Record], forgotten: u64) -> io::Result<(PathBuf, File, u64)> {
    let new = beside(path, ".new");
    // What a crash left is ours, and may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&new)?;
    let forgotten = (forgotten > 0).then(|| Record::of_forgotten(forgotten));
    let bytes: Vec<u8> = forgotten.iter().chain(records).flat_map(Record::bytes).collect();
    file.write_all(&bytes)?;
    Ok((new, file, bytes.len() as u64))
}

impl Journal {
    /// The file at `path`, which need not be there, and what it holds that has not ended before second `now`.
    pub(crate) fn open(path: &Path, now: u64) -> io::Result<(Self, Vec<Record>)> {
        let lock = lock(path)?;
        let mut records = Vec::new();
        let old = beside(path, ".old");
        // What a kill has left beside them has all that they have, or says what was forgotten.
        for path in [&old, path, &beside(path, ".new")] {
            let bytes = match fs::read(path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // A record that a kill has cut was not admitted.
            records.extend(bytes.chunks_exact(RECORD).filter_map(Record::read));
        }
        let gone = records.extract_if(.., |record| record.is_of_forgotten() || record.time.until < now);
        let forgotten = latest_end(&gone.collect::<Vec<_>>());
        let (new, file, len) = create(path, &records, forgotten)?;
        // What was there is replaced: not by something that a power cut may empty.
        file.sync_all()?;
        fs::rename(&new, path)?;
        match fs::remove_file(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let ends = [latest_end(&records), 0];
        let writing = Writing { file, len, torn: false, begun: now, ends, forgotten, fault: None };
        Ok((Self { path: path.to_path_buf(), writing: Mutex::new(writing), _lock: lock }, records))
    }

    /// Writes down what is about to pass. Where that fails, it passes all the same, and [`fault`](Self::fault) says so: a full
    /// disk is no reason to answer nobody.
    pub(crate) fn append(&self, record: &Record) {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writing.append(&record.bytes()) {
            writing.fault = Some(error);
        }
        let [end, _] = &mut writing.ends;
        *end = record.time.until.max(*end);
    }

    /// Latest end of what passed and is not known any more; 0 where that is nothing.
    pub(crate) fn forgotten(&self) -> u64 {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).forgotten
    }

    /// Begins another file once all of the one before is past.
    pub(crate) fn sweep(&self, now: u64) {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let [end, end_of_old] = writing.ends;
        if now.saturating_sub(writing.begun) < PAST || (end == 0 && !writing.torn) {
            return;
        }
        let forgotten = writing.forgotten.max(end_of_old);
        let begun = create(&self.path, &[], forgotten).and_then(|(new, file, len)| {
            match fs::rename(&self.path, beside(&self.path, ".old")) {
                // Somebody has removed it: what comes now is written where a restart reads it.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::rename(&new, &self.path)?;
            Ok((file, len))
        });
        match begun {
            Ok((file, len)) => {
                let (ends, fault) = ([0, end.max(end_of_old)], writing.fault.take());
                *writing = Writing { file, len, torn: false, begun: now, ends, forgotten, fault };
            }
            // What is written goes on to the file that it went to, which is read at either place.
            Err(error) => writing.fault = Some(error),
        }
    }

    /// Why something was not written, since this was asked last.
    pub(crate) fn fault(&self) -> Option<io::Error> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).fault.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8, until: u64) -> Record {
        Record { id: [n; 16], key: [9; 16], time: Time { first: until - 120, until } }
    }

    #[test]
    fn what_was_written_is_there_after_a_restart_until_it_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.nonces");
        let (journal, found) = Journal::open(&path, 1000).unwrap();
        assert!(found.is_empty());
        journal.append(&record(1, 1120));
        journal.append(&record(2, 1240));
        drop(journal);
        // A kill in the middle of a record.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[7; 20]).unwrap();
        let (journal, found) = Journal::open(&path, 1121).unwrap();
        assert_eq!(found, [record(2, 1240)]);
        journal.append(&record(3, 1300));
        drop(journal);
        assert_eq!(Journal::open(&path, 1200).unwrap().1, [record(2, 1240), record(3, 1300)]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "it, and what is locked");
    }

    #[test]
    fn what_was_forgotten_is_known_after_a_kill_between_two_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        create(&path, &[], 1120).unwrap();
        for _ in 0..2 {
            assert_eq!(Journal::open(&path, 900).unwrap().0.forgotten(), 1120);
        }
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let (journal, _) = Journal::open(&path, 1000).unwrap();
        for now in 1000..3000 {
            journal.append(&record(1, now + 240));
            journal.sweep(now);
            for file in fs::read_dir(dir.path()).unwrap() {
                let most = (PAST + 1) * 48;
                assert!(file.unwrap().metadata().unwrap().len() <= most, "{now}");
            }
        }
        drop(journal);
        let (_, found) = Journal::open(&path, 3000).unwrap();
        assert_eq!(found.len(), 240, "all that has not ended");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&dir.path().join("n"), 1000).unwrap();
        journal.append(&record(1, 1120));
        assert!(journal.fault().is_none());
        fs::remove_dir_all(dir.path()).unwrap();
        journal.sweep(9000);
        assert!(journal.fault().is_some() && journal.fault().is_none());
        assert!(Journal::open(&dir.path().join("n"), 1000).is_err());
    }

    #[test]
    fn a_file_that_is_gone_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let (journal, _) = Journal::open(&path, 1000).unwrap();
        journal.append(&record(1, 1120));
        fs::remove_file(&path).unwrap();
        journal.sweep(1000 + PAST);
        assert!(journal.fault().is_none());
        journal.append(&record(2, 1300));
        drop(journal);
        assert_eq!(Journal::open(&path, 1200).unwrap().1, [record(2, 1300)]);
    }
}
