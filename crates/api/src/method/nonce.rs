//! The memory of nonces: a signed request is good once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::method::error::{Code, Failure};

/// Seconds that a timestamp may be off.
pub(crate) const WINDOW: u64 = 120;

/// Half of a SHA-256: what is remembered of a nonce, and of the key that used it.
type Id = [u8; 16];

/// What a correctly signed request says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp<'a> {
    pub(crate) api_key: &'a str,
    pub(crate) user_key: Option<&'a str>,
    pub(crate) nonce: &'a str,
    /// In milliseconds; a client that sends seconds means all of that second.
    pub(crate) timestamp_ms: u64,
    /// Whether it was sent in seconds.
    pub(crate) seconds: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Second after which it is forgotten.
    until: u64,
    /// Whether it was refused for a timestamp in the future: then it is refused so again.
    future: bool,
    key: Id,
}

#[derive(Debug, Default)]
struct Memory {
    entries: HashMap<Id, Entry>,
    /// What is forgotten after a second: the oldest first.
    ends: BTreeMap<u64, Vec<Id>>,
    /// Entries of each key.
    used: HashMap<Id, usize>,
}

/// Bounded; when it is full, requests are refused: forgetting early would let a request be repeated.
#[derive(Debug)]
pub(crate) struct Nonces {
    memory: Mutex<Memory>,
    capacity: usize,
    /// When the process began: what was used before is not known.
    started_ms: u64,
}

fn id(parts: &[&str]) -> Id {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut id = Id::default();
    for (to, from) in id.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    id
}

impl Nonces {
    pub(crate) fn new(capacity: usize, started_ms: u64) -> Self {
        Self { memory: Mutex::default(), capacity: capacity.max(1), started_ms }
    }

    /// Lets a correctly signed request pass once, within the window of its timestamp.
    pub(crate) fn admit(&self, stamp: Stamp<'_>, now_ms: u64) -> Result<(), Failure> {
        let expired = || {
            let (sent, now) = (stamp.timestamp_ms / 1000, now_ms / 1000);
            let details = format!("timestamp: {sent} is more than {WINDOW} seconds off this server's clock, {now}");
            Err(Failure::new(Code::RequestExpired, details))
        };
        // What is sent in seconds is compared in seconds.
        let unit = if stamp.seconds { 1000 } else { 1 };
        let (now, sent) = (now_ms / unit * unit, stamp.timestamp_ms);
        if now.saturating_sub(sent) > WINDOW * 1000 {
            return expired();
        }
        if sent < self.started_ms / unit * unit {
            return Err(Failure::new(
                Code::RequestExpired,
                "timestamp: before this server was started; sign the request anew",
            ));
        }
        let future = sent.saturating_sub(now) > WINDOW * 1000;
        let until = sent.div_ceil(1000).saturating_add(WINDOW);
        let user = stamp.user_key.unwrap_or_default();
        let key = id(&[stamp.api_key, user]);
        let entry = Entry { until, future, key };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.forget(now_ms / 1000);
        match memory.remember(id(&[stamp.api_key, user, stamp.nonce]), entry, self.capacity) {
            _ if future => expired(),
            Ok(None) => Ok(()),
            Ok(Some(before)) if before.future => expired(),
            Ok(Some(_)) => Err(Failure::new(Code::DuplicateNonce, "nonce: used before")),
            Err(wait) => {
                let details = "too many signed requests: the memory of nonces is full";
                Err(Failure::new(Code::RateLimit, details).retry_after(wait))
            }
        }
    }

    /// Forgets what is past.
    pub(crate) fn sweep(&self, now_ms: u64) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).forget(now_ms / 1000);
    }
}

impl Memory {
    /// Forgets what ended before `now`.
    fn forget(&mut self, now: u64) {
        while let Some(first) = self.ends.first_entry().filter(|first| *first.key() < now) {
            let end = *first.key();
            for id in first.remove() {
                // An entry that was prolonged is listed again later.
                if self.entries.get(&id).is_none_or(|entry| entry.until > end) {
                    continue;
                }
                if let Some(entry) = self.entries.remove(&id)
                    && let Some(used) = self.used.get_mut(&entry.key)
                {
                    *used = used.saturating_sub(1);
                    if *used == 0 {
                        self.used.remove(&entry.key);
                    }
                }
            }
        }
    }

