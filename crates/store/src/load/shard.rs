//! A shard: one thread's share of a load.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use headcount_block::{DictionaryBuilder, LimitError, RowRef};

use super::arena::{Arena, Record};
use super::options::{Place, RowKind};
use super::runs::SpilledRun;
use crate::error::{Error, Result};

/// Takes encoded rows, in any order, from one thread of a load.
#[derive(Debug)]
pub struct Shard {
    pub(super) arena: Arena,
    pub(super) runs: Vec<SpilledRun>,
    pub(super) providers: ProviderCounts,
    pub(super) records: u64,
    budget: usize,
    tmp: PathBuf,
    /// The count of shards of the load that it is of.
    pub(super) load: Arc<AtomicUsize>,
}

impl Shard {
    pub(super) fn new(budget: usize, tmp: &Path, load: Arc<AtomicUsize>) -> Self {
        Self {
            arena: Arena::default(),
            runs: Vec::new(),
            providers: ProviderCounts::default(),
            records: 0,
            budget,
            tmp: tmp.to_path_buf(),
            load,
        }
    }

    /// Adds a row that came from `at`. When the shard's share of the memory is full, what it holds is sorted and
    /// spilled to a nameless file in the store.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] for too many provider names, [`crate::Error::Io`] when spilling fails, [`crate::Error::Memory`]
    /// when there is no memory even for smaller runs.
    pub fn push(&mut self, row: RowRef<'_>, at: Place, kind: RowKind) -> Result<()> {
        let record = Record { row, at, kind };
        let full = self.arena.memory() + record.len() > self.budget || !self.arena.has_room(record.len());
        if full && !self.arena.is_empty() {
            self.spill()?;
        }
        if !self.arena.reserve(record.len()) {
            // What is there is enough to go on with, in smaller runs.
            self.spill()?;
            if !self.arena.reserve(record.len()) {
                return Err(Error::Memory { what: "the rows of a load", bytes: record.len() as u64 });
            }
        }
        for identity in row.identities() {
            self.providers.add(identity.provider)?;
        }
        self.arena.push(&record);
        self.records += 1;
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        if self.arena.is_empty() {
            return Ok(());
        }
        self.arena.sort();
        self.runs.push(SpilledRun::write(&self.arena, &self.tmp)?);
        self.arena.clear();
        Ok(())
    }

    /// Sorts what is in memory. With spilled runs it is spilled too, so that the merge has the memory.
    pub(super) fn close(&mut self) -> Result<()> {
        if self.runs.is_empty() {
            self.arena.sort();
            return Ok(());
        }
        if !self.arena.is_empty() {
            self.spill()?;
        }
        self.arena = Arena::default();
        Ok(())
    }
}

/// Entries of the cache in front of the map.
const CACHE: usize = 64;

/// Counts provider names: a small direct-mapped cache takes the frequent ones off the map.
#[derive(Debug)]
pub(super) struct ProviderCounts {
    cache: Vec<(Vec<u8>, u64)>,
    map: DictionaryBuilder,
}

impl Default for ProviderCounts {
    fn default() -> Self {
        Self { cache: vec![(Vec::new(), 0); CACHE], map: DictionaryBuilder::new() }
    }
}

impl ProviderCounts {
    fn add(&mut self, name: &[u8]) -> Result<(), LimitError> {
        let (first, last) = (name.first().copied().unwrap_or_default(), name.last().copied().unwrap_or_default());
        let at = (name.len() * 5 + usize::from(first) * 3 + usize::from(last)) % CACHE;
        let Some(slot) = self.cache.get_mut(at) else { return Ok(()) };
        if slot.0 != name {
            if slot.1 > 0 {
                self.map.add(&slot.0, slot.1)?;
            }
            slot.0.clear();
            slot.0.extend_from_slice(name);
            slot.1 = 0;
        }
        slot.1 += 1;
        Ok(())
    }

    /// All counts.
    pub(super) fn finish(mut self) -> Result<DictionaryBuilder, LimitError> {
        for (name, count) in self.cache.iter().filter(|(_, count)| *count > 0) {
            self.map.add(name, *count)?;
        }
        Ok(self.map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headcount_block::{RowBuf, User};

    #[test]
    fn a_load_goes_on_with_the_memory_there_is_or_ends_with_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut shard = Shard::new(usize::MAX, dir.path(), Arc::default());
        shard.arena.most = Some(2_000);
        let mut row = RowBuf::new();
        for i in 0..500 {
            let user = User::new(format!("{i:020}"));
            shard.push(row.encode(&user).unwrap(), Place::default(), RowKind::User).unwrap();
        }
        assert!(shard.runs.len() > 5 && shard.records == 500, "{} runs", shard.runs.len());
        let long = User::new("long").with_identity("p", "x".repeat(3_000));
        let error = shard.push(row.encode(&long).unwrap(), Place::default(), RowKind::User).unwrap_err();
        assert!(matches!(error, Error::Memory { bytes: 3000.., .. }), "{error}");
    }
}
