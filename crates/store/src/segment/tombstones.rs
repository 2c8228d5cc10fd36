//! The tombstone section: UIDs that this segment says are gone, whatever older segments hold.
//!
//! ```text
//! count u64 | offset u64 x count, from the start of the entries | entries, one after the other in UID order:
//! { seq u64, time u64 (ms), UID length u16, UID }
//! ```
//! A segment without tombstones has an empty section. Rows and tombstones of one segment have different UIDs.

use headcount_block::{Fault, limits::UID_MAX};

const COUNT_LEN: usize = 8;
const OFFSET_LEN: usize = 8;
const ENTRY_HEAD: usize = 18;

/// When a user was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tombstone {
    /// The commit that deleted the user.
    pub(crate) seq: u64,
    /// Its time, in milliseconds since 1970-01-01 UTC.
    pub(crate) time_ms: u64,
}

/// The tombstones of a segment, in UID order, borrowed. Whatever the bytes are, reading them ends and never panics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tombstones<'a> {
    count: usize,
    offsets: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Tombstones<'a> {
    /// The tombstones in a section that [`check`](Self::check) let pass.
    pub(crate) fn of(section: &'a [u8]) -> Self {
        let count = long(section, 0).and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
        let rest = section.get(COUNT_LEN..).unwrap_or_default();
        let split = count.checked_mul(OFFSET_LEN).and_then(|at| rest.split_at_checked(at));
        split.map(|(offsets, entries)| Self { count, offsets, entries }).unwrap_or_default()
    }

    /// Checks that a section is made of entries that lie one after the other and fill it, in UID order: searches count on
    /// that, and one that does not find a tombstone brings a user back.
    pub(crate) fn check(section: &'a [u8]) -> Result<(), Fault> {
        let this = Self::of(section);
        let declared = long(section, 0).unwrap_or_default();
        if this.count as u64 != declared || section.len() < COUNT_LEN && !section.is_empty() {
            return Err(Fault::new("number of tombstones", 0, section.len() as u64, declared));
        }
        let base = COUNT_LEN + this.offsets.len();
        let (mut end, mut last): (usize, &[u8]) = (0, &[]);
        for i in 0..this.count {
            let start = this.offset(i).unwrap_or(usize::MAX);
            let uid = this.entry(i).map(|(uid, _)| uid).filter(|uid| (1..=UID_MAX).contains(&uid.len()));
            let Some(uid) = uid.filter(|_| start == end) else {
                return Err(Fault::new("place or length of a tombstone", base + end, end as u64, start as u64));
            };
            if last >= uid {
                return Err(Fault::new("UID order of the tombstones", base + end, i as u64, i as u64));
            }
            end = start + ENTRY_HEAD + uid.len();
            last = uid;
        }
        if end == this.entries.len() {
            return Ok(());
        }
        Err(Fault::new("end of the tombstones", base + end, this.entries.len() as u64, end as u64))
    }

    /// Number of tombstones.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// The tombstone number `i`: UID, seq and time; `None` past the last one.
    pub(crate) fn at(&self, i: usize) -> Option<(&'a [u8], Tombstone)> {
        if i < self.count { self.entry(i) } else { None }
    }

    fn offset(&self, i: usize) -> Option<usize> {
        long(self.offsets, i.checked_mul(OFFSET_LEN)?).and_then(|at| usize::try_from(at).ok())
    }

    fn entry(&self, i: usize) -> Option<(&'a [u8], Tombstone)> {
        let entry = self.entries.get(self.offset(i)?..)?;
        let (head, rest) = entry.split_first_chunk::<ENTRY_HEAD>()?;
        let len = head.last_chunk().map(|len| u16::from_le_bytes(*len))?;
        let tombstone = Tombstone { seq: long(head, 0)?, time_ms: long(head, 8)? };
        Some((rest.get(..usize::from(len))?, tombstone))
    }

    /// Number of the first tombstone whose UID is not less than `uid`; the number of tombstones when there is none.
    pub(crate) fn lower_bound(&self, uid: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.entry(middle).is_some_and(|(found, _)| found < uid) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The tombstone of this UID.
    pub(crate) fn get(&self, uid: &[u8]) -> Option<Tombstone> {
        self.at(self.lower_bound(uid)).filter(|(found, _)| *found == uid).map(|(_, tombstone)| tombstone)
    }

    /// All tombstones in UID order.
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a [u8], Tombstone)> {
        (0..self.count).map_while(move |i| self.at(i))
    }
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

/// Collects tombstones in UID order.
#[derive(Debug, Default)]
pub(crate) struct TombstonesBuilder {
    offsets: Vec<u8>,
    entries: Vec<u8>,
    last: Option<usize>,
}

