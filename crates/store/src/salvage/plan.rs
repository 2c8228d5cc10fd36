//! What there is to salvage: the manifest or what stands in for it, segments, and the log of the delta.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use headcount_block::{ClassSums, Damage, Totals, UidRange};

use super::{Loss, Losses, SalvageReport, SalvagedBy, whole_file};
use crate::delta::{self, Record};
use crate::error::{Error, Result};
use crate::files;
use crate::layer::Delta;
use crate::manifest::{Manifest, SegmentEntry};
use crate::random;
use crate::segment::Remains;
use crate::state::Inner;

/// A segment with what its rows' seqs are relative to.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) remains: Remains,
    pub(super) base_seq: u64,
    /// What it hides has a lesser seq, as far as that is known.
    pub(super) below: u64,
}

/// Everything that was found, before users are read.
#[derive(Debug)]
pub(super) struct Plan {
    dir: PathBuf,
    manifest: Option<Manifest>,
    by: SalvagedBy,
    pub(super) layers: Vec<Layer>,
    pub(super) delta: Delta,
    /// What the commits of the log add to the sums of the manifest.
    logged: Totals,
    commits: u64,
    log_is_whole: bool,
    erased: BTreeSet<String>,
    losses: Vec<(Loss, u64)>,
}

impl Plan {
    /// Looks at the store in `dir`.
    pub(super) fn make(dir: &Path) -> Result<Self> {
        let (manifest, by, damage) = manifest(dir)?;
        let erased = manifest.iter().flat_map(|m| m.erasing.iter().cloned()).collect();
        let mut this = Self {
            dir: dir.to_path_buf(),
            manifest,
            by,
            layers: Vec::new(),
            delta: Delta::new(random::key()?).unindexed(),
            logged: Totals::default(),
            commits: 0,
            log_is_whole: true,
            erased,
            losses: Vec::new(),
        };
        if let Some(damage) = damage {
            // What it forgot or erased may be in files that are left over; nothing says which users that is.
            this.lose(damage, 0, 0, (false, true));
        }
        this.segments()?;
        this.log()?;
        if this.by == SalvagedBy::Files && this.layers.is_empty() && this.commits == 0 {
            return Err(Error::NotAStore {
                path: dir.to_path_buf(),
                why: "it holds no MANIFEST, no segment and no log",
            });
        }
        Ok(this)
    }

    fn lose(&mut self, damage: Damage, bytes: u64, below: u64, (older, deleted): (bool, bool)) {
        self.losses.push((Loss { damage, bytes, blocks: None, users: None, older, deleted }, below));
    }

    /// The segments that belong to the store: those of the manifest, or else all that are there.
    fn segments(&mut self) -> Result<()> {
        let stated: Vec<SegmentEntry> = self.manifest.iter().flat_map(|m| m.segments.iter().cloned()).collect();
        let current = self.by == SalvagedBy::Manifest;
        let ids = if current { stated.iter().map(|e| e.id).collect() } else { files::segments(&self.dir)? };
        // Nothing in a segment is as new as the base of the one before it in the manifest. Parts of one delta have the same
        // base, and no UID in common: what is lost of one hides rows that are older than that alone.
        let newest = self.manifest.as_ref().map_or(u64::MAX, |m| m.seq.saturating_add(1));
        let bounds = std::iter::once(newest).chain(stated.iter().map(|e| e.base_seq));
        let stated: BTreeMap<u128, (SegmentEntry, u64)> =
            stated.iter().cloned().zip(bounds).map(|(entry, below)| (entry.id, (entry, below))).collect();
        for id in ids {
            let (entry, below) = stated.get(&id).cloned().unzip();
            let below = below.filter(|_| current).unwrap_or(u64::MAX);
            self.segment(id, entry.as_ref(), below)?;
        }
        Ok(())
    }

    fn segment(&mut self, id: u128, entry: Option<&SegmentEntry>, below: u64) -> Result<()> {
        let path = self.dir.join(files::segment_name(id));
        let remains = match Remains::open(&path, id, entry.map(|e| e.bytes)) {
            Ok(remains) => remains,
            Err(error @ (Error::Version { .. } | Error::Feature { .. })) => return Err(error),
            Err(error) => {
                let bytes = entry.map_or(0, |e| e.bytes);
                self.lose(whole_file(path, "segment", "a file", error.to_string()), bytes, below, (true, true));
                return Ok(());
            }
        };
        let (base_seq, below) = match (remains.seqs.filter(|_| remains.whole), entry) {
            (Some((base, greatest)), _) => (base, greatest.saturating_add(1)),
            (None, Some(entry)) => (entry.base_seq, below),
            (None, None) => {
                let base = remains.seqs.map_or(0, |(base, _)| base);
                let what = "base seq: which layer is the newer one";
                let damage = whole_file(path, what, "a whole footer, or a manifest", format!("{base}, unproven"));
                self.lose(damage, 0, u64::MAX, (true, true));
                (base, u64::MAX)
            }
        };
        self.layers.push(Layer { remains, base_seq, below });
        Ok(())
    }

    /// Reads the log: the generations of the manifest, or else all that are there.
    fn log(&mut self) -> Result<()> {
        let current = self.by == SalvagedBy::Manifest;
        let stated = self.manifest.iter().flat_map(|m| m.generations.iter());
        let stated: BTreeMap<u64, u64> = stated.map(|g| (g.number, g.first_seq)).collect();
        let numbers = if current { stated.keys().copied().collect() } else { files::generations(&self.dir)? };
        if numbers.is_empty() {
            return Ok(());
        }
        for number in numbers {
            let path = delta::path_of(&self.dir, number);
            let first = stated.get(&number).copied();
            if let Err(error) = self.generation(&path, first) {
                let after = self.delta.last_seq;
                let more = self.groups(&path);
                self.lose_log(path, error, after, more);
            }
        }
        Ok(())
    }

