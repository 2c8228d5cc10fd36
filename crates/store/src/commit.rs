//! Commits: waiting batches are carried out as one group, logged, fsynced once, published, answered.
//!
//! There is no committer thread: see [`crate::queue`].

use std::time::{Duration, Instant};

use headcount_block::Totals;

use crate::apply::{Applied, apply};
use crate::batch::{Batch, Commit};
use crate::delta::{Log, Logged, Record};
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::queue::Queue;
use crate::state::Inner;
use crate::sync::{MutexGuard, lock};
use crate::version::Version;
use crate::{clock, fault};

/// What the holder of the commit lock works with.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// The log of the active delta; made when the first commit needs it.
    pub(crate) log: Option<Log>,
    /// The next log, made ahead of need.
    pub(crate) spare: Option<Log>,
    /// Whether the log holds commits that are not durable yet.
    dirty: bool,
    /// When they have to be: what is due later than any clock reaches waits for whoever asks for it.
    pub(crate) sync_by: Option<Instant>,
}

impl Writer {
    fn synced(&mut self) {
        (self.dirty, self.sync_by) = (false, None);
    }
}

/// A write to the log ends with the batch that takes it over this: what the log takes in one piece is more, also with the
/// largest batch on top.
const GROUP_BYTES: usize = 64 << 20;

/// Batches that wait for their turn.
pub(crate) type Commits = Queue<Pending, Result<Commit>>;

/// A batch that was handed in.
#[derive(Debug)]
pub(crate) struct Pending {
    batch: Batch,
    durability: Durability,
}

impl Inner {
    /// Carries a batch out, with all that wait with it.
    pub(crate) fn commit(&self, batch: Batch, durability: Durability) -> Result<Commit> {
        self.check_writable()?;
        batch.check()?;
        let pending = Pending { batch, durability };
        let lost = || Err(self.poison(Error::Panicked("commit")));
        self.queue.run(pending, &self.writer, |writer, group| self.carry_out(writer, group), lost)
    }

    /// Carries out one batch with the commit lock in hand.
    pub(crate) fn commit_locked(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        batch: Batch,
        durability: Durability,
    ) -> Result<Commit> {
        let alone = [Pending { batch, durability }];
        self.carry_out(writer, &alone).pop().unwrap_or(Err(Error::Panicked("commit")))
    }

