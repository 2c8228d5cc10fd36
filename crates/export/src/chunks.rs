//! An export as a sequence of buffers, for whoever does the writing: waited for by a thread, or polled by a task.

use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{Builder, JoinHandle};

use headcount_block::Progress;

use crate::buffer::Buffer;
use crate::error::Error;
use crate::export::Summary;
use crate::pipeline::{Receiver, Sender, TryRecvError, bounded, panic_text, unbounded};
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

/// What the export's thread sends: chunks, and how it ended as the last.
enum Message {
    Chunk(Chunk),
    End(Box<Result<Summary, Error>>),
}

/// Wakes the task that waits for the next chunk.
#[derive(Debug, Default)]
struct Bell(Mutex<Option<Waker>>);

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task to wake from now on. Whoever registers looks again afterwards: what came before is not rung for.
    fn register(&self, waker: &Waker) {
        let mut registered = self.lock();
        if registered.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            *registered = Some(waker.clone());
        }
    }

    fn ring(&self) {
        // Without the lock in hand: a waker is somebody else's code.
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }

    /// Forgets the task.
    fn take(&self) -> Option<Waker> {
        self.lock().take()
    }
}

/// The buffers of an export. An error is the last one; dropping it ends the export.
///
/// As an iterator it waits for each, and dropping it waits for the threads, which end at their next buffer. Whoever may not
/// wait calls [`detach`](Self::detach), and [`poll_next`](Self::poll_next).
#[derive(Debug)]
pub struct Chunks {
    /// What comes; none after the last.
    coming: Option<Receiver<Message>>,
    bell: Arc<Bell>,
    /// Ends an export that fills no buffer because nobody in its range is selected.
    stop: Option<Arc<Progress>>,
    thread: Option<JoinHandle<()>>,
    summary: Option<Summary>,
}

impl Chunks {
    /// Runs `export` in a thread of its own and hands on what it puts into its sink. `stop` is cancelled when nobody
    /// wants the rest.
    pub(crate) fn start(
        stop: Option<Arc<Progress>>,
        export: impl FnOnce(&mut dyn Sink) -> Result<Summary, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let (full, coming) = bounded(AHEAD);
        let bell = Arc::new(Bell::default());
        let ring = Arc::clone(&bell);
        let thread = Builder::new().name("headcount-export".to_owned()).spawn(move || {
            let (back, empty) = unbounded();
            let mut sink = ChunkSink { full, bell: ring, back, empty };
            // The source goes with `export`, before the end is told.
            let outcome = catch_unwind(AssertUnwindSafe(|| export(&mut sink)));
            let outcome = outcome.unwrap_or_else(|panic| Err(Error::Thread(panic_text(panic.as_ref()))));
            sink.end(outcome);
        });
        let thread = thread.map_err(|error| Error::Thread(error.to_string()))?;
        Ok(Self { coming: Some(coming), bell, stop, thread: Some(thread), summary: None })
    }

    /// What the export held; known once the last chunk was followed by the end.
    #[must_use]
    pub const fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// From now on nobody waits for the export's threads: when this is dropped, they let go of the source at their next
    /// buffer, by themselves.
    #[must_use]
    pub fn detach(mut self) -> Self {
        self.thread = None;
        self
    }

