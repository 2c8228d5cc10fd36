//! Parts of a source, rendered by several threads, in order.
//!
//! Every renderer owns a few buffers, which go round between it and the writer: it takes a part, sends its buffers down
//! a channel of its own, and ends the part with a message. Which renderer took which part goes through one more channel,
//! `order`, in the order of the parts; the calling thread follows it and writes.
//!
//! There is no deadlock: a renderer waits only for the writer to give a buffer back, and the writer waits only for the
//! renderer of the first unfinished part, all of whose buffers sent so far it has already given back. Memory is renderers
//! times [`RING`] buffers. When the writer ends early, its ends of the channels close and every renderer stops.

use std::any::Any;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, ScopedJoinHandle};

pub(crate) use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use headcount_block::{Error as SourceError, Part, Progress, Source, UidRange};

use crate::body::Body;
use crate::buffer::{Buffer, Counts};
use crate::error::Error;
use crate::layout::Layout;
use crate::render::{Outlet, Renderer};

/// Buffers of a renderer beside the one that it fills.
const RING: usize = 4;

/// The first and the last part that held an exported user.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) first: Option<Part>,
    pub(crate) last: Option<Part>,
}

impl Ends {
    fn add(&mut self, part: Part, counts: Counts) {
        if counts.users > 0 {
            if self.first.is_none() {
                self.first = Some(part.clone());
            }
            self.last = Some(part);
        }
    }
}

/// What to render.
pub(crate) struct Job<'a, S> {
    pub(crate) source: &'a S,
    pub(crate) layout: &'a Layout,
    pub(crate) range: &'a UidRange,
    pub(crate) progress: Option<&'a Progress>,
}

impl<S> Clone for Job<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Job<'_, S> {}

impl<S> Job<'_, S> {
    fn check(&self) -> Result<(), Error> {
        Ok(self.progress.map_or(Ok(()), Progress::check)?)
    }
}

/// Renders the users of `job` into `body`, with `renderers` threads beside the calling one; with 0, in the calling one.
///
/// # Errors
/// What the source reports, what the destination reports, cancellation, and a thread that cannot be started or panics.
pub(crate) fn run<S: Source>(job: Job<'_, S>, renderers: usize, body: &mut Body<'_>) -> Result<Ends, Error> {
    if renderers == 0 { inline(job, body) } else { threaded(job, renderers, body) }
}

struct BodyOutlet<'a, 'b>(&'a mut Body<'b>);

impl Outlet for BodyOutlet<'_, '_> {
    fn take(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        self.0.users(buffer)?;
        buffer.clear();
        Ok(())
    }
}

fn inline<S: Source>(job: Job<'_, S>, body: &mut Body<'_>) -> Result<Ends, Error> {
    let mut ends = Ends::default();
    let mut outlet = BodyOutlet(body);
    let mut renderer = Renderer::new(job.layout, job.progress, &mut outlet);
    for part in job.source.parts(job.range)? {
        job.check()?;
        let part = part?;
        let counts = renderer.part(job.source, &part)?;
        ends.add(part, counts);
    }
    Ok(ends)
}

/// What a renderer sends.
enum Message {
    /// Some of the part's users.
    Users(Buffer),
    /// The end of the part.
    End(Result<(Part, Counts), Error>),
}

/// Parts that no renderer has taken yet.
struct Queue<'a> {
    parts: Box<dyn Iterator<Item = Result<Part, SourceError>> + Send + 'a>,
    /// Numbers of the renderers, in the order of the parts that they took.
    order: Sender<usize>,
}

/// The queue; gone when the last part is taken or nothing more is wanted.
type Shared<'a> = Mutex<Option<Queue<'a>>>;

/// Closes the queue when a renderer ends, however it ends: a renderer only ends when there is nothing more to do.
struct Closer<'q, 'a>(&'q Shared<'a>);

impl Drop for Closer<'_, '_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Takes the next part for renderer `number`.
fn next_part(queue: &Shared<'_>, number: usize) -> Option<Result<Part, SourceError>> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    let part = queue.as_mut().and_then(|q| Some((q.parts.next()?, q.order.send(number))));
    match part {
        // Under the lock, so that the order of the numbers is that of the parts.
        Some((part, Ok(()))) => Some(part),
        Some((_, Err(_))) | None => {
            *queue = None;
            None
        }
    }
}

