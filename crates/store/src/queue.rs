//! The queue of commits: who finds nobody at work carries out all jobs that wait, and hands the work on.
//!
//! It knows nothing of what the work is, so that every order in which threads can meet here is tried without a disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use crate::sync::{Condvar, Mutex, MutexGuard, lock, thread};

/// How often a leader lets others run before it begins.
const GATHER_YIELDS: usize = 32;

/// Jobs that wait for their turn. A lone thread pays for no switch of threads.
#[derive(Debug)]
pub(crate) struct Queue<J, A>(Mutex<Waiting<J, A>>);

#[derive(Debug)]
struct Waiting<J, A> {
    jobs: Vec<(J, Arc<Slot<A>>)>,
    led: bool,
    /// Jobs of the last group.
    last: usize,
}

/// Where a waiting thread finds its answer.
#[derive(Debug)]
struct Slot<A> {
    turn: Mutex<Turn<A>>,
    wake: Condvar,
}

#[derive(Debug)]
enum Turn<A> {
    Wait,
    /// It is this thread's turn to do the work.
    Lead,
    Done(A),
}

impl<A> Slot<A> {
    fn new() -> Self {
        Self { turn: Mutex::new(Turn::Wait), wake: Condvar::new() }
    }

    fn set(&self, turn: Turn<A>) {
        *lock(&self.turn) = turn;
        self.wake.notify_one();
    }

    /// Waits for the answer; `None` when the work is to be done first.
    fn wait(&self) -> Option<A> {
        let mut turn = lock(&self.turn);
        loop {
            match std::mem::replace(&mut *turn, Turn::Wait) {
                Turn::Wait => turn = self.wake.wait(turn).unwrap_or_else(PoisonError::into_inner),
                Turn::Lead => return None,
                Turn::Done(answer) => return Some(answer),
            }
        }
    }
}

impl<J, A> Queue<J, A> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Waiting { jobs: Vec::new(), led: false, last: 0 }))
    }

    /// Has a job carried out, and returns its answer. It may fall to this thread to `work`, with the `tools` in hand and
    /// on all jobs that wait: one answer to each, in their order. Where `work` panics, and where an answer is missing,
    /// those concerned get what `lost` makes.
    pub(crate) fn run<T>(
        &self,
        job: J,
        tools: &Mutex<T>,
        work: impl FnOnce(&mut MutexGuard<'_, T>, &[J]) -> Vec<A>,
        lost: impl Fn() -> A,
    ) -> A {
        let slot = Arc::new(Slot::new());
        let mut waiting = lock(&self.0);
        waiting.jobs.push((job, Arc::clone(&slot)));
        let lead = !std::mem::replace(&mut waiting.led, true);
        drop(waiting);
        if !lead && let Some(answer) = slot.wait() {
            return answer;
        }
        self.lead(tools, work, &lost);
        slot.wait().unwrap_or_else(lost)
    }

    /// Carries out what waits, and hands the lead on.
    fn lead<T>(
        &self,
        tools: &Mutex<T>,
        work: impl FnOnce(&mut MutexGuard<'_, T>, &[J]) -> Vec<A>,
        lost: &impl Fn() -> A,
    ) {
        let mut tools = lock(tools);
        let (jobs, slots): (Vec<J>, Vec<Arc<Slot<A>>>) = self.gather().into_iter().unzip();
        // The others must not wait for ever for a thread that is gone.
        let answers = catch_unwind(AssertUnwindSafe(|| work(&mut tools, &jobs))).unwrap_or_default();
        let answers = answers.into_iter().chain(std::iter::repeat_with(lost));
        // Seen to before the tools are free: who comes next finds what was lost.
        let answers: Vec<(&Arc<Slot<A>>, A)> = slots.iter().zip(answers).collect();
        drop(tools);
        // Answered first, so that they can be back in time for the next group.
        for (slot, answer) in answers {
            slot.set(Turn::Done(answer));
        }
        let mut waiting = lock(&self.0);
        waiting.last = slots.len();
        match waiting.jobs.first() {
            Some((_, next)) => next.set(Turn::Lead),
            None => waiting.led = false,
        }
    }

    /// The jobs that wait. Where the last group was one of several threads, they are on their way back with the next:
    /// an fsync costs far more than the moment in which they arrive. A lone thread never waits.
    fn gather(&self) -> Vec<(J, Arc<Slot<A>>)> {
        for _ in 0..GATHER_YIELDS {
            let waiting = lock(&self.0);
            if waiting.jobs.len() >= waiting.last {
                break;
            }
            drop(waiting);
            thread::yield_now();
        }
        std::mem::take(&mut lock(&self.0).jobs)
    }
}
