//! An export that is settled as far as that costs no pass over the users: its length is known, and nothing is rendered.

use std::sync::Arc;

use headcount_block::{Scan, Source, Totals};

use crate::chunks::Chunks;
use crate::compress::Compression;
use crate::error::Error;
use crate::export::{Export, Summary};
use crate::format::Format;
use crate::length::{Length, users_len};
use crate::plan::Plan;
use crate::sink::WriteSink;

/// An export whose users and length are looked up already, so that it need not be done again when it begins.
#[derive(Debug)]
pub struct Prepared<S> {
    export: Export<S>,
    /// None where settling it takes a pass over the users, and for changes.
    plan: Option<Plan>,
}

impl<S: Source + Clone + 'static> Export<S> {
    /// Settles what can be settled without a pass over the users.
    ///
    /// # Errors
    /// What the source reports, and settings that do not go together.
    pub fn prepare(&self) -> Result<Prepared<S>, Error> {
        self.check()?;
        let plan = match self.since {
            Some(_) => None,
            None => Some(Plan::new(&self.source, &self.select(), Scan::Never, None)?),
        };
        // A limit whose end is not known yet.
        let plan = plan.filter(|plan| self.limit.is_none() || plan.totals.is_some());
        Ok(Prepared { export: self.clone(), plan })
    }
}

impl<S: Source + Clone + 'static> Prepared<S> {
    /// An export of which nothing is settled yet.
    pub(crate) fn later(export: &Export<S>) -> Self {
        Self { export: export.clone(), plan: None }
    }

    /// The same, compressed.
    #[must_use]
    pub fn compress(mut self, compression: impl Into<Option<Compression>>) -> Self {
        self.export = self.export.compress(compression);
        self
    }

    /// The exact length in bytes, where it is known: as [`Export::len`].
    #[must_use]
    pub fn len(&self) -> Length {
        if self.export.compression.is_some() { Length::Unknown } else { self.plain_len() }
    }

    /// The exact length before compression.
    #[must_use]
    pub fn plain_len(&self) -> Length {
        let Some(plan) = &self.plan else { return Length::Unknown };
        plan.length(&self.export.effective(), &self.export.trailer(plan))
    }

    /// Whether it is known to be at most so many bytes long before compression, and to come from one part of the source: such
    /// an export is rendered in less time than it takes to start a thread.
    ///
    /// # Errors
    /// What the source reports.
    pub fn is_short(&self, bytes: u64) -> Result<bool, Error> {
        if self.plain_len().exact().is_none_or(|len| len > bytes) {
            return Ok(false);
        }
        // Users that are not selected are read too.
        let Some(range) = self.plan.as_ref().and_then(|plan| plan.range.as_ref()) else { return Ok(true) };
        let mut parts = self.export.source.parts(range)?;
        parts.next().transpose()?;
        Ok(parts.next().transpose()?.is_none())
    }

    /// All of it in memory, rendered in the calling thread.
    ///
    /// # Errors
    /// What the source reports.
    pub fn to_bytes(&self) -> Result<(Vec<u8>, Summary), Error> {
        let export = self.export.clone().threads(1);
        let len = self.len().exact().and_then(|len| usize::try_from(len).ok());
        let mut bytes = Vec::with_capacity(len.unwrap_or_default());
        let mut sink = WriteSink::new(&mut bytes, "memory");
        let summary = match &self.plan {
            Some(plan) => export.write_plan(plan, &export.effective(), &mut sink)?,
            None => export.write_sink(&mut sink)?,
        };
        Ok((bytes, summary))
    }

    /// The same with its length known, which may take a pass over the users, without rendering them. Of an export of changes it
    /// stays unknown.
    ///
    /// # Errors
    /// What the source reports.
    pub fn measure(mut self) -> Result<Self, Error> {
        let known = self.plan.as_ref().is_some_and(|plan| plan.totals.is_some());
        if !known && self.export.since.is_none() {
            let (export, progress) = (&self.export, self.export.progress.as_deref());
            self.plan = Some(Plan::new(&export.source, &export.select(), Scan::Allowed, progress)?);
        }
        Ok(self)
    }

    /// As [`Export::chunks`].
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn chunks(&self) -> Result<Chunks, Error> {
        self.start(self.plan.clone())
    }

    /// As [`chunks`](Self::chunks), begun as near before byte `byte` as the source's sums allow: what lies before is not
    /// rendered. Also returns which byte of the whole the first one is; 0 where the sums do not help, and for JSON and
    /// compressed exports. The summary is of what was rendered.
    ///
    /// # Errors
    /// What the source reports, and when no thread can be started.
    pub fn chunks_from(&self, byte: u64) -> Result<(Chunks, u64), Error> {
        let Some((rest, first)) = self.rest(byte)? else { return Ok((self.chunks()?, 0)) };
        Ok((self.start(Some(rest))?, first))
    }

    /// The plan of the rest, and which byte it begins with.
    fn rest(&self, byte: u64) -> Result<Option<(Plan, u64)>, Error> {
        let (export, layout) = (&self.export, self.export.effective());
        let head = layout.head().len() as u64;
        let Some(plan) = self.plan.as_ref().filter(|plan| plan.range.is_some()) else { return Ok(None) };
        if layout.format == Format::Json || export.compression.is_some() || byte < head {
            return Ok(None);
        }
        if plan.users_len(&layout).is_some_and(|len| byte - head >= len) {
            return Ok(None);
        }
        let fits = |totals: &Totals| users_len(&layout, totals).is_some_and(|len| len <= byte - head);
        let cut = export.source.cut(export.after.as_deref().map(str::as_bytes), &fits)?;
        Ok(cut.and_then(|cut| {
            let skipped = users_len(&layout, &cut.before)?;
            Some((plan.rest(cut), head + skipped))
        }))
    }

    fn start(&self, plan: Option<Plan>) -> Result<Chunks, Error> {
        let mut export = self.export.clone();
        // Somebody else's progress is not ours to cancel.
        let stop =
            if export.progress.is_none() { Some(Arc::clone(export.progress.insert(Arc::default()))) } else { None };
        Chunks::start(stop, move |sink| match &plan {
            Some(plan) => export.write_plan(plan, &export.effective(), sink),
            None => export.write_sink(sink),
        })
    }
}
