//! An export as an iterator of buffers, for whoever does the writing.

use std::fmt;
use std::ops::Deref;
use std::thread::{Builder, JoinHandle};

use crate::buffer::Buffer;
use crate::error::Error;
use crate::export::Summary;
use crate::pipeline::{Receiver, Sender, bounded, panic_text, unbounded};
use crate::sink::Sink;

/// Chunks rendered ahead of the one that is taken next.
const AHEAD: usize = 4;

/// Some of the bytes of an export, in order. Its memory is used again when it is dropped.
pub struct Chunk {
    buffer: Option<Buffer>,
    back: Sender<Buffer>,
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.as_ref().map(Buffer::as_slice).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its bytes are personal data.
        f.debug_struct("Chunk").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // An export that has ended needs no buffer.
            let _: Result<(), _> = self.back.send(buffer);
        }
    }
}

/// The buffers of an export. An error is the last item; dropping the iterator ends the export.
#[derive(Debug)]
pub struct Chunks {
    chunks: Option<Receiver<Chunk>>,
    thread: Option<JoinHandle<Result<Summary, Error>>>,
    summary: Option<Summary>,
}

impl Chunks {
    /// Runs `export` in a thread of its own and hands on what it puts into its sink.
    pub(crate) fn start(
        export: impl FnOnce(&mut dyn Sink) -> Result<Summary, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let (full, chunks) = bounded(AHEAD);
        let thread = Builder::new().name("headcount-export".to_owned()).spawn(move || {
            let (back, empty) = unbounded();
            export(&mut ChunkSink { full, back, empty })
        });
        let thread = thread.map_err(|error| Error::Thread(error.to_string()))?;
        Ok(Self { chunks: Some(chunks), thread: Some(thread), summary: None })
    }

    /// What the export held; known once the iterator has ended without an error.
    #[must_use]
    pub const fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// Waits for the export's thread, which has nothing more to send.
    fn finish(&mut self) -> Option<Error> {
        self.chunks = None;
        match self.thread.take()?.join() {
            Ok(Ok(summary)) => {
                self.summary = Some(summary);
                None
            }
            Ok(Err(error)) => Some(error),
            Err(panic) => Some(Error::Thread(panic_text(panic.as_ref()))),
        }
    }
}

impl Iterator for Chunks {
    type Item = Result<Chunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.chunks.as_ref()?.recv() {
            Ok(chunk) => Some(Ok(chunk)),
            Err(_) => self.finish().map(Err),
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        // The sink fails at its next buffer, and the threads end; what they had to say is of no interest any more.
        let _: Option<Error> = self.finish();
    }
}

struct ChunkSink {
    full: Sender<Chunk>,
    back: Sender<Buffer>,
    empty: Receiver<Buffer>,
}

impl Sink for ChunkSink {
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        let mut free = self.empty.try_recv().unwrap_or_default();
        free.clear();
        std::mem::swap(buffer, &mut free);
        let chunk = Chunk { buffer: Some(free), back: self.back.clone() };
        self.full.send(chunk).map_err(|_| Error::Write {
            destination: "the receiver of the chunks".to_owned(),
            source: std::io::ErrorKind::BrokenPipe.into(),
        })
    }
}
