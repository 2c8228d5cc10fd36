//! Users that one table marks as deleted and whose identities are in another.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use headcount_block::Progress;

use crate::choose::Reading;
use crate::chunk::{Chunker, Layout, RowCutter};
use crate::csv::{self, Splitter};
use crate::error::ImportError;
use crate::input::Prepared;
use crate::parse::trim_line_end;
use crate::read::error_of;
use crate::table::is_empty_value;
use crate::table_rows::TableJob;

/// UIDs, by two hashes of 64 bits with keys of their own: 16 bytes each, whatever their length.
#[derive(Debug, Default)]
pub(crate) struct Deleted {
    hashers: [RandomState; 2],
    hashes: HashSet<(u64, u64)>,
}

impl Deleted {
    pub(crate) fn insert(&mut self, uid: &str) {
        self.hashes.insert(self.hash(uid));
    }

    pub(crate) fn contains(&self, uid: &str) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&self.hash(uid))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    fn hash(&self, uid: &str) -> (u64, u64) {
        let [a, b] = &self.hashers;
        (a.hash_one(uid), b.hash_one(uid))
    }
}

/// Reads beforehand which users the tables of users mark as deleted, where there are tables of identities too.
pub(crate) fn collect(inputs: &mut [Prepared], progress: &Progress) -> Result<(), ImportError> {
    let is_links = |input: &Prepared| matches!(&input.reading, Reading::Rows(job) if job.columns.deleted.is_none());
    if !inputs.iter().any(is_links) {
        return Ok(());
    }
    let mut deleted = Deleted::default();
    for input in inputs.iter() {
        let Reading::Rows(job) = &input.reading else { continue };
        let Some(column) = job.columns.deleted else { continue };
        let Some(mut reader) = input.beforehand()? else {
            return Err(ImportError::Usage(format!(
                "{}: the table of users is read twice, since it says which users are deleted: give it as a file",
                input.name
            )));
        };
        let mut cutter = RowCutter::new(Layout::Table(Arc::clone(job)), input.line);
        let mut chunker = Chunker::new(&mut reader, &mut cutter, input.skip);
        let mut splitter = Splitter::new();
        while let Some(piece) = chunker.next(&mut Vec::new).map_err(|broken| error_of(input, broken))? {
            progress.check()?;
            rows(piece.into_chunk(0, 0).bytes(), |row| {
                splitter.split(row);
                // Rows of another shape are refused when they are read in earnest.
                if splitter.len() == job.columns.fields
                    && let (Ok(uid), false) =
                        (std::str::from_utf8(splitter.field(job.columns.uid)), is_empty_value(splitter.field(column)))
                {
                    deleted.insert(uid);
                }
            });
        }
    }
    let deleted = Arc::new(deleted);
    for input in inputs.iter_mut().filter(|_| !deleted.is_empty()) {
        if let Reading::Rows(job) = &mut input.reading
            && job.columns.deleted.is_none()
        {
            let (columns, settings) = (Arc::clone(&job.columns), Arc::clone(&job.settings));
            *job = Arc::new(TableJob { columns, settings, deleted: Arc::clone(&deleted) });
        }
    }
    Ok(())
}

fn rows(bytes: &[u8], mut each: impl FnMut(&[u8])) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = csv::record_end(rest).unwrap_or(rest.len());
        let (row, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        each(trim_line_end(row));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_contained_and_nothing_else() {
        let mut deleted = Deleted::default();
        assert!(!deleted.contains("a"));
        deleted.insert("a");
        assert!(deleted.contains("a") && !deleted.contains("b") && !deleted.is_empty());
    }
}