    /// Carries out a group, in several writes to the log when it is too large for one.
    fn carry_out(&self, writer: &mut MutexGuard<'_, Writer>, group: &[Pending]) -> Vec<Result<Commit>> {
        let mut answers: Vec<Result<Commit>> = Vec::with_capacity(group.len());
        let mut full = false;
        while let Some(rest) = group.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            if let Err(error) = self.prepare(writer, full) {
                // One gets the error itself; the others learn that the store has stopped, and so it has to have.
                let mut first = Some(self.poison(error));
                answers.extend(rest.iter().map(|_| Err(first.take().unwrap_or_else(|| self.stopped()))));
                break;
            }
            let some = self.carry_out_some(writer, rest);
            full = some.is_empty();
            answers.extend(some);
        }
        answers
    }

    /// Carries out the first batches of a group; returns their answers. None, when the delta has no room for the provider
    /// names of the first: any batch goes into an empty one.
    fn carry_out_some(&self, writer: &mut MutexGuard<'_, Writer>, group: &[Pending]) -> Vec<Result<Commit>> {
        let mut version = Version::clone(&self.version.load());
        let mut records = Vec::new();
        let mut answers: Vec<Result<Commit>> = Vec::new();
        let most = version.active.bytes.saturating_add(GROUP_BYTES);
        for pending in group {
            let applied = apply(&version, &pending.batch);
            if let Ok(applied) = &applied
                && !version.active.has_room(applied.added.identities(), applied.rows())
            {
                break;
            }
            answers.push(applied.map(|applied| take_in(&mut version, applied, &mut records)));
            if version.active.bytes > most {
                break;
            }
        }
        if answers.is_empty() {
            return answers;
        }
        let group = group.get(..answers.len()).unwrap_or_default();
        match self.make_durable(writer, group, &records) {
            Ok(()) => {
                Self::count(&self.counters.groups, 1);
                Self::count(&self.counters.commits, records.len() as u64);
                if !records.is_empty() {
                    self.publish(version);
                }
                // The next log is made ahead of need; once that is done, nobody is woken for it.
                if writer.spare.is_none() && self.is_full(2) {
                    self.signals.notify();
                }
            }
            Err(error) => {
                let mut first = Some(self.poison(error));
                for answer in answers.iter_mut().filter(|a| a.is_ok()) {
                    *answer = Err(first.take().unwrap_or_else(|| self.stopped()));
                }
            }
        }
        answers
    }

    /// The error of those that come after the one that met the cause.
    fn stopped(&self) -> Error {
        self.check_writable().err().unwrap_or(Error::Panicked("commit"))
    }

    /// Sees to it that there is a log with room. `full`: the one that there is has none, whatever its size.
    fn prepare(&self, writer: &mut MutexGuard<'_, Writer>, full: bool) -> Result<()> {
        self.check_writable()?;
        if full || self.is_full(1) {
            self.switch(writer)?;
        }
        if writer.log.is_some() {
            return Ok(());
        }
        let log = self.take_log(writer)?;
        let (number, first_seq) = (log.number(), self.version.load().origin.seq + 1);
        self.commit_manifest(|m| m.add_generation(number, first_seq))?;
        writer.log = Some(log);
        Ok(())
    }

    /// The log that was made ahead of need, or a new one.
    pub(crate) fn take_log(&self, writer: &mut MutexGuard<'_, Writer>) -> Result<Log> {
        match writer.spare.take() {
            Some(log) => Ok(log),
            None => self.create_log(),
        }
    }

    /// Makes a new log, which no manifest names yet.
    pub(crate) fn create_log(&self) -> Result<Log> {
        let number = {
            let mut manifest = lock(&self.manifest);
            manifest.next_generation += 1;
            manifest.next_generation - 1
        };
        fault::point("generation: create")?;
        let made = Log::create(&self.dir, number).and_then(|log| self.names.sync(&self.dir).map(|()| log));
        made.map_err(|e| self.poison(e))
    }

    /// Whether the active delta holds `1 / part` of what it may.
    pub(crate) fn is_full(&self, part: usize) -> bool {
        let version = self.version.load();
        let limit = |limit: usize| (limit / part).max(1);
        version.active.logged >= limit(self.options.delta_changes)
            || version.active.bytes >= limit(self.options.delta_bytes)
    }

    fn make_durable(&self, writer: &mut MutexGuard<'_, Writer>, group: &[Pending], records: &[Record]) -> Result<()> {
        let within = |d: Durability| match d {
            Durability::Sync => Duration::ZERO,
            Durability::Buffered { flush_within } => flush_within,
        };
        let least = group.iter().map(|p| within(p.durability)).min().unwrap_or_default();
        if !least.is_zero() && !records.is_empty() && !lock(&self.manifest).unsynced {
            // A crash from now on may take back what was visible: the next open has to know.
            self.commit_manifest(|m| m.unsynced = true)?;
        }
        let Some(log) = &writer.log else { return Err(Error::Panicked("commit")) };
        log.append(records)?;
        writer.dirty |= !records.is_empty();
        fault::point("commit: logged")?;
        if least.is_zero() {
            self.sync_log(writer)?;
        } else if !records.is_empty() {
            let by = Instant::now().checked_add(least);
            if by.is_some_and(|by| writer.sync_by.is_none_or(|earlier| by < earlier)) {
                writer.sync_by = by;
                self.signals.notify();
            }
        }
        fault::point("commit: synced")
    }

    /// Makes the group visible. What else changed in the meantime is layers, not content.
    fn publish(&self, new: Version) {
        self.update(|version| {
            version.active = new.active;
            version.totals = new.totals;
            version.origin = new.origin;
        });
    }

    /// Makes durable what is only visible.
    pub(crate) fn sync(&self) -> Result<()> {
        self.check_writable()?;
        let mut writer = lock(&self.writer);
        self.sync_log(&mut writer)
    }

    /// The same with the commit lock in hand. Whoever had it before may have failed at this very thing: the kernel tells
    /// of that once, and a second fsync would seem to cover what the first one lost.
    pub(crate) fn sync_log(&self, writer: &mut MutexGuard<'_, Writer>) -> Result<()> {
        self.check_writable()?;
        if writer.dirty
            && let Some(log) = &writer.log
        {
            fault::point("log: fsync").and_then(|()| log.sync()).map_err(|e| self.poison(e))?;
        }
        writer.synced();
        Ok(())
    }
}

/// Adds what a batch changes to the version in work, and to the records of its group.
fn take_in(version: &mut Version, applied: Applied, records: &mut Vec<Record>) -> Commit {
    let changed = applied.changes.len() as u64;
    if changed == 0 {
        return Commit { seq: version.origin.seq, time_ms: version.origin.time_ms, changed };
    }
    version.origin.seq += 1;
    // The clock may have been set back: times never are.
    version.origin.time_ms = clock::now_ms().max(version.origin.time_ms);
    let (seq, time_ms) = (version.origin.seq, version.origin.time_ms);
    version.totals += applied.added;
    version.totals -= applied.removed;
    let mut sums: Totals = applied.added;
    sums -= applied.removed;
    let mut changes = Vec::with_capacity(applied.changes.len());
    for (uid, row) in applied.changes {
        version.active.insert(uid.as_bytes(), row.as_deref(), seq, time_ms);
        changes.push(row.map_or_else(|| Logged::Deleted(uid.into_bytes()), Logged::Row));
    }
    records.push(Record { seq, time_ms, sums: [sums.registered.to_words(), sums.pending.to_words()], changes });
    Commit { seq, time_ms, changed }
}
