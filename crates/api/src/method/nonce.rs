//! The memory of nonces: a signed request is good once.

mod forgotten;
mod journal;
mod memory;

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

pub use journal::NoncesInUse;

use crate::method::error::{Code, Failure};
use crate::method::nonce::journal::{Journal, Record};
use crate::method::nonce::memory::{Full, Id, Memory, Time};

/// Seconds that a timestamp may be off.
pub(crate) const WINDOW: u64 = 120;

/// Seconds ahead beyond which a timestamp is refused without being remembered, ten years: no process lives until it
/// could pass, and after a restart nothing is remembered anyway. It keeps clients that send microseconds, which are
/// read as milliseconds of another age, from filling the memory for good.
const HORIZON: u64 = 10 * 365 * 86_400;

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

/// Bounded; when it is full, requests are refused: forgetting early would let a request be repeated.
#[derive(Debug)]
pub(crate) struct Nonces {
    memory: Mutex<Memory>,
    /// When the process began: of what was used before only the journal knows.
    started_ms: u64,
    journal: Option<Journal>,
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
        Self { memory: Mutex::new(Memory::new(capacity)), started_ms, journal: None }
    }

    /// Remembers in the file at `path`, too, what passes, and knows what is there already.
    pub(crate) fn keep(&mut self, path: &Path) -> io::Result<()> {
        let (journal, records) = Journal::open(path, self.started_ms / 1000)?;
        let memory = self.memory.get_mut().unwrap_or_else(PoisonError::into_inner);
        for Record { id, key, time } in records {
            memory.used.restore(id, key, time);
        }
        memory.forgotten = journal.forgotten();
        self.journal = Some(journal);
        Ok(())
    }

    /// Lets a correctly signed request pass once, within the window of its timestamp.
    pub(crate) fn admit(&self, stamp: Stamp<'_>, now_ms: u64) -> Result<(), Failure> {
        let expired = || {
            let (sent, now) = (stamp.timestamp_ms / 1000, now_ms / 1000);
            let details = format!("timestamp: {sent} is more than {WINDOW} seconds off this server's clock, {now}");
            Err(Failure::new(Code::RequestExpired, details))
        };
        let refused = |details: &str| Err(Failure::new(Code::RequestExpired, details));
        // What is sent in seconds is compared in seconds.
        let unit = if stamp.seconds { 1000 } else { 1 };
        let (now, sent) = (now_ms / unit * unit, stamp.timestamp_ms);
        if now.saturating_sub(sent) > WINDOW * 1000 {
            return expired();
        }
        if sent < self.started_ms / unit * unit {
            return refused("timestamp: before this server was started; sign the request anew");
        }
        let ahead = sent.saturating_sub(now);
        if ahead > HORIZON * 1000 {
            return expired();
        }
        let user = stamp.user_key.unwrap_or_default();
        let key = id(&[stamp.api_key, user]);
        let id = id(&[stamp.api_key, user, stamp.nonce]);
        let time = Time { first: sent / 1000, until: sent.div_ceil(1000).saturating_add(WINDOW) };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.forget(now_ms / 1000);
        if memory.may_have_forgotten(time) {
            let details = "timestamp: what passed at that time is forgotten; sign the request anew, and where the server's \
                           clock was ahead for a while, again once that time has passed";
            return refused(details);
        }
        if memory.refused.may_have_forgotten(&key, time) {
            let details = "timestamp: requests of this key at that time were too far in the future, and are forgotten; \
                           sign the request anew";
            return refused(details);
        }
        if ahead > WINDOW * 1000 {
            memory.refused.remember(id, key, time);
            return expired();
        }
        if memory.refused.knows(&id) {
            return refused("nonce: a request with it was too far in the future; sign the request anew");
        }
        if memory.refused.may_hold(&key, time.first) {
            let details = "timestamp: too many requests of this key were too far in the future, so that those of \
                           this time cannot be told apart; wait until it has passed";
            return refused(details);
        }
        let known = memory.used.remember(id, key, time);
        drop(memory);
        match known {
            Ok(false) => {
                // Also what is past: the clock of another process may be behind.
                if let Some(journal) = &self.journal {
                    journal.append(&Record { id, key, time });
                }
                Ok(())
            }
            Ok(true) => Err(Failure::new(Code::DuplicateNonce, "nonce: used before")),
            Err(Full) => {
                let details = "too many signed requests: the memory of nonces is full";
                Err(Failure::new(Code::RateLimit, details).retry_after(2))
            }
        }
    }

    /// Forgets what is past.
    pub(crate) fn sweep(&self, now_ms: u64) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).sweep(now_ms / 1000);
        if let Some(journal) = &self.journal {
            journal.sweep(now_ms / 1000);
        }
    }

    /// Why the journal was not written, since this was asked last.
    pub(crate) fn fault(&self) -> Option<io::Error> {
        self.journal.as_ref()?.fault()
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
        assert_eq!(nonces.memory.lock().unwrap().len(), 1);
    }

    #[test]
    fn prolonging_takes_no_memory() {
        let nonces = Nonces::new(64, 0);
        for i in 0..1000 {
            assert_eq!(admit(&nonces, "same", 1_000_000 + i, 1000), Err(Code::RequestExpired));
        }
        assert_eq!(admit(&nonces, "used", 1000, 1000), Ok(()));
        for i in 0..100 {
            assert_eq!(admit(&nonces, "used", 1001 + i, 1000), Err(Code::DuplicateNonce));
        }
        assert_eq!(nonces.memory.lock().unwrap().listed(), (2, 2));
        assert_eq!(admit(&nonces, "used", 1100, 1200), Err(Code::DuplicateNonce), "prolonged all the same");
        assert_eq!(admit(&nonces, "same", 1_000_500, 1_000_500), Err(Code::RequestExpired), "any of its times");
    }

    #[test]
    fn the_future_locks_nobody_out() {
        fn millis(nonce: &str, millis: u64) -> Stamp<'_> {
            Stamp { timestamp_ms: millis, seconds: false, ..stamp(nonce, 0) }
        }
        let nonces = Nonces::new(64, 0);
        let used: Vec<String> = (0..20).map(|i| format!("u{i}")).collect();
        for nonce in &used {
            assert_eq!(admit(&nonces, nonce, 1_700_000_000, 1_700_000_000), Ok(()));
        }
        for i in 0..1000 {
            // Microseconds, and a year ahead; a nonce that was used, and others.
            let nonce = used.get(i).cloned().unwrap_or_else(|| format!("f{i}"));
            assert!(nonces.admit(millis(&nonce, 1_700_000_000_000_000), 1_700_000_000_000).is_err());
            assert!(nonces.admit(millis(&nonce, 1_731_536_000_000), 1_700_000_000_000).is_err());
        }
        assert!(nonces.memory.lock().unwrap().len() <= 64 + 16);
        for i in 0..32 {
            let later = format!("l{i}");
            assert_eq!(admit(&nonces, &later, 1_700_000_500, 1_700_000_500), Ok(()), "{later}");
        }
    }

    #[test]
    fn what_was_not_remembered_stays_refused() {
        // Four of a key, sixteen of all.
        let nonces = Nonces::new(64, 0);
        let at = [9000, 5000, 8000, 3000, 7000, 4000, 6000];
        for at in at {
            assert_eq!(admit(&nonces, &format!("n{at}"), at, 1000), Err(Code::RequestExpired));
        }
        assert_eq!(admit(&nonces, "new", 2900, 2900), Ok(()), "before the nearest of them");
        for at in [3000, 4000, 5000, 6000, 7000, 8000] {
            assert_eq!(admit(&nonces, &format!("n{at}"), at, at), Err(Code::RequestExpired), "{at}");
            let others = if at < 7000 { Ok(()) } else { Err(Code::RequestExpired) };
            assert_eq!(admit(&nonces, "other", at + 121, at + 121), others, "the nearest are remembered one by one");
        }
        assert_eq!(admit(&nonces, "n9000", 9000, 8900), Err(Code::RequestExpired));
        let other = Stamp { api_key: "b", ..stamp("other", 8900) };
        assert!(nonces.admit(other, 8_900_000).is_ok(), "another key");
        assert_eq!(admit(&nonces, "other", 9001, 9001), Ok(()), "past");
        nonces.sweep(9_200_000);
        assert_eq!(nonces.memory.lock().unwrap().len(), 0);
    }

    #[test]
    fn all_times_of_a_forgotten_nonce_stay_refused() {
        let nonces = Nonces::new(64, 0);
        for at in [5000, 9000] {
            assert_eq!(admit(&nonces, "n", at, 1000), Err(Code::RequestExpired));
        }
        for nearer in 2000..2004 {
            assert_eq!(admit(&nonces, &nearer.to_string(), nearer, 1000), Err(Code::RequestExpired));
        }
        assert_eq!(admit(&nonces, "n", 5000, 5000), Err(Code::RequestExpired));
    }

    #[test]
    fn what_passed_does_not_pass_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        let begin = |started_ms| {
            let mut nonces = Nonces::new(100, started_ms);
            nonces.keep(&path).unwrap();
            nonces
        };
        let precise = |nonce| Stamp { timestamp_ms: 1_010_000, seconds: false, ..stamp(nonce, 0) };
        let first = begin(900_000);
        assert_eq!(admit(&first, "ahead", 1100, 1000), Ok(()));
        assert_eq!(admit(&first, "this second", 1010, 1010), Ok(()));
        assert!(first.admit(precise("this millisecond"), 1_010_000).is_ok());
        assert_eq!(admit(&first, "past", 1009, 1010), Ok(()));
        drop(first);
        let second = begin(1_010_000);
        for nonce in ["ahead", "this second"] {
            let at = if nonce == "ahead" { 1100 } else { 1010 };
            assert_eq!(admit(&second, nonce, at, 1020), Err(Code::DuplicateNonce), "{nonce}");
        }
        assert!(second.admit(precise("this millisecond"), 1_020_000).is_err());
        assert_eq!(admit(&second, "past", 1009, 1020), Err(Code::RequestExpired));
        assert_eq!(admit(&second, "another", 1009, 1020), Err(Code::RequestExpired));
        assert_eq!(admit(&second, "new", 1100, 1020), Ok(()), "others are not refused");
        drop(second);
        assert_eq!(admit(&begin(1_030_000), "ahead", 1100, 1040), Err(Code::DuplicateNonce), "nor after another");
    }

    #[test]
    fn what_was_forgotten_stays_refused_to_a_clock_of_before() {
        let nonces = Nonces::new(100, 0);
        assert_eq!(admit(&nonces, "n", 1000, 1000), Ok(()));
        assert_eq!(admit(&nonces, "other", 1121, 1121), Ok(()));
        // It came before the other, and is admitted after it.
        assert_eq!(admit(&nonces, "n", 1000, 1119), Err(Code::RequestExpired));
        assert_eq!(admit(&nonces, "m", 1001, 1119), Ok(()), "nothing of its time was forgotten");
        nonces.sweep(1_122_000);
        assert_eq!(admit(&nonces, "m", 1001, 1119), Err(Code::RequestExpired));
    }

    #[test]
    fn what_passed_does_not_pass_again_after_a_restart_with_an_earlier_clock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        let begin = |started_ms| {
            let mut nonces = Nonces::new(100, started_ms);
            nonces.keep(&path).unwrap();
            nonces
        };
        let first = begin(900_000);
        assert_eq!(admit(&first, "long ago", 1000, 1000), Ok(()));
        for now in [1260, 1520] {
            first.sweep(now * 1000);
            assert_eq!(admit(&first, "past", now - 5, now), Ok(()));
        }
        drop(first);
        for started in [980, 990] {
            let second = begin(started * 1000);
            assert_eq!(admit(&second, "past", 1515, 1510), Err(Code::DuplicateNonce), "{started}");
            assert_eq!(admit(&second, "long ago", 1000, 1010), Err(Code::RequestExpired), "{started}");
            assert_eq!(admit(&second, &format!("new {started}"), 1515, 1510), Ok(()), "others are not refused");
        }
    }

    /// Nonces of a process that started at this second, with what earlier ones left in the file.
    fn kept(path: &Path, started: u64) -> Nonces {
        let mut nonces = Nonces::new(100, started * 1000);
        nonces.keep(path).unwrap();
        nonces
    }

    #[test]
    fn a_clock_that_was_ahead_takes_only_its_own_times() {
        const DAY: u64 = 86_400;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        let begin = |started: u64| kept(&path, started);
        let first = begin(900);
        assert_eq!(admit(&first, "ahead", 1000 + DAY, 1000 + DAY), Ok(()));
        for now in [1130, 1300, 1600, 1900] {
            first.sweep((now + DAY) * 1000);
            assert_eq!(admit(&first, "others", now + DAY, now + DAY), Ok(()));
        }
        assert_eq!(admit(&first, "new", 1140, 1140), Ok(()), "the clock is put right");
        assert_eq!(admit(&first, "ahead", 1000 + DAY, 1000 + DAY), Err(Code::RequestExpired));
        drop(first);
        let second = begin(1200);
        assert_eq!(admit(&second, "newer", 1200, 1200), Ok(()), "nor after a restart");
        assert_eq!(admit(&second, "ahead", 1000 + DAY, 1000 + DAY), Err(Code::RequestExpired));
        assert_eq!(admit(&second, "others", 1900 + DAY, 1900 + DAY), Err(Code::DuplicateNonce));
        assert_eq!(admit(&second, "new", 1001 + DAY, 1001 + DAY), Ok(()), "other times of that day");
    }

    /// A clock that was ahead by `ahead` seconds for so many requests, each `apart` from the next, after seventy nights with one
    /// request each; and then goes right, with a request every twenty minutes.
    fn a_clock_ahead(ahead: u64, requests: u64, apart: u64) {
        const DAY: u64 = 86_400;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        let begin = |started: u64| kept(&path, started);
        let pass = |nonces: &Nonces, at: u64| {
            assert_eq!(admit(nonces, &at.to_string(), at, at), Ok(()), "{at}");
            nonces.sweep((at + 300) * 1000);
        };
        let nonces = begin(DAY);
        (1..=70).for_each(|night| pass(&nonces, night * DAY));
        let now = 71 * DAY;
        let early: Vec<u64> = (0..requests).map(|i| now + ahead + i * apart).collect();
        early.iter().for_each(|at| pass(&nonces, *at));
        // It is put right.
        let (now, until) = (now + requests * apart, now + ahead);
        let half = now + (until - now) / 2;
        (now..half).step_by(1200).for_each(|at| pass(&nonces, at));
        drop(nonces);
        let nonces = begin(half + 1200);
        (half + 1200..until).step_by(1200).for_each(|at| pass(&nonces, at));
        for at in early {
            let refused = admit(&nonces, &at.to_string(), at, at);
            assert!(refused.is_err(), "{at} passed before");
        }
    }

    #[test]
    fn a_clock_that_was_ahead_takes_no_times_before_it() {
        a_clock_ahead(5 * 3600, 1, 0);
        a_clock_ahead(7 * 86_400, 100, 1800);
    }

    #[test]
    fn what_came_too_early_binds_its_own_key_when_it_is_forgotten() {
        const DAY: u64 = 86_400;
        let nonces = Nonces::new(64, 0);
        let other =
            |at: u64| nonces.admit(Stamp { api_key: "b", ..stamp(&at.to_string(), at) }, at * 1000).map_err(|f| f.code);
        // Four are remembered one by one.
        for i in 0..6 {
            assert_eq!(admit(&nonces, &format!("n{i}"), 1000 + i + DAY, 1000), Err(Code::RequestExpired));
        }
        nonces.sweep((1000 + 2 * DAY) * 1000);
        assert_eq!(nonces.memory.lock().unwrap().len(), 0);
        for i in 0..6 {
            let at = 1000 + i + DAY;
            assert_eq!(admit(&nonces, &format!("n{i}"), at, at), Err(Code::RequestExpired), "{i}");
            assert_eq!(other(at), Ok(()), "{i}: another key");
        }
        assert_eq!(admit(&nonces, "new", 1100, 1100), Ok(()));
        assert_eq!(admit(&nonces, "new", 1300 + DAY, 1300 + DAY), Ok(()), "its time is past");
    }

    #[test]
    fn one_process_keeps_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nonces");
        let mut first = Nonces::new(100, 1_000_000);
        first.keep(&path).unwrap();
        let refused = Nonces::new(100, 1_000_000).keep(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        assert!(refused.get_ref().is_some_and(|error| error.is::<NoncesInUse>()), "and not of the file system");
        drop(first);
        Nonces::new(100, 1_000_000).keep(&path).unwrap();
    }
}
