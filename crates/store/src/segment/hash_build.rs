//! Builds a hash index within a memory budget: entries are partitioned by the high bits of their hash, partitions spill
//! to a file, and each is then sorted and laid out on its own.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use headcount_block::checksum;

use super::hash_index::{Kind, PAGE, PageBuilder, RowPlace, locate, pages_for};
use crate::error::{Error, Result};
use crate::files;

/// Partitions, by the first byte of the hash.
const PARTITIONS: usize = 256;
/// Bytes that are written at a time.
const WRITE: usize = 1 << 20;
/// Bytes of a spilled entry: hash u64, place u40.
const SPILLED: usize = 13;
/// Entries of one hash that get a place. Two keys share a hash of 64 bits once in many segments, three never: what is
/// beyond them has the key of another entry, and would fill pages that no number of pages makes larger.
const RUN_MAX: usize = 2;
/// Most layouts that are tried.
const LAYOUTS_MAX: usize = 32;

/// The longest run among entries that [`HashBuilder::finish`] returned, where it is longer than the index has places for.
pub(crate) fn crowd(same: &[Entry]) -> Option<u64> {
    let runs = same.chunk_by(|a, b| a.hash == b.hash).map(<[Entry]>::len);
    runs.max().filter(|len| *len > RUN_MAX).map(|len| len as u64)
}

/// A hash and the place of the row that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hash: u64,
    pub(crate) place: RowPlace,
}

/// Collects entries and lays them out as an index.
#[derive(Debug)]
pub(crate) struct HashBuilder {
    kind: Kind,
    parts: Vec<Vec<Entry>>,
    held: usize,
    /// Entries that may be held in memory.
    budget: usize,
    entries: u64,
    dir: PathBuf,
    spill: Option<File>,
    spilled: u64,
    /// Of each partition: offset, number of entries and checksum of each stretch in the spill file.
    extents: Vec<Vec<(u64, usize, u64)>>,
    /// Entries beyond which a test has the memory end.
    #[cfg(test)]
    most: Option<usize>,
}

impl HashBuilder {
    /// A builder that holds at most about `memory` bytes and spills into a nameless file in `dir`.
    pub(crate) fn new(kind: Kind, memory: usize, dir: &Path) -> Self {
        Self {
            kind,
            parts: vec![Vec::new(); PARTITIONS],
            held: 0,
            // A vector that grows by doubling holds half as much again as it needs, on average.
            budget: (memory * 2 / (3 * size_of::<Entry>())).max(PARTITIONS),
            entries: 0,
            dir: dir.to_path_buf(),
            spill: None,
            spilled: 0,
            extents: vec![Vec::new(); PARTITIONS],
            #[cfg(test)]
            most: None,
        }
    }

    /// Entries so far.
    pub(crate) const fn entries(&self) -> u64 {
        self.entries
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, hash: u64, place: RowPlace) -> Result<()> {
        let at = usize::try_from(hash >> 56).unwrap_or_default();
        if !self.reserve(at) {
            // What is there is enough to go on with, in smaller stretches.
            self.spill()?;
            if !self.reserve(at) {
                return Err(Error::Memory { what: "the index of a segment", bytes: size_of::<Entry>() as u64 });
            }
        }
        if let Some(part) = self.parts.get_mut(at) {
            part.push(Entry { hash, place });
        }
        self.held += 1;
        self.entries += 1;
        if self.held >= self.budget { self.spill() } else { Ok(()) }
    }

    /// Sees to it that a partition takes one more entry; `false` when there is no memory for it.
    #[inline]
    fn reserve(&mut self, at: usize) -> bool {
        #[cfg(test)]
        if self.most.is_some_and(|most| self.held >= most) {
            return false;
        }
        self.parts.get_mut(at).is_none_or(|part| part.try_reserve(1).is_ok())
    }

    fn spill(&mut self) -> Result<()> {
        let file = match self.spill.take() {
            Some(file) => file,
            None => files::scratch(&self.dir)?,
        };
        let mut bytes = Vec::new();
        for (part, extents) in self.parts.iter_mut().zip(&mut self.extents) {
            if part.is_empty() {
                continue;
            }
            bytes.clear();
            for entry in part.iter() {
                bytes.extend_from_slice(&entry.hash.to_le_bytes());
                bytes.extend(entry.place.pack().to_le_bytes().into_iter().take(SPILLED - 8));
            }
            file.write_all_at(&bytes, self.spilled).map_err(|e| Error::io("write a spill file in", &self.dir, e))?;
            extents.push((self.spilled, part.len(), checksum(&bytes)));
            self.spilled += bytes.len() as u64;
            part.clear();
        }
        self.spill = Some(file);
        self.held = 0;
        Ok(())
    }

