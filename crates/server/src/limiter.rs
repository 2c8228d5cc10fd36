//! Requests of one key in a second: a bucket each, which holds ten seconds' worth.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use headcount::method::Limiter;

/// Seconds' worth of requests that may come at once.
const BURST: f64 = 10.0;
/// No request is as late as this: the clock was set back.
const SET_BACK: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Bucket {
    requests: f64,
    filled: SystemTime,
}

/// At most so many requests of a key in a second, on average over ten.
#[derive(Debug)]
pub(crate) struct KeyLimiter {
    per_second: f64,
    /// By apiKey and user key: only keys whose secrets were right come here, so there are few.
    buckets: Mutex<HashMap<(String, Option<String>), Bucket>>,
}

impl KeyLimiter {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: Mutex::default() }
    }
}

impl Limiter for KeyLimiter {
    fn admit(&self, api_key: &str, user_key: Option<&str>, now: SystemTime) -> Result<(), Duration> {
        let most = self.per_second * BURST;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (api_key.to_owned(), user_key.map(str::to_owned));
        let bucket = buckets.entry(key).or_insert(Bucket { requests: most, filled: now });
        // A request that is late fills nothing, and no time is counted twice after it; nor does a clock that was set back.
        let passed = now.duration_since(bucket.filled).unwrap_or_default().as_secs_f64();
        bucket.requests = (bucket.requests + passed * self.per_second).min(most);
        if now > bucket.filled || bucket.filled.duration_since(now).is_ok_and(|late| late > SET_BACK) {
            bucket.filled = now;
        }
        if bucket.requests >= 1.0 {
            bucket.requests -= 1.0;
            return Ok(());
        }
        Err(Duration::try_from_secs_f64((1.0 - bucket.requests) / self.per_second).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let limiter = KeyLimiter::new(2);
        let start = UNIX_EPOCH + Duration::from_secs(1000);
        for _ in 0..20 {
            assert_eq!(limiter.admit("a", None, start), Ok(()));
        }
        assert_eq!(limiter.admit("a", None, start), Err(Duration::from_millis(500)));
        assert_eq!(limiter.admit("a", Some("u"), start), Ok(()), "a key of its own");
        assert_eq!(limiter.admit("a", None, start + Duration::from_millis(500)), Ok(()));
        assert!(limiter.admit("a", None, start).is_err(), "a clock that was set back");
    }

    #[test]
    fn a_late_request_fills_nothing() {
        let limiter = KeyLimiter::new(1);
        let start = UNIX_EPOCH + Duration::from_secs(1000);
        let now = start + Duration::from_secs(9);
        let passed =
            (0..100).filter(|i| limiter.admit("a", None, if i % 2 == 0 { now } else { start }).is_ok()).count();
        assert_eq!(passed, 10);
    }
}
