//! Writes a segment: blocks are built on the caller's thread; another hashes their rows and writes them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use headcount_block::{Block, BlockBuilder, BlockId, Built, Damage, Dictionary, Fault, Totals, UserRef, checksum};

use super::block_index::BlockIndexBuilder;
use super::footer::{FILE_HEADER_LEN, FOOTER_LEN, Footer, HashSection, Section, file_header};
use super::hash_build::{Entry, HashBuilder, crowd};
use super::hash_index::{BLOCKS_MAX, Kind, PAGE, RowPlace, hash_identity, hash_uid};
use super::output::Output;
use super::read::Segment;
use super::tombstones::{Tombstone, TombstonesBuilder};
use crate::error::{Error, Result};
use crate::files::Names;
use crate::{clock, files, random};

/// Bytes of blocks that are handed over and written at a time.
const BATCH: usize = 1 << 20;

/// Finished blocks on their way to the file.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    blocks: Vec<(Built, Vec<u8>)>,
}

/// Takes rows and tombstones, each in UID order, and writes them to a new file below the store.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    file_id: u128,
    dict: Arc<Dictionary>,
    builder: BlockBuilder,
    first_uid: Vec<u8>,
    last_uid: Vec<u8>,
    batch: Batch,
    next_block: u32,
    users: u64,
    tombstones: TombstonesBuilder,
    /// What the seqs of rows are relative to, where publication does not set it.
    base_seq: Option<u64>,
    /// Greatest seq of a row so far, relative to the base.
    max_row_seq: u64,
    /// Least and greatest seq of a tombstone so far.
    tombstone_seqs: (u64, u64),
    paced: Arc<AtomicBool>,
    /// The dictionary that was last found to be the writer's, by its number.
    same_dict: Option<u64>,
    recycled: Receiver<Vec<u8>>,
    // Before the draft: a file is removed when nobody writes to it any more.
    worker: Worker,
    draft: Draft,
}

/// The thread of a [`Sink`], which ends when this is dropped.
#[derive(Debug)]
struct Worker {
    to_sink: Option<SyncSender<Batch>>,
    thread: Option<JoinHandle<Result<Sink>>>,
}

impl Worker {
    /// Hands `batch` over; `false` when the other side is gone.
    fn send(&self, batch: Batch) -> bool {
        self.to_sink.as_ref().is_some_and(|to| to.send(batch).is_ok())
    }

    fn join(&mut self) -> Result<Sink> {
        self.to_sink = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(sink)) => sink,
            _ => Err(Error::Panicked("segment writer")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has at most what was handed over left to do. How that went is of no interest: the segment is given up.
        let _: Result<Sink> = self.join();
    }
}

/// A segment file that no manifest names yet; removed when it is dropped unpublished.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    keep: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing can be done about a failure here; the next open for writing removes what is left.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A written segment that lacks its footer, which may hold the seq of its publication.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) footer: Footer,
    base_seq: Option<u64>,
    max_row_seq: u64,
    tombstone_seqs: (u64, u64),
    file: File,
    footer_at: u64,
    draft: Draft,
    /// Identity index entries that share their hash with another.
    pub(crate) same: Vec<Entry>,
    blocks: Vec<(u64, u32)>,
    dict: Arc<Dictionary>,
}

