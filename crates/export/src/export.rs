//! The front of the crate: parameters in, bytes and a summary out.

use std::io::Write;
use std::sync::Arc;
use std::thread::available_parallelism;

use headcount_block::{Progress, Scan, Select, Source, Totals};

use crate::body::Body;
use crate::chunks::Chunks;
use crate::compress::{Compression, Stage};
use crate::digest::{Digest, DigestAlgorithm};
use crate::envelope::{Envelope, Trailer, default_call_id};
use crate::error::Error;
use crate::fields::{Field, Fields};
use crate::format::Format;
use crate::layout::Layout;
use crate::length::Length;
use crate::pipeline::{Ends, Job, run};
use crate::plan::Plan;
use crate::prepared::Prepared;
use crate::probe::end_uid;
use crate::since;
use crate::sink::{PIPE_PIECE, STDOUT, Sink, WriteSink, enlarge_pipe, stdout};

/// An export of one snapshot: JSON of all registered users, unless set otherwise.
///
/// The same snapshot and settings give the same bytes, for any number of threads.
#[derive(Debug, Clone)]
pub struct Export<S> {
    pub(crate) source: S,
    layout: Layout,
    pub(crate) limit: Option<u64>,
    pub(crate) after: Option<String>,
    pub(crate) since: Option<u64>,
    pub(crate) envelope: Envelope,
    pub(crate) threads: Option<usize>,
    pub(crate) fsync: bool,
    pub(crate) manifest: Option<DigestAlgorithm>,
    pub(crate) compression: Option<Compression>,
    pub(crate) progress: Option<Arc<Progress>>,
}

/// What a whole export held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Users written.
    pub users: u64,
    /// UIDs written of users who are gone, in an export of changes.
    pub deleted: u64,
    /// Identities written; 0 when no field of theirs was asked for.
    pub identities: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Bytes before compression; as `bytes` where there is none.
    pub content_bytes: u64,
    /// The last seq that the snapshot holds.
    pub seq: u64,
    /// Id of the store that the snapshot is of.
    pub store_id: u128,
    /// The first UID written.
    pub first_uid: Option<String>,
    /// The last UID written: where a page goes on after.
    pub last_uid: Option<String>,
    /// Digest of the file, where a manifest was asked for.
    pub digest: Option<Digest>,
}

/// Exports up to this many bytes are rendered in the calling thread: starting others would take longer.
pub(crate) const SMALL: u64 = 2 << 20;

