//! The background thread of a store that is open for writing: flushes frozen deltas, makes the next log ahead of need,
//! fsyncs buffered commits in time, and starts compactions.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use headcount_block::Progress;

use crate::compact::{self, Compaction};
use crate::error::{Error, Result};
use crate::state::{Inner, lock};

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

    fn stop(&self) {
        lock(&self.state).stop = true;
        self.work.notify_all();
    }

    /// Sleeps until there may be something to do; `false` when it is time to end.
    fn sleep(&self, at_most: Duration) -> bool {
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
    let mut compaction: Option<JoinHandle<()>> = None;
    let mut pause = IDLE;
    while inner.signals.sleep(pause) {
        // An error has poisoned the store and reaches the next commit.
        let _ = inner.flush_frozen();
        pause = tend(inner);
        if compaction.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(thread) = compaction.take()
        {
            let _ = thread.join();
        }
        if compaction.is_none() && inner.options.maintenance && compact::is_due(&inner.version.load()) {
            compaction = spawn_compaction(inner, cancel);
        }
    }
    if let Some(thread) = compaction {
        let _ = thread.join();
    }
}

fn spawn_compaction(inner: &Arc<Inner>, cancel: &Arc<Progress>) -> Option<JoinHandle<()>> {
    let (inner, cancel) = (Arc::clone(inner), Arc::clone(cancel));
    let body = move || {
        // An error has poisoned the store where it has to; cancelled means that the store is being closed.
        let _ = inner.compact(Compaction::Tiered, &cancel);
        inner.signals.notify();
    };
    // Without a thread it is tried again at the next flush.
    thread::Builder::new().name("headcount-compact".into()).spawn(body).ok()
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