    /// All entries of partition `i`, sorted by hash; equal hashes by place, so that equal input gives equal bytes.
    fn sorted(&mut self, i: usize) -> Result<Cow<'_, [Entry]>> {
        let extents = self.extents.get(i).map_or(&[][..], |e| e);
        let Some(part) = self.parts.get_mut(i) else { return Ok(Cow::Borrowed(&[])) };
        let (Some(file), false) = (&self.spill, extents.is_empty()) else {
            part.sort_unstable_by_key(|e| (e.hash, e.place));
            return Ok(Cow::Borrowed(part));
        };
        let mut all = part.clone();
        for (offset, count, sum) in extents {
            let mut bytes = vec![0; count * SPILLED];
            file.read_exact_at(&mut bytes, *offset).map_err(|e| Error::io("read a spill file in", &self.dir, e))?;
            if checksum(&bytes) != *sum {
                return Err(files::misread(&self.dir, *offset));
            }
            all.extend(bytes.as_chunks::<SPILLED>().0.iter().map(|&[a, b, c, d, e, f, g, h, p, q, r, s, t]| Entry {
                hash: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
                place: RowPlace::unpack(u64::from_le_bytes([p, q, r, s, t, 0, 0, 0])),
            }));
        }
        all.sort_unstable_by_key(|e| (e.hash, e.place));
        Ok(Cow::Owned(all))
    }

    /// Sorts what is held in memory, so that [`finish`](Self::finish) finds it sorted.
    pub(crate) fn sort_held(&mut self) {
        for part in &mut self.parts {
            part.sort_unstable_by_key(|e| (e.hash, e.place));
        }
    }

    /// Lays the index out, page after page into `write`. Returns the number of pages and all entries that share their
    /// hash with another, in hash order. Of those only the first two of each hash are in the index: whoever publishes it
    /// looks at [`crowd`] before.
    ///
    /// When a page overflows (once in 10^8) the layout starts over with more pages: a hash has 64 bits, so that more
    /// pages spread it as well as another key would.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when pages overflow again and again, which hashes do not do.
    pub(crate) fn finish(
        mut self,
        file_id: u128,
        mut write: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<(u64, Vec<Entry>)> {
        let mut pages = pages_for(self.entries);
        for _ in 0..LAYOUTS_MAX {
            if let Some(same) = self.layout(file_id, pages, &mut write)? {
                return Ok((pages, same));
            }
            pages += pages / 8 + 1;
        }
        let max = LAYOUTS_MAX as u64;
        Err(Error::TooLarge { what: "layouts of an index whose pages overflow", max, found: max + 1 })
    }

    /// One layout with so many pages; `None` when a page overflows.
    fn layout(
        &mut self,
        file_id: u128,
        pages: u64,
        write: &mut impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<Option<Vec<Entry>>> {
        let kind = self.kind;
        let mut same = Vec::new();
        let mut page = PageBuilder::new();
        let mut current = 0;
        let mut out = Vec::with_capacity(WRITE + PAGE);
        let mut written = 0;
        let mut close = |page: &mut PageBuilder, number: u64, out: &mut Vec<u8>| -> Result<()> {
            page.finish(file_id, kind, u32::try_from(number).unwrap_or(u32::MAX), out);
            if out.len() >= WRITE || number + 1 == pages {
                write(written, out)?;
                written += out.len() as u64;
                out.clear();
            }
            Ok(())
        };
        for i in 0..PARTITIONS {
            let part = self.sorted(i)?;
            for run in part.chunk_by(|a, b| a.hash == b.hash).filter(|run| run.len() > 1) {
                same.extend_from_slice(run);
            }
            let (mut last, mut run) = (None, 0);
            for entry in part.iter() {
                run = if last == Some(entry.hash) { run + 1 } else { 1 };
                last = Some(entry.hash);
                if run > RUN_MAX {
                    continue;
                }
                let (at, line, tag) = locate(entry.hash, pages);
                while current < at {
                    close(&mut page, current, &mut out)?;
                    current += 1;
                }
                if !page.push(line, tag, entry.place) {
                    return Ok(None);
                }
            }
        }
        while current < pages {
            close(&mut page, current, &mut out)?;
            current += 1;
        }
        Ok(Some(same))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::hash_index::{hash_uid, probe};

    fn build(memory: usize, n: u64) -> (u64, Vec<u8>, Vec<Entry>) {
        build_in(HashBuilder::new(Kind::Uid, memory, &std::env::temp_dir()), n)
    }

    fn build_in(mut builder: HashBuilder, n: u64) -> (u64, Vec<u8>, Vec<Entry>) {
        for i in 0..n {
            builder.push(hash_uid([3, 4], &(i % 9999).to_le_bytes()), RowPlace::of(7, i as usize % 4096)).unwrap();
        }
        let mut bytes = Vec::new();
        let write = |at: u64, page: &[u8]| {
            bytes.truncate(at as usize);
            bytes.extend_from_slice(page);
            Ok(())
        };
        let (pages, same) = builder.finish(1, write).unwrap();
        (pages, bytes, same)
    }

    #[test]
    fn spilling_changes_nothing() {
        let in_memory = build(1 << 30, 10_001);
        assert_eq!(in_memory.1.len() as u64, in_memory.0 * PAGE as u64);
        assert_eq!(in_memory.2.len(), 4, "two UIDs came twice");
        assert_eq!(in_memory, build(0, 10_001));
        let builder = HashBuilder::new(Kind::Uid, 1 << 30, &std::env::temp_dir());
        assert_eq!(in_memory, build_in(HashBuilder { most: Some(500), ..builder }, 10_001), "memory that ends early");
    }

    /// The entry was missing from the index, or another.
    #[test]
    fn a_byte_that_the_disk_changed_is_an_error() {
        for at in [0, 3, 9] {
            let mut builder = HashBuilder::new(Kind::Uid, 0, &std::env::temp_dir());
            for i in 0..2_000_u64 {
                builder.push(hash_uid([3, 4], &i.to_le_bytes()), RowPlace::of(7, 1)).unwrap();
            }
            let file = builder.spill.as_ref().unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            let error = builder.finish(1, |_, _| Ok(())).unwrap_err();
            assert!(error.to_string().contains("run it again"), "{error}");
        }
    }

    #[test]
    fn every_entry_is_found() {
        let (pages, bytes, _) = build(1 << 30, 9999);
        for i in 0..9999u64 {
            let (page, line, tag) = locate(hash_uid([3, 4], &i.to_le_bytes()), pages);
            let page = &bytes[page as usize * PAGE..][..PAGE];
            let mut seen = false;
            probe(page, line, tag, |p| {
                seen |= p == RowPlace::of(7, i as usize % 4096);
                seen
            })
            .unwrap();
            assert!(seen, "{i}");
        }
    }

    #[test]
    fn without_any_memory_it_is_an_error() {
        let builder = HashBuilder::new(Kind::Uid, 1 << 30, &std::env::temp_dir());
        let error = HashBuilder { most: Some(0), ..builder }.push(1, RowPlace::of(0, 0)).unwrap_err();
        assert!(matches!(error, Error::Memory { .. }), "{error}");
    }

    #[test]
    fn an_overflowing_page_starts_over_with_more() {
        let mut builder = HashBuilder::new(Kind::Uid, 1 << 20, &std::env::temp_dir());
        // 700 entries that two pages put on the first one.
        for i in 0..700u64 {
            builder.push(i << 53, RowPlace::of(0, i as usize)).unwrap();
        }
        let mut len = 0;
        let write = |at: u64, page: &[u8]| {
            len = at as usize + page.len();
            Ok(())
        };
        let (pages, _) = builder.finish(1, write).unwrap();
        assert!(pages > 2);
        assert_eq!(len as u64, pages * PAGE as u64);
    }

    #[test]
    fn a_hash_of_more_entries_than_a_page_holds_has_its_first_two_in_the_index() {
        let (mut builder, n) = (HashBuilder::new(Kind::Identity, 0, &std::env::temp_dir()), 2_000);
        for i in 0..n {
            builder.push(i << 50, RowPlace::of(0, 0)).unwrap();
            builder.push(7 << 50, RowPlace::of(1, i as usize)).unwrap();
        }
        let mut bytes = Vec::new();
        let write = |at: u64, page: &[u8]| {
            bytes.truncate(at as usize);
            bytes.extend_from_slice(page);
            Ok(())
        };
        let (pages, same) = builder.finish(1, write).unwrap();
        assert_eq!(same.len() as u64, n + 1, "all of them are reported");
        assert_eq!(crowd(&same), Some(n + 1));
        assert_eq!(bytes.len() as u64, pages * PAGE as u64);
        let used: u64 = bytes.chunks(PAGE).map(crate::segment::hash_index::used_slots).sum();
        assert_eq!(used, n + 1);
    }
}
