//! Rows in memory before they are sorted, and their form in a run.
//!
//! A record is: place (file u16, line u40, offset u48), kind u8, row length u32, row; the length lets a reader of a run
//! take whole records. A run is records sorted by UID, then place.

use std::cmp::Ordering;

use headcount_block::RowRef;

use super::options::{Place, RowKind};

/// Bytes before the row.
pub(crate) const HEAD: usize = 2 + 5 + 6 + 1 + 4;

/// A row with where it came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) row: RowRef<'a>,
    pub(crate) at: Place,
    pub(crate) kind: RowKind,
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`; `None` when they are cut short.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let [f0, f1, l0, l1, l2, l3, l4, o0, o1, o2, o3, o4, o5, kind, n0, n1, n2, n3] = *head;
        let len = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
        Some(Self {
            row: RowRef::parse(rest.get(..len)?).ok()?,
            at: Place {
                file: u16::from_le_bytes([f0, f1]),
                line: u64::from_le_bytes([l0, l1, l2, l3, l4, 0, 0, 0]),
                offset: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, 0, 0]),
            },
            kind: if kind == 0 { RowKind::User } else { RowKind::Fragment },
        })
    }

    /// Appends the record to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let row = self.row.as_bytes();
        let [l0, l1, l2, l3, l4, ..] = self.at.line.to_le_bytes();
        let [o0, o1, o2, o3, o4, o5, ..] = self.at.offset.to_le_bytes();
        let [f0, f1] = self.at.file.to_le_bytes();
        let [n0, n1, n2, n3] = u32::try_from(row.len()).unwrap_or_default().to_le_bytes();
        let kind = u8::from(self.kind == RowKind::Fragment);
        out.extend_from_slice(&[f0, f1, l0, l1, l2, l3, l4, o0, o1, o2, o3, o4, o5, kind, n0, n1, n2, n3]);
        out.extend_from_slice(row);
    }

    /// Bytes of the record.
    pub(crate) const fn len(&self) -> usize {
        HEAD + self.row.as_bytes().len()
    }
}

/// The first 16 bytes of a UID, padded with zeros, as numbers that compare as the bytes do: a UID holds no NUL.
pub(crate) fn key(uid: &[u8]) -> [u64; 2] {
    let half = |from: usize| {
        let bytes = uid.get(from..).unwrap_or_default();
        bytes.first_chunk().copied().unwrap_or_else(|| {
            let mut padded = [0; 8];
            padded.iter_mut().zip(bytes).for_each(|(to, b)| *to = *b);
            padded
        })
    };
    [u64::from_be_bytes(half(0)), u64::from_be_bytes(half(8))]
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: [u64; 2],
    at: u32,
}

/// Records in the order they came, with what it takes to sort them.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Bytes beyond which a test has the memory end.
    #[cfg(test)]
    pub(super) most: Option<usize>,
}

impl Arena {
    /// Bytes taken up, without the slack of growing vectors (which is never touched, so never resident).
    pub(crate) const fn memory(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a record of this length still fits: positions have 32 bits.
    pub(crate) const fn has_room(&self, len: usize) -> bool {
        self.bytes.len() + len < u32::MAX as usize
    }

    /// Sees to it that a record of this length can be added; `false` when there is no memory for it.
    pub(crate) fn reserve(&mut self, len: usize) -> bool {
        #[cfg(test)]
        if self.most.is_some_and(|most| self.bytes.len() + len > most) {
            return false;
        }
        self.bytes.try_reserve(len).is_ok() && self.entries.try_reserve(1).is_ok()
    }

    /// Adds a record.
    pub(crate) fn push(&mut self, record: &Record<'_>) {
        let at = u32::try_from(self.bytes.len()).unwrap_or_default();
        self.entries.push(Entry { key: key(record.row.uid()), at });
        record.write(&mut self.bytes);
    }

    /// Sorts by UID, then place.
    pub(crate) fn sort(&mut self) {
        let bytes = &self.bytes;
        let record = |e: &Entry| bytes.get(e.at as usize..).and_then(Record::read);
        self.entries.sort_unstable_by(|a, b| {
            a.key.cmp(&b.key).then_with(|| match (record(a), record(b)) {
                (Some(a), Some(b)) => a.row.uid().cmp(b.row.uid()).then(a.at.cmp(&b.at)),
                _ => Ordering::Equal,
            })
        });
    }

    /// The record number `i` in sorted order.
    pub(crate) fn get(&self, i: usize) -> Option<Record<'_>> {
        self.bytes.get(self.entries.get(i)?.at as usize..).and_then(Record::read)
    }

    /// Reads a byte of both cache lines that each of the records `from..to` most often lies in, so that they are on
    /// their way when they are needed: the loads do not wait for each other, as those of a record after a record would.
    pub(crate) fn touch(&self, from: usize, to: usize) {
        let entries = self.entries.get(from.min(self.entries.len())..to.min(self.entries.len())).unwrap_or_default();
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or_default();
        let touched =
            entries.iter().fold(0, |sum: u8, e| sum ^ byte(e.at as usize + HEAD) ^ byte(e.at as usize + HEAD + 64));
        std::hint::black_box(touched);
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}
