//! What threads of a store meet by: the standard library's primitives, or shuttle's, which try one schedule after another.
//!
//! Shuttle takes their place in the unit tests of a build with `--cfg shuttle` alone (`schedule_tests.rs`); no other build
//! has a trace of it. What one thread keeps to itself, and what happens inside one call, such as the writing thread of
//! a segment, stays with the standard library.

#[cfg(not(all(test, shuttle)))]
mod primitives {
    pub(crate) use std::sync::atomic::AtomicBool;
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread;

    /// A pointer that is read without a lock and swapped as a whole.
    pub(crate) use arc_swap::ArcSwap as Swap;
}

#[cfg(all(test, shuttle))]
mod primitives {
    use std::sync::Arc;

    use arc_swap::{ArcSwap, Guard};
    use shuttle::sync::atomic::Ordering::SeqCst;

    pub(crate) use shuttle::sync::atomic::AtomicBool;
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread;

    /// Lets shuttle decide who is next.
    pub(crate) fn turn() {
        AtomicBool::new(false).load(SeqCst);
    }

    /// The pointer of other builds. It knows nothing of shuttle, so others get their turn before each access.
    #[derive(Debug)]
    pub(crate) struct Swap<T>(ArcSwap<T>);

    impl<T> Swap<T> {
        pub(crate) fn from_pointee(value: T) -> Self {
            Self(ArcSwap::from_pointee(value))
        }

        pub(crate) fn load(&self) -> Guard<Arc<T>> {
            turn();
            self.0.load()
        }

        pub(crate) fn load_full(&self) -> Arc<T> {
            turn();
            self.0.load_full()
        }

        pub(crate) fn swap(&self, new: Arc<T>) -> Arc<T> {
            turn();
            self.0.swap(new)
        }
    }
}

#[cfg(all(test, shuttle))]
pub(crate) use primitives::turn;
pub(crate) use primitives::{AtomicBool, Condvar, Mutex, MutexGuard, Swap, thread};

/// Takes a lock. A thread that panicked with it in hand left nothing half-done that is not found out: every change of
/// shared state is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
