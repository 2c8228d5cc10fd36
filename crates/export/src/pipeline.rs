//! Parts of a source, rendered by several threads and written by the same threads in turns.
//!
//! A thread takes a part and renders it. When the part before is written, it is this thread's turn: it writes what it has
//! rendered so far, and from then on every buffer as it is filled; at the end of the part it passes the turn on. Before its
//! turn it keeps up to [`HELD`] bytes, then it waits. So the bytes that are written are in the cache of the core that
//! writes them: handing buffers to one writing thread took a fifth longer (docs/PERFORMANCE.md).
//!
//! There is no deadlock: parts are taken in order, so the thread of the first unfinished part always has the turn, and it
//! waits for nobody. When it fails, or a thread panics, the others are told to stop.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, ScopedJoinHandle};

pub(crate) use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use headcount_block::{Error as SourceError, Part, Progress, Source, UidRange};

use crate::body::Body;
use crate::buffer::{Buffer, Counts};
use crate::error::Error;
use crate::layout::Layout;
use crate::render::{Outlet, Renderer};

/// Rendered bytes that a thread keeps until it is its turn.
const HELD: usize = 3 << 20;
/// How often the next thread looks whether it is its turn before it goes to sleep: about as long as going to sleep and being
/// woken up takes.
const LOOKS: u32 = 4000;

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
    /// Users of a small export, which may be much shorter than a chunk.
    pub(crate) few: Option<u64>,
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

/// Renders the users of `job` into `body` with so many threads; with one, in the calling one.
///
/// # Errors
/// What the source reports, what the destination reports, cancellation, and a thread that cannot be started or panics.
pub(crate) fn run<S: Source>(job: Job<'_, S>, threads: usize, body: &mut Body<'_>) -> Result<Ends, Error> {
    if threads <= 1 { inline(job, body) } else { in_turns(job, threads, body) }
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
    if let Some(users) = job.few {
        renderer = renderer.of_few(users);
    }
    for part in job.source.parts(job.range)? {
        job.check()?;
        let part = part?;
        let counts = renderer.part(job.source, &part)?;
        ends.add(part, counts);
    }
    Ok(ends)
}

/// Parts that no thread has taken yet, and the number of the next one.
struct Queue<'a> {
    parts: Box<dyn Iterator<Item = Result<Part, SourceError>> + Send + 'a>,
    next: u64,
}

impl Queue<'_> {
    fn take(&mut self) -> Option<(u64, Result<Part, SourceError>)> {
        let part = self.parts.next()?;
        let number = self.next;
        self.next += 1;
        Some((number, part))
    }
}

/// What only the thread whose turn it is uses.
struct Writer<'t, 'b> {
    body: &'t mut Body<'b>,
    ends: Ends,
    /// Why the export ends early.
    failed: Option<Error>,
}

/// Whose turn it is.
struct Turns<'t, 'b> {
    /// Number of the part whose thread may write.
    turn: AtomicU64,
    stopped: AtomicBool,
    sleepers: Mutex<()>,
    changed: Condvar,
    writer: Mutex<Writer<'t, 'b>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'t, 'b> Turns<'t, 'b> {
    fn is(&self, number: u64) -> bool {
        self.turn.load(Ordering::Acquire) == number
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Waits for the turn of part `number`; `None` when nothing more is to be written.
    fn wait(&self, number: u64) -> Option<MutexGuard<'_, Writer<'t, 'b>>> {
        let mut looks = 0;
        // The turn passes in well under a millisecond; who is further behind sleeps at once.
        while looks < LOOKS && !self.is(number) && self.is(number.saturating_sub(1)) && !self.is_stopped() {
            std::hint::spin_loop();
            looks += 1;
        }
        if !self.is(number) {
            let mut asleep = lock(&self.sleepers);
            while !self.is(number) && !self.is_stopped() {
                asleep = self.changed.wait(asleep).unwrap_or_else(PoisonError::into_inner);
            }
        }
        (!self.is_stopped()).then(|| lock(&self.writer))
    }

    /// Passes the turn of part `number` on.
    fn pass(&self, number: u64) {
        self.turn.store(number + 1, Ordering::Release);
        self.wake();
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // With the lock in hand, so that nobody is between looking and sleeping.
        let _asleep = lock(&self.sleepers);
        self.changed.notify_all();
    }
}

/// Tells the others when a thread panics.
struct Alarm<'a, 't, 'b>(&'a Turns<'t, 'b>);

