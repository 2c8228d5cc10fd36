//! The second half of a load: merge, check, write, publish.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::thread;

use headcount_block::{Dictionary, DictionaryBuilder, Fault, Progress, RowBuf, RowRef, Totals};
use tempfile::TempDir;

use super::combine::{Candidate, Combined, Combiner, without};
use super::conflict::{Claims, Drops};
use super::options::{Existing, LoadOptions, LoadReport, Rejection};
use super::publish::{Basis, publish};
use super::runs::Merge;
use super::shard::{ProviderCounts, Shard};
use crate::commit::Writer;
use crate::error::{Error, Result};
use crate::fault;
use crate::segment::{Finished, SegmentWriter};
use crate::snapshot::owned;
use crate::state::Inner;
use crate::sync::{MutexGuard, lock};
use crate::version::Version;

/// How often users are left out and the rest is checked again before a load gives up.
const ROUNDS: usize = 8;
/// Users between two looks at the cancellation flag.
const CHECK_EVERY: u64 = 4096;

/// A load in work. Dropping it leaves the store as it is.
#[derive(Debug)]
pub struct BulkLoad {
    store: Arc<Inner>,
    base: Arc<Version>,
    options: LoadOptions,
    progress: Arc<Progress>,
    /// Where unfinished files are, when not in the store.
    scratch: Option<TempDir>,
    /// How many shards were given out.
    shards: Arc<AtomicUsize>,
}

impl Drop for BulkLoad {
    fn drop(&mut self) {
        self.store.loading.store(false, Release);
    }
}

/// What one pass over the merge wrote.
struct Pass {
    finished: Option<Finished>,
    claims: Claims,
    replaced: u64,
    unchanged: u64,
    /// Sums of the rows of the store that are replaced.
    hidden: Totals,
    counts: Combined,
}

impl BulkLoad {
    pub(crate) fn new(
        store: Arc<Inner>,
        base: Arc<Version>,
        options: LoadOptions,
        progress: Arc<Progress>,
        scratch: Option<TempDir>,
    ) -> Self {
        Self { store, base, options, progress, scratch, shards: Arc::default() }
    }

    fn tmp(&self) -> PathBuf {
        self.scratch.as_ref().map_or_else(|| self.store.tmp(), |scratch| scratch.path().to_path_buf())
    }

