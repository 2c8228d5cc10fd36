//! The last 512 bytes of a segment: versions, sections, keys, sums. `docs/FORMAT.md` has the table.

use std::path::Path;

use headcount_block::{CHECKSUM_ALGORITHM, ClassSums, Fault, Totals, checksum};

use crate::error::{Error, Result};
use crate::manifest::{FORMAT_VERSION, WRITER_VERSION, check_version};

/// Length of the footer in bytes.
pub(crate) const FOOTER_LEN: usize = 512;
/// Length of the header at the start of the file.
pub(crate) const FILE_HEADER_LEN: usize = 64;
/// The number of the hash algorithm: 1 is SipHash-1-3.
const HASH_ALGORITHM: u8 = 1;
pub(super) const MAGIC: [u8; 8] = *b"HCSEGFT1";
const FILE_MAGIC: [u8; 8] = *b"HCSEGMT1";
const SUM_AT: usize = FOOTER_LEN - 8;

/// A stretch of the file with a checksum over all of it; hash indexes have one a page instead and 0 here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) checksum: u64,
}

/// A hash index: where it lies and how it is keyed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HashSection {
    pub(crate) section: Section,
    pub(crate) key: [u64; 2],
    pub(crate) entries: u64,
}

/// What the footer says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) file_id: u128,
    pub(crate) base_seq: u64,
    pub(crate) max_seq: u64,
    pub(crate) created_ms: u64,
    pub(crate) blocks: u32,
    pub(crate) block_index: Section,
    pub(crate) dictionary: Section,
    pub(crate) tombstones: Section,
    pub(crate) uids: HashSection,
    pub(crate) identities: HashSection,
    pub(crate) totals: Totals,
}

impl Footer {
    /// The bytes of the footer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&WRITER_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 24]);
        out.extend_from_slice(&self.file_id.to_le_bytes());
        let mut words = vec![self.base_seq, self.max_seq, self.created_ms, u64::from(self.blocks)];
        words.push(u64::from(CHECKSUM_ALGORITHM) | u64::from(HASH_ALGORITHM) << 8);
        for section in [self.block_index, self.dictionary, self.tombstones, self.uids.section, self.identities.section]
        {
            words.extend([section.offset, section.len, section.checksum]);
        }
        for index in [self.uids, self.identities] {
            words.extend([index.key[0], index.key[1], index.entries]);
        }
        words.extend(self.totals.registered.to_words());
        words.extend(self.totals.pending.to_words());
        for word in words {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.resize(SUM_AT, 0);
        out.extend_from_slice(&checksum(&out).to_le_bytes());
        out
    }

    /// Reads and checks a footer that lies at `at` of `path`.
    pub(crate) fn decode(bytes: &[u8], path: &Path, at: u64) -> Result<Self> {
        let fault = |what, offset, expected, found| Error::fault(Fault::new(what, offset, expected, found), path, at);
        let word =
            |at: usize| bytes.get(at..at + 8).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
        if !bytes.starts_with(&MAGIC) || bytes.len() != FOOTER_LEN {
            return Err(fault("segment footer magic (is the file cut short?)", 0, u64::from_le_bytes(MAGIC), word(0)));
        }
        let sum = checksum(bytes.get(..SUM_AT).unwrap_or_default());
        if sum != word(SUM_AT) {
            return Err(fault("segment footer checksum", SUM_AT, word(SUM_AT), sum));
        }
        check_version(bytes, path, false)?;
        let algorithms = u64::from(CHECKSUM_ALGORITHM) | u64::from(HASH_ALGORITHM) << 8;
        if word(88) != algorithms {
            return Err(fault("segment algorithms", 88, algorithms, word(88)));
        }
        Ok(Self::fields(bytes))
    }

    /// What a footer says, true or not.
    pub(super) fn fields(bytes: &[u8]) -> Self {
        let word =
            |at: usize| bytes.get(at..at + 8).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
        let section = |i: usize| {
            let at = 96 + 24 * i;
            Section { offset: word(at), len: word(at + 8), checksum: word(at + 16) }
        };
        let hash = |i: usize| {
            let at = 216 + 24 * i;
            HashSection { section: section(3 + i), key: [word(at), word(at + 8)], entries: word(at + 16) }
        };
        let class = |at: usize| ClassSums::from_words(std::array::from_fn(|i| word(at + 8 * i)));
        Self {
            file_id: u128::from(word(40)) | u128::from(word(48)) << 64,
            base_seq: word(56),
            max_seq: word(64),
            created_ms: word(72),
            blocks: u32::try_from(word(80)).unwrap_or(u32::MAX),
            block_index: section(0),
            dictionary: section(1),
            tombstones: section(2),
            uids: hash(0),
            identities: hash(1),
            totals: Totals { registered: class(264), pending: class(344) },
        }
    }
}

/// Checks the first bytes of a segment: that they are whole, and of this file.
pub(crate) fn check_file_header(bytes: &[u8], file_id: u128) -> Result<(), Fault> {
    let word = |at: usize| bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
    let sum_at = FILE_HEADER_LEN - 8;
    let sum = checksum(bytes.get(..sum_at).unwrap_or_default());
    if sum != word(sum_at) {
        return Err(Fault::new("file header checksum", sum_at, word(sum_at), sum));
    }
    let id = u128::from(word(16)) | u128::from(word(24)) << 64;
    if word(0) != u64::from_le_bytes(FILE_MAGIC) || id != file_id {
        return Err(Fault::new("file header (another file's)", 0, u64::from_le_bytes(FILE_MAGIC), word(0)));
    }
    Ok(())
}

/// The first bytes of a segment: what it is, for those who look at the file, and for salvage.
pub(crate) fn file_header(file_id: u128) -> Vec<u8> {
    let mut out = Vec::with_capacity(FILE_HEADER_LEN);
    out.extend_from_slice(&FILE_MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&WRITER_VERSION.to_le_bytes());
    out.extend_from_slice(&file_id.to_le_bytes());
    out.resize(FILE_HEADER_LEN - 8, 0);
    out.extend_from_slice(&checksum(&out).to_le_bytes());
    out
}
