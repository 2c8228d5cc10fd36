//! Spans in, buffers out: renders what a source hands out, counts it, and compares with what the blocks state.

use headcount_block::{
    Clean, Dictionary, Error as SourceError, Fault, Part, Piece, Progress, RowRef, Source, Span, UserRef, Visitor,
};

use crate::buffer::{Buffer, CHUNK, Counts};
use crate::error::Error;
use crate::kernel;
use crate::layout::Layout;
use crate::simple;
use crate::template::{Cache, Templates};

/// Takes full buffers from a renderer.
pub(crate) trait Outlet {
    /// Takes what `buffer` holds and leaves an empty buffer in its place.
    fn take(&mut self, buffer: &mut Buffer) -> Result<(), Error>;
}

/// Rendered users, and their counts.
struct Page {
    buffer: Buffer,
    scratch: Vec<u8>,
    /// Counts of the part in work.
    counts: Counts,
}

impl Page {
    fn count(&mut self, counts: Counts) {
        self.buffer.counts += counts;
        self.counts += counts;
    }

    fn user(&mut self, layout: &Layout, user: &UserRef<'_>) {
        if !layout.keeps(user.status()) {
            return;
        }
        self.scratch.clear();
        simple::render_user(layout, user, &mut self.scratch);
        self.buffer.extend(&self.scratch);
        self.count(Counts { users: 1, identities: user.identities().count() as u64 });
    }

    fn row(&mut self, layout: &Layout, row: RowRef<'_>) {
        if !layout.keeps(row.status()) {
            return;
        }
        self.scratch.clear();
        simple::render_row(layout, row, &mut self.scratch);
        self.buffer.extend(&self.scratch);
        self.count(Counts { users: 1, identities: row.identity_count() as u64 });
    }

    fn clean(&mut self, layout: &Layout, templates: &Templates, clean: &Clean<'_>) -> Result<(), Fault> {
        let start = self.buffer.end();
        let out = self.buffer.reserve(kernel::bound(templates, clean));
        let done = kernel::render(layout, templates, clean, out, start)?;
        self.buffer.set_end(done.end);
        self.count(Counts { users: done.users, identities: done.identities });
        Ok(())
    }
}

/// Renders parts. One a thread.
pub(crate) struct Renderer<'a, O> {
    layout: &'a Layout,
    progress: Option<&'a Progress>,
    outlet: &'a mut O,
    fast: bool,
    /// How many users there are to render, about.
    users: u64,
    templates: Cache,
    page: Page,
    /// Why the outlet took no more; the source only hears that it should stop.
    refused: Option<Error>,
}

impl<'a, O: Outlet> Renderer<'a, O> {
    pub(crate) fn new(layout: &'a Layout, progress: Option<&'a Progress>, outlet: &'a mut O) -> Self {
        Self {
            layout,
            progress,
            outlet,
            fast: layout.is_fast(),
            users: u64::MAX,
            templates: Cache::default(),
            page: Page { buffer: Buffer::new(), scratch: Vec::new(), counts: Counts::default() },
            refused: None,
        }
    }

    /// For so few users: neither much memory nor templates that are made for many.
    pub(crate) fn of_few(mut self, users: u64) -> Self {
        self.page.buffer = Buffer::short();
        self.users = users;
        self
    }

    /// Whether the kernel is to render spans of this dictionary. Templates of a provider cost about as much as a user
    /// without them.
    const fn is_fast(&self, dictionary: &Dictionary) -> bool {
        self.fast && self.users > dictionary.len() as u64
    }

    /// The outlet, between parts.
    pub(crate) const fn outlet(&mut self) -> &mut O {
        self.outlet
    }

    /// Renders `part`; all of it is with the outlet when this returns. After an error, what was whole before it is.
    pub(crate) fn part(&mut self, source: &impl Source, part: &Part) -> Result<Counts, Error> {
        self.page.counts = Counts::default();
        let visited = source.visit(part, self);
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        self.flush()?;
        visited?;
        Ok(self.page.counts)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.page.buffer.len() > 0 {
            self.outlet.take(&mut self.page.buffer)?;
        }
        Ok(())
    }

    /// Hands the buffer on when it is full. Called between users only.
    fn flush_if_full(&mut self) -> Result<(), SourceError> {
        if self.page.buffer.len() < CHUNK {
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

    fn rows(&mut self, span: &Span<'_>) -> Result<(), SourceError> {
        if self.is_fast(span.dictionary()) {
            return self.pieces(span);
        }
        for row in span.rows()? {
            self.page.user(self.layout, &row?);
        }
        Ok(())
    }

    fn pieces(&mut self, span: &Span<'_>) -> Result<(), SourceError> {
        let templates = self.templates.get(self.layout, span.dictionary());
        for piece in span.pieces()? {
            match piece? {
                Piece::Row(row) => self.page.row(self.layout, row),
                Piece::Clean(clean) => {
                    self.page.clean(self.layout, templates, &clean).map_err(|fault| span.damage(fault))?;
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
            ("users of a block", stated.users(), self.page.counts.users - before.users),
            ("identities of a block", stated.identities(), self.page.counts.identities - before.identities),
        ];
        match pairs.into_iter().find(|(_, stated, found)| stated != found) {
            Some((what, stated, found)) => Err(span.damage(Fault::new(what, 0, stated, found))),
            None => Ok(()),
        }
    }
}

impl<O: Outlet> Visitor for Renderer<'_, O> {
    fn span(&mut self, span: &Span<'_>) -> Result<(), SourceError> {
        // Between changes: too short to bear much ado. Nothing is added when it fails.
        if let Some(clean) = span.as_clean().filter(|_| self.is_fast(span.dictionary())) {
            let templates = self.templates.get(self.layout, span.dictionary());
            self.page.clean(self.layout, templates, &clean).map_err(|fault| span.damage(fault))?;
            return self.flush_if_full();
        }
        let before = (self.page.counts, self.page.buffer.counts, self.page.buffer.end());
        if let Err(error) = self.rows(span).and_then(|()| self.compare(span, before.0)) {
            // What is wrong is not handed on, nor counted as sent.
            (self.page.counts, self.page.buffer.counts) = (before.0, before.1);
            self.page.buffer.set_end(before.2);
            return Err(error);
        }
        self.flush_if_full()
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<(), SourceError> {
        self.page.row(self.layout, row);
        self.flush_if_full()
    }
}