    /// A shard for one thread. Make as many as [`LoadOptions::threads`] says: they share the memory. All of them go into
    /// [`finish`](Self::finish), also those that nothing was pushed to.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.shards.fetch_add(1, Relaxed);
        Shard::new(self.memory_of_rows() / self.options.threads.max(1), &self.tmp(), Arc::clone(&self.shards))
    }

    /// Checks that these are all shards of this load and no others.
    fn expect_all(&self, shards: &[Shard]) -> Result<()> {
        let expected = self.shards.load(Relaxed);
        let found = shards.iter().filter(|shard| Arc::ptr_eq(&shard.load, &self.shards)).count();
        if found == expected && shards.len() == expected { Ok(()) } else { Err(Error::Shards { expected, found }) }
    }

    /// Bytes for rows: six tenths; a third is for index entries, the rest is slack.
    fn memory_of_rows(&self) -> usize {
        usize::try_from(self.options.memory / 10 * 6).unwrap_or(usize::MAX)
    }

    /// Sorts, checks, writes and publishes what the shards hold. What is rejected goes to `rejects`; unless
    /// [`LoadOptions::skip_rejected`] is set the first rejection fails the load, and `rejects` is not called.
    ///
    /// Commits to the store, its flushes and other writes wait while `rejects` runs: one that it makes itself, or waits for,
    /// never ends. Let it note the rejection, and write to the store after this has returned.
    ///
    /// # Errors
    /// [`Error::Rejected`] as above; [`Error::Shards`] when `shards` are not those that [`shard`](Self::shard) gave out; errors of `rejects` as [`Error::Io`]; [`Error::Cancelled`]; [`Error::Closed`] when the
    /// store was closed or dropped meanwhile; [`Error::Poisoned`]; damage of the store. The store is unchanged after any error.
    pub fn finish(
        mut self,
        mut shards: Vec<Shard>,
        rejects: &mut dyn FnMut(&Rejection) -> std::io::Result<()>,
    ) -> Result<LoadReport> {
        if !self.options.dry_run {
            self.store.check_writable()?;
        }
        self.expect_all(&shards)?;
        self.progress.set_phase("sorting");
        close_all(&mut shards)?;
        let mut providers = DictionaryBuilder::new();
        for shard in &mut shards {
            providers.merge(&std::mem::take::<ProviderCounts>(&mut shard.providers).finish()?)?;
        }
        let named = providers.by_count().into_iter();
        let named = named.map(|(name, n)| (String::from_utf8_lossy(name).into_owned(), n)).collect();
        let mut report = LoadReport { providers: named, ..LoadReport::default() };
        // Commits go on while the load is checked, and what they changed is looked at afterwards. When that stands
        // against it, or rejected records are being written away, it is checked with the commits waiting.
        if !self.options.skip_rejected {
            let mut counts = report.clone();
            let dict = self.dictionary(&shards, providers.clone())?;
            let pass = self.passes(&shards, &dict, &mut counts, rejects)?;
            if let Some(report) = self.complete(pass, counts, None)? {
                return Ok(report);
            }
        }
        let store = Arc::clone(&self.store);
        let mut writer = lock(&store.writer);
        if !store.read_only {
            // As long as this goes on nobody else can.
            store.sync_log(&mut writer)?;
        }
        self.base = store.version.load_full();
        let dict = self.dictionary(&shards, providers)?;
        let pass = self.passes(&shards, &dict, &mut report, rejects)?;
        self.complete(pass, report, Some(&mut writer))?.ok_or(Error::Busy)
    }

    /// The dictionary of what is written: with the providers of those users of the basis that the load unites with its own.
    fn dictionary(&self, shards: &[Shard], mut providers: DictionaryBuilder) -> Result<Arc<Dictionary>> {
        if self.options.existing == Existing::Merge
            && self.base.each_provider(&mut |name| Ok(providers.add(name, 0)?)).is_err()
        {
            // All names of the store are too many: those of the users in question may not be, or the error is found again.
            providers = DictionaryBuilder::new();
            self.walk(shards, &Drops::default(), &mut |_| Ok(()), &mut |_, row| {
                Ok(row.identities().try_for_each(|identity| providers.add(identity.provider, 1))?)
            })?;
        }
        providers.finish().map(Arc::new).map_err(|f| Error::fault(f, &self.store.dir, 0))
    }

    /// Writes until nothing conflicts.
    fn passes(
        &self,
        shards: &[Shard],
        dict: &Arc<Dictionary>,
        report: &mut LoadReport,
        rejects: &mut dyn FnMut(&Rejection) -> std::io::Result<()>,
    ) -> Result<Pass> {
        let skip = self.options.skip_rejected;
        let mut rejected = 0;
        let mut reject = |rejection: Rejection| {
            if !skip {
                return Err(Error::Rejected(Box::new(rejection)));
            }
            rejected += 1;
            rejects(&rejection).map_err(|e| Error::io("write a rejected record of", &self.store.dir, e))
        };
        let mut drops = Drops::default();
        for round in 0..ROUNDS {
            let mut first = |rejection| if round == 0 { reject(rejection) } else { Ok(()) };
            let mut pass = self.write(shards, dict, &drops, &mut first)?;
            if let Some(finished) = &pass.finished {
                pass.claims.add_equal_hashes(finished)?;
            }
            if pass.claims.is_empty() {
                report.rejected = rejected;
                return Ok(pass);
            }
            let mut claims = std::mem::take(&mut pass.claims);
            self.walk(shards, &drops, &mut |_| Ok(()), &mut |candidate, row| claims.see(candidate, row))?;
            let left_out = claims.resolve(self.options.on_conflict, skip, &mut drops, &mut reject)?;
            report.identities_ignored += left_out.identities;
            if left_out.is_nothing() {
                // An owner in the store gives its identity up in this very load.
                report.rejected = rejected;
                return Ok(pass);
            }
            // Dropped before the next pass begins, the unfinished file is removed.
        }
        Err(Error::TooLarge {
            what: "rounds of leaving out users whose identities conflict",
            max: ROUNDS as u64,
            found: ROUNDS as u64 + 1,
        })
    }

    /// Goes through the candidates, less what is dropped, in UID order.
    fn walk(
        &self,
        shards: &[Shard],
        drops: &Drops,
        reject: &mut dyn FnMut(Rejection) -> Result<()>,
        each: &mut dyn FnMut(&Candidate<'_>, RowRef<'_>) -> Result<()>,
    ) -> Result<Combined> {
        let (arenas, runs) = (shards.iter().map(|s| &s.arena), shards.iter().flat_map(|s| &s.runs));
        let merge = Merge::new(arenas, runs, self.memory_of_rows())?;
        let mut combiner = Combiner::new(merge, &self.options, &self.base);
        let mut buf = RowBuf::new();
        while let Some(candidate) = combiner.next(reject)? {
            if candidate.ordinal.is_multiple_of(CHECK_EVERY) {
                self.progress.check()?;
                self.progress.add_users(CHECK_EVERY);
            }
            if drops.user(candidate.ordinal) {
                continue;
            }
            match drops.identities(candidate.ordinal) {
                [] => each(&candidate, candidate.row)?,
                numbers => each(&candidate, without(&mut buf, candidate.row, numbers)?)?,
            }
        }
        let (expected, found) = (shards.iter().map(|s| s.records).sum::<u64>(), combiner.taken());
        if found != expected {
            // Whatever became of the others: a load is all or nothing.
            let fault = Fault::new("records of the load that came back sorted", 0, expected, found);
            return Err(Error::fault(fault, &self.tmp(), 0));
        }
        Ok(combiner.counts)
    }

    fn write(
        &self,
        shards: &[Shard],
        dict: &Arc<Dictionary>,
        drops: &Drops,
        reject: &mut dyn FnMut(Rejection) -> Result<()>,
    ) -> Result<Pass> {
        self.progress.set_phase("writing");
        self.progress.set_total_users(shards.iter().map(|s| s.records).sum());
        let index_memory = usize::try_from(self.options.memory / 3).unwrap_or(usize::MAX);
        let mut writer = SegmentWriter::create(&self.tmp(), Arc::clone(dict), index_memory)?;
        let (mut claims, mut hidden, mut replaced, mut unchanged) = (Claims::default(), Totals::default(), 0, 0);
        let counts = self.walk(shards, drops, reject, &mut |_, row| {
            if self.base.is_empty() {
                return writer.push(&row.into(), 0);
            }
            if let Some(existing) = self.base.get(row.uid())? {
                if existing.user().same(&row.into()) {
                    unchanged += 1;
                    return Ok(());
                }
                replaced += 1;
                hidden.add_user(&existing.user());
            }
            self.claim_from_store(row, &mut claims)?;
            writer.push(&row.into(), 0)
        })?;
        self.progress.set_phase("indexing");
        let finished = if writer.users() == 0 { None } else { Some(writer.finish()?) };
        Ok(Pass { finished, claims, replaced, unchanged, hidden, counts })
    }

    /// Notes the identities of `row` that other users of the store have.
    fn claim_from_store(&self, row: RowRef<'_>, claims: &mut Claims) -> Result<()> {
        for identity in row.identities() {
            let Some(owner) = self.base.find(identity.provider, identity.provider_uid)? else { continue };
            if owner.user().uid() != row.uid() {
                let (owner, user) = (owned(&owner.user())?, owned(&row.into())?);
                let claimed = identity.to_identity().map_err(|f| Error::fault(f, &self.store.dir, 0))?;
                claims.add_owned(claimed, owner.uid, user.uid)?;
            }
        }
        Ok(())
    }

    /// Publishes what a pass wrote; `None` when commits since its basis stand against it.
    fn complete(
        &self,
        pass: Pass,
        mut report: LoadReport,
        writer: Option<&mut MutexGuard<'_, Writer>>,
    ) -> Result<Option<LoadReport>> {
        self.progress.check()?;
        report.seq = self.base.origin.seq;
        (report.replaced, report.unchanged) = (pass.replaced, pass.unchanged);
        report.merged = pass.counts.merged;
        report.superseded = pass.counts.superseded;
        report.identities_repeated = pass.counts.repeated;
        let Some(finished) = pass.finished else {
            if self.options.dry_run {
                return Ok(Some(report));
            }
            // All was there already, for as long as what was committed stays; whether it still is, nobody looked.
            let stands = writer.is_some() || self.store.version.load().origin.seq == report.seq;
            match writer {
                Some(writer) => self.store.sync_log(writer)?,
                None => self.store.sync()?,
            }
            return Ok(stands.then_some(report));
        };
        fault::point("load: written")?;
        let totals = finished.totals();
        (report.users, report.identities) = (totals.users(), totals.identities());
        report.pending = totals.pending.users;
        report.bytes_written = finished.len();
        if self.options.dry_run {
            return Ok(Some(report));
        }
        self.progress.set_phase("publishing");
        let basis = Basis {
            version: &self.base,
            existing: self.options.existing,
            hidden: pass.hidden,
            unchanged: pass.unchanged,
            ignored: report.identities_ignored,
        };
        let seq = match writer {
            Some(writer) => publish(&self.store, writer, finished, &basis)?,
            None => publish(&self.store, &mut lock(&self.store.writer), finished, &basis)?,
        };
        Ok(seq.map(|seq| LoadReport { seq, ..report }))
    }
}

fn close_all(shards: &mut [Shard]) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = shards.iter_mut().map(|shard| scope.spawn(|| shard.close())).collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap_or(Err(Error::Panicked("sorting"))))
    })
}
