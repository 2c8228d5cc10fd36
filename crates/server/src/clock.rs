//! The one place of this crate that reads the clock of the day.

use std::time::SystemTime;

/// Now.
#[expect(clippy::disallowed_methods, reason = "requests are stamped here, and nowhere else in this crate")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
