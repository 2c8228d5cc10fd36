//! The static hash indexes of a segment: UID → row, identity → row of its user.
//!
//! An index is pages of 4 KiB. A page is a header line and 63 lines of 64 bytes; a line is ten slots and two counters:
//! ```text
//! page header: checksum of bytes 8..4096 u64 | magic "HCIX" | page number u32 | file id u128 | kind u8 | zeros to 64
//! line:        { tag u14 | high bits of the place u2 } x 10 | { low bits of the place u32 } x 10
//!              | slots used u8 | lines to probe after this one u8 | zero u16
//! place:       block number << 12 | restart group << 4 | row in the group       (34 bits)
//! ```
//! The 64-bit hash is keyed with a random key of the segment, since UIDs are chosen by strangers. Its high bits give the
//! page and the line (`hash x pages >> 64`, so that an index is built in hash order, page after page); its low 14 bits
//! are the tag. A full line overflows into the next of its page, and says how far. Equality is by full bytes, always.

use std::hash::Hasher;

use headcount_block::{Fault, checksum};
use siphasher::sip::SipHasher13;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// Bytes of a line.
const LINE: usize = 64;
/// Lines of slots in a page.
const LINES: usize = PAGE / LINE - 1;
/// Slots in a line.
const SLOTS: usize = 10;
/// Entries that a page is planned for: 0.8 of its slots, so that it overflows less than once in 10^8 pages.
const PAGE_LOAD: u64 = 504;
const MAGIC: [u8; 4] = *b"HCIX";
const TAG_BITS: u32 = 14;
const TAG_MASK: u16 = (1 << TAG_BITS) - 1;
/// Greatest number of blocks that a place can name.
pub(crate) const BLOCKS_MAX: u64 = 1 << 22;

/// What an index maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Uid = 1,
    Identity = 2,
}

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowPlace {
    pub(crate) block: u32,
    pub(crate) group: u8,
    pub(crate) row: u8,
}

impl RowPlace {
    /// The 34-bit form.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.block) << 12 | u64::from(self.group) << 4 | u64::from(self.row & 15)
    }

    pub(crate) fn unpack(bits: u64) -> Self {
        let byte = |v: u64| u8::try_from(v & 0xff).unwrap_or_default();
        Self { block: u32::try_from(bits >> 12).unwrap_or(u32::MAX), group: byte(bits >> 4), row: byte(bits & 15) }
    }

    /// The place of row `ordinal` of a block.
    pub(crate) fn of(block: u32, ordinal: usize) -> Self {
        let byte = |v: usize| u8::try_from(v).unwrap_or(u8::MAX);
        Self { block, group: byte(ordinal / headcount_block::ROWS_PER_GROUP), row: byte(ordinal % 16) }
    }

    /// Number of the row in its block.
    pub(crate) fn ordinal(self) -> usize {
        usize::from(self.group) * headcount_block::ROWS_PER_GROUP + usize::from(self.row)
    }
}

/// Hash of a UID.
pub(crate) fn hash_uid(key: [u64; 2], uid: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    hasher.write(uid);
    hasher.finish()
}

/// Hash of an identity: the provider's dictionary id, little-endian, and the providerUID.
pub(crate) fn hash_identity(key: [u64; 2], provider: u16, provider_uid: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    hasher.write(&provider.to_le_bytes());
    hasher.write(provider_uid);
    hasher.finish()
}

/// Pages planned for so many entries.
pub(crate) const fn pages_for(entries: u64) -> u64 {
    entries.div_ceil(PAGE_LOAD)
}

/// Page, line and tag of a hash in an index of `pages` pages.
#[inline]
pub(crate) fn locate(hash: u64, pages: u64) -> (u64, usize, u16) {
    let low = |v: u128| u64::try_from(v & u128::from(u64::MAX)).unwrap_or_default();
    let product = u128::from(hash) * u128::from(pages);
    let line = (u128::from(low(product)) * LINES as u128) >> 64;
    let tag = u16::try_from(hash & u64::from(TAG_MASK)).unwrap_or_default();
    (low(product >> 64), usize::try_from(line).unwrap_or_default(), tag)
}

