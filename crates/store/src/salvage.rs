//! Salvage: everything intact of a damaged store, in a new one, and a list of what is not.
//!
//! The damaged store is only read. What belongs to it says the manifest, or, where that is damaged, the one before it and
//! the files that are there. Each part is read on its own (see `segment/remains.rs`), and of each user the form with the
//! greatest seq is taken: rows and tombstones carry theirs, so that the order of layers, and a file that is left over,
//! make no difference. The new store is written by a bulk load, which also finds identities that two users claim, as
//! they can when an older form of a user comes back: the newer user keeps them. More provider names than one load takes
//! make it several; an identity that users of two of them claim stays with the lesser UID.

mod merge;
mod plan;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headcount_block::limits::PROVIDERS_MAX;
use headcount_block::{Damage, Origin, Progress, RowRef, Totals, UidRange};

use crate::error::{Error, Result};
use crate::load::{BulkLoad, LoadOptions, LoadReport, OnConflict, Place, RowKind, Shard};
use crate::lock::Lock;
use crate::options::Options;
use crate::store::Store;
use merge::Merge;
use plan::Plan;

/// Which manifest a salvage went by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SalvagedBy {
    /// The current one.
    Manifest,
    /// The one before it: files that are there but not named by it were taken too.
    Previous,
    /// None: all files that are there were taken.
    #[default]
    Files,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What is wrong, and where.
    pub damage: Damage,
    /// How many bytes of the file are concerned; 0 when that is not known.
    pub bytes: u64,
    /// Numbers of the first and the last block, where blocks are lost.
    pub blocks: Option<(u32, u32)>,
    /// Users in it, where they can be counted. Some of them may be there in an older form.
    pub users: Option<u64>,
    /// Whether older forms of users may have come back, of the UIDs that `damage` names or of any.
    pub older: bool,
    /// Whether deleted users may have come back, likewise.
    pub deleted: bool,
}

/// What a salvage brought out, and what it did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SalvageReport {
    /// Which manifest it went by.
    pub by: SalvagedBy,
    /// Which state of which store was salvaged, where a manifest says so.
    pub origin: Option<Origin>,
    /// Users written, registered and pending.
    pub users: u64,
    /// Pending users among them.
    pub pending: u64,
    /// Identities of the users written.
    pub identities: u64,
    /// Identities left out, since a newer user has them.
    pub identities_left_out: u64,
    /// Users that the store had, where manifest and log are whole.
    pub expected_users: Option<u64>,
    /// Segments that belong to the store.
    pub segments: u64,
    /// Blocks that were read.
    pub blocks: u64,
    /// Commits of the log that were read.
    pub commits: u64,
    /// Users in what was lost, as far as they can be counted.
    pub lost: u64,
    /// Users written that may stand there in an older form.
    pub older: u64,
    /// Users written that may have been deleted.
    pub returned: u64,
    /// Everything that could not be read.
    pub losses: Vec<Loss>,
}

impl SalvageReport {
    /// Whether nothing was lost.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.losses.is_empty()
    }
}

/// UIDs of which something newer than the users that are written may be missing.
#[derive(Debug)]
struct Doubt {
    range: UidRange,
    /// What could be missing is newer than this seq, exclusive.
    below: u64,
    /// Rows, tombstones.
    older: bool,
    deleted: bool,
}

/// What is found missing while users are read.
#[derive(Debug, Default)]
struct Losses {
    all: Vec<Loss>,
    doubts: Vec<Doubt>,
}

impl Losses {
    fn add(&mut self, loss: Loss, range: UidRange, below: u64) {
        if loss.older || loss.deleted {
            self.doubts.push(Doubt { range, below, older: loss.older, deleted: loss.deleted });
        }
        self.all.push(loss);
    }

    /// Whether the user `uid` in the form of `seq` may be an older one, and whether it may have been deleted. UIDs ascend.
    fn doubts(&mut self, uid: &[u8], seq: u64) -> (bool, bool) {
        if self.doubts.is_empty() {
            return (false, false);
        }
        self.doubts.retain(|doubt| !doubt.range.is_after(uid));
        let about = self.doubts.iter().filter(|doubt| seq < doubt.below && doubt.range.contains(uid));
        about.fold((false, false), |(older, deleted), doubt| (older || doubt.older, deleted || doubt.deleted))
    }
}

/// Writes what can be read of the store at `from` to a new store at `to`, where there is nothing or an empty directory.
///
/// `from` is not changed; readers may go on with it. The new store has an id and seqs of its own, so that readers of
/// changes take a whole export. Losses are no error: the report lists them.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::NotAStore`] when there is nothing of a store at `from`, [`Error::Locked`],
/// [`Error::Version`] and [`Error::Feature`] for a store of another version, [`Error::Exists`], [`Error::Io`] for what
/// cannot be written, [`Error::Cancelled`]. Nothing is left at `to` then.
pub fn salvage(from: impl AsRef<Path>, to: impl AsRef<Path>, progress: &Arc<Progress>) -> Result<SalvageReport> {
    let (from, to) = (from.as_ref(), to.as_ref());
    match fs::metadata(from) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(Error::NotAStore { path: from.to_path_buf(), why: "it is not a directory" }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Error::NotFound { path: from.to_path_buf() }),
        Err(e) => return Err(Error::io("look at", from, e)),
    }
    expect_apart(from, to)?;
    let _lock = Lock::shared(from)?;
    progress.set_phase("looking");
    let plan = Plan::make(from)?;
    let store = Store::create(to, &Options { maintenance: false, ..Options::default() })?;
    match write(&plan, &store, progress) {
        Ok(report) => store.close().map(|()| report),
        Err(error) => {
            // The error that counts is the first one.
            let _ = store.discard();
            Err(error)
        }
    }
}

