//! What can still be read of a segment, whatever part of it is damaged: for salvage.
//!
//! Every part stands for itself. A section counts when its checksum is right, also where that of the footer, which holds
//! it, is not. Blocks are found by the block index, and without it by their headers, each of which says which block of
//! which file it is and is covered by a checksum of its own. Only the provider dictionary is nowhere else: without it the
//! compact rows of the segment cannot name their providers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headcount_block::{Block, BlockId, Damage, Dictionary, Fault, HEADER_LEN, RowBuf, UserRef, identify};

use super::block_index::BlockIndex;
use super::footer::{FILE_HEADER_LEN, FOOTER_LEN, Footer, MAGIC, Section};
use super::hash_index::{Kind, PAGE, verify_page};
use super::read::{read_dictionary, read_footer, read_section};
use super::tombstones::{Tombstone, Tombstones};
use crate::backing::{Backend, Backing, Kept};
use crate::error::{Error, Result};

/// What the names begin with that stand for providers which nobody can name: no stored name holds it.
const UNNAMED: &str = "\0";
/// Ids of compact rows; others stand with their names in rows of their own.
const COMPACT_IDS: u16 = 255;
/// What is said of a provider dictionary that is damaged.
const DICTIONARY: &str = "provider dictionary checksum";
/// Blocks begin at multiples of this.
const ALIGN: usize = 64;

/// A block that was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) number: u32,
    pub(crate) offset: u64,
    pub(crate) len: u32,
    /// Users in it, where the block index says so.
    pub(crate) users: Option<u32>,
}

/// A row of a block, self-contained, with its seq relative to the segment's base.
#[derive(Debug)]
pub(crate) struct SavedRow {
    pub(crate) uid: Vec<u8>,
    pub(crate) row: Vec<u8>,
    pub(crate) seq: u64,
}

/// The rows of a block, and how many of its users have providers that cannot be named.
#[derive(Debug, Default)]
pub(crate) struct SavedRows {
    pub(crate) rows: Vec<SavedRow>,
    pub(crate) unnamed: u64,
    /// UID of its last user.
    pub(crate) last_uid: Vec<u8>,
}

/// A segment of which parts may be damaged.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) path: PathBuf,
    data: Backing,
    id: u128,
    /// What the footer says that seqs of rows are relative to, and the greatest seq. Not to be trusted without `whole`.
    pub(crate) seqs: Option<(u64, u64)>,
    /// Whether the footer is.
    pub(crate) whole: bool,
    /// Users of the segment, where the footer is whole.
    pub(crate) users: Option<u64>,
    index: Option<BlockIndex>,
    /// The provider dictionary, or one of names that no provider has.
    dict: Dictionary,
    named: bool,
    tombstones: Option<Vec<u8>>,
    /// Blocks by number, at the places that the index or their headers say.
    pub(crate) found: Vec<Found>,
    /// How many blocks there should be, where that is known.
    pub(crate) blocks: Option<u32>,
    /// What is wrong with footer, block index, dictionary and tombstones.
    pub(crate) damages: Vec<Damage>,
}

impl Remains {
    /// Looks at the segment `path`, which should have this id, and be `bytes` long where that is known. Everything is read,
    /// nothing is mapped: a failing disk is damage here, and not the end of the process.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be opened, [`Error::Version`] and [`Error::Feature`].
    pub(crate) fn open(path: &Path, id: u128, bytes: Option<u64>) -> Result<Self> {
        let data = Backing::open(path, Backend::Pread)?;
        let mut this = Self {
            path: path.to_path_buf(),
            data,
            id,
            seqs: None,
            whole: false,
            users: None,
            index: None,
            dict: placeholders().map_err(|f| Error::fault(f, path, 0))?,
            named: false,
            tombstones: None,
            found: Vec::new(),
            blocks: None,
            damages: Vec::new(),
        };
        let read = read_footer(path, &this.data).and_then(|footer| this.expect_id(footer));
        let footer = match read {
            Ok(footer) => {
                this.whole = true;
                this.users = Some(footer.totals.users());
                this.blocks = Some(footer.blocks);
                Some(footer)
            }
            Err(error @ (Error::Version { .. } | Error::Feature { .. })) => return Err(error),
            Err(error) => {
                this.note(error);
                this.find_footer(bytes)
            }
        };
        if let Some(footer) = &footer {
            this.seqs = Some((footer.base_seq, footer.max_seq));
            this.sections(footer);
        }
        this.find_blocks(footer.map(|f| f.uids.section.offset));
        Ok(this)
    }