    /// What was known of `id` before; when nothing was, it is entered. `Err` with seconds to wait when there is no room.
    /// One key takes half of it at most, so that others are not locked out.
    fn remember(&mut self, id: Id, new: Entry, capacity: usize) -> Result<Option<Entry>, u64> {
        if let Some(known) = self.entries.get_mut(&id) {
            let before = *known;
            known.future |= new.future;
            if new.until > before.until {
                known.until = new.until;
                self.ends.entry(new.until).or_default().push(id);
            }
            return Ok(Some(before));
        }
        let used = self.used.get(&new.key).copied().unwrap_or_default();
        if self.entries.len() >= capacity || used >= capacity.div_ceil(2) {
            return Err(2);
        }
        self.used.insert(new.key, used + 1);
        self.entries.insert(id, new);
        self.ends.entry(new.until).or_default().push(id);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(nonce: &str, seconds: u64) -> Stamp<'_> {
        Stamp { api_key: "a", user_key: None, nonce, timestamp_ms: seconds * 1000, seconds: true }
    }

    fn admit(nonces: &Nonces, nonce: &str, at: u64, now: u64) -> Result<(), Code> {
        nonces.admit(stamp(nonce, at), now * 1000 + 999).map_err(|f| f.code)
    }

    #[test]
    fn the_window_has_edges() {
        let nonces = Nonces::new(100, 0);
        assert_eq!(admit(&nonces, "1", 1000, 1120), Ok(()));
        assert_eq!(admit(&nonces, "2", 1000, 1121), Err(Code::RequestExpired));
        assert_eq!(admit(&nonces, "3", 1240, 1120), Ok(()));
        assert_eq!(admit(&nonces, "4", 1241, 1120), Err(Code::RequestExpired));
        let precise = Stamp { timestamp_ms: 1_000_001, seconds: false, ..stamp("5", 0) };
        assert!(nonces.admit(precise, 1_120_002).is_err());
        assert!(nonces.admit(precise, 1_120_001).is_ok());
    }

    #[test]
    fn what_was_used_is_known_until_it_has_expired() {
        let nonces = Nonces::new(100, 0);
        assert_eq!(admit(&nonces, "n", 1100, 1000), Ok(()));
        for now in [1000, 1120, 1220] {
            assert_eq!(admit(&nonces, "n", 1100, now), Err(Code::DuplicateNonce), "{now}");
        }
        assert_eq!(admit(&nonces, "n", 1100, 1221), Err(Code::RequestExpired));
        assert_eq!(admit(&nonces, "n", 1221, 1221), Ok(()), "a new request with an old nonce");
        let other = Stamp { user_key: Some("u"), ..stamp("n", 1221) };
        assert!(nonces.admit(other, 1_221_000).is_ok(), "another key");
    }

    #[test]
    fn the_future_stays_refused_and_the_past_is_forgotten() {
        let nonces = Nonces::new(100, 0);
        assert_eq!(admit(&nonces, "n", 2000, 1000), Err(Code::RequestExpired));
        assert_eq!(admit(&nonces, "n", 2000, 2000), Err(Code::RequestExpired), "its time has come, and it is known");
        assert_eq!(admit(&nonces, "o", 1000, 2000), Err(Code::RequestExpired));
        assert_eq!(admit(&nonces, "o", 2000, 2000), Ok(()), "repeated with the clock put right");
    }

    #[test]
    fn nothing_before_the_process_is_taken() {
        let nonces = Nonces::new(100, 1_000_500);
        assert_eq!(admit(&nonces, "a", 999, 1001), Err(Code::RequestExpired));
        assert_eq!(admit(&nonces, "a", 1000, 1001), Ok(()));
        let precise = Stamp { timestamp_ms: 1_000_499, seconds: false, ..stamp("b", 0) };
        assert!(nonces.admit(precise, 1_001_000).is_err());
    }

    #[test]
    fn a_full_memory_refuses() {
        let nonces = Nonces::new(4, 0);
        assert_eq!(admit(&nonces, "1", 1000, 1000), Ok(()));
        assert_eq!(admit(&nonces, "2", 1000, 1000), Ok(()));
        let refused = nonces.admit(stamp("3", 1000), 1_000_000).unwrap_err();
        assert_eq!((refused.code, refused.retry_after.is_some()), (Code::RateLimit, true));
        let other = |nonce| Stamp { api_key: "b", ..stamp(nonce, 1000) };
        assert!(nonces.admit(other("1"), 1_000_000).is_ok(), "half of it is for others");
        assert_eq!(admit(&nonces, "1", 1000, 1000), Err(Code::DuplicateNonce));
        assert_eq!(admit(&nonces, "3", 1121, 1121), Ok(()), "room again");
        assert_eq!(nonces.memory.lock().unwrap().used.len(), 1);
    }
}