    /// Adds the commits that lie whole in the file of a generation, after those that were read.
    fn groups(&mut self, path: &Path) -> u64 {
        let mut found = BTreeMap::new();
        // What cannot be read of it is told already.
        let _ = delta::groups(path, &mut |records| {
            found.extend(records.into_iter().map(|record| (record.seq, record)));
        });
        let before = self.commits;
        for record in found.into_values().filter(|record| record.seq > self.delta.last_seq).collect::<Vec<_>>() {
            self.add(&record);
        }
        self.commits - before
    }

    fn add(&mut self, record: &Record) {
        let [registered, pending] = record.sums.map(ClassSums::from_words);
        self.logged += Totals { registered, pending };
        self.commits += 1;
        for change in &record.changes {
            let (uid, row) = change.parts();
            self.delta.insert(uid, row, record.seq, record.time_ms);
        }
    }

    fn lose_log(&mut self, path: PathBuf, error: Error, after: u64, more: u64) {
        self.log_is_whole = false;
        let found = match error {
            Error::Damage(damage) => format!("{}: expected {}, found {}", damage.what, damage.expected, damage.found),
            other => other.to_string(),
        };
        let upto = if after == 0 { "none".to_owned() } else { format!("those up to seq {after}") };
        let expected = format!("a whole log (of its commits {upto} were read, and {more} after them)");
        self.lose(whole_file(path, "log of the delta", &expected, found), 0, u64::MAX, (true, true));
    }

    /// Adds the commits of one generation. Those before damage count: a commit is whole or not there.
    fn generation(&mut self, path: &Path, first: Option<u64>) -> Result<()> {
        let synced = self.manifest.as_ref().is_none_or(|m| !m.unsynced);
        let last = delta::read(path, first, synced, &mut |record| {
            self.add(&record);
            Ok(())
        })?;
        self.delta.last_seq = self.delta.last_seq.max(last);
        Ok(())
    }

    /// What can be said before users are read.
    pub(super) fn report(&self) -> SalvageReport {
        SalvageReport {
            by: self.by,
            origin: self.manifest.as_ref().map(Inner::origin),
            expected_users: self.totals().map(|totals| totals.users()),
            segments: self.layers.len() as u64,
            commits: self.commits,
            ..SalvageReport::default()
        }
    }

    /// The losses so far.
    pub(super) fn losses(&self, losses: &mut Losses) {
        for (loss, below) in &self.losses {
            losses.add(loss.clone(), UidRange::all(), *below);
        }
    }

    /// Sums of the users of the store, where manifest and log are whole.
    pub(super) fn totals(&self) -> Option<Totals> {
        let whole = self.by == SalvagedBy::Manifest && self.log_is_whole;
        let mut totals = self.manifest.as_ref().filter(|_| whole)?.totals();
        totals += self.logged;
        Some(totals)
    }

    /// Bytes that will be read.
    pub(super) fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.remains.end_of_blocks()).sum()
    }

    /// Whether a row of `seq`, the newest that was found of this user, may be one that an unfinished erasure was to remove.
    /// `deleted`: something that is newer may be missing.
    ///
    /// An erasure begins with a tombstone: a row that nothing hides is of a user who came later, or whose turn had not come.
    /// Where files may be left over that the erasure wanted gone, a row that is newer than that manifest is.
    pub(super) fn is_erased(&self, uid: &[u8], seq: u64, deleted: bool) -> bool {
        std::str::from_utf8(uid).is_ok_and(|uid| self.erased.contains(uid))
            && (deleted || self.by != SalvagedBy::Manifest)
            && self.manifest.as_ref().is_none_or(|manifest| seq <= manifest.seq)
    }

    /// Users that were left out since they may be erased, and may have come back as well. Their UIDs stay unsaid.
    pub(super) fn erased_perhaps(&self, users: u64) -> Loss {
        let name = if self.by == SalvagedBy::Previous { files::MANIFEST_PREVIOUS } else { files::MANIFEST };
        let found = format!("{users} of whom a row is left that may be older");
        let expected = "a tombstone of each user, or a newer row";
        let damage = whole_file(self.dir.join(name), "erasure that was not complete", expected, found);
        Loss { damage, bytes: 0, blocks: None, users: Some(users), older: false, deleted: false }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The manifest that can be read, which one that is, and what is wrong with the current one.
fn manifest(dir: &Path) -> Result<(Option<Manifest>, SalvagedBy, Option<Damage>)> {
    let damage = match Manifest::read(dir, false) {
        Ok(manifest) => return Ok((Some(manifest), SalvagedBy::Manifest, None)),
        Err(Error::Damage(damage)) => *damage,
        Err(error @ (Error::Version { .. } | Error::Feature { .. })) => return Err(error),
        Err(error) => whole_file(dir.join(files::MANIFEST), "manifest", "a file", error.to_string()),
    };
    let previous = dir.join(files::MANIFEST_PREVIOUS);
    let decoded = Manifest::read_file(&previous, false).ok();
    let by = if decoded.is_some() { SalvagedBy::Previous } else { SalvagedBy::Files };
    Ok((decoded, by, Some(damage)))
}
