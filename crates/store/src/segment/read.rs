//! An open segment: what is verified when, and how blocks and pages are reached.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use headcount_block::limits::DICTIONARY_MAX;
use headcount_block::{Block, BlockId, Damage, Dictionary, Fault, checksum};

use super::block_index::{BlockEntry, BlockIndex};
use super::footer::{FILE_HEADER_LEN, FOOTER_LEN, Footer, HashSection, Section, check_file_header};
use super::hash_index::{Kind, PAGE, RowPlace, verify_page};
use super::tombstones::Tombstones;
use crate::backing::{Backend, Backing, Bytes, Kept};
use crate::error::{Error, Result};
use crate::sync::{Mutex, lock};

/// An immutable segment, open for reading.
///
/// Footer, block index, dictionary and tombstones are verified when it is opened; blocks and index pages when they are first
/// touched, which is remembered (success only). Exports verify every block they read, each time.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    data: Backing,
    footer: Footer,
    index: BlockIndex,
    dict: Dictionary,
    /// The tombstone section where the file is not mapped.
    tombstones: Vec<u8>,
    /// Set when the file goes with the last snapshot that reads it.
    doomed: OnceLock<Arc<Tenure>>,
    blocks_seen: Bitmap,
    uid_pages_seen: Bitmap,
    identity_pages_seen: Bitmap,
}

