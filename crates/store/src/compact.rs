//! Compaction: runs of neighbouring segments become one, so that their number stays logarithmic.
//!
//! A segment's tier is the power of four of its size. Four segments of a tier that have nothing larger between them
//! become one, with the smaller ones among them; so each row is written about once a tier. Segments that name more
//! providers together than one can stay apart.
//!
//! So do the parts of one delta (`rewrite.rs`) from what is older, as long as they are not one segment. Together with older
//! users a part would show some as they were before that delta and others as it left them: two of them may carry one
//! identity, and a lookup takes the first that a segment has. What is newer may join some of the parts: it holds every
//! change since.
//!
//! | step | a crash after it leaves |
//! | --- | --- |
//! | 1 the new segment is written, fsynced, renamed | a segment that no manifest names, removed |
//! | 2 the manifest names it in place of the old ones | old segments that no manifest names, removed |
//! | 3 the old ones are deleted, when the last snapshot lets go of them | nothing |

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use headcount_block::limits::PROVIDERS_MAX;
use headcount_block::{Progress, UidRange};

use crate::error::{Error, Result};
use crate::flush::entry;
use crate::rewrite::{Purpose, Rewritten, rewrite};
use crate::segment::Segment;
use crate::state::Inner;
use crate::sync::lock;
use crate::version::{LayerRef, Version};
use crate::{clock, fault, files};

/// Which segments are brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compaction {
    /// Those that lie next to each other and are about equally large, if there are at least four.
    Tiered,
    /// All of them, and the delta. Forgets deletions that are older than the retention. Segments whose users have more
    /// different providers than one segment can name (65,535) stay apart, and what is older than a log of so many from those
    /// that it became.
    Full,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Segments before.
    pub segments_before: u64,
    /// Segments after.
    pub segments_after: u64,
    /// Bytes of segments before.
    pub bytes_before: u64,
    /// Bytes of segments after. Files that snapshots hold are not counted.
    pub bytes_after: u64,
}

/// Segments of a tier that become one.
const FANOUT: usize = 4;
/// Segments up to this size are in tier 0.
const SMALLEST: u64 = 1 << 20;

/// Most bytes that are brought together while a store is being closed: what takes no time that anyone notices.
const TIDY_MAX: u64 = 16 << 20;

/// Whether a tiered compaction would find something to do.
pub(crate) fn is_due(version: &Version) -> bool {
    due(version).is_some()
}

/// The segments that should become one.
fn due(version: &Version) -> Option<Range<usize>> {
    let sizes = sizes(version);
    together(&version.segments).into_iter().find_map(|run| {
        let found = pick(sizes.get(run.clone())?)?;
        Some(run.start + found.start..run.start + found.end)
    })
}

/// Runs of neighbours, from the oldest on, of which any may become one: each names no more providers than one segment does,
/// and none begins among the parts of a delta and goes on behind them. Nearly always all segments.
fn together(segments: &[Arc<Segment>]) -> Vec<Range<usize>> {
    let seqs: Vec<(u64, u64)> = segments.iter().map(|s| s.seq_range()).collect();
    let fits = segments.iter().map(|s| s.dictionary().len()).sum::<usize>() <= PROVIDERS_MAX;
    let (mut runs, mut end, mut names) = (Vec::new(), segments.len(), HashSet::new());
    for (i, segment) in segments.iter().enumerate().rev() {
        if !fits {
            names.extend(segment.dictionary().names());
        }
        if names.len() > PROVIDERS_MAX || ends_parts(&seqs, i) {
            names = segment.dictionary().names().collect();
            runs.push(i + 1..end);
            end = i + 1;
        }
    }
    runs.push(0..end);
    runs
}

/// Whether number `i` of segments with these least and greatest seqs, newest first, is the last part of a delta and has
/// another segment behind it. Nothing but parts has seqs in common with a neighbour.
fn ends_parts(seqs: &[(u64, u64)], i: usize) -> bool {
    let overlap = |newer: usize| Some(seqs.get(newer)?.0 <= seqs.get(newer + 1)?.1);
    i.checked_sub(1).and_then(overlap) == Some(true) && overlap(i) == Some(false)
}

fn sizes(version: &Version) -> Vec<u64> {
    version.segments.iter().map(|s| s.bytes()).collect()
}

