//! Any JSON, NDJSON or CSV, by a mapping that the caller gives.

use crate::draft::{Draft, Record, Verdict};
use crate::format::Format;
use crate::mapped::Job;
use crate::object::Bad;
use crate::spec::Spec;

pub(super) static SPEC: Spec = Spec {
    format: Format::Map,
    system: "the given mapping",
    uids: &[],
    documents: &[],
    tables: &[],
    ask: "look at the mapping: identities, provider and providerUID",
};

/// Maps a record by the mapping of the job.
pub(crate) fn map<'a>(record: &Record<'a>, job: &Job, draft: &mut Draft<'_>) -> Result<Verdict, Bad<'a>> {
    match &job.settings.mapping {
        Some(mapping) => mapping.apply(record, draft),
        None => Err(Bad::shape(record.text, "no mapping is given")),
    }
}