impl SegmentWriter {
    /// Begins a segment in `tmp`; the two indexes are built within `memory` bytes.
    pub(crate) fn create(tmp: &Path, dict: Arc<Dictionary>, memory: usize) -> Result<Self> {
        let file_id = random::id()?;
        let path = tmp.join(files::segment_name(file_id));
        let file = files::create_new(&path)?;
        let draft = Draft { path: path.clone(), keep: false };
        let paced = Arc::new(AtomicBool::new(false));
        let (to_sink, from_writer) = sync_channel(2);
        let (to_writer, recycled) = sync_channel(4);
        let sink = Sink {
            out: Output::new(file, path, Arc::clone(&paced)),
            file_id,
            dict: Arc::clone(&dict),
            at: FILE_HEADER_LEN as u64,
            index: BlockIndexBuilder::default(),
            blocks: Vec::new(),
            // Identities are the more numerous.
            uids: HashBuilder::new(Kind::Uid, memory / 3, tmp),
            identities: HashBuilder::new(Kind::Identity, memory - memory / 3, tmp),
            uid_key: random::key()?,
            identity_key: random::key()?,
        };
        let sink = thread::Builder::new()
            .name("headcount-segment".into())
            .spawn(move || sink.run(&from_writer, &to_writer))
            .map_err(|e| Error::io("start a thread for", tmp, e))?;
        Ok(Self {
            file_id,
            dict,
            builder: BlockBuilder::new(),
            first_uid: Vec::new(),
            last_uid: Vec::new(),
            batch: Batch::default(),
            next_block: 0,
            users: 0,
            tombstones: TombstonesBuilder::default(),
            base_seq: None,
            max_row_seq: 0,
            tombstone_seqs: (u64::MAX, 0),
            paced,
            same_dict: None,
            recycled,
            worker: Worker { to_sink: Some(to_sink), thread: Some(sink) },
            draft,
        })
    }

    /// Sets what the seqs of rows are relative to, and no seq is less than. Without it publication does, which is the one
    /// commit that all rows then have in common.
    pub(crate) const fn set_base(&mut self, base_seq: u64) {
        self.base_seq = Some(base_seq);
    }

    /// Whether the disk is kept up with, so that commits need not wait for what this has left to write.
    pub(crate) fn set_paced(&mut self, paced: bool) {
        self.paced.store(paced, Relaxed);
    }

    /// Users so far.
    pub(crate) const fn users(&self) -> u64 {
        self.users
    }

    /// Tombstones so far.
    pub(crate) const fn tombstones(&self) -> usize {
        self.tombstones.len()
    }

    fn fault(&self, what: &'static str, expected: u64, found: u64) -> Error {
        Error::fault(Fault::new(what, 0, expected, found), &self.draft.path, 0)
    }

    /// Adds a user. `seq` is relative to the base.
    pub(crate) fn push(&mut self, user: &UserRef<'_>, seq: u64) -> Result<()> {
        if self.builder.is_empty() {
            self.expect_after_last(user.uid())?;
            self.first_uid.clear();
            self.first_uid.extend_from_slice(user.uid());
        }
        self.builder.push(user, &self.dict, seq).map_err(|f| Error::fault(f, &self.draft.path, 0))?;
        self.users += 1;
        self.max_row_seq = self.max_row_seq.max(seq);
        if self.builder.is_full() { self.close_block() } else { Ok(()) }
    }

    /// Checks that `uid` may begin a block.
    fn expect_after_last(&self, uid: &[u8]) -> Result<()> {
        if self.next_block > 0 && self.last_uid.as_slice() >= uid {
            return Err(self.fault("UID order of blocks for a segment", self.last_uid.len() as u64, uid.len() as u64));
        }
        Ok(())
    }

    /// Notes that the user `uid` was deleted by the commit `seq`, absolute, at `time_ms`. Tombstones come in UID order;
    /// rows may come before, between and after them, but none of the same UID.
    pub(crate) fn push_tombstone(&mut self, uid: &[u8], seq: u64, time_ms: u64) -> Result<()> {
        let pushed = self.tombstones.push(uid, Tombstone { seq, time_ms });
        pushed.map_err(|f| Error::fault(f, &self.draft.path, 0))?;
        let (least, greatest) = self.tombstone_seqs;
        self.tombstone_seqs = (least.min(seq), greatest.max(seq));
        Ok(())
    }

