//! The block header: 256 bytes in front of every block.
//!
//! ```text
//!   0  magic "HCBK"            u32     48  wide rows, bytes         u32
//!   4  layout version          u8      52  reserved, zero           u32
//!   5  checksum algorithm      u8      56  least seq - base         u64
//!   6  bytes of a seq (0..8)   u8      64  greatest seq - base      u64
//!   7  log2 rows a group (4)   u8      72  sums of registered users 10 x u64
//!   8  file id                 u128   152  sums of pending users    10 x u64
//!  24  block number            u32    232  body checksum            u64
//!  28  users                   u32    240  header checksum (0..240) u64
//!  32  block length, bytes     u32    248  reserved, zero           u64
//!  36  control entries         u32
//!  40  text, bytes             u32
//!  44  exceptions              u32
//! ```
//! Little-endian. The body follows in this order, each section at a multiple of 8 bytes: restart points (8 each),
//! exceptions (16 each), seqs, wide rows, control entries (3 each and at least one byte of padding), text, padding.

use crate::bytes::{array, get_u32, get_u64, short};
use crate::checksum::{CHECKSUM_ALGORITHM, checksum};
use crate::error::Fault;
use crate::limits::{BLOCK_ENTRIES_MAX, BLOCK_MAX, BLOCK_USERS_MAX};
use crate::sums::{CLASS_WORDS, ClassSums, Totals};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 256;
/// Version of the layout that this crate writes and reads.
pub const LAYOUT_VERSION: u8 = 1;
/// Users between two restart points.
pub const ROWS_PER_GROUP: usize = 1 << GROUP_SHIFT;
/// Zero bytes that follow the text, at least: a renderer may read whole vectors past its end.
pub const PADDING: usize = 64;

pub(crate) const GROUP_SHIFT: u8 = 4;
pub(crate) const MAGIC: [u8; 4] = *b"HCBK";
/// Bytes of a control entry.
pub(crate) const ENTRY_LEN: usize = 3;
/// Bytes of a restart point: control position u32, text position u32.
pub(crate) const RESTART_LEN: usize = 8;
/// High bit of a restart point's control position: a row of the group is an exception.
pub(crate) const GROUP_EXCEPTIONS: u32 = 1 << 31;
/// Bytes of an exception: ordinal, control position, text position, wide offset, each u32.
pub(crate) const EXCEPTION_LEN: usize = 16;
/// Blocks begin at multiples of this, and their length is one.
pub(crate) const ALIGN: usize = 64;
const FILE_AT: usize = 8;
const NUMBER_AT: usize = 24;
pub(crate) const HEADER_SUM_AT: usize = 240;
const BODY_SUM_AT: usize = 232;
const SUMS_AT: usize = 72;

/// Which block of which file: a whole block in the wrong place is damage too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockId {
    /// Random id of the file.
    pub file: u128,
    /// Number of the block in the file, from 0.
    pub number: u32,
}

/// The fields of a header that readers need at hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) users: usize,
    pub(crate) block_len: usize,
    pub(crate) entries: usize,
    pub(crate) text_len: usize,
    pub(crate) exceptions: usize,
    pub(crate) wide_len: usize,
    pub(crate) seq_width: usize,
    pub(crate) min_seq: u64,
    pub(crate) max_seq: u64,
}

/// Where each section of the body begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sections {
    pub(crate) restarts: usize,
    pub(crate) exceptions: usize,
    pub(crate) seqs: usize,
    pub(crate) wide: usize,
    pub(crate) control: usize,
    pub(crate) text: usize,
    pub(crate) end: usize,
}

impl Header {
    /// Restart groups.
    pub(crate) const fn groups(&self) -> usize {
        self.users.div_ceil(ROWS_PER_GROUP)
    }

    /// Section offsets from the start of the block. Counts are bounded by `read`, so nothing overflows.
    pub(crate) const fn sections(&self) -> Sections {
        // Restart points come first, at a fixed place: a lookup can fetch its restart point together with the header.
        let restarts = HEADER_LEN;
        let exceptions = restarts + self.groups() * RESTART_LEN;
        let seqs = exceptions + self.exceptions * EXCEPTION_LEN;
        let wide = seqs + (self.users * self.seq_width).next_multiple_of(8);
        let control = wide + self.wide_len.next_multiple_of(8);
        let text = control + (self.entries * ENTRY_LEN + 1).next_multiple_of(8);
        let end = (text + self.text_len + PADDING).next_multiple_of(ALIGN);
        Sections { restarts, exceptions, seqs, wide, control, text, end }
    }