/// Calls `found` with every place in `page` whose tag matches, until it returns `true`.
///
/// # Errors
/// A fault when the page is too short.
#[inline]
pub(crate) fn probe(page: &[u8], line: usize, tag: u16, mut found: impl FnMut(RowPlace) -> bool) -> Result<(), Fault> {
    let mut more = 0;
    let mut step = 0;
    while step <= more && step < LINES {
        let at = line + step;
        let at = (1 + if at < LINES { at } else { at - LINES }) * LINE;
        let fault = Fault::new("index line", at, LINE as u64, page.len() as u64);
        let bytes: &[u8; LINE] = page.get(at..).and_then(|b| b.first_chunk()).ok_or(fault)?;
        let (tags, rest) = bytes.split_at(2 * SLOTS);
        let (lows, counters) = rest.split_at(4 * SLOTS);
        let [used, probes, ..] = *counters else { return Err(fault) };
        if step == 0 {
            more = usize::from(probes);
        }
        // All tags are compared before any is looked at: that is a few vector operations, and one branch that is seldom
        // taken twice.
        let (tags, lows) = (tags.as_chunks::<2>().0, lows.as_chunks::<4>().0);
        let fits = |high: &[u8; 2]| u32::from(u16::from_le_bytes(*high) & TAG_MASK == tag);
        let mut hits = (0..).zip(tags).fold(0, |hits, (i, high)| hits | fits(high) << i);
        hits &= (1_u32 << u32::from(used).min(31)) - 1;
        while hits != 0 {
            let slot = hits.trailing_zeros() as usize;
            hits &= hits - 1;
            let (Some(high), Some(low)) = (tags.get(slot), lows.get(slot)) else { return Err(fault) };
            let high = u64::from(u16::from_le_bytes(*high) >> TAG_BITS);
            if found(RowPlace::unpack(high << 32 | u64::from(u32::from_le_bytes(*low)))) {
                return Ok(());
            }
        }
        step += 1;
    }
    Ok(())
}

/// Slots that are used in a page.
pub(crate) fn used_slots(page: &[u8]) -> u64 {
    let lines = page.as_chunks::<LINE>().0.iter().skip(1);
    lines.filter_map(|line| line.get(6 * SLOTS)).map(|used| u64::from(*used)).sum()
}

/// Offset in a page of the line that a lookup begins with.
pub(crate) const fn line_offset(line: usize) -> usize {
    (1 + line) * LINE
}

/// Checks a page's checksum and that it is page `number` of this index of this file.
pub(crate) fn verify_page(page: &[u8], file_id: u128, kind: Kind, number: u64) -> Result<(), Fault> {
    let long = |at: usize| page.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
    let sum = checksum(page.get(8..PAGE).unwrap_or_default());
    if sum != long(0) {
        return Err(Fault::new("index page checksum", 0, long(0), sum));
    }
    let head = page_head(file_id, kind, u32::try_from(number).unwrap_or(u32::MAX));
    if page.get(8..8 + head.len()) != Some(&head) {
        return Err(Fault::new("index page (misplaced page)", 12, number, long(8) >> 32));
    }
    Ok(())
}

fn page_head(file_id: u128, kind: Kind, number: u32) -> [u8; 25] {
    let mut head = [0; 25];
    let parts = [&MAGIC[..], &number.to_le_bytes(), &file_id.to_le_bytes(), &[kind as u8]];
    for (to, from) in head.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    head
}

/// One page in the making.
#[derive(Debug)]
pub(crate) struct PageBuilder {
    lines: [[(u16, u32); SLOTS]; LINES],
    used: [u8; LINES],
    probes: [u8; LINES],
}