/// The new store must not come to lie in the damaged one.
fn expect_apart(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let inside = match (fs::canonicalize(from), fs::canonicalize(parent)) {
        (Ok(from), Ok(parent)) => parent.starts_with(from),
        _ => false,
    };
    if inside {
        let reason = std::io::Error::new(std::io::ErrorKind::InvalidInput, "it lies in the store that is salvaged");
        return Err(Error::io("make the new store at", to, reason));
    }
    Ok(())
}

/// Reads the newest form of each user and loads it.
fn write(plan: &Plan, store: &Store, progress: &Arc<Progress>) -> Result<SalvageReport> {
    let mut report = plan.report();
    let mut losses = Losses::default();
    plan.losses(&mut losses);
    progress.set_phase("reading");
    progress.set_total_bytes(plan.bytes());
    let begin = || {
        let options = LoadOptions { threads: 1, on_conflict: OnConflict::Ignore, ..LoadOptions::default() };
        let load = store.bulk_load(options, progress)?;
        let shard = load.shard();
        Ok::<_, Error>((load, shard))
    };
    let (mut load, mut shard) = begin()?;
    // Provider names of the load: nearly always one takes all of them.
    let mut names: HashSet<Vec<u8>> = HashSet::new();
    let (mut totals, mut erased) = (Totals::default(), 0);
    let mut merge = Merge::new(plan, &mut losses, progress)?;
    while let Some(newest) = merge.next(&mut losses)? {
        let Some(bytes) = newest.row else { continue };
        let (older, deleted) = losses.doubts(&newest.uid, newest.seq);
        if plan.is_erased(&newest.uid, newest.seq, deleted) {
            erased += 1;
            continue;
        }
        let row = RowRef::parse(&bytes).map_err(|f| Error::fault(f, plan.dir(), 0))?;
        totals.add_user(&row.into());
        report.older += u64::from(older);
        report.returned += u64::from(deleted);
        let new: Vec<&[u8]> = row.identities().map(|i| i.provider).filter(|name| !names.contains(*name)).collect();
        if names.len() + new.len() > PROVIDERS_MAX {
            end(load, shard, &mut report)?;
            (load, shard) = begin()?;
            names = row.identities().map(|i| i.provider.to_vec()).collect();
        } else {
            names.extend(new.into_iter().map(<[u8]>::to_vec));
        }
        shard.push(row, place(newest.seq), RowKind::User)?;
        progress.add_users(1);
    }
    report.blocks = merge.blocks();
    end(load, shard, &mut report)?;
    report.losses = losses.all;
    if erased > 0 {
        report.losses.push(plan.erased_perhaps(erased));
    }
    report.lost = report.losses.iter().filter_map(|loss| loss.users).sum();
    compare(plan, totals, &mut report);
    Ok(report)
}

/// Ends a load, and adds it to the report.
fn end(load: BulkLoad, shard: Shard, report: &mut SalvageReport) -> Result<()> {
    let LoadReport { users, pending, identities, identities_ignored, .. } =
        load.finish(vec![shard], &mut |_| Ok(()))?;
    report.users += users;
    report.pending += pending;
    report.identities += identities;
    report.identities_left_out += identities_ignored;
    Ok(())
}

/// Where the load takes a row to come from. Of two that claim an identity the first keeps it: that is the newer one.
const fn place(seq: u64) -> Place {
    let age = u64::MAX - seq;
    Place { file: 0, line: age >> 24, offset: age & 0xff_ffff }
}

/// Nothing was seen to be missing: then all that the manifest and the log count has to be there.
fn compare(plan: &Plan, totals: Totals, report: &mut SalvageReport) {
    let Some(expected) = plan.totals().filter(|_| report.losses.is_empty()) else { return };
    if expected == totals && report.identities_left_out == 0 {
        return;
    }
    let users = expected.users().saturating_sub(totals.users());
    let damage = Damage {
        file: plan.dir().join(crate::files::MANIFEST),
        offset: 0,
        what: "counts and sums of the manifest against what was read".into(),
        expected: format!("{} users, {} identities", expected.users(), expected.identities()),
        found: format!("{} users, {} identities", totals.users(), totals.identities()),
        uids: None,
    };
    report.losses.push(Loss { damage, bytes: 0, blocks: None, users: Some(users), older: true, deleted: true });
}

/// Damage of a whole file.
fn whole_file(path: PathBuf, what: &str, expected: &str, found: String) -> Damage {
    Damage { file: path, offset: 0, what: what.into(), expected: expected.into(), found, uids: None }
}
