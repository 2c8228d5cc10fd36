//! Sorted runs, in memory and spilled, and their merge.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use headcount_block::checksum;

use super::arena::{Arena, HEAD, Record, key};
use super::options::Place;
use crate::error::{Error, Result};
use crate::files;

/// Bytes that are written at a time, and the most that are read of a run at a time.
const BUFFER: usize = 1 << 20;
/// The least that is read of a run at a time: below it, a merge of very many runs would do nothing but reads.
const LEAST: usize = 16 << 10;
/// Bytes that have a checksum of their own, in memory: reads are of whole ones.
const SUMMED: usize = 8 << 10;
/// Rows of an arena that are touched at a time, ahead of need: they lie in memory in the order they came.
const AHEAD: usize = 16;

/// A sorted run in a nameless file.
#[derive(Debug)]
pub(crate) struct SpilledRun {
    file: File,
    len: u64,
    /// Of each [`SUMMED`] bytes: nothing but what was written is taken for rows.
    sums: Vec<u64>,
    dir: PathBuf,
}

impl SpilledRun {
    /// Writes the records of a sorted arena.
    pub(crate) fn write(arena: &Arena, dir: &Path) -> Result<Self> {
        let file = files::scratch(dir)?;
        let mut run = Self { file, len: 0, sums: Vec::new(), dir: dir.to_path_buf() };
        let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER + BUFFER / 8);
        for i in 0.. {
            touch_ahead(arena, i);
            let Some(record) = arena.get(i) else { break };
            record.write(&mut buffer);
            if buffer.len() >= BUFFER {
                let whole = buffer.len() - buffer.len() % SUMMED;
                run.append(buffer.get(..whole).unwrap_or_default())?;
                buffer.drain(..whole);
            }
        }
        run.append(&buffer)?;
        Ok(run)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.len).map_err(|e| Error::io("write a spill file in", &self.dir, e))?;
        self.len += bytes.len() as u64;
        self.sums.extend(bytes.chunks(SUMMED).map(checksum));
        Ok(())
    }

    /// Reads what lies at `at`, a multiple of [`SUMMED`] as the end is, unless that is the end of the run.
    fn read(&self, target: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(target, at).map_err(|e| Error::io("read a spill file in", &self.dir, e))?;
        let first = usize::try_from(at / SUMMED as u64).unwrap_or(usize::MAX);
        let sums = self.sums.get(first..).unwrap_or_default();
        for (i, bytes) in target.chunks(SUMMED).enumerate() {
            if sums.get(i) != Some(&checksum(bytes)) {
                return Err(files::misread(&self.dir, at + (i * SUMMED) as u64));
            }
        }
        Ok(())
    }
}

/// Touches the batch of rows after the one that begins at `next`, if one does.
fn touch_ahead(arena: &Arena, next: usize) {
    if next.is_multiple_of(AHEAD) {
        arena.touch(next + AHEAD, next + 2 * AHEAD);
    }
}

/// A cursor over a run.
#[derive(Debug)]
enum Cursor<'r> {
    Memory { arena: &'r Arena, next: usize, record: Option<Record<'r>> },
    File { run: &'r SpilledRun, buffer: Vec<u8>, size: usize, at: usize, read: u64 },
}

impl<'r> Cursor<'r> {
    fn memory(arena: &'r Arena) -> Self {
        Self::Memory { arena, next: 0, record: arena.get(0) }
    }