impl<S: Source + Clone + 'static> Export<S> {
    /// An export of `source`.
    #[must_use]
    pub fn new(source: &S) -> Self {
        let layout = Layout {
            format: Format::default(),
            fields: Fields::default(),
            include_pending: false,
            formula_guard: false,
            changes: false,
        };
        Self {
            source: source.clone(),
            layout,
            limit: None,
            after: None,
            since: None,
            envelope: Envelope::new(),
            threads: None,
            fsync: false,
            manifest: None,
            compression: None,
            progress: None,
        }
    }

    /// Sets the format.
    #[must_use]
    pub const fn format(mut self, format: Format) -> Self {
        self.layout.format = format;
        self
    }

    /// Sets the fields. CSV columns come in their order; JSON's order is fixed.
    #[must_use]
    pub const fn fields(mut self, fields: Fields) -> Self {
        self.layout.fields = fields;
        self
    }

    /// Exports at most so many users: the first in UID order.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<Option<u64>>) -> Self {
        self.limit = limit.into();
        self
    }

    /// Exports users whose UID sorts after this one.
    #[must_use]
    pub fn after<'u>(mut self, uid: impl Into<Option<&'u str>>) -> Self {
        self.after = uid.into().map(str::to_owned);
        self
    }

    /// Exports what changed after this seq: users in their newest form, and the UIDs of those who are gone from the
    /// selection. JSON lists them as `deletedUIDs` after the users and has `seq`, to go on from, after `time`; an NDJSON line is
    /// `{"UID":…,"deleted":true}`; CSV begins with a column `change`, `upsert` or `delete`. Since 0 that is every user.
    ///
    /// It takes the field `uid`, and neither a limit nor `after`.
    #[must_use]
    pub fn since(mut self, seq: impl Into<Option<u64>>) -> Self {
        self.since = seq.into();
        self
    }

    /// Exports pending users too.
    #[must_use]
    pub const fn include_pending(mut self, on: bool) -> Self {
        self.layout.include_pending = on;
        self
    }

    /// Puts an apostrophe before CSV values that a spreadsheet would take for a formula. The file is unfit for
    /// re-import, and its length is not known beforehand. No effect on the other formats.
    #[must_use]
    pub const fn formula_guard(mut self, on: bool) -> Self {
        self.layout.formula_guard = on;
        self
    }

    /// Sets `callId`, which is a hash of the snapshot and the parameters by default.
    #[must_use]
    pub fn call_id(mut self, call_id: impl Into<String>) -> Self {
        self.envelope = self.envelope.call_id(call_id);
        self
    }

    /// Sets `time`, which is the commit time of the snapshot by default.
    #[must_use]
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.envelope = self.envelope.time(time);
        self
    }

    /// Sets the whole JSON envelope.
    #[must_use]
    pub fn envelope(mut self, envelope: Envelope) -> Self {
        self.envelope = envelope;
        self
    }

    /// Compresses what is written. Several threads do it, and the bytes are the same for any number of them. The length
    /// is not known beforehand, and progress counts the bytes before compression.
    #[must_use]
    pub fn compress(mut self, compression: impl Into<Option<Compression>>) -> Self {
        self.compression = compression.into();
        self
    }

    /// Sets the number of threads, the calling one included; by default as many as there are processors, and one for a
    /// small export.
    #[must_use]
    pub fn threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.threads = threads.into();
        self
    }

    /// Syncs a file and its directory before it counts as written.
    #[must_use]
    pub const fn fsync(mut self, on: bool) -> Self {
        self.fsync = on;
        self
    }

    /// Reports progress to, and takes cancellation from, `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The format that will be written.
    #[must_use]
    pub const fn output(&self) -> Format {
        self.layout.format
    }

    /// The source.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// The exact length of the export in bytes, before anything is rendered; unknown where that would take a pass over
    /// the users, with the formula guard, and with compression.
    ///
    /// # Errors
    /// What the source reports.
    pub fn len(&self) -> Result<Length, Error> {
        if self.since.is_some() || self.compression.is_some() {
            return self.check().map(|()| Length::Unknown);
        }
        self.prepare().map(|prepared| prepared.len())
    }

    /// Writes the export to `to` and flushes it.
    ///
    /// When it fails after the first byte, JSON is closed with an error envelope and the counts written so far, and
    /// CSV and NDJSON break off; the error is returned in every case.
    ///
    /// # Errors
    /// What the source or the destination reports, and cancellation.
    pub fn write_to(&self, to: &mut (impl Write + Send)) -> Result<Summary, Error> {
        self.write_named(to, "the destination")
    }

    /// Writes the export to standard output, past any buffer of this process.
    ///
    /// # Errors
    /// As [`write_to`](Self::write_to).
    pub fn write_stdout(&self) -> Result<Summary, Error> {
        let mut own = stdout()?;
        let is_pipe = enlarge_pipe(&own);
        let piece = if is_pipe && self.workers(false) > 1 { PIPE_PIECE } else { usize::MAX };
        self.write_pieces(&mut own, STDOUT, piece)
    }

    /// The export as a sequence of buffers, rendered by threads of its own a few buffers ahead. Dropping it ends them.
    /// An error is the last item; before it, JSON is closed as by [`write_to`](Self::write_to).
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn chunks(&self) -> Result<Chunks, Error> {
        // What takes a pass over the users is left to the thread.
        Prepared::later(self).chunks()
    }

    pub(crate) fn write_named(&self, to: &mut (impl Write + Send), name: &str) -> Result<Summary, Error> {
        self.write_pieces(to, name, usize::MAX)
    }

    fn write_pieces(&self, to: &mut (impl Write + Send), name: &str, piece: usize) -> Result<Summary, Error> {
        let mut sink = WriteSink::new(to, name).in_pieces(piece);
        let written = self.write_sink(&mut sink);
        // The end of a JSON export that failed is to be seen too.
        let flushed = sink.finish();
        written.and_then(|summary| flushed.map(|()| summary))
    }

    pub(crate) fn write_sink(&self, sink: &mut dyn Sink) -> Result<Summary, Error> {
        let plan = self.plan()?;
        self.write_plan(&plan, &self.effective(), sink)
    }

    /// Refuses settings that do not go together.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.since.is_some() && (self.limit.is_some() || self.after.is_some()) {
            return Err(Error::Settings(
                "an export of changes is whole: it takes neither a limit nor a UID to begin after",
            ));
        }
        if self.since.is_some() && !self.layout.fields.has(Field::Uid) {
            return Err(Error::Settings("an export of changes needs the field uid"));
        }
        Ok(())
    }

    fn write_changes(&self, plan: &Plan, layout: &Layout, since: u64, sink: &mut dyn Sink) -> Result<Summary, Error> {
        let trailer = self.trailer(plan);
        let mut body = Body::new(layout, sink, self.progress.as_deref());
        let found = match since::write(&self.source, layout, since, &mut body) {
            Ok(found) => found,
            Err(error) => return Err(body.fail(&trailer, error)),
        };
        body.succeed(&trailer)?;
        let origin = self.source.origin();
        let counts = layout.state(body.counts);
        let text = |uid: Option<Vec<u8>>| uid.map(|uid| String::from_utf8_lossy(&uid).into_owned());
        Ok(Summary {
            users: counts.users,
            deleted: found.deleted,
            identities: counts.identities,
            bytes: body.bytes,
            content_bytes: body.bytes,
            seq: origin.seq,
            store_id: origin.store_id,
            first_uid: text(found.first),
            last_uid: text(found.last),
            digest: None,
        })
    }

    pub(crate) fn write_plan(&self, plan: &Plan, layout: &Layout, sink: &mut dyn Sink) -> Result<Summary, Error> {
        let Some(compression) = self.compression else { return self.write_plain(plan, layout, sink) };
        let mut stage = Stage::new(compression, self.workers(false), sink);
        match self.write_plain(plan, layout, &mut stage) {
            Ok(summary) => {
                stage.finish()?;
                Ok(Summary { bytes: stage.bytes, ..summary })
            }
            Err(error) => {
                // What was closed with an error is to be read to its end. What will be resumed goes on after its last
                // whole piece.
                if !error.is_destination() && stage.has_begun() {
                    // The first error is the one that counts.
                    let _: Result<(), Error> = if stage.is_resumable() { stage.drain() } else { stage.finish() };
                }
                Err(error)
            }
        }
    }

    /// Threads that share the work.
    pub(crate) fn workers(&self, small: bool) -> usize {
        match self.threads {
            Some(threads) => threads,
            None if small => 1,
            None => available_parallelism().map_or(1, usize::from),
        }
    }

    fn write_plain(&self, plan: &Plan, layout: &Layout, sink: &mut dyn Sink) -> Result<Summary, Error> {
        if let Some(since) = self.since.filter(|&since| !since::is_whole(&self.source, layout, since)) {
            return self.write_changes(plan, layout, since, sink);
        }
        let trailer = self.trailer(plan);
        let progress = self.progress.as_deref();
        if let Some(progress) = progress {
            progress.set_total_users(plan.totals.as_ref().map_or(0, |totals| layout.stated(totals).users));
            let len = plan.length(layout, &trailer).exact().filter(|_| self.since.is_none());
            progress.set_total_bytes(len.unwrap_or_default());
        }
        let mut body = Body::new(layout, sink, progress);
        if plan.is_rest {
            body.go_on();
        }
        let whole = self.write_users(plan, layout, &mut body).and_then(|ends| {
            compare(plan, layout, &body)?;
            let first = end_uid(&self.source, layout, ends.first.as_ref(), false)?;
            let last = end_uid(&self.source, layout, ends.last.as_ref(), true)?;
            let deleted = if layout.changes { since::end(&self.source, layout, &mut body)? } else { 0 };
            Ok((first, last, deleted))
        });
        let (first_uid, last_uid, deleted) = match whole {
            Ok(ends) => ends,
            Err(error) => return Err(body.fail(&trailer, error)),
        };
        body.succeed(&trailer)?;
        let origin = self.source.origin();
        let counts = layout.state(body.counts);
        Ok(Summary {
            users: counts.users,
            deleted,
            identities: counts.identities,
            bytes: body.bytes,
            content_bytes: body.bytes,
            seq: origin.seq,
            store_id: origin.store_id,
            first_uid,
            last_uid,
            digest: None,
        })
    }

    fn write_users(&self, plan: &Plan, layout: &Layout, body: &mut Body<'_>) -> Result<Ends, Error> {
        let Some(range) = &plan.range else { return Ok(Ends::default()) };
        let small = plan.users_len(layout).is_some_and(|len| len <= SMALL);
        let few = plan.totals.as_ref().filter(|_| small).map(Totals::users);
        let job = Job { source: &self.source, layout, range, progress: self.progress.as_deref(), few };
        // Rendering is a small part of the work where the result is compressed, which has threads of its own.
        let threads = if self.compression.is_some() { 1 } else { self.workers(small) };
        run(job, threads, body)
    }

    pub(crate) fn select(&self) -> Select {
        Select {
            after: self.after.as_ref().map(|uid| uid.as_bytes().to_vec()),
            limit: self.limit,
            include_pending: self.layout.include_pending,
        }
    }

    pub(crate) fn plan(&self) -> Result<Plan, Error> {
        self.check()?;
        // Without a limit the sums are good to have, but nothing depends on them.
        let scan = if self.limit.is_some() { Scan::Allowed } else { Scan::Never };
        Plan::new(&self.source, &self.select(), scan, self.progress.as_deref())
    }

    /// The layout without settings that do not apply to its format.
    pub(crate) fn effective(&self) -> Layout {
        let formula_guard = self.layout.formula_guard && self.layout.format == Format::Csv;
        Layout { formula_guard, changes: self.since.is_some(), ..self.layout }
    }

    pub(crate) fn trailer(&self, plan: &Plan) -> Trailer {
        let origin = self.source.origin();
        let selection = (self.after.as_deref(), self.limit, self.since);
        let call_id = || default_call_id(&origin, &self.effective(), selection);
        let trailer = Trailer::new(&self.envelope, &origin, call_id, plan.end.as_deref());
        trailer.with_seq(self.since.map(|_| origin.seq))
    }
}

/// Compares what was rendered with what the snapshot states.
fn compare(plan: &Plan, layout: &Layout, body: &Body<'_>) -> Result<(), Error> {
    let Some(totals) = &plan.totals else { return Ok(()) };
    let totals = totals.selected(layout.include_pending);
    let pairs = [
        ("users", Some(totals.users()), body.counts.users),
        ("identities", Some(totals.identities()), body.counts.identities),
        ("bytes of users", plan.users_len(layout), body.user_bytes),
    ];
    for (what, expected, found) in pairs {
        if let Some(expected) = expected.filter(|&expected| expected != found) {
            return Err(Error::Mismatch { what, expected, found });
        }
    }
    Ok(())
}