    /// Adds block `number` of `segment` as it is, after checking it. The segment's dictionary has the writer's names in
    /// the writer's order, its base is the writer's, and the block's users come after all rows so far.
    pub(crate) fn push_block(&mut self, segment: &Segment, number: u32) -> Result<()> {
        let base = segment.seq_range().0;
        if self.base_seq != Some(base) {
            return Err(self.fault("base seq of a block to copy", self.base_seq.unwrap_or_default(), base));
        }
        let dict = segment.dictionary();
        if self.same_dict != Some(dict.unique_id()) {
            if !self.dict.names().eq(dict.names()) {
                return Err(self.fault("providers of a block to copy", self.dict.len() as u64, dict.len() as u64));
            }
            self.same_dict = Some(dict.unique_id());
        }
        let (bytes, offset) = segment.block(number, true)?;
        let block = segment.parse(&bytes, offset)?;
        let row = |i: usize| block.user(i).map_err(|f| segment.block_fault(f, number));
        let (first, last) = (row(0)?, row(block.users().saturating_sub(1))?);
        if !self.builder.is_empty() {
            self.close_block()?;
        }
        self.expect_after_last(first.uid())?;
        let id = self.next_id()?;
        let built = block.copy_as(id, &mut self.batch.bytes);
        self.users += built.users as u64;
        self.max_row_seq = self.max_row_seq.max(block.seq_range().1);
        self.add_block(built, first.uid().to_vec(), last.uid())
    }

    fn next_id(&self) -> Result<BlockId> {
        if u64::from(self.next_block) >= BLOCKS_MAX {
            let found = u64::from(self.next_block) + 1;
            return Err(Error::TooLarge { what: "blocks of one segment", max: BLOCKS_MAX, found });
        }
        Ok(BlockId { file: self.file_id, number: self.next_block })
    }

    fn close_block(&mut self) -> Result<()> {
        let id = self.next_id()?;
        let last_uid = self.builder.last_uid().to_vec();
        let built = self.builder.finish(id, &mut self.batch.bytes);
        self.add_block(built, self.first_uid.clone(), &last_uid)
    }