    /// Reads the fields and checks that lengths are within bounds and add up to the block's.
    pub(crate) fn read(block: &[u8]) -> Result<Self, Fault> {
        Self::read_as(block, block.len())
    }

    /// As [`read`](Self::read), of a block of which `have` bytes are there.
    fn read_as(block: &[u8], have: usize) -> Result<Self, Fault> {
        let head = block.first_chunk::<HEADER_LEN>().ok_or(short("block header", HEADER_LEN, block.len()))?;
        let [m0, m1, m2, m3, version, algorithm, seq_width, shift, ..] = *head;
        let expect = |what, at, expected: u64, found: u64| {
            if expected == found { Ok(()) } else { Err(Fault::new(what, at, expected, found)) }
        };
        let magic = u64::from(u32::from_le_bytes([m0, m1, m2, m3]));
        expect("block magic", 0, u64::from(u32::from_le_bytes(MAGIC)), magic)?;
        expect("block layout version", 4, u64::from(LAYOUT_VERSION), u64::from(version))?;
        expect("block checksum algorithm", 5, u64::from(CHECKSUM_ALGORITHM), u64::from(algorithm))?;
        expect("block restart interval", 7, u64::from(GROUP_SHIFT), u64::from(shift))?;
        if !matches!(seq_width, 0 | 1 | 2 | 4 | 8) {
            return Err(Fault::new("block seq width", 6, 8, u64::from(seq_width)));
        }
        let this = Self::read_again(block)?;
        this.check(have)?;
        Ok(this)
    }

    /// Reads the fields of a header that [`read`](Self::read) took before.
    #[inline]
    pub(crate) fn read_again(block: &[u8]) -> Result<Self, Fault> {
        let head = block.first_chunk::<72>().ok_or(short("block header", HEADER_LEN, block.len()))?;
        let word = |at| get_u32(head, at).unwrap_or_default() as usize;
        Ok(Self {
            users: word(28),
            block_len: word(32),
            entries: word(36),
            text_len: word(40),
            exceptions: word(44),
            wide_len: word(48),
            seq_width: usize::from(head[6]),
            min_seq: get_u64(head, 56).unwrap_or_default(),
            max_seq: get_u64(head, 64).unwrap_or_default(),
        })
    }

    fn check(&self, have: usize) -> Result<(), Fault> {
        let bound = |what, at, max: usize, found: usize| {
            if found <= max { Ok(()) } else { Err(Fault::new(what, at, max as u64, found as u64)) }
        };
        bound("block users", 28, BLOCK_USERS_MAX, self.users)?;
        bound("block length", 32, BLOCK_MAX.min(have), self.block_len)?;
        bound("block control entries", 36, BLOCK_ENTRIES_MAX.min(self.block_len / ENTRY_LEN), self.entries)?;
        bound("block text", 40, self.block_len, self.text_len)?;
        bound("block exceptions", 44, self.users, self.exceptions)?;
        bound("block wide rows", 48, self.block_len, self.wide_len)?;
        let end = self.sections().end;
        if end == self.block_len {
            Ok(())
        } else {
            Err(Fault::new("block length against its sections", 32, end as u64, self.block_len as u64))
        }
    }

    /// Writes the header over the first bytes of `block`, whose body is complete.
    pub(crate) fn write(&self, block: &mut [u8], id: BlockId, totals: &Totals) {
        let Some((head, body)) = block.split_first_chunk_mut::<HEADER_LEN>() else { return };
        let word = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        let width = u8::try_from(self.seq_width).unwrap_or(u8::MAX);
        out.extend_from_slice(&[LAYOUT_VERSION, CHECKSUM_ALGORITHM, width, GROUP_SHIFT]);
        out.extend_from_slice(&id.file.to_le_bytes());
        out.extend_from_slice(&id.number.to_le_bytes());
        for n in [self.users, self.block_len, self.entries, self.text_len, self.exceptions, self.wide_len, 0] {
            out.extend_from_slice(&word(n));
        }
        out.extend_from_slice(&self.min_seq.to_le_bytes());
        out.extend_from_slice(&self.max_seq.to_le_bytes());
        for word in totals.registered.to_words().into_iter().chain(totals.pending.to_words()) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&checksum(body).to_le_bytes());
        out.extend_from_slice(&checksum(&out).to_le_bytes());
        out.resize(HEADER_LEN, 0);
        head.copy_from_slice(&out);
    }
}