impl PageBuilder {
    pub(crate) const fn new() -> Self {
        Self { lines: [[(0, 0); SLOTS]; LINES], used: [0; LINES], probes: [0; LINES] }
    }

    /// Adds an entry; `false` when the page is full.
    pub(crate) fn push(&mut self, line: usize, tag: u16, place: RowPlace) -> bool {
        let bits = place.pack();
        let high = u16::try_from(bits >> 32).unwrap_or_default() << TAG_BITS | tag;
        let low = u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        for step in 0..LINES {
            let at = (line + step) % LINES;
            let (Some(slots), Some(used)) = (self.lines.get_mut(at), self.used.get_mut(at)) else { return false };
            if let Some(slot) = slots.get_mut(usize::from(*used)) {
                *slot = (high, low);
                *used += 1;
                if let Some(probes) = self.probes.get_mut(line) {
                    *probes = (*probes).max(u8::try_from(step).unwrap_or_default());
                }
                return true;
            }
        }
        false
    }

    /// Appends the page to `out` and empties the builder.
    pub(crate) fn finish(&mut self, file_id: u128, kind: Kind, number: u32, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(PAGE - 8);
        body.extend_from_slice(&page_head(file_id, kind, number));
        body.resize(LINE - 8, 0);
        for ((slots, used), probes) in self.lines.iter().zip(self.used).zip(self.probes) {
            slots.iter().for_each(|(high, _)| body.extend_from_slice(&high.to_le_bytes()));
            slots.iter().for_each(|(_, low)| body.extend_from_slice(&low.to_le_bytes()));
            body.extend_from_slice(&[used, probes, 0, 0]);
        }
        out.extend_from_slice(&checksum(&body).to_le_bytes());
        out.extend_from_slice(&body);
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_pack() {
        for block in [0, 1, 77, (1 << 22) - 1] {
            for ordinal in [0, 15, 16, 4095] {
                let place = RowPlace::of(block, ordinal);
                assert_eq!(RowPlace::unpack(place.pack()), place);
                assert_eq!(place.ordinal(), ordinal);
                assert!(place.pack() < 1 << 34);
            }
        }
    }

    #[test]
    fn a_page_gives_back_what_went_in_also_when_lines_overflow() {
        let mut page = PageBuilder::new();
        let hash = |i: u64| hash_uid([1, 2], &i.to_le_bytes());
        for i in 0..600 {
            let (_, line, tag) = locate(hash(i), 1);
            assert!(page.push(line, tag, RowPlace::of(3, i as usize)));
        }
        for i in 0..30 {
            assert!(page.push(62, 7, RowPlace::of(4, i)), "the last line overflows into the first");
        }
        assert!(!page.push(0, 0, RowPlace::of(0, 0)), "630 slots are all");
        let mut out = Vec::new();
        page.finish(99, Kind::Uid, 5, &mut out);
        assert_eq!(out.len(), PAGE);
        verify_page(&out, 99, Kind::Uid, 5).unwrap();
        assert!(verify_page(&out, 99, Kind::Identity, 5).is_err());
        assert!(verify_page(&out, 98, Kind::Uid, 5).is_err());
        assert!(verify_page(&out, 99, Kind::Uid, 6).is_err());
        for i in 0..600 {
            let (_, line, tag) = locate(hash(i), 1);
            let mut seen = false;
            probe(&out, line, tag, |p| {
                seen |= p == RowPlace::of(3, i as usize);
                false
            })
            .unwrap();
            assert!(seen, "{i}");
        }
        let mut in_last = 0;
        probe(&out, 62, 7, |p| {
            in_last += usize::from(p.block == 4);
            false
        })
        .unwrap();
        assert_eq!(in_last, 30);
        for at in 0..PAGE {
            out[at] ^= 4;
            assert!(verify_page(&out, 99, Kind::Uid, 5).is_err(), "{at}");
            out[at] ^= 4;
        }
    }
}