    /// The next chunk, as [`next`](Iterator::next) has it; when there is none yet, the task of `cx` is woken once there is. It
    /// never blocks once the chunks are [detached](Self::detach).
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        let Some(coming) = &self.coming else { return Poll::Ready(None) };
        let message = match coming.try_recv() {
            Err(TryRecvError::Empty) => {
                self.bell.register(cx.waker());
                match coming.try_recv() {
                    Err(TryRecvError::Empty) => return Poll::Pending,
                    other => other.ok(),
                }
            }
            other => other.ok(),
        };
        Poll::Ready(self.receive(message))
    }

    fn receive(&mut self, message: Option<Message>) -> Option<Result<Chunk, Error>> {
        let outcome = match message {
            Some(Message::Chunk(chunk)) => return Some(Ok(chunk)),
            Some(Message::End(outcome)) => *outcome,
            None => Err(Error::Thread("it ended without a word".to_owned())),
        };
        self.finish();
        match outcome {
            Ok(summary) => {
                self.summary = Some(summary);
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Takes no more; unless detached, waits for the export's thread.
    fn finish(&mut self) {
        self.coming = None;
        // The export's thread may run on for a while, and is not to keep the task.
        drop(self.bell.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was caught there.
            let _: std::thread::Result<()> = thread.join();
        }
    }
}

impl Iterator for Chunks {
    type Item = Result<Chunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = self.coming.as_ref()?.recv().ok();
        self.receive(message)
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        // The sink fails at its next buffer, and the threads end; what they had to say is of no interest any more.
        if let Some(stop) = self.stop.take().filter(|_| self.coming.is_some()) {
            stop.cancel();
        }
        self.finish();
    }
}

struct ChunkSink {
    full: Sender<Message>,
    bell: Arc<Bell>,
    back: Sender<Buffer>,
    empty: Receiver<Buffer>,
}

impl ChunkSink {
    /// Sends; an error when nobody takes it any more.
    fn send(&self, message: Message) -> Result<(), Error> {
        let sent = self.full.send(message);
        self.bell.ring();
        sent.map_err(|_| Error::Write {
            destination: "the receiver of the chunks".to_owned(),
            source: std::io::ErrorKind::BrokenPipe.into(),
        })
    }

    fn end(self, outcome: Result<Summary, Error>) {
        // Who has dropped the chunks does not want to know.
        let _: Result<(), Error> = self.send(Message::End(Box::new(outcome)));
    }
}

impl Sink for ChunkSink {
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        let mut free = self.empty.try_recv().unwrap_or_default();
        free.clear();
        std::mem::swap(buffer, &mut free);
        self.send(Message::Chunk(Chunk { buffer: Some(free), back: self.back.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use std::hint::spin_loop;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;
    use std::thread::{self, Thread};
    use std::time::{Duration, Instant};

    use super::*;

    struct Alarm {
        thread: Thread,
        wakes: AtomicUsize,
    }

    impl Wake for Alarm {
        fn wake(self: Arc<Self>) {
            self.wakes.fetch_add(1, SeqCst);
            self.thread.unpark();
        }
    }

    /// The next chunk is sent as soon as the one before is taken, so that sending meets polling at every step of it; a wake-up
    /// that is lost is not made up for by another chunk.
    #[test]
    fn no_wake_up_is_lost() {
        const CHUNKS: usize = 150_000;
        let alarm = Arc::new(Alarm { thread: thread::current(), wakes: AtomicUsize::new(0) });
        let waker = Waker::from(Arc::clone(&alarm));
        let taken = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&taken);
        let export = move |sink: &mut dyn Sink| {
            for i in 0..CHUNKS {
                let mut buffer = Buffer::short();
                buffer.extend(i.to_string().as_bytes());
                let mut looks = 0;
                while seen.load(SeqCst) < i {
                    looks += 1;
                    if looks % 1000 == 0 { thread::yield_now() } else { spin_loop() }
                }
                sink.put(&mut buffer)?;
            }
            Err(Error::Cancelled)
        };
        let mut chunks = Chunks::start(None, export).unwrap().detach();
        let mut next = 0;
        loop {
            let before = alarm.wakes.load(SeqCst);
            match chunks.poll_next(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(Ok(chunk))) => {
                    assert_eq!(*chunk, *next.to_string().as_bytes());
                    next += 1;
                    taken.store(next, SeqCst);
                    (0..next % 24).for_each(|_| spin_loop());
                }
                Poll::Ready(Some(Err(error))) => {
                    assert!(matches!(error, Error::Cancelled));
                    break;
                }
                Poll::Ready(None) => panic!("the error is missing"),
                Poll::Pending => {
                    let deadline = Instant::now() + Duration::from_secs(10);
                    while alarm.wakes.load(SeqCst) == before {
                        assert!(Instant::now() < deadline, "nobody woke the task after {next} chunks");
                        thread::park_timeout(Duration::from_secs(1));
                    }
                }
            }
        }
        let wakes = alarm.wakes.load(SeqCst);
        assert!(next == CHUNKS && wakes > 1000, "{next} chunks, {wakes} wake-ups");
    }
}
