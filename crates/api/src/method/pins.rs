//! Snapshots that outlive their request: of pages, so that the next is of the same state, and of broken transfers, so
//! that they can be resumed.

use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use headcount_block::{Origin, Source as _};
use headcount_store::{Snapshot, Store};

use crate::method::site::Site;

#[derive(Debug)]
struct Pin {
    site: String,
    /// Whose snapshot it is. One that was closed meanwhile others had, and may have erased from.
    store: Weak<Store>,
    snapshot: Snapshot,
    until_ms: u64,
}

#[derive(Debug, Default)]
struct Held {
    /// The oldest first.
    pins: Vec<Pin>,
    /// Of transfers under way: their clients may notice a break before we do.
    active: Vec<(String, Weak<Snapshot>)>,
}

/// The pinned snapshots of all sites.
#[derive(Debug)]
pub(crate) struct Pins {
    held: Mutex<Held>,
    per_site: usize,
    lifetime_ms: u64,
}

impl Pins {
    pub(crate) fn new(per_site: usize, lifetime: Duration) -> Self {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        Self { held: Mutex::default(), per_site, lifetime_ms }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a snapshot for a while from now on; the oldest of the site goes where there are too many.
    pub(crate) fn keep(&self, site: &str, store: &Arc<Store>, snapshot: &Snapshot, now_ms: u64) {
        let store = Arc::downgrade(store);
        let origin = snapshot.origin();
        let until_ms = now_ms.saturating_add(self.lifetime_ms);
        let mut held = self.lock();
        let ends = |pin: &mut Pin| pin.until_ms <= now_ms || (pin.site == site && pin.snapshot.origin() == origin);
        let mut gone: Vec<Pin> = held.pins.extract_if(.., ends).collect();
        held.pins.push(Pin { site: site.to_owned(), store, snapshot: snapshot.clone(), until_ms });
        let own = held.pins.iter().filter(|pin| pin.site == site).count();
        let mut surplus = own.saturating_sub(self.per_site);
        gone.extend(held.pins.extract_if(.., |pin| {
            let oldest = surplus > 0 && pin.site == site;
            surplus -= usize::from(oldest);
            oldest
        }));
        // The last snapshot of a file takes it along: not with the lock in hand, which async threads take.
        drop(held);
        drop(gone);
    }

    /// A transfer of this snapshot is under way, for as long as the returned value lives.
    pub(crate) fn enter(&self, site: &str, snapshot: &Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot.clone());
        let mut held = self.lock();
        held.active.retain(|(_, active)| active.strong_count() > 0);
        held.active.push((site.to_owned(), Arc::downgrade(&snapshot)));
        snapshot
    }

    /// The snapshot at `seq` of the history that `now` is of.
    pub(crate) fn find(&self, site: &Site, seq: u64, now: &Origin, now_ms: u64) -> Option<Snapshot> {
        let fits = |snapshot: &Snapshot| {
            let origin = snapshot.origin();
            origin.seq == seq && origin.store_id == now.store_id && origin.incarnation == now.incarnation
        };
        let held = self.lock();
        let is_open = |pin: &&Pin| ptr::eq(pin.store.as_ptr(), Arc::as_ptr(&site.store));
        let name = &site.api_key;
        let mut pins = held.pins.iter().filter(|pin| pin.site == *name && pin.until_ms > now_ms).filter(is_open);
        if let Some(pin) = pins.find(|pin| fits(&pin.snapshot)) {
            return Some(pin.snapshot.clone());
        }
        let active = held.active.iter().filter(|(of, _)| of == name).filter_map(|(_, active)| active.upgrade());
        active.into_iter().find(|snapshot| fits(snapshot)).map(|snapshot| Snapshot::clone(&snapshot))
    }

    pub(crate) fn sweep(&self, now_ms: u64) {
        let mut held = self.lock();
        held.active.retain(|(_, active)| active.strong_count() > 0);
        let gone: Vec<Pin> =
            held.pins.extract_if(.., |pin| pin.until_ms <= now_ms || pin.store.strong_count() == 0).collect();
        drop(held);
        drop(gone);
    }

    pub(crate) fn release(&self, site: &str) {
        let gone: Vec<Pin> = self.lock().pins.extract_if(.., |pin| pin.site == site).collect();
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use headcount_block::User;
    use headcount_store::{Batch, Options};

    use super::*;
    use crate::method::site::Secret;

    fn site(name: &str, store: &Arc<Store>) -> Site {
        Site::new(name, Arc::clone(store), Secret::new("c2VjcmV0").unwrap())
    }

    fn step(store: &Store, n: u64) -> Snapshot {
        let mut batch = Batch::new();
        batch.put(User::new(format!("u{n}")));
        store.commit(batch).unwrap();
        store.snapshot()
    }

    #[test]
    fn pins_are_few_and_end() {
        let store = Arc::new(Store::temporary().unwrap());
        let pins = Pins::new(2, Duration::from_secs(300));
        let snapshots: Vec<Snapshot> = (0..3).map(|n| step(&store, n)).collect();
        for (snapshot, now) in snapshots.iter().zip(1000..) {
            pins.keep("a", &store, snapshot, now);
        }
        let now = store.snapshot().origin();
        let found = |seq, at| pins.find(&site("a", &store), seq, &now, at).map(|s| s.seq());
        assert_eq!((found(1, 2000), found(2, 2000), found(3, 2000)), (None, Some(2), Some(3)));
        assert_eq!((found(2, 301_001), found(3, 301_001)), (None, Some(3)));
        assert!(pins.find(&site("b", &store), 3, &now, 2000).is_none());
        let other = Origin { incarnation: now.incarnation ^ 1, ..now };
        assert!(pins.find(&site("a", &store), 3, &other, 2000).is_none());
        pins.keep("a", &store, &snapshots[1], 3000);
        pins.keep("a", &store, &snapshots[0], 3001);
        assert_eq!(
            (found(1, 4000), found(2, 4000), found(3, 4000)),
            (Some(1), Some(2), None),
            "used last, kept longest"
        );
        pins.sweep(400_000);
        assert!(pins.lock().pins.is_empty());
    }

    #[test]
    fn a_transfer_under_way_is_found() {
        let store = Arc::new(Store::temporary().unwrap());
        let pins = Pins::new(2, Duration::from_secs(300));
        let active = pins.enter("a", &step(&store, 1));
        step(&store, 2);
        let now = store.snapshot().origin();
        assert!(pins.find(&site("a", &store), 1, &now, 0).is_some());
        drop(active);
        assert!(pins.find(&site("a", &store), 1, &now, 0).is_none());
    }

    /// Others had the store meanwhile, and may have erased users whom the snapshot has.
    #[test]
    fn a_snapshot_of_a_store_that_was_closed_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = Arc::new(Store::create(&path, &Options::default()).unwrap());
        let pins = Pins::new(2, Duration::from_secs(300));
        pins.keep("a", &store, &step(&store, 1), 0);
        step(&store, 2);
        let now = store.snapshot().origin();
        assert!(pins.find(&site("a", &store), 1, &now, 1).is_some());
        Arc::into_inner(store).unwrap().close().unwrap();
        let store = Arc::new(Store::open(&path, &Options::default()).unwrap());
        assert_eq!(store.snapshot().origin(), now);
        assert!(pins.find(&site("a", &store), 1, &now, 1).is_none());
        pins.sweep(1);
        assert!(pins.lock().pins.is_empty());
    }
}