const fn tier(bytes: u64) -> u32 {
    match (bytes / SMALLEST).checked_ilog2() {
        Some(log) => log / 2 + 1,
        None => 0,
    }
}

/// The segments that should become one, out of sizes from the newest on: of the lowest tier that has enough of them.
fn pick(sizes: &[u64]) -> Option<Range<usize>> {
    let tiers: Vec<u32> = sizes.iter().map(|bytes| tier(*bytes)).collect();
    let mut wanted: Vec<u32> = tiers.clone();
    wanted.sort_unstable();
    wanted.dedup();
    wanted.into_iter().find_map(|tier| {
        let mut start = 0;
        for run in tiers.split(|other| *other > tier) {
            let range = start..start + run.len();
            start += run.len() + 1;
            if run.iter().filter(|other| **other == tier).count() >= FANOUT {
                return Some(range);
            }
        }
        None
    })
}

impl Inner {
    /// Compacts until there is nothing to do.
    pub(crate) fn compact(&self, how: Compaction, progress: &Progress) -> Result<CompactReport> {
        self.check_writable()?;
        let _one = lock(&self.structure);
        progress.set_phase("compacting");
        let before = self.version.load_full();
        if how == Compaction::Full {
            self.flush_all(&mut lock(&self.writer))?;
            let version = self.version.load_full();
            if version.segments.len() > 1 || self.has_expired(&version) {
                match self.compact_run(&version, 0..version.segments.len(), progress) {
                    Err(Error::Limit(_)) => self.compact_apart(&version, progress)?,
                    other => other?,
                }
            }
        } else {
            loop {
                let version = self.version.load_full();
                let Some(run) = due(&version) else { break };
                self.compact_run(&version, run, progress)?;
            }
        }
        let after = self.version.load_full();
        Ok(CompactReport {
            segments_before: before.segments.len() as u64,
            segments_after: after.segments.len() as u64,
            bytes_before: sizes(&before).iter().sum(),
            bytes_after: sizes(&after).iter().sum(),
        })
    }

    /// Brings small segments together. Each process that commits and is soon over leaves one, and its thread never gets
    /// to compacting them.
    pub(crate) fn tidy(&self) -> Result<()> {
        let _one = lock(&self.structure);
        loop {
            let version = self.version.load_full();
            let Some(run) = due(&version) else { return Ok(()) };
            if sizes(&version).get(run.clone()).unwrap_or_default().iter().sum::<u64>() > TIDY_MAX {
                return Ok(());
            }
            self.compact_run(&version, run, &Progress::default())?;
        }
    }

    /// Deletions before this time are forgotten when nothing lies behind them.
    fn forget_before(&self) -> u64 {
        let retention = u64::try_from(self.options.tombstone_retention.as_millis()).unwrap_or(u64::MAX);
        clock::now_ms().saturating_sub(retention)
    }

    /// Whether the oldest segment holds deletions that can be forgotten.
    fn has_expired(&self, version: &Version) -> bool {
        let before = self.forget_before();
        let last = version.segments.last().map(|s| s.tombstones());
        last.is_some_and(|all| (0..all.len()).any(|i| all.at(i).is_some_and(|(_, t)| t.time_ms < before)))
    }

    /// Brings those segments together that may become one. From the oldest on: the places of the newer ones stay what they
    /// are.
    fn compact_apart(&self, version: &Version, progress: &Progress) -> Result<()> {
        for run in together(&version.segments) {
            let expired = run.end == version.segments.len() && self.has_expired(version);
            if run.len() > 1 || expired {
                self.compact_run(version, run, progress)?;
            }
        }
        Ok(())
    }

    fn compact_run(&self, version: &Version, run: Range<usize>, progress: &Progress) -> Result<()> {
        let old: Vec<Arc<Segment>> = version.segments.get(run.clone()).unwrap_or_default().to_vec();
        progress.set_total_users(old.iter().map(|s| s.footer().totals.users()).sum());
        // A full disk in the middle of it would stop all writing.
        let (needed, available) = (old.iter().map(|s| s.bytes()).sum(), files::available(&self.dir)?);
        if available < needed {
            return Err(Error::NoSpace { path: self.dir.clone(), needed, available });
        }
        let layers: Vec<LayerRef<'_>> = old.iter().map(|s| LayerRef::Segment(s)).collect();
        let forget = (run.end == version.segments.len()).then(|| self.forget_before());
        let written = rewrite(&self.tmp(), &layers, &UidRange::all(), Purpose::Compaction { forget }, progress);
        let written = written.map_err(|e| self.fatal(e))?;
        fault::point("compaction 1: written")?;
        self.replace(&old, written)?;
        Self::count(&self.counters.compactions, 1);
        Ok(())
    }

