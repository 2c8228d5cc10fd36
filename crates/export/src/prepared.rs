//! An export that is settled as far as that costs no pass over the users: its length is known, and nothing is rendered.

use std::sync::Arc;

use headcount_block::{Scan, Source};

use crate::chunks::Chunks;
use crate::compress::Compression;
use crate::error::Error;
use crate::export::{Export, Summary};
use crate::length::Length;
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
            None => Some(Plan::new(&self.source, &self.select(), Scan::Never)?),
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

    /// As [`Export::chunks`].
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn chunks(&self) -> Result<Chunks, Error> {
        let mut export = self.export.clone();
        // Somebody else's progress is not ours to cancel.
        let stop =
            if export.progress.is_none() { Some(Arc::clone(export.progress.insert(Arc::default()))) } else { None };
        let plan = self.plan.clone();
        Chunks::start(stop, move |sink| match &plan {
            Some(plan) => export.write_plan(plan, &export.effective(), sink),
            None => export.write_sink(sink),
        })
    }
}
