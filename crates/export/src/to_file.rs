//! An export into a file: begun, resumed, put in place, with its manifest.

use std::path::Path;

use headcount_block::Source;

use crate::digest::{Digest, DigestAlgorithm, Hashing};
use crate::error::Error;
use crate::export::{Export, SMALL, Summary};
use crate::fields::Field;
use crate::file::{self, Partial, Target};
use crate::layout::Layout;
use crate::length::Length;
use crate::manifest::{MANIFEST_VERSION, Manifest, ManifestFile};
use crate::plan::Plan;
use crate::resume::{RESUME_VERSION, ResumeRecord, WRITER};
use crate::sink::FileSink;

impl<S: Source + Clone + 'static> Export<S> {
    /// Writes a [`Manifest`] beside a file that is exported, with a digest of this kind. The digest is computed while
    /// the file is written.
    #[must_use]
    pub fn manifest(mut self, digest: impl Into<Option<DigestAlgorithm>>) -> Self {
        self.manifest = digest.into();
        self
    }

    /// Writes the export to the file `path`, which is created, or replaced on success only. A symbolic link is followed;
    /// what is no regular file (a pipe, a device) is written in place.
    ///
    /// Until it is whole, a regular file is `path` with `.partial` added, and what it is of is in `.partial.json`. Both
    /// stay when the export breaks off after its first bytes reached the file, for [`resume_file`](Self::resume_file);
    /// this function begins anew.
    ///
    /// # Errors
    /// As [`write_to`](Self::write_to), and when the file cannot be created, or the disk does not hold it.
    pub fn write_file(&self, path: impl AsRef<Path>) -> Result<Summary, Error> {
        let path = path.as_ref();
        // Before anything that an earlier export left is thrown away.
        self.check()?;
        match file::open(path)? {
            Target::InPlace(_) if self.manifest.is_some() => {
                Err(Error::Settings("a manifest is of a regular file, which has a length and a digest"))
            }
            Target::InPlace(mut file) => self.write_named(&mut file, &path.display().to_string()),
            Target::Replace(partial) => {
                let plan = self.plan()?;
                partial.record(&self.record(&plan).text()?, self.fsync)?;
                self.write_partial(partial, &plan)
            }
        }
    }

    /// Goes on with the export to the file `path` that broke off: the result has the same bytes as if it had not.
    ///
    /// What is exported is taken from the record beside the file, whatever is set here; only the threads, the progress
    /// and, where the record does not ask for it, syncing are this export's. Everything is rendered again and compared
    /// with what is in the file; at the first difference the file is cut and writing begins. It needs the snapshot that
    /// the broken export was of.
    ///
    /// # Errors
    /// [`Error::Resume`] before anything is changed, and as [`write_file`](Self::write_file).
    pub fn resume_file(&self, path: impl AsRef<Path>) -> Result<Summary, Error> {
        let (partial, record) = file::reopen(path.as_ref())?;
        record.check(&self.source.origin())?;
        let export = self.clone().with_record(&record);
        let plan = export.plan()?;
        export.write_partial(partial, &plan)
    }

    fn write_partial(&self, partial: Partial, plan: &Plan) -> Result<Summary, Error> {
        let layout = self.effective();
        let len = match plan.length(&layout, &self.trailer(plan)) {
            Length::Exact(len) if self.since.is_none() && self.compression.is_none() => len,
            _ => 0,
        };
        let beside = self.hashes_beside(plan, &layout);
        let hashing = self.manifest.map(|algorithm| Hashing::begin(algorithm, beside));
        let mut sink = FileSink::new(&partial, len, hashing)?;
        let mut summary = self.write_plan(plan, &layout, &mut sink)?;
        summary.digest = sink.finish()?;
        let manifest = match &summary.digest {
            Some(digest) => Some(self.describe(plan, &summary, digest, partial.name(), partial.len()?)),
            None => None,
        };
        partial.place(manifest.as_ref(), self.fsync)?;
        Ok(summary)
    }

    /// Whether the digest has a thread of its own: not where there is only one to be used.
    fn hashes_beside(&self, plan: &Plan, layout: &Layout) -> bool {
        let small = self.since.is_none() && plan.users_len(layout).is_some_and(|len| len <= SMALL);
        self.workers(small) > 1 && !small
    }

    /// What an export broken off is resumed by.
    fn record(&self, plan: &Plan) -> ResumeRecord {
        let origin = self.source.origin();
        let layout = self.effective();
        let trailer = self.trailer(plan);
        let (call_id, time) = trailer.call();
        ResumeRecord {
            version: RESUME_VERSION,
            writer: WRITER.to_owned(),
            store_id: origin.store_id,
            incarnation: origin.incarnation,
            seq: origin.seq,
            format: layout.format,
            fields: layout.fields,
            include_pending: layout.include_pending,
            formula_guard: layout.formula_guard,
            limit: self.limit,
            after: self.after.clone(),
            since: self.since,
            call_id: call_id.to_owned(),
            time: time.to_owned(),
            members: self.envelope.members(),
            next_after: self.envelope.has_next_after(),
            manifest: self.manifest,
            compression: self.compression,
            fsync: self.fsync,
        }
    }

    fn with_record(mut self, record: &ResumeRecord) -> Self {
        self.envelope = self.envelope.with_members(&record.members).next_after(record.next_after);
        let fsync = self.fsync || record.fsync;
        self.format(record.format)
            .fields(record.fields)
            .include_pending(record.include_pending)
            .formula_guard(record.formula_guard)
            .limit(record.limit)
            .after(record.after.as_deref())
            .since(record.since)
            .call_id(record.call_id.as_str())
            .time(record.time.as_str())
            .manifest(record.manifest)
            .compress(record.compression)
            .fsync(fsync)
    }

    /// The manifest of the file `name` that this export has become.
    fn describe(&self, plan: &Plan, summary: &Summary, digest: &Digest, name: String, bytes: u64) -> Manifest {
        let origin = self.source.origin();
        let layout = self.effective();
        let trailer = self.trailer(plan);
        let (call_id, time) = trailer.call();
        // Who asks for no UIDs is not to pass on two of them with the manifest.
        let uid = |uid: &Option<String>| uid.clone().filter(|_| layout.fields.has(Field::Uid));
        Manifest {
            format_version: MANIFEST_VERSION,
            writer: WRITER.to_owned(),
            store_id: origin.store_id,
            incarnation: origin.incarnation,
            seq: origin.seq,
            call_id: call_id.to_owned(),
            time: time.to_owned(),
            format: layout.format,
            fields: layout.fields,
            include_pending: layout.include_pending,
            formula_guard: layout.formula_guard,
            limit: self.limit,
            after: self.after.clone(),
            since: self.since,
            users: summary.users,
            deleted: self.since.map(|_| summary.deleted),
            identities: summary.identities,
            first_uid: uid(&summary.first_uid),
            last_uid: uid(&summary.last_uid),
            compression: self.compression.map(|compression| compression.name().to_owned()),
            content_bytes: self.compression.map(|_| summary.content_bytes),
            bytes,
            digest_algorithm: digest.algorithm,
            files: vec![ManifestFile::new(name, bytes, digest.hex.clone())],
        }
    }
}