impl Drop for Alarm<'_, '_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// The outlet of one thread: keeps buffers until it is its turn.
struct TurnOutlet<'a, 't, 'b> {
    turns: &'a Turns<'t, 'b>,
    /// The part in work.
    number: u64,
    held: Vec<Buffer>,
    held_bytes: usize,
    spare: Vec<Buffer>,
}

fn stopped() -> Error {
    // Nobody hears it: the thread that stopped the export knows why.
    Error::Thread("the export has ended".to_owned())
}

impl TurnOutlet<'_, '_, '_> {
    /// Waits for the turn and writes what is held, and then `last`.
    fn write(&mut self, last: Option<&mut Buffer>) -> Result<(), Error> {
        let mut writer = self.turns.wait(self.number).ok_or_else(stopped)?;
        self.held_bytes = 0;
        for mut buffer in self.held.drain(..) {
            writer.body.users(&mut buffer)?;
            self.spare.push(buffer);
        }
        if let Some(buffer) = last {
            writer.body.users(buffer)?;
            buffer.clear();
        }
        Ok(())
    }
}

impl Outlet for TurnOutlet<'_, '_, '_> {
    fn take(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        if self.turns.is(self.number) || self.held_bytes + buffer.len() > HELD {
            return self.write(Some(buffer));
        }
        if self.turns.is_stopped() {
            return Err(stopped());
        }
        let mut free = self.spare.pop().unwrap_or_default();
        free.clear();
        self.held_bytes += buffer.len();
        self.held.push(std::mem::replace(buffer, free));
        Ok(())
    }
}

fn render_parts<S: Source>(job: Job<'_, S>, queue: &Mutex<Queue<'_>>, turns: &Turns<'_, '_>) {
    let _alarm = Alarm(turns);
    let mut outlet = TurnOutlet { turns, number: 0, held: Vec::new(), held_bytes: 0, spare: Vec::new() };
    let mut renderer = Renderer::new(job.layout, job.progress, &mut outlet);
    while !turns.is_stopped() {
        let Some((number, part)) = lock(queue).take() else { return };
        renderer.outlet().number = number;
        let done = job.check().and_then(|()| {
            let part = part?;
            let counts = renderer.part(job.source, &part)?;
            Ok((part, counts))
        });
        // What was whole before an error is written too.
        let written = renderer.outlet().write(None);
        let Some(mut writer) = turns.wait(number) else { return };
        match written.and(done) {
            Ok((part, counts)) => writer.ends.add(part, counts),
            Err(error) => {
                writer.failed = Some(error);
                drop(writer);
                return turns.stop();
            }
        }
        drop(writer);
        turns.pass(number);
    }
}

fn in_turns<S: Source>(job: Job<'_, S>, threads: usize, body: &mut Body<'_>) -> Result<Ends, Error> {
    let queue = Mutex::new(Queue { parts: job.source.parts(job.range)?, next: 0 });
    let turns = Turns {
        turn: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
        sleepers: Mutex::new(()),
        changed: Condvar::new(),
        writer: Mutex::new(Writer { body, ends: Ends::default(), failed: None }),
    };
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for number in 0..threads {
            let (queue, turns) = (&queue, &turns);
            let thread = Builder::new().name(format!("headcount-export-{number}"));
            match thread.spawn_scoped(scope, move || render_parts(job, queue, turns)) {
                Ok(thread) => running.push(thread),
                // Fewer threads do the same work.
                Err(_) if number > 0 => break,
                Err(error) => return Err(Error::Thread(error.to_string())),
            }
        }
        // A panic is the cause of whatever else was seen of it.
        running.into_iter().map(join).fold(Ok(()), Result::and)
    })?;
    let writer = turns.writer.into_inner().unwrap_or_else(PoisonError::into_inner);
    writer.failed.map_or(Ok(writer.ends), Err)
}

fn join(thread: ScopedJoinHandle<'_, ()>) -> Result<(), Error> {
    thread.join().map_err(|panic| Error::Thread(panic_text(panic.as_ref())))
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".to_owned())
}
