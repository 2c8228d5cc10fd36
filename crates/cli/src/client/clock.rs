//! The clock that requests are stamped by: this machine's, or a server's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that can be set by what a server says.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// What to add and what to take away: one of them is zero.
    ahead: Duration,
    behind: Duration,
    is_set: bool,
}

#[expect(
    clippy::disallowed_methods,
    reason = "requests are stamped here, and nothing that a store writes depends on it"
)]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Clock {
    /// Seconds since 1970-01-01 UTC.
    pub(crate) fn seconds(&self) -> u64 {
        (now() + self.ahead).saturating_sub(self.behind).as_secs()
    }

    /// Whether it was set.
    pub(crate) const fn is_set(&self) -> bool {
        self.is_set
    }

    /// Sets it by a `Date` header (RFC 9110, section 5.6.7). Returns by how many seconds it differed, `None` when the
    /// header cannot be read.
    pub(crate) fn set(&mut self, date: &str) -> Option<u64> {
        let theirs = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
        let ours = now();
        (self.ahead, self.behind) = (theirs.saturating_sub(ours), ours.saturating_sub(theirs));
        self.is_set = true;
        Some((self.ahead + self.behind).as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_as_the_server_says() {
        let mut clock = Clock::default();
        assert!(!clock.is_set() && clock.seconds().abs_diff(now().as_secs()) <= 1);
        for (date, seconds) in
            [("Sun, 22 Mar 2015 11:42:25 GMT", 1_427_024_545), ("Fri, 01 Jan 2100 00:00:00 GMT", 4_102_444_800)]
        {
            assert!(clock.set(date).unwrap() > 86_400);
            assert!(clock.seconds().abs_diff(seconds) <= 1, "{date}");
        }
        assert_eq!(clock.set("yesterday"), None);
        assert!(clock.seconds().abs_diff(4_102_444_800) <= 1, "it stays as it was");
    }
}