impl Segment {
    /// Opens the segment at `path`, which should have this id.
    pub(crate) fn open(path: &Path, id: u128, backend: Backend) -> Result<Self> {
        let data = Backing::open(path, backend)?;
        let footer = read_footer(path, &data)?;
        if footer.file_id != id {
            return Err(Error::Damage(Box::new(Damage {
                file: path.to_path_buf(),
                offset: data.len().saturating_sub(FOOTER_LEN as u64),
                what: "segment file id (another file has this name)".into(),
                expected: format!("{id:032x}"),
                found: format!("{:032x}", footer.file_id),
                uids: None,
            })));
        }
        let section = |section: Section, what| read_section(path, &data, section, what);
        let at = footer.block_index.offset;
        let index = keep_section(path, &data, footer.block_index, "block index checksum")?;
        let index = BlockIndex::decode(index).map_err(|f| Error::fault(f, path, at))?;
        if index.len() != footer.blocks as usize {
            let fault = Fault::new("number of blocks", 0, u64::from(footer.blocks), index.len() as u64);
            return Err(Error::fault(fault, path, at));
        }
        let dict = Dictionary::decode(&read_dictionary(path, &data, footer.dictionary)?)
            .map_err(|f| Error::fault(f, path, footer.dictionary.offset))?;
        let tombstones = section(footer.tombstones, "tombstones checksum")?;
        Tombstones::check(&tombstones).map_err(|f| Error::fault(f, path, footer.tombstones.offset))?;
        let tombstones = if matches!(tombstones, Bytes::Borrowed(_)) { Vec::new() } else { owned(tombstones) };
        let pages = |h: HashSection| usize::try_from(h.section.len).unwrap_or_default() / PAGE;
        Ok(Self {
            path: path.to_path_buf(),
            blocks_seen: Bitmap::new(index.len()),
            uid_pages_seen: Bitmap::new(pages(footer.uids)),
            identity_pages_seen: Bitmap::new(pages(footer.identities)),
            doomed: OnceLock::new(),
            tombstones,
            data,
            footer,
            index,
            dict,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn footer(&self) -> &Footer {
        &self.footer
    }

    pub(crate) const fn index(&self) -> &BlockIndex {
        &self.index
    }

    pub(crate) const fn dictionary(&self) -> &Dictionary {
        &self.dict
    }

    /// Length of the file in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.data.len()
    }

    /// The tombstones.
    pub(crate) fn tombstones(&self) -> Tombstones<'_> {
        let section = self.footer.tombstones;
        let len = usize::try_from(section.len).unwrap_or(usize::MAX);
        Tombstones::of(self.mapped(section.offset, len).unwrap_or(&self.tombstones))
    }

    /// What no seq of a row or tombstone is less than, and the greatest seq.
    pub(crate) const fn seq_range(&self) -> (u64, u64) {
        (self.footer.base_seq, self.footer.max_seq)
    }

    /// Seq of row `ordinal` of `block`, which is the block `number` of this segment.
    pub(crate) fn seq_in(&self, block: &Block<'_>, number: u32, ordinal: usize) -> Result<u64> {
        let seq = block.seq(ordinal).map_err(|f| self.block_fault(f, number))?;
        Ok(self.footer.base_seq.saturating_add(seq))
    }

    /// Seq of row `ordinal` of the block that lies at `offset`.
    pub(crate) fn seq_at(&self, block: &Block<'_>, offset: u64, ordinal: usize) -> Result<u64> {
        let seq = block.seq(ordinal).map_err(|f| Error::fault(f, &self.path, offset))?;
        Ok(self.footer.base_seq.saturating_add(seq))
    }

    /// Seq of the row at `place`.
    pub(crate) fn row_seq(&self, place: RowPlace) -> Result<u64> {
        let (bytes, offset) = self.block(place.block, false)?;
        self.seq_in(&self.parse(&bytes, offset)?, place.block, place.ordinal())
    }

    /// Has the file removed as soon as nobody reads it any more, if the store is open then: no manifest names it.
    pub(crate) fn doom(&self, store: &Arc<Tenure>) {
        let _ = self.doomed.set(Arc::clone(store));
    }

    /// Writes the whole file to `to`.
    pub(crate) fn copy_to(&self, to: &mut impl Write) -> Result<()> {
        const PIECE: usize = 1 << 20;
        for offset in (0..self.data.len()).step_by(PIECE) {
            let len = usize::try_from(self.data.len() - offset).map_or(PIECE, |rest| rest.min(PIECE));
            let bytes = self.data.read(offset, len).map_err(|e| self.io(e, offset))?;
            to.write_all(&bytes).map_err(|e| Error::io("copy", &self.path, e))?;
        }
        Ok(())
    }

    /// Least and greatest UID of a row; both empty when there is none.
    pub(crate) fn bounds(&self) -> (&[u8], &[u8]) {
        (self.index.first_uid(0), self.index.last_uid())
    }

    /// Whether `uid` lies between the least and the greatest UID of a row.
    pub(crate) fn may_hold(&self, uid: &[u8]) -> bool {
        let (first, last) = self.bounds();
        first <= uid && uid <= last
    }

    pub(crate) const fn block_id(&self, number: u32) -> BlockId {
        BlockId { file: self.footer.file_id, number }
    }

    /// The entry of block `number` in the block index.
    #[inline]
    pub(crate) fn entry(&self, number: u32) -> Result<BlockEntry> {
        self.index.entry(number as usize).ok_or_else(|| {
            let fault = Fault::new("block number", 0, self.index.len() as u64, u64::from(number));
            Error::fault(fault, &self.path, self.footer.uids.section.offset)
        })
    }

    /// The bytes of block `number`, unverified.
    #[inline]
    pub(crate) fn raw_block(&self, number: u32) -> Result<(Bytes<'_>, u64)> {
        let entry = self.entry(number)?;
        let len = entry.len as usize;
        let bytes = self.data.read(entry.offset, len).map_err(|e| self.io(e, entry.offset))?;
        Ok((bytes, entry.offset))
    }

    /// The bytes of block `number`, verified once since the segment was opened; or now, where `again` is set.
    #[inline]
    pub(crate) fn block(&self, number: u32, again: bool) -> Result<(Bytes<'_>, u64)> {
        let (bytes, offset) = self.raw_block(number)?;
        // What was read, rather than mapped, has not been looked at before.
        let fresh = matches!(bytes, Bytes::Owned(_));
        if again || fresh || !self.blocks_seen.get(number as usize) {
            self.verify_block(&bytes, offset, number)?;
        }
        Ok((bytes, offset))
    }

    #[cold]
    fn verify_block(&self, bytes: &[u8], offset: u64, number: u32) -> Result<()> {
        let block = self.parse_first(bytes, offset)?;
        block.verify(self.block_id(number)).map_err(|f| self.block_fault(f, number))?;
        let entry = self.entry(number)?;
        let (found, expected) = (block.users(), entry.users);
        if found != expected as usize {
            let fault = Fault::new("users of the block against the block index", 28, u64::from(expected), found as u64);
            return Err(self.block_fault(fault, number));
        }
        let (found, expected) = (block.as_bytes().len(), entry.len);
        if found != expected as usize {
            let fault =
                Fault::new("length of the block against the block index", 32, u64::from(expected), found as u64);
            return Err(self.block_fault(fault, number));
        }
        self.blocks_seen.set(number as usize);
        Ok(())
    }

    /// The block in bytes that [`block`](Self::block) returned.
    #[inline]
    pub(crate) fn parse<'b>(&'b self, bytes: &'b [u8], offset: u64) -> Result<Block<'b>> {
        Block::parse_again(bytes, &self.dict).map_err(|f| Error::fault(f, &self.path, offset))
    }

    /// The block in bytes that nobody has looked at.
    pub(crate) fn parse_first<'b>(&'b self, bytes: &'b [u8], offset: u64) -> Result<Block<'b>> {
        Block::parse(bytes, &self.dict).map_err(|f| Error::fault(f, &self.path, offset))
    }

    /// `fault` in block `number`, with the UIDs that it concerns.
    pub(crate) fn block_fault(&self, fault: Fault, number: u32) -> Error {
        let offset = self.index.entry(number as usize).map_or(0, |e| e.offset);
        let mut error = Error::fault(fault, &self.path, offset);
        if let Error::Damage(damage) = &mut error {
            let text = |uid: &[u8]| String::from_utf8_lossy(uid).into_owned();
            let first = self.index.first_uid(number as usize);
            damage.uids = Some((text(first), text(self.index.first_uid(number as usize + 1))));
        }
        error
    }

    const fn hash_section(&self, kind: Kind) -> (&HashSection, &Bitmap) {
        match kind {
            Kind::Uid => (&self.footer.uids, &self.uid_pages_seen),
            Kind::Identity => (&self.footer.identities, &self.identity_pages_seen),
        }
    }

    /// Key and number of pages of an index.
    pub(crate) const fn hash_params(&self, kind: Kind) -> ([u64; 2], u64) {
        let section = self.hash_section(kind).0;
        (section.key, section.section.len / PAGE as u64)
    }

    /// Page `number` of an index, verified once since the segment was opened; or now, where `again` is set.
    #[inline]
    pub(crate) fn page(&self, kind: Kind, number: u64, again: bool) -> Result<Bytes<'_>> {
        let (section, seen) = self.hash_section(kind);
        let offset = section.section.offset + number * PAGE as u64;
        let bytes = self.data.read(offset, PAGE).map_err(|e| self.io(e, offset))?;
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if again || matches!(bytes, Bytes::Owned(_)) || !seen.get(at) {
            self.verify_page(&bytes, offset, kind, number)?;
            seen.set(at);
        }
        Ok(bytes)
    }

