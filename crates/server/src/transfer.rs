//! Exports on their way to clients, watched from outside: who does not take what is ready loses its slot after a
//! moment, and its connection in the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::slots::Slot;
use crate::watch::{Patience, Verdict, Watch};

/// How long a client may take for a piece before its slot goes to others.
const SLOT_KEPT: Duration = Duration::from_millis(400);

#[derive(Debug)]
struct State {
    /// Since when the next piece could be taken; `None` while it is rendered.
    offered: Option<Instant>,
    /// Begin of the time over which `taken` is counted; of the client's time alone.
    window: Instant,
    taken: u64,
    slot: Option<Slot>,
    /// Whether it has to have one.
    needs_slot: bool,
}

/// One export under way, or on a connection of many streams any answer.
#[derive(Debug)]
pub(crate) struct Transfer {
    state: Mutex<State>,
    connection: Arc<Watch>,
    /// Whether its stream may get no window while the connection's socket takes what others send: then the connection
    /// alone does not say whether the last piece is taken.
    multiplexed: bool,
}

impl Transfer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client asks for the next piece. Whether it has the slot that it needs.
    pub(crate) fn asked(&self, now: Instant) -> bool {
        let mut state = self.lock();
        if state.offered.take().is_none() {
            // What passed meanwhile was our time.
            state.window = now;
            state.taken = 0;
        }
        state.slot.is_some() || !state.needs_slot
    }

    /// A slot was got again.
    pub(crate) fn resume(&self, slot: Slot) {
        self.lock().slot = Some(slot);
    }

    /// A piece was handed over; the next is the client's to ask for.
    pub(crate) fn handed(&self, bytes: usize, now: Instant) {
        let mut state = self.lock();
        state.offered = Some(now);
        state.taken = state.taken.saturating_add(bytes as u64);
    }

    /// The last piece was handed over, of so many bytes. From now on the connection alone says whether it is taken; one of
    /// many streams is watched until hyper lets go of the body.
    pub(crate) fn rest(&self, bytes: usize, now: Instant) {
        let mut state = self.lock();
        state.offered = self.multiplexed.then_some(now);
        state.taken = state.taken.saturating_add(bytes as u64);
        state.slot = None;
    }

    fn check(&self, now: Instant, patience: &Patience) -> Option<Verdict> {
        let mut state = self.lock();
        let since = state.offered?;
        let waited = now.saturating_duration_since(since);
        if waited >= SLOT_KEPT {
            state.slot = None;
        }
        // A connection of its own says itself whether its client takes something, in smaller steps than a piece.
        if !self.multiplexed {
            return None;
        }
        // The window is as long as what the client was given to take, at least since the last piece.
        if now.saturating_duration_since(state.window) < patience.slow {
            return None;
        }
        let slow = state.taken < patience.slow_bytes || waited >= patience.slow;
        state.window = now;
        state.taken = 0;
        if !slow {
            return None;
        }
        state.offered = None;
        drop(state);
        self.connection.give_up(Verdict::SlowReader).then_some(Verdict::SlowReader)
    }
}

#[derive(Debug, Default)]
struct Held {
    transfers: HashMap<u64, Arc<Transfer>>,
    next: u64,
}

/// All exports under way.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    held: Mutex<Held>,
}

/// An entry among them, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Entry {
    transfers: Arc<Transfers>,
    number: u64,
    pub(crate) transfer: Arc<Transfer>,
}

impl Transfers {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An export with its slot; one that goes without at the beginning never needs one.
    pub(crate) fn enter(self: &Arc<Self>, slot: Option<Slot>, connection: Arc<Watch>, now: Instant) -> Entry {
        let needs_slot = slot.is_some();
        self.add(State { offered: None, window: now, taken: 0, slot, needs_slot }, connection)
    }

    /// An answer that is there whole, for the client to take from now on.
    pub(crate) fn offer(self: &Arc<Self>, connection: Arc<Watch>, now: Instant) -> Entry {
        self.add(State { offered: Some(now), window: now, taken: 0, slot: None, needs_slot: false }, connection)
    }