    /// The current record.
    #[inline]
    fn record(&self) -> Option<Record<'_>> {
        match self {
            Self::Memory { record, .. } => *record,
            Self::File { buffer, at, .. } => buffer.get(*at..).and_then(Record::read),
        }
    }

    /// Steps over the current record, and makes sure that the next one is whole in memory.
    #[inline]
    fn advance(&mut self) -> Result<()> {
        match self {
            Self::Memory { arena, next, record } => {
                *next += 1;
                touch_ahead(arena, *next);
                *record = arena.get(*next);
                Ok(())
            }
            Self::File { buffer, at, .. } => {
                let len = buffer.get(*at..).and_then(Record::read).map_or(0, |r| r.len());
                *at += len;
                self.fill()
            }
        }
    }

    /// Checks that a cursor without a record is at the end of what was spilled.
    fn expect_end(&self) -> Result<()> {
        match self {
            Self::File { run, buffer, at, read, .. } if *read < run.len || *at < buffer.len() => {
                Err(files::misread(&run.dir, *read))
            }
            _ => Ok(()),
        }
    }

    fn fill(&mut self) -> Result<()> {
        let Self::File { run, buffer, size, at, read } = self else { return Ok(()) };
        let have = buffer.len() - *at;
        let need = buffer.get(*at..).and_then(|b| b.get(HEAD - 4..)).and_then(|b| b.first_chunk());
        let need = need.map_or(HEAD, |len| HEAD + u32::from_le_bytes(*len) as usize);
        if have >= need || *read >= run.len {
            return Ok(());
        }
        buffer.drain(..*at);
        *at = 0;
        // No more than the buffer was made for, but where a record is longer: with many runs, room that is only set
        // aside adds up as well.
        let from = buffer.len();
        let room = (*size).saturating_sub(from);
        let room = (room - room % SUMMED).max((need - from).next_multiple_of(SUMMED));
        let more = usize::try_from(run.len - *read).unwrap_or(usize::MAX).min(room);
        buffer.reserve_exact(more);
        buffer.resize(from + more, 0);
        let target = buffer.get_mut(from..).unwrap_or_default();
        run.read(target, *read)?;
        *read += more as u64;
        // A header at the end of the old buffer may have hidden the length of a longer record.
        self.fill()
    }
}

/// The merge of runs: records by UID, then place.
#[derive(Debug)]
pub(crate) struct Merge<'r> {
    cursors: Vec<Cursor<'r>>,
    /// The current record of each run that has one.
    heap: BinaryHeap<Reverse<Head>>,
    /// Records that were stepped over.
    pub(crate) taken: u64,
}

/// What orders the current record of a run.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: [u64; 2],
    /// What of the UID the key does not hold.
    rest: Vec<u8>,
    at: Place,
    run: usize,
}

impl Head {
    fn set(&mut self, record: &Record<'_>) {
        let uid = record.row.uid();
        self.key = key(uid);
        self.rest.clear();
        self.rest.extend_from_slice(uid.get(16..).unwrap_or_default());
        self.at = record.at;
    }
}

impl<'r> Merge<'r> {
    /// A merge that takes `memory` bytes, what the arenas have taken included, to read spilled runs. With more runs than
    /// memory for [`LEAST`] bytes of each, or with records that are longer, it takes what it needs.
    pub(crate) fn new(
        arenas: impl Iterator<Item = &'r Arena> + Clone,
        spilled: impl Iterator<Item = &'r SpilledRun> + Clone,
        memory: usize,
    ) -> Result<Self> {
        let free = memory.saturating_sub(arenas.clone().map(Arena::memory).sum());
        let size = (free / spilled.clone().count().max(1)).clamp(LEAST, BUFFER);
        let on_disk = spilled.map(|run| Cursor::File { run, buffer: Vec::new(), size, at: 0, read: 0 });
        let mut cursors: Vec<Cursor<'r>> = arenas.map(Cursor::memory).chain(on_disk).collect();
        cursors.iter_mut().try_for_each(Cursor::fill)?;
        let mut heap = BinaryHeap::new();
        for (run, cursor) in cursors.iter().enumerate() {
            if let Some(record) = cursor.record() {
                let mut head = Head { run, ..Head::default() };
                head.set(&record);
                heap.push(Reverse(head));
            } else {
                cursor.expect_end()?;
            }
        }
        Ok(Self { cursors, heap, taken: 0 })
    }

    /// The [`key`] of the least record: records of one UID have the same.
    pub(crate) fn key(&self) -> Option<[u64; 2]> {
        self.heap.peek().map(|head| head.0.key)
    }

