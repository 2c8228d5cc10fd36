//! The bytes of an export in order: head, users, trailer; and what was counted on the way.

use headcount_block::Progress;

use crate::buffer::{Buffer, Counts};
use crate::envelope::Trailer;
use crate::error::Error;
use crate::format::Format;
use crate::layout::Layout;
use crate::sink::Sink;

/// Frames rendered users, counts them, and hands them to a sink.
pub(crate) struct Body<'a> {
    layout: &'a Layout,
    sink: &'a mut dyn Sink,
    progress: Option<&'a Progress>,
    /// Whether the head is written, and with it the first bytes.
    begun: bool,
    /// Users and identities handed to the sink.
    pub(crate) counts: Counts,
    /// Bytes handed to the sink: all, and those of users alone.
    pub(crate) bytes: u64,
    pub(crate) user_bytes: u64,
}

impl<'a> Body<'a> {
    pub(crate) const fn new(layout: &'a Layout, sink: &'a mut dyn Sink, progress: Option<&'a Progress>) -> Self {
        let counts = Counts { users: 0, identities: 0 };
        Self { layout, sink, progress, begun: false, counts, bytes: 0, user_bytes: 0 }
    }

    /// Whom progress is reported to.
    pub(crate) const fn progress(&self) -> Option<&'a Progress> {
        self.progress
    }

    /// The head, and some users, are elsewhere.
    pub(crate) const fn go_on(&mut self) {
        self.begun = true;
    }

    /// Hands on whole rendered users, with the head before the first.
    pub(crate) fn users(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        if buffer.len() == 0 {
            return Ok(());
        }
        if let Some(progress) = self.progress {
            progress.check()?;
            progress.add_users(buffer.counts.users);
        }
        let mut head = 0;
        if !self.begun {
            if self.layout.format == Format::Json {
                // Every user is rendered with a comma before it.
                buffer.skip(1);
            }
            let text = self.layout.head();
            if buffer.prepend(&text) {
                head = text.len() as u64;
                self.begun = true;
            } else {
                self.begin()?;
            }
        }
        let (len, counts) = (buffer.len() as u64, buffer.counts);
        self.put(buffer)?;
        self.counts += counts;
        self.user_bytes += len - head;
        Ok(())
    }

    /// Hands on what follows the users and counts as none.
    pub(crate) fn rest(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        self.begin()?;
        if buffer.len() == 0 {
            return Ok(());
        }
        if let Some(progress) = self.progress {
            progress.check()?;
        }
        self.put(buffer)
    }

    fn begin(&mut self) -> Result<(), Error> {
        if !self.begun {
            self.begun = true;
            self.text(&self.layout.head())?;
        }
        Ok(())
    }

    /// The counts as the trailer and the summary state them.
    pub(crate) fn stated(&self) -> Counts {
        self.layout.state(self.counts)
    }

    /// Ends a whole export.
    pub(crate) fn succeed(&mut self, trailer: &Trailer) -> Result<(), Error> {
        self.begin()?;
        if self.layout.format == Format::Json {
            self.text(&trailer.success(self.stated()))?;
        }
        Ok(())
    }

    /// Ends an export that failed: JSON is closed with the error, the others just end. Returns the error.
    pub(crate) fn fail(&mut self, trailer: &Trailer, error: Error) -> Error {
        // Before the first byte there is nothing to close, and a destination that failed is not written to again. What
        // will be resumed is not closed either: it would have to be opened again.
        let closed = self.begun && !error.is_destination() && !self.sink.is_resumable();
        if closed && self.layout.format == Format::Json {
            // The first error is the one that counts.
            let _: Result<(), Error> = self.text(&trailer.failure(self.stated(), &error));
        }
        error
    }

    fn text(&mut self, text: &[u8]) -> Result<(), Error> {
        let mut buffer = Buffer::short();
        buffer.extend(text);
        if buffer.len() > 0 { self.put(&mut buffer) } else { Ok(()) }
    }

    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        let len = buffer.len() as u64;
        self.sink.put(buffer)?;
        self.bytes += len;
        if let Some(progress) = self.progress {
            progress.add_bytes(len);
        }
        Ok(())
    }
}