    fn add(self: &Arc<Self>, state: State, connection: Arc<Watch>) -> Entry {
        let multiplexed = connection.is_multiplexed();
        let transfer = Arc::new(Transfer { state: Mutex::new(state), connection, multiplexed });
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.transfers.insert(number, Arc::clone(&transfer));
        Entry { transfers: Arc::clone(self), number, transfer }
    }

    /// Looks at the rules of every export and says which were broken.
    pub(crate) fn check(&self, now: Instant, patience: &Patience) -> Vec<Verdict> {
        let transfers: Vec<Arc<Transfer>> = self.lock().transfers.values().cloned().collect();
        transfers.iter().filter_map(|transfer| transfer.check(now, patience)).collect()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.transfers.lock().transfers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    const PATIENCE: Patience = Patience {
        request: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        slow: Duration::from_secs(30),
        slow_bytes: 1000,
    };

    fn entry(semaphore: &Arc<Semaphore>, multiplexed: bool, now: Instant) -> (Arc<Transfers>, Entry) {
        let transfers = Arc::new(Transfers::default());
        let slot = Arc::clone(semaphore).try_acquire_owned().unwrap();
        let watch = Watch::new(now);
        watch.expect_requests(multiplexed, now);
        let entry = transfers.enter(Some(slot), Arc::new(watch), now);
        (transfers, entry)
    }

    #[test]
    fn who_does_not_read_loses_the_slot_and_then_the_connection() {
        let semaphore = Arc::new(Semaphore::new(1));
        let start = Instant::now();
        let (transfers, entry) = entry(&semaphore, true, start);
        let after = |millis| start + Duration::from_millis(millis);
        assert!(entry.transfer.asked(start));
        assert!(transfers.check(after(29_000), &PATIENCE).is_empty());
        assert_eq!(semaphore.available_permits(), 0, "rendering takes as long as it takes");
        entry.transfer.handed(500, after(29_000));
        assert!(transfers.check(after(29_399), &PATIENCE).is_empty());
        assert_eq!(semaphore.available_permits(), 0);
        assert!(transfers.check(after(29_400), &PATIENCE).is_empty());
        assert_eq!(semaphore.available_permits(), 1);
        assert!(!entry.transfer.asked(after(29_500)), "it has to wait for a slot");
        entry.transfer.resume(Arc::clone(&semaphore).try_acquire_owned().unwrap());
        entry.transfer.handed(100, after(29_600));
        assert_eq!(transfers.check(after(59_700), &PATIENCE), [Verdict::SlowReader]);
        assert_eq!(entry.transfer.connection.verdict(), Some(Verdict::SlowReader));
        drop(entry);
        assert!(transfers.lock().transfers.is_empty());
    }

    #[test]
    fn a_steady_reader_stays() {
        let semaphore = Arc::new(Semaphore::new(1));
        let start = Instant::now();
        let (transfers, entry) = entry(&semaphore, false, start);
        for second in 0..300 {
            let now = start + Duration::from_secs(second);
            entry.transfer.asked(now);
            entry.transfer.handed(100, now);
            assert!(transfers.check(now, &PATIENCE).is_empty(), "{second}");
        }
        entry.transfer.rest(100, start);
        assert_eq!(semaphore.available_permits(), 1);
        assert!(transfers.check(start + Duration::from_secs(9999), &PATIENCE).is_empty());
    }

    #[test]
    fn one_of_many_streams_is_watched_to_its_end() {
        let semaphore = Arc::new(Semaphore::new(1));
        let start = Instant::now();
        let transfers = Arc::new(Transfers::default());
        let watch = || {
            let watch = Arc::new(Watch::new(start));
            watch.expect_requests(true, start);
            watch
        };
        let slot = Arc::clone(&semaphore).try_acquire_owned().unwrap();
        let export = transfers.enter(Some(slot), watch(), start);
        export.transfer.asked(start);
        export.transfer.rest(100, start);
        assert_eq!(semaphore.available_permits(), 1, "others are rendered");
        let answer = transfers.offer(watch(), start);
        assert!(transfers.check(start + Duration::from_secs(29), &PATIENCE).is_empty());
        let broken = transfers.check(start + Duration::from_secs(30), &PATIENCE);
        assert_eq!(broken, [Verdict::SlowReader, Verdict::SlowReader]);
        assert_eq!(answer.transfer.connection.verdict(), Some(Verdict::SlowReader));
    }
}
