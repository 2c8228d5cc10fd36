//! Verification: every checksum, order, index entry, sum and count of a store.

use std::collections::BTreeMap;

use headcount_block::{
    Damage, Error as BlockError, Fault, Piece, Progress, RowRef, Span, Status, Totals, UidRange, UserRef, Visitor,
};

use crate::error::{Error, Result};
use crate::merge;
use crate::segment::hash_index::{Kind, PAGE, RowPlace, hash_identity, hash_uid, used_slots};
use crate::segment::{CHECKPOINT, Segment};
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::version::Version;

/// What a verification looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments.
    pub segments: u64,
    /// Blocks.
    pub blocks: u64,
    /// Index pages.
    pub pages: u64,
    /// Rows, including those that newer segments hide.
    pub rows: u64,
    /// Identities of those rows.
    pub identities: u64,
    /// Users that segments say are deleted.
    pub tombstones: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Damages found.
    pub damages: u64,
}

impl Store {
    /// Checks everything that the current version holds; calls `found` with each damage and goes on.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Cancelled`]. Damage is not an error here: it is counted.
    pub fn verify(&self, progress: &Progress, found: &mut dyn FnMut(&Damage)) -> Result<VerifyReport> {
        self.snapshot().verify(progress, found)
    }
}

impl Snapshot {
    /// As [`Store::verify`], for this version.
    ///
    /// # Errors
    /// As [`Store::verify`].
    pub fn verify(&self, progress: &Progress, found: &mut dyn FnMut(&Damage)) -> Result<VerifyReport> {
        let mut check = Check { report: VerifyReport::default(), progress, found };
        progress.set_phase("verifying");
        progress.set_total_users(self.0.segments.iter().map(|s| s.footer().totals.users()).sum());
        for segment in &self.0.segments {
            check.segment(segment)?;
        }
        check.version(&self.0)?;
        Ok(check.report)
    }

    /// Identities by provider, of registered and of pending users; most frequent first. Costs a pass over the users.
    ///
    /// # Errors
    /// [`Error::Damage`], [`Error::Io`].
    pub fn providers(&self) -> Result<Vec<(String, u64, u64)>> {
        let mut count = CountProviders::default();
        merge::visit(&self.0, &UidRange::all(), &mut count)?;
        let named = count.0.into_iter();
        let mut all: Vec<(String, u64, u64)> =
            named.map(|(name, [r, p])| (String::from_utf8_lossy(&name).into_owned(), r, p)).collect();
        all.sort_by(|a, b| (b.1 + b.2).cmp(&(a.1 + a.2)).then_with(|| a.0.cmp(&b.0)));
        Ok(all)
    }
}

/// Checks one segment on its own.
#[cfg(test)]
pub(crate) fn verify_segment(
    segment: &Segment,
    progress: &Progress,
    found: &mut dyn FnMut(&Damage),
) -> Result<VerifyReport> {
    let mut check = Check { report: VerifyReport::default(), progress, found };
    check.segment(segment)?;
    Ok(check.report)
}

struct Check<'a> {
    report: VerifyReport,
    progress: &'a Progress,
    found: &'a mut dyn FnMut(&Damage),
}

