//! Requests of one key in a second: a bucket each, which holds ten seconds' worth.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use headcount::method::Limiter;

/// Seconds' worth of requests that may come at once.
const BURST: f64 = 10.0;

#[derive(Debug)]
struct Bucket {
    requests: f64,
    filled: Instant,
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

    fn admit_at(&self, api_key: &str, user_key: Option<&str>, now: Instant) -> Result<(), Duration> {
        let most = self.per_second * BURST;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (api_key.to_owned(), user_key.map(str::to_owned));
        let bucket = buckets.entry(key).or_insert(Bucket { requests: most, filled: now });
        // A request that is late fills nothing, and no time is counted twice after it.
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.requests = (bucket.requests + passed * self.per_second).min(most);
        bucket.filled = bucket.filled.max(now);
        if bucket.requests >= 1.0 {
            bucket.requests -= 1.0;
            return Ok(());
        }
        Err(Duration::try_from_secs_f64((1.0 - bucket.requests) / self.per_second).unwrap_or(Duration::MAX))
    }
}

impl Limiter for KeyLimiter {
    /// By a clock that nobody sets: with the other one put right, keys would have to wait until it is there again.
    fn admit(&self, api_key: &str, user_key: Option<&str>, _: SystemTime) -> Result<(), Duration> {
        self.admit_at(api_key, user_key, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let limiter = KeyLimiter::new(2);
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(limiter.admit_at("a", None, start), Ok(()));
        }
        assert_eq!(limiter.admit_at("a", None, start), Err(Duration::from_millis(500)));
        assert_eq!(limiter.admit_at("a", Some("u"), start), Ok(()), "a key of its own");
        assert_eq!(limiter.admit_at("a", None, start + Duration::from_millis(500)), Ok(()));
        assert!(limiter.admit_at("a", None, start).is_err(), "one that is late");
    }

    #[test]
    fn a_late_request_fills_nothing() {
        let limiter = KeyLimiter::new(1);
        let start = Instant::now();
        let now = start + Duration::from_secs(9);
        let passed =
            (0..100).filter(|i| limiter.admit_at("a", None, if i % 2 == 0 { now } else { start }).is_ok()).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_keys_their_rate() {
        let limiter = KeyLimiter::new(1000);
        let now = std::time::UNIX_EPOCH + Duration::from_secs(1000);
        while limiter.admit("a", None, now).is_ok() {}
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(limiter.admit("a", None, now - Duration::from_secs(30)), Ok(()));
    }
}
