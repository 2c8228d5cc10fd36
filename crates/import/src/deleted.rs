//! Users that one list or table marks as deleted, or as no users, and whose identities are in another.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::sync::Arc;

use headcount_block::{Progress, RowBuf, RowRef};
use headcount_store::{Place, RowKind};
use memchr::memmem::Finder;

use crate::choose::Reading;
use crate::chunk::{Chunker, Layout, RowCutter};
use crate::csv::{self, Splitter};
use crate::draft::{Rows, uid_of};
use crate::error::ImportError;
use crate::input::Prepared;
use crate::mapped::Job;
use crate::parse::{OnInvalid, Parser, Sink, trim_line_end};
use crate::read::{Cut, FileRead, error_of};
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

    /// Whether the field of that number of a row that is otherwise refused is such a UID: among the rejects it would be
    /// mended, and bring its user back.
    pub(crate) fn contains_field(&self, splitter: &mut Splitter, row: &[u8], column: usize) -> bool {
        if self.is_empty() {
            return false;
        }
        splitter.split(row);
        std::str::from_utf8(splitter.field(column)).is_ok_and(|uid| self.contains(uid))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    fn hash(&self, uid: &str) -> (u64, u64) {
        let [a, b] = &self.hashers;
        (a.hash_one(uid), b.hash_one(uid))
    }
}

/// Reads beforehand which users are left out, where there may be identities of theirs elsewhere. What is given back has to be
/// asked once all is read.
pub(crate) fn collect(inputs: &mut [Prepared], progress: &Progress) -> Result<Unseen, ImportError> {
    let mut gone = of_tables(inputs, progress)?;
    let name = of_lists(inputs, &mut gone, progress)?;
    let gone = Arc::new(gone);
    for input in inputs.iter_mut().filter(|_| !gone.is_empty()) {
        let is_list = list(input).is_some();
        match &mut input.reading {
            Reading::Rows(job) if is_links(job) => {
                let (columns, settings) = (Arc::clone(&job.columns), Arc::clone(&job.settings));
                *job = Arc::new(TableJob { columns, settings, deleted: Arc::clone(&gone) });
            }
            Reading::Lines(job) | Reading::Documents(job) if is_list => {
                *job = Arc::new(Job { gone: Arc::clone(&gone), ..Job::clone(job) });
            }
            _ => {}
        }
    }
    Ok(Unseen { name, gone })
}

/// Who is left out, as far as that is known beforehand.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    /// The first list of users that was not read beforehand: it is a stream, or no parts of users were expected.
    name: Option<String>,
    pub(crate) gone: Arc<Deleted>,
}

impl Unseen {
    /// Refuses what was read when links may have brought back whom that list leaves out.
    pub(crate) fn check(self, skipped: &BTreeMap<&'static str, u64>, files: &[FileRead]) -> Result<(), ImportError> {
        let links = files.iter().any(|file| file.counts.parts > 0 && file.counts.identities > 0);
        match self.name.filter(|_| links && !skipped.is_empty()) {
            None => Ok(()),
            Some(name) => Err(ImportError::Usage(format!(
                "{name}: lists of users are read twice where there are links, since they say which users are left out: give \
                 users and links as files, each of their own"
            ))),
        }
    }
}

/// The job of a list of users that leaves some out, or of links of theirs; and whether it may have users, and links. One
/// record a line, as in files of rejects, it may have both.
fn list(input: &Prepared) -> Option<(&Arc<Job>, bool, bool)> {
    let (job, lines) = match &input.reading {
        Reading::Lines(job) => (job, true),
        Reading::Documents(job) => (job, false),
        _ => return None,
    };
    let document = job.document.filter(|document| document.links || !document.gone.is_empty())?;
    let users = !document.gone.is_empty() && (lines || !document.links);
    Some((job, users, lines || document.links || !document.beside.is_empty()))
}

/// Whether an input may have identities of users whom another leaves out.
fn has_parts(input: &Prepared) -> bool {
    match &input.reading {
        Reading::Native => input.header.is_some(),
        Reading::Rows(job) => is_links(job),
        _ => list(input).is_some_and(|(_, _, links)| links),
    }
}

/// As [`of_tables`], for lists of users in JSON, where there are links or rows of users in parts; the first that was not read.
fn of_lists(inputs: &[Prepared], gone: &mut Deleted, progress: &Progress) -> Result<Option<String>, ImportError> {
    let links = inputs.iter().any(has_parts);
    let mut unseen = None;
    for input in inputs {
        let Some((job, true, _)) = list(input) else { continue };
        match input.beforehand()?.filter(|_| links) {
            Some(reader) => of_list(input, job, reader, gone, progress)?,
            None => unseen = unseen.or_else(|| Some(input.name.clone())),
        }
    }
    Ok(unseen)
}

/// Reads one list of users: of its records, those with a text that all have who are left out.
fn of_list(
    input: &Prepared,
    job: &Job,
    mut reader: Box<dyn Read + Send>,
    gone: &mut Deleted,
    progress: &Progress,
) -> Result<(), ImportError> {
    let marks = job.document.map_or(&[][..], |document| document.gone);
    let marks: Vec<_> = marks.iter().map(Finder::new).collect();
    let mut cut = Cut::of(input);
    let mut chunker = Chunker::new(&mut reader, cut.cutter(), input.skip);
    let nobody = Deleted::default();
    let mut parser = Parser::new(&job.settings, &nobody);
    while let Some(piece) = chunker.next(&mut Vec::new).map_err(|broken| error_of(input, broken))? {
        progress.check()?;
        let chunk = piece.into_chunk(0, 0);
        // What else is wrong with the records shows when they are read in earnest.
        if marks.iter().any(|mark| mark.find(chunk.bytes()).is_some())
            && parser.parse(&chunk, &mut Gone(gone), OnInvalid::Count).is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}

/// Takes who is left out, and nobody else.
struct Gone<'d>(&'d mut Deleted);

impl Sink for Gone<'_> {
    fn push(&mut self, _: RowRef<'_>, _: Place, _: RowKind) -> Result<(), headcount_store::Error> {
        Ok(())
    }

    fn left_out(&mut self, row: &mut RowBuf) {
        if let Some(uid) = uid_of(row) {
            self.0.insert(uid);
        }
    }
}

/// Reads beforehand which users the tables of users mark as deleted, where there are identities elsewhere.
fn of_tables(inputs: &[Prepared], progress: &Progress) -> Result<Deleted, ImportError> {
    let mut deleted = Deleted::default();
    if !inputs.iter().any(has_parts) {
        return Ok(deleted);
    }
    for input in inputs {
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
    Ok(deleted)
}

/// Whether the rows of a table are parts of users, and do not say themselves who is deleted.
fn is_links(job: &TableJob) -> bool {
    job.columns.rows == Rows::Parts && job.columns.deleted.is_none()
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