    /// Notes the block that was just appended to the batch.
    fn add_block(&mut self, built: Built, first_uid: Vec<u8>, last_uid: &[u8]) -> Result<()> {
        self.last_uid.clear();
        self.last_uid.extend_from_slice(last_uid);
        self.batch.blocks.push((built, first_uid));
        self.next_block += 1;
        if self.batch.bytes.len() >= BATCH { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<()> {
        let mut next = self.recycled.try_recv().unwrap_or_default();
        next.clear();
        let batch = std::mem::replace(&mut self.batch, Batch { bytes: next, blocks: Vec::new() });
        if self.worker.send(batch) {
            return Ok(());
        }
        // The other side is gone: it has the reason.
        self.worker.join().and(Err(Error::Panicked("segment writer")))
    }

    /// Writes the indexes, the block index, the dictionary and the tombstones.
    pub(crate) fn finish(mut self) -> Result<Finished> {
        if !self.builder.is_empty() {
            self.close_block()?;
        }
        if !self.batch.blocks.is_empty() {
            self.send()?;
        }
        let sink = self.worker.join()?;
        let (written, blocks) = sink.finish(&self.last_uid, &self.dict, &self.tombstones.finish())?;
        let Written { footer, file, footer_at, same } = written;
        Ok(Finished {
            footer,
            base_seq: self.base_seq,
            max_row_seq: self.max_row_seq,
            tombstone_seqs: self.tombstone_seqs,
            file,
            footer_at,
            draft: self.draft,
            same,
            blocks,
            dict: self.dict,
        })
    }
}

/// The writing side: knows the file.
#[derive(Debug)]
struct Sink {
    out: Output,
    file_id: u128,
    dict: Arc<Dictionary>,
    at: u64,
    index: BlockIndexBuilder,
    blocks: Vec<(u64, u32)>,
    uids: HashBuilder,
    identities: HashBuilder,
    uid_key: [u64; 2],
    identity_key: [u64; 2],
}

impl Sink {
    fn run(mut self, from: &Receiver<Batch>, recycle: &SyncSender<Vec<u8>>) -> Result<Self> {
        self.out.write(0, &file_header(self.file_id))?;
        for batch in from {
            let start = self.at;
            let mut offset = 0;
            for (built, first_uid) in &batch.blocks {
                let bytes = batch.bytes.get(offset..offset + built.len).unwrap_or_default();
                self.hash_rows(bytes)?;
                let at = start + offset as u64;
                self.blocks.push((at, u32::try_from(built.len).unwrap_or_default()));
                self.index.push(at, built, first_uid);
                offset += built.len;
            }
            self.out.write(start, &batch.bytes)?;
            self.at = start + batch.bytes.len() as u64;
            // When the other side does not want the buffer back, it is dropped.
            let _ = recycle.try_send(batch.bytes);
        }
        Ok(self)
    }

    fn hash_rows(&mut self, bytes: &[u8]) -> Result<()> {
        let fault = |f: Fault| Error::fault(f, &self.out.path, self.at);
        let number = self.index.blocks();
        let mut rows = Block::parse(bytes, &self.dict).map_err(fault)?.rows();
        loop {
            let place = RowPlace::of(number, rows.ordinal());
            let Some(user) = rows.next().transpose().map_err(fault)? else { return Ok(()) };
            self.uids.push(hash_uid(self.uid_key, user.uid()), place)?;
            for identity in user.identities() {
                let id = self.dict.id_of(identity.provider).unwrap_or_default();
                self.identities.push(hash_identity(self.identity_key, id, identity.provider_uid), place)?;
            }
        }
    }

    /// Writes everything behind the blocks but the footer. Returns that and the places of the blocks.
    fn finish(self, last_uid: &[u8], dict: &Dictionary, tombstones: &[u8]) -> Result<(Written, Vec<(u64, u32)>)> {
        let start = self.at.next_multiple_of(PAGE as u64);
        let (id, entries) = (self.file_id, [self.uids.entries(), self.identities.entries()]);
        let mut tail = Tail { out: self.out, at: start };
        // The identities are sorted while the UIDs are laid out: they are the larger half of the work.
        let (identities, uid_pages) = thread::scope(|scope| {
            let mut identities = self.identities;
            let sorting = scope.spawn(move || {
                identities.sort_held();
                identities
            });
            let laid_out = self.uids.finish(id, |at, bytes| tail.out.write(start + at, bytes));
            (sorting.join(), laid_out)
        });
        let (identities, (uid_pages, uids)) = (identities.map_err(|_| Error::Panicked("index"))?, uid_pages?);
        if let Some(found) = crowd(&uids) {
            // Only blocks that were copied as they are can hold a UID more than once.
            return Err(Error::fault(Fault::new("rows with one UID in a segment", 0, 1, found), &tail.out.path, 0));
        }
        let middle = start + uid_pages * PAGE as u64;
        let (identity_pages, same) = identities.finish(id, |at, bytes| tail.out.write(middle + at, bytes))?;
        tail.at = middle + identity_pages * PAGE as u64;
        let hash = |offset, pages: u64, key, entries| HashSection {
            section: Section { offset, len: pages * PAGE as u64, checksum: 0 },
            key,
            entries,
        };
        let footer = Footer {
            file_id: id,
            created_ms: clock::now_ms(),
            blocks: self.index.blocks(),
            uids: hash(start, uid_pages, self.uid_key, entries[0]),
            identities: hash(middle, identity_pages, self.identity_key, entries[1]),
            totals: self.index.totals(),
            block_index: tail.section(&self.index.finish(last_uid))?,
            dictionary: tail.section(&dict.encode())?,
            tombstones: tail.section(tombstones)?,
            ..Footer::default()
        };
        let footer_at = tail.at.next_multiple_of(FOOTER_LEN as u64);
        Ok((Written { footer, file: tail.out.finish()?, footer_at, same }, self.blocks))
    }
}

/// A file that is complete but for its footer.
#[derive(Debug)]
struct Written {
    footer: Footer,
    file: File,
    footer_at: u64,
    same: Vec<Entry>,
}

/// The end of the file in the making.
#[derive(Debug)]
struct Tail {
    out: Output,
    at: u64,
}

impl Tail {
    fn section(&mut self, bytes: &[u8]) -> Result<Section> {
        let offset = self.at.next_multiple_of(64);
        self.out.write(offset, bytes)?;
        self.at = offset + bytes.len() as u64;
        Ok(Section { offset, len: bytes.len() as u64, checksum: checksum(bytes) })
    }
}

impl Finished {
    /// Reads the row at `place` and shows it to `see`.
    pub(crate) fn row<T>(&self, place: RowPlace, see: impl FnOnce(&UserRef<'_>) -> T) -> Result<T> {
        let (offset, len) = self.blocks.get(place.block as usize).copied().unwrap_or_default();
        let mut bytes = vec![0; len as usize];
        let path = &self.draft.path;
        self.file.read_exact_at(&mut bytes, offset).map_err(|e| Error::io("read", path, e))?;
        let fault = |f: Fault| Error::fault(f, path, offset);
        let block = Block::parse(&bytes, &self.dict).map_err(fault)?;
        let user = block.user_in_group(usize::from(place.group), usize::from(place.row)).map_err(fault)?;
        Ok(see(&user))
    }

    /// Checks that the index has all identities, as it has where each belongs to one user: what is not so must not be
    /// published. `store` is named by the error.
    pub(crate) fn expect_indexed(&self, store: &Path) -> Result<()> {
        let Some(found) = crowd(&self.same) else { return Ok(()) };
        Err(Error::Damage(Box::new(Damage {
            file: store.to_path_buf(),
            offset: 0,
            what: "owners of one identity, in what is written to a segment".into(),
            expected: "one user, who has it once".into(),
            found: format!("{found} times the same identity: salvage the store"),
            uids: None,
        })))
    }

    /// Counts and length sums.
    pub(crate) const fn totals(&self) -> Totals {
        self.footer.totals
    }

    /// Length that the file will have.
    pub(crate) const fn len(&self) -> u64 {
        self.footer_at + FOOTER_LEN as u64
    }

    /// The key of one of its indexes.
    pub(crate) const fn key(&self, kind: Kind) -> [u64; 2] {
        match kind {
            Kind::Uid => self.footer.uids.key,
            Kind::Identity => self.footer.identities.key,
        }
    }

    /// Its provider dictionary.
    pub(crate) fn dictionary(&self) -> &Dictionary {
        &self.dict
    }

    /// The segment's id.
    pub(crate) const fn id(&self) -> u128 {
        self.footer.file_id
    }

    /// Has the footer understate seqs: with 1 those of rows, with 7 those of tombstones.
    #[cfg(test)]
    pub(super) const fn forget_seqs(&mut self, which: u8) {
        match which {
            1 => self.max_row_seq = 0,
            7 => self.tombstone_seqs.1 = 0,
            _ => {}
        }
    }

    /// Makes what is written so far durable, so that publication has little left to wait for.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("fsync", &self.draft.path, e))
    }

    /// What no seq in it is less than and the greatest seq, when it is published at `seq`.
    pub(crate) fn seq_range(&self, seq: u64) -> (u64, u64) {
        let base = self.base_seq.unwrap_or(seq);
        (base, base.saturating_add(self.max_row_seq).max(self.tombstone_seqs.1))
    }

    /// Writes the footer and gives the file its name in `dir`. `seq` becomes the base of the rows' seqs, unless the
    /// writer was given one.
    pub(crate) fn publish(mut self, seq: u64, dir: &Path, names: &Names) -> Result<PathBuf> {
        self.expect_indexed(dir)?;
        let (base, greatest) = self.seq_range(seq);
        if self.tombstone_seqs.0 < base {
            let fault = Fault::new("seq of a tombstone before the segment's base", 0, base, self.tombstone_seqs.0);
            return Err(Error::fault(fault, &self.draft.path, 0));
        }
        (self.footer.base_seq, self.footer.max_seq) = (base, greatest);
        self.file
            .write_all_at(&self.footer.encode(), self.footer_at)
            .map_err(|e| Error::io("write", &self.draft.path, e))?;
        let path = dir.join(files::segment_name(self.footer.file_id));
        files::publish(&self.file, &self.draft.path, &path, names)?;
        self.draft.keep = true;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use headcount_block::DictionaryBuilder;

    use super::*;

    #[test]
    fn a_segment_that_is_given_up_leaves_no_thread_and_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let dict = Arc::new(DictionaryBuilder::new().finish().unwrap());
        for _ in 0..50 {
            let writer = SegmentWriter::create(dir.path(), Arc::clone(&dict), 1 << 20).unwrap();
            let held_by_the_thread = Arc::downgrade(&writer.paced);
            drop(writer);
            assert_eq!(held_by_the_thread.strong_count(), 0);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