    fn expect_id(&self, footer: Footer) -> Result<Footer> {
        if footer.file_id == self.id {
            return Ok(footer);
        }
        Err(Error::Damage(Box::new(Damage {
            file: self.path.clone(),
            offset: self.data.len().saturating_sub(FOOTER_LEN as u64),
            what: "segment file id (another file has this name)".into(),
            expected: format!("{:032x}", self.id),
            found: format!("{:032x}", footer.file_id),
            uids: None,
        })))
    }

    /// Keeps damage, and a failed read as such.
    fn note(&mut self, error: Error) {
        let file = self.path.clone();
        self.damages.push(match error {
            Error::Damage(damage) => *damage,
            other => Damage {
                file,
                offset: 0,
                what: "segment".into(),
                expected: "bytes that can be read".into(),
                found: other.to_string(),
                uids: None,
            },
        });
    }

    /// A footer that is not whole, or not at the end: where it should be, or the last one that begins like one.
    fn find_footer(&self, bytes: Option<u64>) -> Option<Footer> {
        let len = FOOTER_LEN as u64;
        let stated = bytes.and_then(|bytes| bytes.checked_sub(len));
        let read = |at: u64| self.data.read(at, FOOTER_LEN).ok().map(|bytes| Footer::fields(&bytes));
        if let Some(footer) = stated.and_then(read).filter(|footer| footer.file_id == self.id) {
            return Some(footer);
        }
        let mut at = self.data.len() / len * len;
        while at >= len {
            at -= len;
            let begins = self.data.read(at, MAGIC.len()).is_ok_and(|bytes| bytes.starts_with(&MAGIC));
            if let Some(footer) = Some(at).filter(|_| begins).and_then(read).filter(|f| f.file_id == self.id) {
                return Some(footer);
            }
        }
        None
    }

    /// Takes the sections whose checksums are right. Of a footer that is not whole an empty section counts only where the
    /// one before it ends: a few bytes of zeros would look like one.
    fn sections(&mut self, footer: &Footer) {
        let mut end = None;
        let index = self.section(footer.block_index, "block index checksum", end);
        end = index.as_ref().map(|_| footer.block_index.offset + footer.block_index.len);
        let decoded = index.map(|bytes| BlockIndex::decode(Kept::Read(bytes)));
        self.index = self.decoded(decoded, footer.block_index.offset);
        let dict = self.section(footer.dictionary, DICTIONARY, end);
        end = dict.as_ref().map(|_| footer.dictionary.offset + footer.dictionary.len);
        let decoded = dict.map(|bytes| Dictionary::decode(&bytes));
        if let Some(dict) = self.decoded(decoded, footer.dictionary.offset) {
            (self.dict, self.named) = (dict, true);
        }
        let tombstones = self.section(footer.tombstones, "tombstones checksum", end);
        let checked = tombstones.map(|bytes| Tombstones::check(&bytes).map(|()| bytes));
        self.tombstones = self.decoded(checked, footer.tombstones.offset);
    }