impl Check<'_> {
    /// Counts and shows damage; passes other errors on.
    fn note<T>(&mut self, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(Error::Damage(damage)) => {
                self.report.damages += 1;
                (self.found)(&damage);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    fn segment(&mut self, segment: &Segment) -> Result<()> {
        self.report.segments += 1;
        self.report.bytes += segment.bytes();
        self.note(segment.reverify())?;
        let mut totals = Some(Totals::default());
        let mut last: Option<Vec<u8>> = None;
        let mut checkpoints = Ok(());
        for number in 0..segment.footer().blocks {
            self.progress.check()?;
            if let (Some(sums), Ok(())) = (totals, &checkpoints) {
                checkpoints = segment.expect_checkpoint(number as usize, &sums);
            }
            let checked = self.block(segment, number, last.as_deref());
            match self.note(checked)? {
                Some((sums, end)) => {
                    totals = totals.map(|mut t| {
                        t += sums;
                        t
                    });
                    last = end;
                }
                None => (totals, last) = (None, None),
            }
        }
        self.note(checkpoints)?;
        for kind in [Kind::Uid, Kind::Identity] {
            self.pages(segment, kind)?;
        }
        let tombstones = self.tombstones(segment);
        self.note(tombstones)?;
        let sums = match totals {
            Some(totals) if totals != segment.footer().totals => Err(segment.sum_fault(totals.users())),
            _ => Ok(()),
        };
        self.note(sums)?;
        let end = match last {
            Some(last) if last != segment.index().last_uid() => Err(segment.sum_fault(last.len() as u64)),
            _ => Ok(()),
        };
        self.note(end).map(drop)
    }

    /// Checks one block and that both indexes lead to each of its rows. Returns its sums and last UID.
    fn block(&mut self, segment: &Segment, number: u32, after: Option<&[u8]>) -> Result<(Totals, Option<Vec<u8>>)> {
        let (bytes, offset) = segment.block(number, true)?;
        let block = segment.parse(&bytes, offset)?;
        let fault = |f| segment.block_fault(f, number);
        let last = block.verify_rows(after).map_err(fault)?.map(<[u8]>::to_vec);
        if block.users() > 0 && block.user(0).map_err(fault)?.uid() != segment.index().first_uid(number as usize) {
            return Err(fault(Fault::new("first UID of the block against the block index", 0, 0, 1)));
        }
        let (base, max) = segment.seq_range();
        let newest = base.saturating_add(block.seq_range().1);
        if newest > max {
            return Err(fault(Fault::new("greatest seq of the block against the footer", 64, max, newest)));
        }
        for (ordinal, user) in block.rows().enumerate() {
            let user = user.map_err(fault)?;
            let place = RowPlace::of(number, ordinal);
            let entries = self.entries(segment, place, &user);
            self.note(entries)?;
        }
        self.report.blocks += 1;
        self.report.rows += block.users() as u64;
        self.progress.add_users(block.users() as u64);
        self.progress.add_bytes(bytes.len() as u64);
        Ok((block.totals(), last))
    }

    /// Checks order, text and seqs of the tombstones, and that none of them has a row beside it. Stops at the first
    /// fault: one damaged block could make every tombstone one.
    fn tombstones(&mut self, segment: &Segment) -> Result<()> {
        let at = segment.footer().tombstones.offset;
        let (least, greatest) = segment.seq_range();
        let mut last: &[u8] = &[];
        for (i, (uid, tombstone)) in segment.tombstones().iter().enumerate() {
            if i.is_multiple_of(1024) {
                self.progress.check()?;
            }
            let fault = |what, expected, found| {
                let mut error = Error::fault(Fault::new(what, 0, expected, found), segment.path(), at);
                if let Error::Damage(damage) = &mut error {
                    let uid = String::from_utf8_lossy(uid).into_owned();
                    damage.uids = Some((uid.clone(), uid));
                }
                Err(error)
            };
            if last >= uid {
                return fault("UID order of the tombstones", i as u64, i as u64);
            }
            if std::str::from_utf8(uid).is_err() || uid.contains(&0) {
                return fault("UID of a tombstone", 1, 0);
            }
            if !(least..=greatest).contains(&tombstone.seq) {
                return fault("seq of a tombstone", greatest, tombstone.seq);
            }
            if segment.find_uid(uid)?.is_some() {
                return fault("row of a user that the same segment says is deleted", 0, 1);
            }
            last = uid;
            self.report.tombstones += 1;
        }
        self.progress.add_bytes(segment.footer().tombstones.len);
        Ok(())
    }

    fn entries(&mut self, segment: &Segment, place: RowPlace, user: &UserRef<'_>) -> Result<()> {
        let missing = |what, kind| {
            let mut error = segment.block_fault(Fault::new(what, 0, place.pack(), 0), place.block);
            if let Error::Damage(damage) = &mut error {
                let uid = String::from_utf8_lossy(user.uid()).into_owned();
                damage.offset = segment.index_offset(kind);
                damage.uids = Some((uid.clone(), uid));
            }
            error
        };
        let (uid_key, _) = segment.hash_params(Kind::Uid);
        let hash = hash_uid(uid_key, user.uid());
        if !segment.leads_to(Kind::Uid, hash, place)? {
            return Err(missing("UID index entry of a row", Kind::Uid));
        }
        let (key, _) = segment.hash_params(Kind::Identity);
        for identity in user.identities() {
            self.report.identities += 1;
            let id = segment.dictionary().id_of(identity.provider).unwrap_or_default();
            let hash = hash_identity(key, id, identity.provider_uid);
            // Seldom any: rows before this one whose hash looks the same. Of equal hashes theirs come first.
            let (mut there, mut others) = (false, Vec::new());
            segment.candidates(Kind::Identity, hash, |candidate| {
                there = candidate == place;
                if candidate < place {
                    others.push(candidate);
                }
                there
            })?;
            if !there {
                return Err(missing("identity index entry of a row", Kind::Identity));
            }
            for other in others {
                // Damage there is found where it is.
                let carries = match segment.user_at(other) {
                    Ok(other) => other.user().has_identity(identity.provider, identity.provider_uid),
                    Err(error) if error.is_damage() => false,
                    Err(error) => return Err(error),
                };
                if carries {
                    return Err(missing("owners of an identity in one segment", Kind::Identity));
                }
            }
        }
        Ok(())
    }

    fn pages(&mut self, segment: &Segment, kind: Kind) -> Result<()> {
        let (_, pages) = segment.hash_params(kind);
        let mut used = Some(0);
        for number in 0..pages {
            self.progress.check()?;
            let page = segment.page(kind, number, true);
            match self.note(page)? {
                Some(page) => {
                    self.report.pages += 1;
                    self.progress.add_bytes(PAGE as u64);
                    used = used.map(|n| n + used_slots(&page));
                }
                None => used = None,
            }
        }
        let expected = segment.index_entries(kind);
        let count = match used {
            Some(found) if found != expected => {
                let fault = Fault::new("number of index entries", 0, expected, found);
                Err(Error::fault(fault, segment.path(), segment.index_offset(kind)))
            }
            _ => Ok(()),
        };
        self.note(count).map(drop)
    }

    /// Checks that segments are ordered by their seqs, and that none is newer than the manifest.
    fn order(&mut self, version: &Version) -> Result<()> {
        for (i, segment) in version.segments.iter().enumerate() {
            let (_, greatest) = segment.seq_range();
            let reached = if greatest <= version.origin.seq {
                Ok(())
            } else {
                let what = "greatest seq of a segment against the manifest";
                Err(Error::fault(Fault::new(what, 0, version.origin.seq, greatest), segment.path(), 0))
            };
            self.note(reached)?;
            // Nearly always none: a segment begins after those behind it end.
            let newer = version.segments.iter().take(i);
            for newer in newer.filter(|newer| newer.seq_range().0 <= greatest) {
                let ordered = self.expect_newer(newer, segment);
                self.note(ordered)?;
            }
        }
        Ok(())
    }

    /// Checks that each user of `newer` is newer than what `older` has of it.
    fn expect_newer(&self, newer: &Segment, older: &Segment) -> Result<()> {
        let expect = |uid: &[u8], seq: u64| {
            let row = older.find_uid(uid)?.map(|row| row.seq()).transpose()?;
            let found = row.max(older.tombstones().get(uid).map(|tombstone| tombstone.seq));
            match found.filter(|found| *found >= seq) {
                Some(found) => {
                    let fault = Fault::new("seq of a user against that in an older segment", 0, found, seq);
                    Err(Error::fault(fault, newer.path(), 0))
                }
                None => Ok(()),
            }
        };
        for number in 0..newer.footer().blocks {
            self.progress.check()?;
            let (bytes, offset) = newer.block(number, false)?;
            let block = newer.parse(&bytes, offset)?;
            for (ordinal, user) in block.rows().enumerate() {
                let user = user.map_err(|f| newer.block_fault(f, number))?;
                expect(user.uid(), newer.seq_in(&block, number, ordinal)?)?;
            }
        }
        newer.tombstones().iter().try_for_each(|(uid, tombstone)| expect(uid, tombstone.seq))
    }

    /// What holds across segments: that the newer one is in front, the sums of what is visible, and that an identity has
    /// one owner.
    fn version(&mut self, version: &Version) -> Result<()> {
        if self.report.damages > 0 {
            return Ok(());
        }
        self.order(version)?;
        let mut visible = Visible { version, totals: Totals::default(), progress: self.progress, shared: None };
        let visited = merge::visit(version, &UidRange::all(), &mut visible).map_err(Error::from);
        let Visible { totals, shared, .. } = visible;
        self.note(visited)?;
        let directory = version.segments.first().and_then(|s| s.path().parent()).unwrap_or(std::path::Path::new("."));
        let manifest = directory.join(crate::files::MANIFEST);
        let sums = if totals == version.totals {
            Ok(())
        } else {
            let fault = Fault::new("counts and sums of the manifest", 0, version.totals.users(), totals.users());
            Err(Error::fault(fault, &manifest, 0))
        };
        self.note(sums)?;
        self.note(shared.map_or(Ok(()), Err)).map(drop)
    }
}

/// Sums up what is visible; with several segments also looks every identity up.
struct Visible<'a> {
    version: &'a Version,
    totals: Totals,
    progress: &'a Progress,
    shared: Option<Error>,
}