/// Makes a block the block `id`: changes its header and the header's checksum, and leaves the body as it is.
pub(crate) fn readdress(block: &mut [u8], id: BlockId) {
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = block.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(FILE_AT, &id.file.to_le_bytes());
    put(NUMBER_AT, &id.number.to_le_bytes());
    let sum = checksum(block.get(..HEADER_SUM_AT).unwrap_or_default());
    if let Some(place) = block.get_mut(HEADER_SUM_AT..HEADER_SUM_AT + 8) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Sums out of a header.
pub(crate) fn read_totals(block: &[u8]) -> Totals {
    let class = |at: usize| {
        let mut words = [0; CLASS_WORDS];
        for (i, word) in words.iter_mut().enumerate() {
            *word = get_u64(block, at + 8 * i).unwrap_or_default();
        }
        ClassSums::from_words(words)
    };
    Totals { registered: class(SUMS_AT), pending: class(SUMS_AT + 8 * CLASS_WORDS) }
}

/// Checks a header's own checksum and that it is the block `id`.
pub(crate) fn verify_header(block: &[u8], id: BlockId) -> Result<(), Fault> {
    let head = block.get(..HEADER_SUM_AT).ok_or(short("block header", HEADER_LEN, block.len()))?;
    let (expected, found) = (get_u64(block, HEADER_SUM_AT).unwrap_or_default(), checksum(head));
    if expected != found {
        return Err(Fault::new("block header checksum", HEADER_SUM_AT, expected, found));
    }
    if get_u64(block, HEADER_SUM_AT + 8) != Some(0) {
        return Err(Fault::new("block header padding", HEADER_SUM_AT + 8, 0, 1));
    }
    let file = array(block, FILE_AT).map_or(0, u128::from_le_bytes);
    if file != id.file {
        // The low halves are enough for a message: ids are random.
        let low = |id: u128| u64::try_from(id & u128::from(u64::MAX)).unwrap_or_default();
        return Err(Fault::new("file id of the block (misplaced block)", FILE_AT, low(id.file), low(file)));
    }
    let number = get_u32(block, NUMBER_AT).unwrap_or(u32::MAX);
    if number != id.number {
        return Err(Fault::new("block number (misplaced block)", NUMBER_AT, u64::from(id.number), u64::from(number)));
    }
    Ok(())
}

/// Which block of which file a header says it is, and the length of the block in bytes. The header's own checksum and its
/// lengths are checked, the body is not looked at: it is how blocks are found without an index.
///
/// # Errors
/// A [`Fault`] when `head` is shorter than [`HEADER_LEN`] or no whole header.
pub fn identify(head: &[u8]) -> Result<(BlockId, usize), Fault> {
    let file = array(head, FILE_AT).map_or(0, u128::from_le_bytes);
    let id = BlockId { file, number: get_u32(head, NUMBER_AT).unwrap_or(u32::MAX) };
    verify_header(head, id)?;
    let len = get_u32(head, 32).unwrap_or_default() as usize;
    // The rest of the block need not be at hand.
    let header = Header::read_as(head, len)?;
    Ok((id, header.block_len))
}

/// Checks the body's checksum, which covers everything after the header.
pub(crate) fn verify_body(block: &[u8]) -> Result<(), Fault> {
    let body = block.get(HEADER_LEN..).unwrap_or_default();
    let (expected, found) = (get_u64(block, BODY_SUM_AT).unwrap_or_default(), checksum(body));
    if expected == found { Ok(()) } else { Err(Fault::new("block body checksum", BODY_SUM_AT, expected, found)) }
}
