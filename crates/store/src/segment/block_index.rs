//! The block index: for each block its place, its number of users and its first UID; sums at checkpoints.
//!
//! ```text
//! blocks u32 | last UID length u32 | { offset u64, length u32, users u32, end of first UID u32, zero u32 } x blocks
//! | sums of all blocks before block 64 x i: 20 x u64, for i = 0, 1, … | first UIDs | last UID
//! ```
//! It is checked whole when a segment is opened: about 50 bytes for each 64 KiB of blocks.

use headcount_block::limits::BLOCK_MAX;
use headcount_block::{Built, ClassSums, Fault, HEADER_LEN, Totals};

use super::footer::FILE_HEADER_LEN;
use crate::backing::Kept;

/// Blocks between two checkpoints of the prefix sums.
pub(crate) const CHECKPOINT: usize = 64;
const ENTRY: usize = 24;
const SUMS: usize = 160;
const HEAD: usize = 8;

/// One block of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) users: u32,
}

/// The decoded block index.
#[derive(Debug)]
pub(crate) struct BlockIndex {
    bytes: Kept,
    blocks: usize,
    sums_at: usize,
    keys_at: usize,
    last_at: usize,
}

impl BlockIndex {
    /// Takes over a section whose checksum has been verified. Of the blocks it checks that none is longer than blocks get,
    /// and that none begins before the one in front of it ends.
    pub(crate) fn decode(bytes: Kept) -> Result<Self, Fault> {
        let blocks = word(&bytes, 0) as usize;
        let last_len = word(&bytes, 4) as usize;
        let sums_at = HEAD + blocks * ENTRY;
        let keys_at = sums_at + blocks.div_ceil(CHECKPOINT) * SUMS;
        let last_at = bytes.len().saturating_sub(last_len);
        let fault = |what, at, found| Fault::new(what, at, bytes.len() as u64, found);
        if keys_at > last_at {
            return Err(fault("block index length", 0, keys_at as u64));
        }
        let (mut key_end, mut block_end) = (0, FILE_HEADER_LEN as u64);
        for i in 0..blocks {
            let at = HEAD + i * ENTRY;
            let (offset, len) = (long(&bytes, at), word(&bytes, at + 8) as usize);
            // A reader may have to allocate it.
            if !(HEADER_LEN..=BLOCK_MAX).contains(&len) {
                return Err(Fault::new("length of a block in the block index", at + 8, BLOCK_MAX as u64, len as u64));
            }
            let (true, Some(end)) = (offset >= block_end, offset.checked_add(len as u64)) else {
                return Err(Fault::new("place of a block in the block index", at, block_end, offset));
            };
            block_end = end;
            let end = word(&bytes, HEAD + i * ENTRY + 16) as usize;
            if end <= key_end || end > last_at - keys_at {
                return Err(fault("end of a first UID in the block index", HEAD + i * ENTRY + 16, end as u64));
            }
            key_end = end;
        }
        if keys_at + key_end != last_at {
            return Err(fault("first UIDs in the block index", keys_at, (keys_at + key_end) as u64));
        }
        Ok(Self { blocks, sums_at, keys_at, last_at, bytes })
    }

    /// Number of blocks.
    pub(crate) const fn len(&self) -> usize {
        self.blocks
    }

    /// The block `i`.
    #[inline]
    pub(crate) fn entry(&self, i: usize) -> Option<BlockEntry> {
        let entries = self.bytes.get(HEAD..self.sums_at)?.as_chunks::<ENTRY>().0;
        let bytes = entries.get(i)?;
        Some(BlockEntry { offset: long(bytes, 0), len: word(bytes, 8), users: word(bytes, 12) })
    }

    /// First UID of block `i`; empty when there is no such block.
    pub(crate) fn first_uid(&self, i: usize) -> &[u8] {
        let bytes: &[u8] = &self.bytes;
        let end = |i: usize| word(bytes, HEAD + i * ENTRY + 16) as usize;
        if i >= self.blocks {
            return &[];
        }
        let start = if i == 0 { 0 } else { end(i - 1) };
        bytes.get(self.keys_at + start..self.keys_at + end(i)).unwrap_or_default()
    }

    /// Last UID of the segment; empty when it has no users.
    pub(crate) fn last_uid(&self) -> &[u8] {
        self.bytes.get(self.last_at..).unwrap_or_default()
    }

    /// Number of blocks whose first UID is not greater than `uid`: the block before that may hold it.
    pub(crate) fn blocks_up_to(&self, uid: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.blocks);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.first_uid(middle) <= uid {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Sums of all blocks before block `CHECKPOINT * i`.
    pub(crate) fn checkpoint(&self, i: usize) -> Option<Totals> {
        let at = self.sums_at + i * SUMS;
        (i < self.blocks.div_ceil(CHECKPOINT)).then(|| {
            let class = |at: usize| ClassSums::from_words(std::array::from_fn(|i| long(&self.bytes, at + 8 * i)));
            Totals { registered: class(at), pending: class(at + SUMS / 2) }
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// Collects the block index while blocks are written.
#[derive(Debug, Default)]
pub(crate) struct BlockIndexBuilder {
    entries: Vec<u8>,
    sums: Vec<u8>,
    keys: Vec<u8>,
    blocks: u32,
    totals: Totals,
}

impl BlockIndexBuilder {
    /// Adds the next block.
    pub(crate) fn push(&mut self, offset: u64, built: &Built, first_uid: &[u8]) {
        let u32_of = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        if (self.blocks as usize).is_multiple_of(CHECKPOINT) {
            for word in self.totals.registered.to_words().into_iter().chain(self.totals.pending.to_words()) {
                self.sums.extend_from_slice(&word.to_le_bytes());
            }
        }
        self.keys.extend_from_slice(first_uid);
        self.entries.extend_from_slice(&offset.to_le_bytes());
        for n in [built.len, built.users, self.keys.len(), 0] {
            self.entries.extend_from_slice(&u32_of(n));
        }
        self.blocks += 1;
        self.totals += built.totals;
    }

    pub(crate) const fn blocks(&self) -> u32 {
        self.blocks
    }

    pub(crate) const fn totals(&self) -> Totals {
        self.totals
    }

    /// The section's bytes.
    pub(crate) fn finish(&self, last_uid: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.blocks.to_le_bytes());
        out.extend_from_slice(&u32::try_from(last_uid.len()).unwrap_or_default().to_le_bytes());
        for part in [&self.entries, &self.sums, &self.keys] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(last_uid);
        out
    }
}