impl Visible<'_> {
    fn user(&mut self, user: &UserRef<'_>) -> Result<(), BlockError> {
        self.totals.add_user(user);
        for identity in user.identities() {
            let owner = self.version.find(identity.provider, identity.provider_uid)?;
            if owner.is_none_or(|owner| owner.user().uid() != user.uid()) {
                let path = self.version.segments.first().map(|s| s.path().to_path_buf()).unwrap_or_default();
                let fault = Fault::new("owner of an identity", 0, 1, 2);
                self.shared.get_or_insert_with(|| Error::fault(fault, &path, 0));
            }
        }
        Ok(())
    }
}

impl Visitor for Visible<'_> {
    fn span(&mut self, span: &Span<'_>) -> Result<(), BlockError> {
        self.progress.check()?;
        if let (Some(totals), Some(_)) = (span.whole_totals(), self.version.only_segment()) {
            self.totals += totals;
            return Ok(());
        }
        span.rows()?.try_for_each(|user| self.user(&user?))
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), BlockError> {
        self.user(&row.into())
    }
}

/// Identities by provider name: of registered and of pending users.
#[derive(Default)]
struct CountProviders(BTreeMap<Vec<u8>, [u64; 2]>);

impl CountProviders {
    fn add(&mut self, name: &[u8], counts: [u64; 2]) {
        let sums = match self.0.get_mut(name) {
            Some(sums) => sums,
            None => self.0.entry(name.to_vec()).or_default(),
        };
        sums[0] += counts[0];
        sums[1] += counts[1];
    }
}