    #[cold]
    fn verify_page(&self, bytes: &[u8], offset: u64, kind: Kind, number: u64) -> Result<()> {
        verify_page(bytes, self.footer.file_id, kind, number).map_err(|f| Error::fault(f, &self.path, offset))
    }

    /// The mapped bytes at `offset`, for a touch ahead of need; `None` when the file is not mapped.
    pub(crate) fn mapped(&self, offset: u64, len: usize) -> Option<&[u8]> {
        match self.data.read(offset, len) {
            Ok(Bytes::Borrowed(bytes)) if matches!(self.data, Backing::Mapped(_)) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) const fn is_mapped(&self) -> bool {
        matches!(self.data, Backing::Mapped(_))
    }

    /// Footer, block index, dictionary and tombstones once more, from the file; and what nobody reads: the file header, and
    /// that there are zeros between the parts.
    pub(crate) fn reverify(&self) -> Result<()> {
        let footer = read_footer(&self.path, &self.data)?;
        read_section(&self.path, &self.data, footer.block_index, "block index checksum")?;
        read_dictionary(&self.path, &self.data, footer.dictionary)?;
        read_section(&self.path, &self.data, footer.tombstones, "tombstones checksum")?;
        let header = self.data.read(0, FILE_HEADER_LEN).map_err(|e| self.io(e, 0))?;
        check_file_header(&header, footer.file_id).map_err(|f| Error::fault(f, &self.path, 0))?;
        let mut end = FILE_HEADER_LEN as u64;
        let footer_at = self.data.len().saturating_sub(FOOTER_LEN as u64);
        let blocks = (0..).map_while(|i| self.index.entry(i)).map(|e| (e.offset, u64::from(e.len)));
        let sections = [footer.uids.section, footer.identities.section, footer.block_index, footer.dictionary];
        let sections = sections.into_iter().chain([footer.tombstones]).map(|s| (s.offset, s.len));
        for (start, len) in blocks.chain(sections).chain([(footer_at, 0)]) {
            self.expect_zeros(end, start)?;
            end = end.max(start.saturating_add(len));
        }
        Ok(())
    }

    /// Checks that nothing lies between two parts: at most a page, since they begin at multiples of that at most.
    fn expect_zeros(&self, from: u64, to: u64) -> Result<()> {
        let len = to.saturating_sub(from);
        if len >= PAGE as u64 {
            let fault = Fault::new("place of a part of the segment", 0, from, to);
            return Err(Error::fault(fault, &self.path, from));
        }
        let gap = self.data.read(from, usize::try_from(len).unwrap_or_default()).map_err(|e| self.io(e, from))?;
        match gap.iter().position(|b| *b != 0) {
            Some(at) => {
                let found = gap.get(at).copied().map_or(0, u64::from);
                Err(Error::fault(Fault::new("byte between the parts of the segment", at, 0, found), &self.path, from))
            }
            None => Ok(()),
        }
    }

    /// A failed read: a file that is too short is damage, anything else an I/O error.
    fn io(&self, error: std::io::Error, offset: u64) -> Error {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            let fault = Fault::new("file length (is the file cut short?)", 0, offset, self.data.len());
            return Error::fault(fault, &self.path, offset);
        }
        Error::io("read", &self.path, error)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Some(store) = self.doomed.get() {
            // A failure leaves a file that no manifest names: the next open for writing removes it.
            store.during(|| drop(std::fs::remove_file(&self.path)));
        }
    }
}

