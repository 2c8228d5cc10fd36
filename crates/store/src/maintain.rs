//! The background thread of a store that is open for writing: makes the next log ahead of need, fsyncs buffered commits
//! in time, and starts the threads that flush frozen deltas and compact.

use std::sync::atomic::{Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use headcount_block::Progress;

use crate::compact::{self, Compaction};
use crate::error::{Error, Result};
use crate::state::Inner;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{AtomicBool, Condvar, Mutex, lock};

/// How long the thread sleeps when nobody wakes it.
const IDLE: Duration = Duration::from_secs(60);

/// How threads of a store wake each other.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    state: Mutex<Flags>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct Flags {
    work: bool,
    stop: bool,
}

impl Signals {
    /// There may be something to do.
    pub(crate) fn notify(&self) {
        lock(&self.state).work = true;
        self.work.notify_all();
    }

    pub(crate) fn stop(&self) {
        lock(&self.state).stop = true;
        self.work.notify_all();
    }

    /// Sleeps until there may be something to do; `false` when it is time to end.
    pub(crate) fn sleep(&self, at_most: Duration) -> bool {
        let mut state = lock(&self.state);
        if !state.work && !state.stop {
            state = self.work.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.work = false;
        !state.stop
    }
}

/// The threads of a store; they end with it.
#[derive(Debug)]
pub(crate) struct Threads {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
    cancel: Arc<Progress>,
}

impl Threads {
    pub(crate) fn start(inner: &Arc<Inner>) -> Result<Self> {
        let cancel = Arc::new(Progress::default());
        let (of_thread, progress) = (Arc::clone(inner), Arc::clone(&cancel));
        let thread = thread::Builder::new()
            .name("headcount-maintain".into())
            .spawn(move || run(&of_thread, &progress))
            .map_err(|e| Error::io("start a thread for", &inner.dir, e))?;
        Ok(Self { inner: Arc::clone(inner), thread: Some(thread), cancel })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.inner.signals.stop();
        if let Some(thread) = self.thread.take() {
            // A panic was answered by poisoning the store, or concerned a compaction that can be done again.
            let _ = thread.join();
        }
    }
}

fn run(inner: &Arc<Inner>, cancel: &Arc<Progress>) {
    // Each in a thread of its own: buffered commits are fsynced in time, however long they take.
    let (mut flush, mut compaction) = (Job::default(), Job::default());
    let mut pause = IDLE;
    while inner.signals.sleep(pause) {
        pause = tend(inner);
        if inner.version.load().frozen.is_some() && inner.check_writable().is_ok() {
            // An error has poisoned the store and reaches the next commit.
            flush.start("headcount-flush", inner, Inner::flush_frozen);
        }
        if inner.options.maintenance && compact::is_due(&inner.version.load()) && inner.check_writable().is_ok() {
            let cancel = Arc::clone(cancel);
            compaction.start("headcount-compact", inner, move |inner| compact_in_background(inner, &cancel));
        }
    }
    flush.join();
    compaction.join();
}

fn compact_in_background(inner: &Inner, cancel: &Progress) -> Result<()> {
    let done = inner.compact(Compaction::Tiered, cancel).map(drop);
    if done.is_err() && !cancel.is_cancelled() {
        Inner::count(&inner.counters.failures, 1);
    }
    done
}

/// Something that is done beside the background thread, one at a time.
#[derive(Default)]
struct Job {
    thread: Option<JoinHandle<()>>,
    state: Arc<State>,
    /// When it was started last.
    started: Option<Instant>,
}

#[derive(Default)]
struct State {
    done: AtomicBool,
    failed: AtomicBool,
}

impl Job {
    /// Starts `work` unless the last one is still at it, or has just failed: what stood in its way, such as a full disk,
    /// takes time to go. Whoever ends wakes the background thread; so does the next full delta where a thread cannot be
    /// started.
    fn start(&mut self, name: &str, inner: &Arc<Inner>, work: impl FnOnce(&Inner) -> Result<()> + Send + 'static) {
        let waits = self.state.failed.load(Acquire) && self.started.is_some_and(|started| started.elapsed() < IDLE);
        if waits || self.thread.is_some() && !self.state.done.load(Acquire) {
            return;
        }
        self.join();
        (self.state, self.started) = (Arc::default(), Some(Instant::now()));
        let (inner, state) = (Arc::clone(inner), Arc::clone(&self.state));
        let body = move || {
            let end = End { inner: &inner, state };
            // What panics is not tried again at once either.
            end.state.failed.store(true, Release);
            end.state.failed.store(work(&inner).is_err(), Release);
        };
        self.thread = thread::Builder::new().name(name.into()).spawn(body).ok();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic was answered by poisoning the store, or concerned a compaction that can be done again.
            let _ = thread.join();
        }
    }
}

/// Tells that a job has ended, also by a panic.
struct End<'i> {
    inner: &'i Inner,
    state: Arc<State>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.state.done.store(true, Release);
        self.inner.signals.notify();
    }
}

/// Fsyncs what is due and makes the next log; returns how long there is nothing to do.
fn tend(inner: &Inner) -> Duration {
    if inner.check_writable().is_err() {
        return IDLE;
    }
    let mut pause = IDLE;
    let mut writer = lock(&inner.writer);
    if let Some(by) = writer.sync_by {
        match by.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
            Some(rest) => pause = rest.min(pause),
            // A failure has poisoned the store.
            None => {
                let _ = inner.sync_log(&mut writer);
            }
        }
    }
    let wanted = writer.spare.is_none() && writer.log.is_some() && inner.is_full(2);
    drop(writer);
    if wanted && let Ok(log) = inner.create_log() {
        lock(&inner.writer).spare.get_or_insert(log);
    }
    pause
}
