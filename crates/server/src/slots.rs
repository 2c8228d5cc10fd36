//! How many exports there are at the same time: under way, rendered, and waiting.
//!
//! Every export that is under way holds memory, so their number is bounded. Fewer of them are rendered at a time: each of those
//! holds a slot. Who does not read loses its slot after a moment and gets one again when it goes on, so that slow clients
//! keep nobody waiting.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds of exports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) rendered: usize,
    pub(crate) under_way: usize,
    pub(crate) of_one_key: usize,
    pub(crate) waiting: usize,
    pub(crate) wait: Duration,
}

/// Why an export may not begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Too many are under way.
    UnderWay,
    /// Too many of this key are.
    Key,
    /// Too many wait.
    Queue,
    /// It has waited long enough.
    Waited,
}

impl Busy {
    /// What the client is told.
    pub(crate) const fn details(self) -> &'static str {
        match self {
            Self::UnderWay => "too many exports are under way",
            Self::Key => "too many exports of this key are under way",
            Self::Queue => "too many exports wait to begin",
            Self::Waited => "other exports are under way, and did not end in time",
        }
    }
}

/// The slots.
#[derive(Debug)]
pub(crate) struct Slots {
    bounds: Bounds,
    rendered: Arc<Semaphore>,
    under_way: Arc<Semaphore>,
    waiting: AtomicUsize,
    of_key: Mutex<HashMap<String, usize>>,
}

/// A slot for rendering.
pub(crate) type Slot = OwnedSemaphorePermit;

/// An export's place among those under way.
#[derive(Debug)]
pub(crate) struct Ticket {
    slots: Arc<Slots>,
    key: String,
    _under_way: OwnedSemaphorePermit,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            bounds,
            rendered: semaphore(bounds.rendered),
            under_way: semaphore(bounds.under_way),
            waiting: AtomicUsize::new(0),
            of_key: Mutex::default(),
        }
    }

    fn ticket(self: &Arc<Self>, key: &str) -> Result<Ticket, Busy> {
        let mut of_key = self.of_key.lock().unwrap_or_else(PoisonError::into_inner);
        let count = of_key.get(key).copied().unwrap_or_default();
        if count >= self.bounds.of_one_key {
            return Err(Busy::Key);
        }
        let under_way = Arc::clone(&self.under_way).try_acquire_owned().map_err(|_| Busy::UnderWay)?;
        of_key.insert(key.to_owned(), count + 1);
        Ok(Ticket { slots: Arc::clone(self), key: key.to_owned(), _under_way: under_way })
    }

    /// A place for a short export of `key`, which is over before a slot would be free.
    pub(crate) fn page(self: &Arc<Self>, key: &str) -> Result<Ticket, Busy> {
        self.ticket(key)
    }

    /// A place and a slot for an export of `key`, perhaps after a wait.
    pub(crate) async fn begin(self: &Arc<Self>, key: &str) -> Result<(Ticket, Slot), Busy> {
        let ticket = self.ticket(key)?;
        if let Ok(slot) = Arc::clone(&self.rendered).try_acquire_owned() {
            return Ok((ticket, slot));
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.bounds.waiting {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Busy::Queue);
        }
        let _waiting = Waiting(&self.waiting);
        let slot = tokio::time::timeout(self.bounds.wait, Arc::clone(&self.rendered).acquire_owned()).await;
        // Nobody closes the semaphore.
        slot.ok().and_then(Result::ok).map(|slot| (ticket, slot)).ok_or(Busy::Waited)
    }

    /// Exports that wait to begin.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Exports under way.
    pub(crate) fn under_way(&self) -> usize {
        self.bounds.under_way.saturating_sub(self.under_way.available_permits())
    }
}

impl Ticket {
    /// A slot again, for an export that lost it.
    pub(crate) fn again(&self) -> Pin<Box<dyn Future<Output = Option<Slot>> + Send>> {
        let rendered = Arc::clone(&self.slots.rendered);
        Box::pin(async move { rendered.acquire_owned().await.ok() })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut of_key = self.slots.of_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = of_key.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                of_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { rendered: 1, under_way: 4, of_one_key: 3, waiting: 1, wait: Duration::from_millis(20) };

    #[tokio::test]
    async fn slots_are_waited_for_in_a_bounded_queue() {
        let slots = Arc::new(Slots::new(BOUNDS));
        let (first, slot) = slots.begin("a").await.unwrap();
        assert_eq!(slots.begin("a").await.unwrap_err(), Busy::Waited);
        let waiting = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.begin("a").await.map(|_| ()) }
        });
        while slots.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(slots.begin("b").await.unwrap_err(), Busy::Queue);
        assert!(slots.page("b").is_ok(), "pages wait for nobody");
        // The first does not read: its slot goes to the next, and comes back when that has ended.
        drop(slot);
        waiting.await.unwrap().unwrap();
        assert!(first.again().await.is_some());
        assert_eq!((slots.waiting(), slots.under_way()), (0, 1));
    }

    #[tokio::test]
    async fn places_are_few_and_shared_among_keys() {
        let slots = Arc::new(Slots::new(Bounds { rendered: 9, ..BOUNDS }));
        let held = [slots.begin("a").await.unwrap(), slots.begin("a").await.unwrap(), slots.begin("a").await.unwrap()];
        assert_eq!(slots.begin("a").await.unwrap_err(), Busy::Key);
        let other = slots.begin("b").await.unwrap();
        assert_eq!(slots.begin("b").await.unwrap_err(), Busy::UnderWay);
        drop((held, other));
        assert_eq!((slots.under_way(), slots.of_key.lock().unwrap().len()), (0, 0));
    }
}