    fn section(&mut self, section: Section, what: &'static str, after: Option<u64>) -> Option<Vec<u8>> {
        let follows = after.is_some_and(|after| after.next_multiple_of(ALIGN as u64) == section.offset);
        if section.len == 0 && !self.whole && !follows {
            let fault = Fault::new("empty section of a damaged footer", 0, after.unwrap_or_default(), section.offset);
            self.note(Error::fault(fault, &self.path, section.offset));
            return None;
        }
        let read = match what {
            DICTIONARY => read_dictionary(&self.path, &self.data, section),
            _ => read_section(&self.path, &self.data, section, what),
        };
        match read.map(|bytes| bytes.to_vec()) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.note(error);
                None
            }
        }
    }

    fn decoded<T>(&mut self, outcome: Option<Result<T, Fault>>, at: u64) -> Option<T> {
        match outcome? {
            Ok(value) => Some(value),
            Err(fault) => {
                self.note(Error::fault(fault, &self.path, at));
                None
            }
        }
    }

    /// Lists the blocks: as the index has them, or else as their headers name themselves.
    fn find_blocks(&mut self, end: Option<u64>) {
        if let Some(index) = &self.index {
            let entries = (0..).map_while(|number| Some((number, index.entry(number as usize)?)));
            let found = entries.map(|(number, e)| Found { number, offset: e.offset, len: e.len, users: Some(e.users) });
            self.found = found.collect();
            self.blocks = u32::try_from(index.len()).ok();
            return;
        }
        let end = end.filter(|_| self.whole).unwrap_or(u64::MAX).min(self.data.len());
        let mut by_number = BTreeMap::new();
        let mut at = FILE_HEADER_LEN as u64;
        while at + HEADER_LEN as u64 <= end {
            let Some((number, len)) = self.identify(at) else {
                at = self.next_header(at + ALIGN as u64, end);
                continue;
            };
            let found = Found { number, offset: at, len, users: None };
            by_number.entry(number).or_insert(found);
            at += u64::from(len);
        }
        self.found = by_number.into_values().collect();
    }

    /// The block of this file that begins at `at`, by its header.
    fn identify(&self, at: u64) -> Option<(u32, u32)> {
        let head = self.data.read(at, HEADER_LEN).ok()?;
        let (id, len) = identify(&head).ok()?;
        let len = u32::try_from(len).ok()?;
        (id.file == self.id && at + u64::from(len) <= self.data.len()).then_some((id.number, len))
    }

    /// The next place from `at` on where a block may begin; `end` when there is none.
    fn next_header(&self, mut at: u64, end: u64) -> u64 {
        while at < end {
            // Up to the end of the page: one that cannot be read is stepped over.
            let len = (PAGE as u64 - at % PAGE as u64).min(end - at);
            let page = self.data.read(at, usize::try_from(len).unwrap_or(PAGE));
            let page = page.as_deref().unwrap_or_default();
            if let Some(i) = page.chunks(ALIGN).position(|line| line.starts_with(b"HCBK")) {
                return at + (i * ALIGN) as u64;
            }
            at += len;
        }
        end
    }

    /// The tombstones; `None` when they are damaged.
    pub(crate) fn tombstones(&self) -> Option<Tombstones<'_>> {
        self.tombstones.as_deref().map(Tombstones::of)
    }

    /// The tombstone number `i`.
    pub(crate) fn tombstone(&self, i: usize) -> Option<(&[u8], Tombstone)> {
        self.tombstones().and_then(|all| all.at(i))
    }

    /// First UID of block `number`, where the block index is whole; empty: there is no such block.
    pub(crate) fn first_uid(&self, number: u32) -> Option<&[u8]> {
        self.index.as_ref().map(|index| index.first_uid(number as usize))
    }

    /// Last UID of the segment, where the block index is whole.
    pub(crate) fn last_uid(&self) -> Option<&[u8]> {
        self.index.as_ref().map(BlockIndex::last_uid)
    }

    /// Where the blocks end, as far as that is known: the end of the last one that was found.
    pub(crate) fn end_of_blocks(&self) -> u64 {
        self.found.iter().map(|f| f.offset + u64::from(f.len)).max().unwrap_or(FILE_HEADER_LEN as u64)
    }

    /// Whether the first page of an index lies behind blocks that end at `end`.
    pub(crate) fn is_page(&self, end: u64) -> bool {
        let at = end.next_multiple_of(PAGE as u64);
        let page = self.data.read(at, PAGE);
        page.is_ok_and(|page| verify_page(&page, self.id, Kind::Uid, 0).is_ok())
    }

    /// Length of the file in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.data.len()
    }

    /// Reads a block and checks it: its checksums, that it is the one, and its rows as deeply as the dictionary allows.
    ///
    /// # Errors
    /// [`Error::Damage`]; [`Error::Io`] when it cannot be read.
    pub(crate) fn read(&self, found: &Found) -> Result<SavedRows> {
        let bytes = self.data.read(found.offset, found.len as usize).map_err(|e| Error::io("read", &self.path, e))?;
        self.rows(&bytes, found).map_err(|f| Error::fault(f, &self.path, found.offset))
    }

    fn rows(&self, bytes: &[u8], found: &Found) -> Result<SavedRows, Fault> {
        let block = Block::parse(bytes, &self.dict)?;
        block.verify(BlockId { file: self.id, number: found.number })?;
        if self.named {
            block.verify_rows(None)?;
        }
        let mut saved = SavedRows::default();
        let mut buf = RowBuf::new();
        for (ordinal, user) in block.rows().enumerate() {
            let user = user?;
            saved.last_uid = user.uid().to_vec();
            if is_unnamed(&user) {
                saved.unnamed += 1;
                continue;
            }
            let owned = user.to_user()?;
            let limits = |_| Fault::new("limits of a row", 0, 0, ordinal as u64);
            let row = buf.encode(&owned).map_err(limits)?.as_bytes().to_vec();
            saved.rows.push(SavedRow { uid: saved.last_uid.clone(), row, seq: block.seq(ordinal)? });
        }
        Ok(saved)
    }
}

/// A dictionary of names that no provider has, one for each id of a compact row.
fn placeholders() -> Result<Dictionary, Fault> {
    let names = (0..COMPACT_IDS).map(|id| format!("{UNNAMED}{id:03}"));
    Dictionary::decode(&names.flat_map(|name| [&[4], name.as_bytes()].concat()).collect::<Vec<u8>>())
}

fn is_unnamed(user: &UserRef<'_>) -> bool {
    user.identities().any(|i| i.provider.starts_with(UNNAMED.as_bytes()))
}