/// A renderer's side of its channels.
struct RingOutlet {
    full: Sender<Message>,
    empty: Receiver<Buffer>,
}

impl Outlet for RingOutlet {
    fn take(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        // The writer has gone: it knows why, and nobody hears this error.
        let gone = || Error::Thread("the writer ended".to_owned());
        let mut free = self.empty.recv().map_err(|_| gone())?;
        free.clear();
        let full = std::mem::replace(buffer, free);
        self.full.send(Message::Users(full)).map_err(|_| gone())
    }
}

fn render_parts<S: Source>(job: Job<'_, S>, number: usize, queue: &Shared<'_>, mut outlet: RingOutlet) {
    let _closer = Closer(queue);
    let full = outlet.full.clone();
    let mut renderer = Renderer::new(job.layout, job.progress, &mut outlet);
    while let Some(part) = next_part(queue, number) {
        let done = job.check().and_then(|()| {
            let part = part?;
            let counts = renderer.part(job.source, &part)?;
            Ok((part, counts))
        });
        let failed = done.is_err();
        if full.send(Message::End(done)).is_err() || failed {
            return;
        }
    }
}

/// The writer's side of one renderer.
struct Ring {
    full: Receiver<Message>,
    empty: Sender<Buffer>,
}

fn ring() -> (RingOutlet, Ring) {
    // Room for every buffer and the end of a part: bounded by the buffers, not by the channel.
    let (full_in, full_out) = bounded(RING + 2);
    let (empty_in, empty_out) = unbounded();
    for _ in 0..RING {
        // Cannot fail: the receiver is at hand.
        let _: Result<(), _> = empty_in.send(Buffer::new());
    }
    (RingOutlet { full: full_in, empty: empty_out }, Ring { full: full_out, empty: empty_in })
}

fn threaded<S: Source>(job: Job<'_, S>, renderers: usize, body: &mut Body<'_>) -> Result<Ends, Error> {
    let (order_in, order) = unbounded();
    let parts = job.source.parts(job.range)?;
    let queue = Mutex::new(Some(Queue { parts, order: order_in }));
    std::thread::scope(|scope| {
        let mut rings = Vec::new();
        let mut threads = Vec::new();
        for number in 0..renderers {
            let (outlet, ring) = ring();
            let queue = &queue;
            let thread = Builder::new().name(format!("headcount-render-{number}"));
            let thread = thread.spawn_scoped(scope, move || render_parts(job, number, queue, outlet));
            match thread {
                Ok(thread) => threads.push(thread),
                // Fewer threads do the same work.
                Err(_) if number > 0 => break,
                Err(error) => return Err(Error::Thread(error.to_string())),
            }
            rings.push(ring);
        }
        let written = write(job, &order, &rings, body);
        // Renderers that wait for the writer end when these are gone.
        drop(Closer(&queue));
        drop(rings);
        // A panic is the cause of whatever the writer saw of it.
        threads.into_iter().map(join).fold(Ok(()), Result::and).and(written)
    })
}

fn write<S: Source>(
    job: Job<'_, S>,
    order: &Receiver<usize>,
    rings: &[Ring],
    body: &mut Body<'_>,
) -> Result<Ends, Error> {
    let mut ends = Ends::default();
    let gone = || Error::Thread("a renderer ended early".to_owned());
    for number in order {
        job.check()?;
        let ring = rings.get(number).ok_or_else(gone)?;
        loop {
            match ring.full.recv().map_err(|_| gone())? {
                Message::End(done) => {
                    let (part, counts) = done?;
                    ends.add(part, counts);
                    break;
                }
                Message::Users(mut buffer) => {
                    body.users(&mut buffer)?;
                    // A renderer that has ended needs no buffer.
                    let _: Result<(), _> = ring.empty.send(buffer);
                }
            }
        }
    }
    Ok(ends)
}

fn join(thread: ScopedJoinHandle<'_, ()>) -> Result<(), Error> {
    thread.join().map_err(|panic| Error::Thread(panic_text(panic.as_ref())))
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".to_owned())
}