impl Visitor for CountProviders {
    fn span(&mut self, span: &Span<'_>) -> Result<(), BlockError> {
        // A control entry names provider and status: no text is read for compact rows.
        let mut counts = [[0_u64; 2]; 256];
        for piece in span.pieces()? {
            match piece? {
                Piece::Row(row) => self.row(row)?,
                Piece::Clean(clean) => {
                    for [head, provider, _] in clean.ctl.as_chunks::<3>().0.iter().take(clean.entries) {
                        if let Some([registered, pending]) = counts.get_mut(usize::from(*provider)) {
                            let is_pending = u64::from(head >> 7);
                            *pending += is_pending;
                            *registered += 1 - is_pending;
                        }
                    }
                }
            }
        }
        for (id, count) in (0..).zip(counts.iter().skip(1)).filter(|(_, count)| **count != [0, 0]) {
            if let Some(name) = span.dictionary().name(id) {
                self.add(name, *count);
            }
        }
        Ok(())
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), BlockError> {
        let pending = u64::from(row.status() == Status::Pending);
        row.identities().for_each(|i| self.add(i.provider, [1 - pending, pending]));
        Ok(())
    }
}

impl Segment {
    fn sum_fault(&self, found: u64) -> Error {
        let fault = Fault::new("counts, sums or last UID of the footer", 0, self.footer().totals.users(), found);
        Error::fault(fault, self.path(), self.bytes().saturating_sub(512))
    }

    /// Checks the sums that the block index has for the blocks before block `number`, if it has any.
    fn expect_checkpoint(&self, number: usize, sums: &Totals) -> Result<()> {
        if !number.is_multiple_of(CHECKPOINT) {
            return Ok(());
        }
        let stated = self.index().checkpoint(number / CHECKPOINT).unwrap_or_default();
        if stated == *sums {
            return Ok(());
        }
        let fault = Fault::new("sums of blocks in the block index", 0, sums.users(), stated.users());
        Err(Error::fault(fault, self.path(), self.footer().block_index.offset))
    }

    /// Whether an index leads from `hash` to `place`.
    fn leads_to(&self, kind: Kind, hash: u64, place: RowPlace) -> Result<bool> {
        let mut there = false;
        self.candidates(kind, hash, |candidate| {
            there |= candidate == place;
            there
        })?;
        Ok(there)
    }

    const fn index_offset(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Uid => self.footer().uids.section.offset,
            Kind::Identity => self.footer().identities.section.offset,
        }
    }

    const fn index_entries(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Uid => self.footer().uids.entries,
            Kind::Identity => self.footer().identities.entries,
        }
    }
}