    /// The least record.
    pub(crate) fn record(&self) -> Option<Record<'_>> {
        self.cursors.get(self.heap.peek()?.0.run).and_then(Cursor::record)
    }

    /// Steps over the least record.
    pub(crate) fn advance(&mut self) -> Result<()> {
        let Some(mut head) = self.heap.peek_mut() else { return Ok(()) };
        let Some(cursor) = self.cursors.get_mut(head.0.run) else { return Ok(()) };
        cursor.advance()?;
        self.taken += 1;
        match cursor.record() {
            // In place: the run that has the least record often has the next one too.
            Some(record) => head.0.set(&record),
            None => {
                drop(PeekMut::pop(head));
                cursor.expect_end()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::options::RowKind;
    use headcount_block::{RowBuf, User};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn runs_merge_in_order(uids in prop::collection::vec("[ab]{1,24}", 0..300), split in 1usize..5, spill in any::<bool>()) {
            let mut arenas: Vec<Arena> = (0..split).map(|_| Arena::default()).collect();
            let mut row = RowBuf::new();
            for (i, uid) in uids.iter().enumerate() {
                let at = Place { file: 1, line: i as u64, offset: 7 };
                let row = row.encode(&User::new(uid.clone())).unwrap();
                arenas[i % split].push(&Record { row, at, kind: RowKind::User });
            }
            arenas.iter_mut().for_each(Arena::sort);
            let spilled: Vec<SpilledRun> =
                arenas.iter().filter(|_| spill).map(|a| SpilledRun::write(a, &std::env::temp_dir()).unwrap()).collect();
            let memory = arenas.iter().filter(|_| !spill);
            let mut merge = Merge::new(memory, spilled.iter(), 1 << 20).unwrap();
            let mut got = Vec::new();
            while let Some(record) = merge.record() {
                got.push((String::from_utf8(record.row.uid().to_vec()).unwrap(), record.at.line));
                merge.advance().unwrap();
            }
            let mut expected: Vec<(String, u64)> = uids.into_iter().enumerate().map(|(i, u)| (u, i as u64)).collect();
            expected.sort();
            prop_assert_eq!(got, expected);
        }
    }

    /// The rest of the run was left out, and the load ended well.
    #[test]
    fn a_byte_that_the_disk_changed_is_an_error() {
        let mut arena = Arena::default();
        let mut row = RowBuf::new();
        for i in 0..3_000 {
            let row = row.encode(&User::new(format!("{i:0>100}"))).unwrap();
            arena.push(&Record { row, at: Place::default(), kind: RowKind::User });
        }
        let run = SpilledRun::write(&arena, &std::env::temp_dir()).unwrap();
        let read = |run: &SpilledRun| {
            let mut merge = Merge::new(std::iter::empty(), std::iter::once(run), 1 << 20)?;
            let mut records = 0;
            while merge.record().is_some() {
                records += 1;
                merge.advance()?;
            }
            Ok::<_, Error>(records)
        };
        assert_eq!(read(&run).unwrap(), 3_000);
        // Of the first header, of a length, of a UID, of a row's form, of the last record.
        for at in [0, 15, 60, 18, run.len - 1] {
            let mut byte = [0];
            run.file.read_exact_at(&mut byte, at).unwrap();
            run.file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
            let error = read(&run).map(drop).unwrap_err();
            assert!(error.to_string().contains("run it again"), "{error}");
            run.file.write_all_at(&byte, at).unwrap();
        }
        run.file.set_len(run.len - 1).unwrap();
        assert!(matches!(read(&run), Err(Error::Io { .. })));
    }

    #[test]
    fn buffers_of_many_runs_stay_within_the_memory() {
        const RUNS: usize = 40;
        let mut row = RowBuf::new();
        let spilled: Vec<SpilledRun> = (0..RUNS)
            .map(|run| {
                let mut arena = Arena::default();
                for i in 0..1_000 {
                    let user = User::new(format!("{i:0>150}{run}"));
                    let row = row.encode(&user).unwrap();
                    arena.push(&Record { row, at: Place::default(), kind: RowKind::User });
                }
                arena.sort();
                SpilledRun::write(&arena, &std::env::temp_dir()).unwrap()
            })
            .collect();
        // Of each run: its share, no more than a whole buffer, and at least what is worth a read.
        for (memory, most) in [(RUNS * 40_000, RUNS * 40_000), (usize::MAX, RUNS * BUFFER), (0, RUNS * LEAST)] {
            let mut merge = Merge::new(std::iter::empty(), spilled.iter(), memory).unwrap();
            let (mut records, mut peak) = (0, 0);
            while merge.record().is_some() {
                records += 1;
                if records % 500 == 0 {
                    let held = |cursor: &Cursor<'_>| {
                        if let Cursor::File { buffer, .. } = cursor { buffer.capacity() } else { 0 }
                    };
                    peak = peak.max(merge.cursors.iter().map(held).sum());
                }
                merge.advance().unwrap();
            }
            assert_eq!(records, RUNS * 1_000);
            assert!((1..=most).contains(&peak), "{peak} bytes of {most}");
        }
    }
}
