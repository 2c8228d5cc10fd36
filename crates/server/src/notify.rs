//! What systemd is told (`sd_notify(3)`), where it has started the server.

use std::sync::OnceLock;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

fn tell(state: &[NotifyState<'_>]) {
    // Without systemd nobody listens, and that is well.
    let _: std::io::Result<()> = sd_notify::notify(state);
}

/// Requests are answered from now on.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// No requests are taken any more.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The configuration is read anew; [`ready`] says when that is done.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The server's tasks run: told at half of the time that the unit's `WatchdogSec` allows.
pub(crate) fn alive() {
    static EVERY: OnceLock<Option<Duration>> = OnceLock::new();
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let Some(every) = *EVERY.get_or_init(|| sd_notify::watchdog_enabled().map(|bound| bound / 2)) else { return };
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() >= every) {
        *last = Some(Instant::now());
        tell(&[NotifyState::Watchdog]);
    }
}
