//! A file of the signed requests that passed: the check against the start of a process does not refuse all of them after a
//! restart, and none where the clock is behind then.
//!
//! Each is one append, before the request is admitted; nothing is fsynced, so that it costs microseconds. It is there
//! after the process has ended in any way, and may be lost when the machine does. What is past goes in time; when it was
//! stays, as a few ranges.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::method::nonce::forgotten::Forgotten;
use crate::method::nonce::memory::{Id, Time};

/// One request that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: Id,
    pub(crate) key: Id,
    pub(crate) time: Time,
}

/// Bytes of a record: nonce, key, first and last second. One without nonce and key stands for all of these times that is not in
/// the file any more; of all times up to the end, where it begins with that.
const RECORD: usize = 48;
/// Seconds after which all that was written before is past, with a clock that goes on: twice the window, and some.
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
        let mut record = Self { id: *id, key: *key, time };
        if record.is_of_forgotten() && time.first == time.until {
            record.time.first = 0;
        }
        Some(record)
    }

    const fn of_forgotten(time: Time) -> Self {
        Self { id: [0; 16], key: [0; 16], time }
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
    /// Times of what is in it, and of what is in the file before.
    times: [Forgotten; 2],
    /// Times of what is in neither.
    forgotten: Forgotten,
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

/// Another process, or another [`Api`](crate::method::Api), keeps its nonces in the file at this path.
#[derive(Debug, thiserror::Error)]
#[error("another process keeps {}: expected one for a file", .0.display())]
#[non_exhaustive]
pub struct NoncesInUse(pub PathBuf);

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
            Err(io::Error::new(io::ErrorKind::ResourceBusy, NoncesInUse(path.to_path_buf())))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Bytes of a file, unless it is not there.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// A record that a kill has cut was not admitted.
fn records(bytes: &[u8]) -> impl Iterator<Item = Record> {
    bytes.chunks_exact(RECORD).filter_map(Record::read)
}

fn times_of(records: &[Record], now: u64) -> Forgotten {
    let mut times = Forgotten::default();
    times.extend(records.iter().map(|record| record.time), now);
    times
}

/// A new file with `records`, and the times of what was `forgotten`, not at its place yet.
fn create(path: &Path, records: &[Record], forgotten: &Forgotten) -> io::Result<(PathBuf, File, u64)> {
    let new = beside(path, ".new");
    // What a crash left is ours, and may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&new)?;
    let forgotten = forgotten.ranges().iter().copied().map(Record::of_forgotten);
    let bytes: Vec<u8> = forgotten.chain(records.iter().copied()).flat_map(|record| record.bytes()).collect();
    file.write_all(&bytes)?;
    Ok((new, file, bytes.len() as u64))
}

impl Journal {
    /// The file at `path`, which need not be there, and what it holds that has not ended before second `now`.
    pub(crate) fn open(path: &Path, now: u64) -> io::Result<(Self, Vec<Record>)> {
        let lock = lock(path)?;
        let mut found = Vec::new();
        let old = beside(path, ".old");
        // What a kill has left beside them has all that they have, or says what was forgotten.
        for path in [&old, path, &beside(path, ".new")] {
            found.extend(read(path)?.iter().flat_map(|bytes| records(bytes)));
        }
        let gone = found.extract_if(.., |record| record.is_of_forgotten() || record.time.until < now);
        let forgotten = times_of(&gone.collect::<Vec<_>>(), now);
        let (new, file, len) = create(path, &found, &forgotten)?;
        // What was there is replaced: not by something that a power cut may empty.
        file.sync_all()?;
        fs::rename(&new, path)?;
        match fs::remove_file(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let times = [times_of(&found, now), Forgotten::default()];
        let writing = Writing { file, len, torn: false, begun: now, times, forgotten, fault: None };
        Ok((Self { path: path.to_path_buf(), writing: Mutex::new(writing), _lock: lock }, found))
    }

    /// Writes down what is about to pass. Where that fails, it passes all the same, and [`fault`](Self::fault) says so: a full
    /// disk is no reason to answer nobody.
    pub(crate) fn append(&self, record: &Record) {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writing.append(&record.bytes()) {
            writing.fault = Some(error);
        }
        let [times, _] = &mut writing.times;
        // Which is of now, but for minutes.
        times.add(record.time, record.time.first);
    }

    /// Times of what passed and is not known any more.
    pub(crate) fn forgotten(&self) -> Forgotten {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).forgotten.clone()
    }

    /// Begins another file once all of the one before is past, but for what passed while the clock was ahead: that goes on.
    pub(crate) fn sweep(&self, now: u64) {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back would let the file grow until it is there again.
        writing.begun = writing.begun.min(now);
        let [times, _] = &writing.times;
        if now.saturating_sub(writing.begun) < PAST || (times.ranges().is_empty() && !writing.torn) {
            return;
        }
        match self.begin_another(&writing, now) {
            Ok(begun) => *writing = Writing { fault: writing.fault.take(), ..begun },
            // What is written goes on to the file that it went to, which is read at either place.
            Err(error) => writing.fault = Some(error),
        }
    }

    /// Another file than that of `writing`, which becomes the one before; what was before that is replaced.
    fn begin_another(&self, writing: &Writing, now: u64) -> io::Result<Writing> {
        let old = beside(&self.path, ".old");
        let [times, times_of_old] = &writing.times;
        let mut forgotten = writing.forgotten.clone();
        let mut ahead = Vec::new();
        let bytes = if times_of_old.until() < now { None } else { read(&old)? };
        match bytes {
            Some(bytes) => {
                ahead.extend(records(&bytes));
                let gone = ahead.extract_if(.., |record| record.is_of_forgotten() || record.time.until < now);
                forgotten.extend(gone.map(|record| record.time), now);
                // Also of what could not be written.
                forgotten.extend(times_of_old.ranges().iter().copied().filter(|time| time.until < now), now);
            }
            None => forgotten.extend(times_of_old.ranges().iter().copied(), now),
        }
        let (new, file, len) = create(&self.path, &ahead, &forgotten)?;
        match fs::rename(&self.path, &old) {
            // Somebody has removed it: what comes now is written where a restart reads it.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&new, &self.path)?;
        let times = [times_of(&ahead, now), times.clone()];
        Ok(Writing { file, len, torn: false, begun: now, times, forgotten, fault: None })
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
        let forgotten = times_of(&[record(1, 1120), record(2, 9120)], 900);
        create(&path, &[], &forgotten).unwrap();
        for _ in 0..2 {
            assert_eq!(Journal::open(&path, 900).unwrap().0.forgotten(), forgotten);
        }
    }

    #[test]
    fn an_end_alone_stands_for_all_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        fs::write(&path, Record::of_forgotten(Time { first: 1120, until: 1120 }).bytes()).unwrap();
        for _ in 0..2 {
            let forgotten = Journal::open(&path, 900).unwrap().0.forgotten();
            assert!(forgotten.holds(record(1, 200).time) && forgotten.holds(record(1, 1120).time));
            assert!(!forgotten.holds(record(1, 1121).time));
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
    fn what_has_not_ended_stays_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let (journal, _) = Journal::open(&path, 1000).unwrap();
        journal.append(&record(1, 1120));
        // The clock was ahead for a moment.
        journal.append(&record(2, 87_530));
        for (n, now) in [(3, 1270), (4, 1540), (5, 1810)] {
            journal.sweep(now);
            journal.append(&record(n, now + 120));
        }
        assert!(journal.fault().is_none());
        drop(journal);
        let (journal, found) = Journal::open(&path, 1850).unwrap();
        assert!(journal.forgotten().until() < 1850, "{:?}", journal.forgotten());
        assert!(found.contains(&record(2, 87_530)) && found.contains(&record(5, 1930)), "{found:?}");
        drop(journal);
        let (journal, found) = Journal::open(&path, 2000).unwrap();
        assert!(journal.forgotten().until() < 2000, "{:?}", journal.forgotten());
        assert_eq!(found, [record(2, 87_530)]);
        assert!(journal.forgotten().holds(record(3, 1390).time) && !journal.forgotten().holds(record(3, 5000).time));
    }

    #[test]
    fn a_clock_that_was_set_back_ends_no_file_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let (journal, _) = Journal::open(&path, 90_000).unwrap();
        for now in 1000..3000 {
            journal.append(&record(1, now + 120));
            journal.sweep(now);
            assert!(fs::metadata(&path).unwrap().len() <= (PAST + 2) * 48, "{now}");
        }
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
