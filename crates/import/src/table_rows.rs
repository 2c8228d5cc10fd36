//! Rows of other systems' tables into rows of users.

use std::sync::Arc;

use headcount_block::RowBuf;

use crate::chunk::Chunk;
use crate::csv::{self, Splitter};
use crate::deleted::Deleted;
use crate::draft::{DELETED, Draft, Rows, Verdict};
use crate::error::BadRecord;
use crate::firebase_row::fields_of_row;
use crate::mapped::{Mapped, Settings};
use crate::parse::{Failed, Raw, Sink, Target, inside, trim_line_end};
use crate::scan::newlines;
use crate::systems::split_user_id;
use crate::table::{Columns, Source, is_empty_value};

/// What becomes of identities of users that another table says are deleted.
const OF_DELETED: Verdict = Verdict::Skipped("identities of deleted users");

/// How the rows of one input are read.
#[derive(Debug)]
pub(crate) struct TableJob {
    pub(crate) columns: Arc<Columns>,
    pub(crate) settings: Arc<Settings>,
    /// Users that another table says are deleted.
    pub(crate) deleted: Arc<Deleted>,
}

/// Reads all rows of a chunk.
pub(crate) fn read<S: Sink>(
    chunk: &Chunk,
    job: &TableJob,
    splitter: &mut Splitter,
    row: &mut RowBuf,
    target: &mut Target<'_, S>,
) -> Result<(), Failed> {
    let bytes = chunk.bytes();
    let (mut at, mut line) = (0, chunk.number);
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let end = if job.columns.unquoted { memchr::memchr(b'\n', rest).map(|e| e + 1) } else { csv::record_end(rest) };
        let len = end.unwrap_or(rest.len());
        let raw = rest.get(..len).unwrap_or_default();
        let record = trim_line_end(raw);
        if !record.is_empty() {
            let place = chunk.place(line, at);
            target.outcome.counts.records += 1;
            let mut draft = Draft::new(row, job.settings.names);
            let mapped = job.record(record, splitter, &mut draft);
            let (tally, disabled) = (draft.tally, draft.disabled);
            match mapped {
                Ok(verdict) => {
                    target.settle(verdict, Mapped { tally, disabled }, row, place, Raw::Lines(raw, b"\r\n"))?;
                }
                Err(_) if job.deleted.contains_field(splitter, record, job.columns.uid) => {
                    target.settle(OF_DELETED, Mapped { tally, disabled }, row, place, Raw::Lines(raw, b"\r\n"))?;
                }
                Err((by, reason)) => target.refuse(1, inside(place, by), reason, Raw::Lines(raw, b"\r\n"))?,
            }
        }
        line += newlines(raw);
        at += len;
    }
    Ok(())
}

impl TableJob {
    fn record(
        &self,
        record: &[u8],
        splitter: &mut Splitter,
        draft: &mut Draft<'_>,
    ) -> Result<Verdict, (usize, BadRecord)> {
        let text = std::str::from_utf8(record).map_err(|e| (e.valid_up_to(), BadRecord::Utf8))?;
        let columns = &self.columns;
        if columns.unquoted {
            let fields = fields_of_row(text, columns.fields)
                .map_err(|found| (0, BadRecord::FirebaseRow { expected: columns.fields, found }))?;
            return self.map(&|i| fields.get(i).copied().unwrap_or_default(), draft).map_err(|reason| (0, reason));
        }
        csv::check_quotes(record)?;
        splitter.split(record);
        if splitter.len() != columns.fields {
            return Err((0, BadRecord::Fields { expected: columns.fields, found: splitter.len() }));
        }
        // Unquoted text of UTF-8 is UTF-8.
        let field = |i| std::str::from_utf8(splitter.field(i)).unwrap_or_default();
        self.map(&field, draft).map_err(|reason| (0, reason))
    }

    fn map<'f>(&self, field: &dyn Fn(usize) -> &'f str, draft: &mut Draft<'_>) -> Result<Verdict, BadRecord> {
        let columns = &self.columns;
        let uid = field(columns.uid);
        if columns.deleted.is_some_and(|i| !is_empty_value(field(i).as_bytes())) {
            return Ok(DELETED);
        }
        if self.deleted.contains(uid) {
            return Ok(OF_DELETED);
        }
        // An empty one is refused as too short.
        if !uid.is_empty() && is_empty_value(uid.as_bytes()) {
            return Err(BadRecord::NoUid(uid.to_owned()));
        }
        draft.uid_text(uid)?;
        let is = |pair: &Option<(usize, String)>| pair.as_ref().is_some_and(|(i, value)| field(*i) == value);
        draft.disabled = is(&columns.disabled);
        if is(&columns.pending) {
            draft.pending();
        }
        for (source, id) in &columns.links {
            let id = valued(field(*id));
            let provider = match source {
                Source::Is(name) if !id.is_empty() => name,
                Source::Is(_) => continue,
                Source::Column(i) => valued(field(*i)),
            };
            match (provider.is_empty(), id.is_empty()) {
                (true, true) => {}
                (false, false) => draft.link_text(provider, id)?,
                (true, false) => return Err(BadRecord::HalfIdentity { empty: "provider", given: "providerUID" }),
                (false, true) => return Err(BadRecord::HalfIdentity { empty: "providerUID", given: "provider" }),
            }
        }
        if columns.rows == Rows::Auth0 && columns.links.is_empty() {
            split_user_id(uid, draft)?;
        }
        Ok(if columns.rows == Rows::Parts { Verdict::Fragment } else { Verdict::User })
    }
}

/// A field, or nothing where it stands for no value.
fn valued(field: &str) -> &str {
    if is_empty_value(field.as_bytes()) { "" } else { field }
}