/// Whether a store still is this process's to change: whoever outlives it finds who knows what under its names.
#[derive(Debug, Default)]
pub(crate) struct Tenure {
    over: Mutex<bool>,
}

impl Tenure {
    /// Does `work` if the store is open, which it stays meanwhile.
    fn during(&self, work: impl FnOnce()) {
        let over = lock(&self.over);
        if !*over {
            work();
        }
    }

    /// Waits for whoever is at it, and lets nobody else begin.
    pub(crate) fn end(&self) {
        *lock(&self.over) = true;
    }
}

pub(super) fn read_footer(path: &Path, data: &Backing) -> Result<Footer> {
    let least = (FILE_HEADER_LEN + FOOTER_LEN) as u64;
    let Some(at) = data.len().checked_sub(FOOTER_LEN as u64).filter(|_| data.len() >= least) else {
        let fault = Fault::new("segment length (is the file cut short?)", 0, least, data.len());
        return Err(Error::fault(fault, path, 0));
    };
    let bytes = data.read(at, FOOTER_LEN).map_err(|e| Error::io("read", path, e))?;
    let footer = Footer::decode(&bytes, path, at)?;
    let sections =
        [footer.block_index, footer.dictionary, footer.tombstones, footer.uids.section, footer.identities.section];
    for section in sections {
        if section.offset.checked_add(section.len).is_none_or(|end| end > at) {
            return Err(Error::fault(Fault::new("section of the footer", 96, at, section.offset), path, at));
        }
    }
    Ok(footer)
}

fn keep_section(path: &Path, data: &Backing, section: Section, what: &'static str) -> Result<Kept> {
    let len = usize::try_from(section.len).unwrap_or(usize::MAX);
    let bytes = data.keep(section.offset, len).map_err(|e| Error::io("read", path, e))?;
    verify_section(path, section, &bytes, what)?;
    Ok(bytes)
}

/// The section of the provider dictionary, when it is not longer than one gets.
pub(super) fn read_dictionary<'d>(path: &Path, data: &'d Backing, section: Section) -> Result<Bytes<'d>> {
    let most = DICTIONARY_MAX as u64;
    if section.len > most {
        let fault = Fault::new("provider dictionary length", 0, most, section.len);
        return Err(Error::fault(fault, path, section.offset));
    }
    read_section(path, data, section, "provider dictionary checksum")
}

pub(super) fn read_section<'d>(
    path: &Path,
    data: &'d Backing,
    section: Section,
    what: &'static str,
) -> Result<Bytes<'d>> {
    let len = usize::try_from(section.len).unwrap_or(usize::MAX);
    let bytes = data.read(section.offset, len).map_err(|e| Error::io("read", path, e))?;
    verify_section(path, section, &bytes, what)?;
    Ok(bytes)
}

fn verify_section(path: &Path, section: Section, bytes: &[u8], what: &'static str) -> Result<()> {
    let found = checksum(bytes);
    if found == section.checksum {
        return Ok(());
    }
    Err(Error::fault(Fault::new(what, 0, section.checksum, found), path, section.offset))
}

fn owned(bytes: Bytes<'_>) -> Vec<u8> {
    match bytes {
        Bytes::Borrowed(bytes) => bytes.to_vec(),
        Bytes::Owned(bytes) => bytes,
    }
}

/// Bits that are only ever set.
#[derive(Debug)]
struct Bitmap(Vec<AtomicU64>);

impl Bitmap {
    fn new(bits: usize) -> Self {
        Self((0..bits.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    #[inline]
    fn get(&self, bit: usize) -> bool {
        self.0.get(bit / 64).is_some_and(|word| word.load(Relaxed) & 1 << (bit % 64) != 0)
    }

    fn set(&self, bit: usize) {
        if let Some(word) = self.0.get(bit / 64) {
            word.fetch_or(1 << (bit % 64), Relaxed);
        }
    }
}