impl TombstonesBuilder {
    /// Adds the next tombstone.
    pub(crate) fn push(&mut self, uid: &[u8], tombstone: Tombstone) -> Result<(), Fault> {
        let len = u16::try_from(uid.len()).ok().filter(|_| (1..=UID_MAX).contains(&uid.len()));
        let Some(len) = len else {
            return Err(Fault::new("UID length of a tombstone", 0, UID_MAX as u64, uid.len() as u64));
        };
        if self.last().is_some_and(|last| last >= uid) {
            return Err(Fault::new("UID order of tombstones", self.entries.len(), 0, 0));
        }
        self.last = Some(self.entries.len());
        self.offsets.extend_from_slice(&(self.entries.len() as u64).to_le_bytes());
        self.entries.extend_from_slice(&tombstone.seq.to_le_bytes());
        self.entries.extend_from_slice(&tombstone.time_ms.to_le_bytes());
        self.entries.extend_from_slice(&len.to_le_bytes());
        self.entries.extend_from_slice(uid);
        Ok(())
    }

    fn last(&self) -> Option<&[u8]> {
        self.entries.get(self.last? + ENTRY_HEAD..)
    }

    /// Number of tombstones.
    pub(crate) const fn len(&self) -> usize {
        self.offsets.len() / OFFSET_LEN
    }

    /// The section's bytes; none when there is no tombstone.
    pub(crate) fn finish(&self) -> Vec<u8> {
        if self.offsets.is_empty() {
            return Vec::new();
        }
        [&(self.len() as u64).to_le_bytes(), &self.offsets[..], &self.entries[..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stone(n: u64) -> Tombstone {
        Tombstone { seq: n, time_ms: 1000 + n }
    }

    fn section(uids: &[&str]) -> Vec<u8> {
        let mut builder = TombstonesBuilder::default();
        for (n, uid) in (0..).zip(uids) {
            builder.push(uid.as_bytes(), stone(n)).unwrap();
        }
        assert_eq!(builder.len(), uids.len());
        builder.finish()
    }

    #[test]
    fn tombstones_are_found_by_uid_and_by_number() {
        let bytes = section(&["b", "d", "dd", "x"]);
        Tombstones::check(&bytes).unwrap();
        let all = Tombstones::of(&bytes);
        assert_eq!(all.len(), 4);
        assert_eq!(all.at(2), Some((&b"dd"[..], stone(2))));
        assert_eq!(all.at(4), None);
        for (uid, bound, found) in [("a", 0, None), ("b", 0, Some(0)), ("c", 1, None), ("dd", 2, Some(2))] {
            assert_eq!(all.lower_bound(uid.as_bytes()), bound, "{uid}");
            assert_eq!(all.get(uid.as_bytes()), found.map(stone), "{uid}");
        }
        assert_eq!((all.lower_bound(b"y"), all.get(b"y")), (4, None));
        let uids: Vec<&[u8]> = all.iter().map(|(uid, _)| uid).collect();
        assert_eq!(uids, [&b"b"[..], b"d", b"dd", b"x"]);
    }

    #[test]
    fn none_take_no_bytes() {
        let bytes = section(&[]);
        assert!(bytes.is_empty());
        Tombstones::check(&bytes).unwrap();
        assert_eq!((Tombstones::of(&bytes).len(), Tombstones::of(&bytes).get(b"a")), (0, None));
    }

    #[test]
    fn only_ascending_uids_within_the_limits_go_in() {
        let mut builder = TombstonesBuilder::default();
        builder.push(b"b", stone(1)).unwrap();
        for uid in [&b"b"[..], b"a", b"", &[b'x'; UID_MAX + 1]] {
            builder.push(uid, stone(2)).unwrap_err();
        }
        builder.push(&[b'x'; UID_MAX], stone(2)).unwrap();
        assert_eq!(builder.len(), 2);
    }

    /// Uses a section in every way.
    fn read_all(bytes: &[u8]) -> usize {
        let all = Tombstones::of(bytes);
        let found = all.iter().filter(|(uid, _)| all.get(uid).is_some()).count();
        found + all.lower_bound(b"") + all.lower_bound(b"zzz") + usize::from(all.at(usize::MAX).is_some())
    }

    #[test]
    fn damaged_bytes_are_refused_or_harmless() {
        let whole = section(&["alpha", "beta", "gamma"]);
        let heads: Vec<usize> = [0, 23, 45].into_iter().flat_map(|at| 32 + at..32 + at + 16).collect();
        for at in 0..whole.len() {
            for by in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= by;
                let text = at >= 32 + ENTRY_HEAD && !matches!(at, 55..73 | 77..95);
                let sorted = Tombstones::of(&bytes).iter().is_sorted_by(|a, b| a.0 < b.0);
                let fits = text && sorted || heads.contains(&at);
                assert_eq!(Tombstones::check(&bytes).is_ok(), fits, "byte {at} ^ {by}");
                read_all(&bytes);
            }
            assert_eq!(Tombstones::check(&whole[..at]).is_ok(), at == 0, "cut at {at}");
            read_all(&whole[..at]);
        }
        for count in [u64::MAX, u64::MAX / 8, 1 << 61, 4] {
            let mut bytes = whole.clone();
            bytes[..8].copy_from_slice(&count.to_le_bytes());
            Tombstones::check(&bytes).unwrap_err();
            read_all(&bytes);
        }
    }
}
