//! Spans in, buffers out: renders what a source hands out, counts it, and compares with what the blocks state.

use headcount_block::{Error as SourceError, Fault, Part, Piece, Progress, RowRef, Source, Span, UserRef, Visitor};

use crate::buffer::{Buffer, CHUNK, Counts};
use crate::error::Error;
use crate::kernel;
use crate::layout::Layout;
use crate::simple;
use crate::template::Cache;

/// Takes full buffers from a renderer.
pub(crate) trait Outlet {
    /// Takes what `buffer` holds and leaves an empty buffer in its place.
    fn take(&mut self, buffer: &mut Buffer) -> Result<(), Error>;
}

/// Renders parts. One a thread.
pub(crate) struct Renderer<'a> {
    layout: &'a Layout,
    progress: Option<&'a Progress>,
    outlet: &'a mut dyn Outlet,
    fast: bool,
    templates: Cache,
    buffer: Buffer,
    scratch: Vec<u8>,
    /// Counts of the part in work.
    counts: Counts,
    /// Why the outlet took no more; the source only hears that it should stop.
    refused: Option<Error>,
}

impl<'a> Renderer<'a> {
    pub(crate) fn new(layout: &'a Layout, progress: Option<&'a Progress>, outlet: &'a mut dyn Outlet) -> Self {
        Self {
            layout,
            progress,
            outlet,
            fast: layout.is_fast(),
            templates: Cache::default(),
            buffer: Buffer::new(),
            scratch: Vec::new(),
            counts: Counts::default(),
            refused: None,
        }
    }

    /// Renders `part`; all of it is with the outlet when this returns. After an error, what was whole before it is.
    pub(crate) fn part(&mut self, source: &impl Source, part: &Part) -> Result<Counts, Error> {
        self.counts = Counts::default();
        let visited = source.visit(part, self);
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        self.flush()?;
        visited?;
        Ok(self.counts)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.len() > 0 {
            self.outlet.take(&mut self.buffer)?;
        }
        Ok(())
    }

    /// Hands the buffer on when it is full. Called between users only.
    fn flush_if_full(&mut self) -> Result<(), SourceError> {
        if self.buffer.len() < CHUNK {
            return Ok(());
        }
        if let Some(progress) = self.progress {
            progress.check()?;
        }
        self.flush().map_err(|error| {
            self.refused = Some(error);
            SourceError::Stopped
        })
    }

    fn count(&mut self, counts: Counts) {
        self.buffer.counts += counts;
        self.counts += counts;
    }

    fn user(&mut self, user: &UserRef<'_>) {
        if !self.layout.keeps(user.status()) {
            return;
        }
        self.scratch.clear();
        simple::render_user(self.layout, user, &mut self.scratch);
        self.buffer.extend(&self.scratch);
        self.count(Counts { users: 1, identities: user.identities().count() as u64 });
    }

    fn rows(&mut self, span: &Span<'_>) -> Result<(), SourceError> {
        if self.fast {
            return self.pieces(span);
        }
        for row in span.rows()? {
            self.user(&row?);
        }
        Ok(())
    }

    fn pieces(&mut self, span: &Span<'_>) -> Result<(), SourceError> {
        let templates = self.templates.get(self.layout, span.dictionary());
        for piece in span.pieces()? {
            match piece? {
                Piece::Row(row) => self.user(&UserRef::from(row)),
                Piece::Clean(clean) => {
                    let start = self.buffer.end();
                    let out = self.buffer.reserve(kernel::bound(&templates, &clean));
                    let done = kernel::render(self.layout, &templates, &clean, out, start);
                    let done = done.map_err(|fault| span.damage(fault))?;
                    self.buffer.set_end(done.end);
                    self.count(Counts { users: done.users, identities: done.identities });
                }
            }
        }
        Ok(())
    }

    /// Compares what was rendered of a whole block since `before` with the block's own sums.
    fn compare(&self, span: &Span<'_>, before: Counts) -> Result<(), SourceError> {
        let Some(totals) = span.whole_totals() else { return Ok(()) };
        let stated = totals.selected(self.layout.include_pending);
        let pairs = [
            ("users of a block", stated.users(), self.counts.users - before.users),
            ("identities of a block", stated.identities(), self.counts.identities - before.identities),
        ];
        match pairs.into_iter().find(|(_, stated, found)| stated != found) {
            Some((what, stated, found)) => Err(span.damage(Fault::new(what, 0, stated, found))),
            None => Ok(()),
        }
    }
}

impl Visitor for Renderer<'_> {
    fn span(&mut self, span: &Span<'_>) -> Result<(), SourceError> {
        let before = (self.counts, self.buffer.counts, self.buffer.end());
        if let Err(error) = self.rows(span).and_then(|()| self.compare(span, before.0)) {
            // What is wrong is not handed on, nor counted as sent.
            (self.counts, self.buffer.counts) = (before.0, before.1);
            self.buffer.set_end(before.2);
            return Err(error);
        }
        self.flush_if_full()
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), SourceError> {
        self.user(&UserRef::from(row));
        self.flush_if_full()
    }
}