    /// Puts what was written in the place of the neighbouring segments `old`.
    pub(crate) fn replace(&self, old: &[Arc<Segment>], written: Rewritten) -> Result<()> {
        let new = written.finished.map(|f| self.place(f)).transpose().map_err(|e| self.fatal(e))?;
        fault::point("compaction 1: renamed")?;
        let ids: Vec<u128> = old.iter().map(|s| s.footer().file_id).collect();
        let mut found = false;
        self.commit_manifest(|m| {
            let at = m.segments.windows(ids.len()).position(|w| w.iter().map(|e| e.id).eq(ids.iter().copied()));
            if let Some(at) = at {
                m.segments.splice(at..at + ids.len(), new.as_deref().map(entry));
                m.changes_floor = m.changes_floor.max(written.forgotten);
                found = true;
            }
        })?;
        if !found {
            return Err(self.poison(Error::Panicked("compaction")));
        }
        fault::point("compaction 2: published")?;
        self.update(|v| {
            let at = v.segments.windows(old.len()).position(|w| w.iter().zip(old).all(|(a, b)| Arc::ptr_eq(a, b)));
            if let Some(at) = at {
                v.segments.splice(at..at + old.len(), new);
            }
            v.changes_floor = v.changes_floor.max(written.forgotten);
        });
        self.retire(old);
        fault::point("compaction 3: retired")
    }

    /// Poisons the store for a failed write; being cancelled, or damage of what is read, changes nothing on disk.
    pub(crate) fn fatal(&self, error: Error) -> Error {
        match error {
            Error::Io { .. } => self.poison(error),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn four_neighbours_of_a_tier_become_one() {
        assert_eq!(pick(&[1, 2, 3]), None);
        assert_eq!(pick(&[1, 2, 3, 4]), Some(0..4));
        assert_eq!(pick(&[1, 2, 3, 4, 900 * MIB]), Some(0..4));
        // The smaller ones among them go along; what is larger separates.
        assert_eq!(pick(&[5 * MIB, 1, 5 * MIB, 5 * MIB, 6 * MIB, 900 * MIB]), Some(0..5));
        assert_eq!(pick(&[1, 2, 900 * MIB, 3, 4]), None);
        assert_eq!(pick(&[900 * MIB, 1, 2, 3, 4]), Some(1..5));
    }

    #[test]
    fn parts_of_a_delta_are_told_by_their_seqs() {
        let ends = |seqs: &[(u64, u64)]| (0..seqs.len()).filter(|i| ends_parts(seqs, *i)).collect::<Vec<_>>();
        assert_eq!(ends(&[]), []);
        assert_eq!(ends(&[(8, 9), (5, 7), (4, 4), (1, 3)]), []);
        assert_eq!(ends(&[(8, 9), (5, 7), (5, 5), (5, 6), (1, 4)]), [3]);
        // Nothing behind them; newer segments that joined one of them; two deltas.
        assert_eq!(ends(&[(8, 9), (5, 7), (5, 6)]), []);
        assert_eq!(ends(&[(5, 9), (5, 6), (4, 4), (1, 3)]), [1]);
        assert_eq!(ends(&[(5, 7), (5, 6), (2, 4), (2, 3), (1, 1)]), [1, 3]);
    }

    #[test]
    fn the_number_of_segments_stays_logarithmic() {
        let mut sizes: Vec<u64> = Vec::new();
        let mut written = 0;
        for _ in 0..1000 {
            sizes.insert(0, MIB / 2);
            written += MIB / 2;
            while let Some(run) = pick(&sizes) {
                let sum = sizes.get(run.clone()).unwrap_or_default().iter().sum();
                sizes.splice(run, [sum]);
                written += sum;
            }
            assert!(sizes.len() <= 3 * 6, "{sizes:?}");
        }
        assert!(written < 8 * 500 * MIB, "{written}");
    }
}
