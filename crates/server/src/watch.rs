//! What is known of a connection while it lives, and the rules by which it is given up: slow headers, idleness, clients
//! that do not read.
//!
//! Times are looked at a few times a second by one task for all connections ([`crate::registry`]); a connection has no
//! timers of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use headcount::method::Hold;
use tokio::sync::Notify;

/// Bounds of time for a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From the first byte of a request, or from the beginning of the connection, to the end of the headers.
    pub(crate) request: Duration,
    /// From the end of one request to the next.
    pub(crate) idle: Duration,
    /// A client that is behind takes [`slow_bytes`](Self::slow_bytes) in this time.
    pub(crate) slow: Duration,
    /// See [`slow`](Self::slow).
    pub(crate) slow_bytes: u64,
}

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its headers did not come.
    SlowRequest,
    /// There was no other request.
    Idle,
    /// It does not take what is sent.
    SlowReader,
    /// Others need its place.
    Evicted,
    /// The server is stopped.
    Stopped,
}

impl Verdict {
    /// Its name in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::SlowRequest => "slow_request",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
            Self::Evicted => "evicted",
            Self::Stopped => "stopped",
        }
    }
}

/// Bytes that were taken since a moment.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    bytes: u64,
}

impl Window {
    const fn new(since: Instant) -> Self {
        Self { since, bytes: 0 }
    }

    /// Whether too little was taken; begins anew when its time is over.
    fn is_slow(&mut self, now: Instant, patience: &Patience) -> bool {
        if now.saturating_duration_since(self.since) < patience.slow {
            return false;
        }
        let slow = self.bytes < patience.slow_bytes;
        *self = Self::new(now);
        slow
    }
}

/// The snapshot of an export that was handed over whole.
#[derive(Debug)]
struct Sent {
    hold: Hold,
    /// When all of it had gone to the socket.
    flushed: Option<Instant>,
}

#[derive(Debug)]
struct State {
    /// Whether it speaks HTTP by now: a handshake has a bound of its own.
    speaks: bool,
    /// Requests that are not answered to the end.
    requests: usize,
    /// Whether there has been one.
    had_request: bool,
    /// When the last one was answered and the answer had gone to the socket, or the connection began.
    idle_since: Instant,
    /// When the first byte after that came. Of HTTP/2 bytes say nothing about requests.
    head_since: Option<Instant>,
    multiplexed: bool,
    /// While the socket takes less than it is offered.
    behind: Option<Window>,
    /// How often everything that was written has gone to the socket.
    flushes: u64,
    flush_waker: Option<Waker>,
    /// Exports that may not have arrived: see [`Watch::hold`].
    sent: Vec<Sent>,
    /// Whether the client has closed its side.
    closed: bool,
    /// Whether the socket failed.
    broken: bool,
    verdict: Option<Verdict>,
}

impl State {
    /// Exports that went to the socket and that `arrived` says have arrived; to be let go of without the lock.
    fn arrived(&mut self, arrived: impl Fn(Instant) -> bool) -> Vec<Sent> {
        // A look at nothing is all that most connections come to.
        if self.sent.is_empty() {
            return Vec::new();
        }
        self.sent.extract_if(.., |sent| sent.flushed.is_some_and(&arrived)).collect()
    }
}

fn let_go(arrived: Vec<Sent>) {
    for sent in arrived {
        sent.hold.let_go();
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Watch {
    state: Mutex<State>,
    given_up: Notify,
}

impl Watch {
    pub(crate) fn new(now: Instant) -> Self {
        let state = State {
            speaks: false,
            requests: 0,
            had_request: false,
            idle_since: now,
            head_since: None,
            multiplexed: false,
            behind: None,
            flushes: 0,
            flush_waker: None,
            sent: Vec::new(),
            closed: false,
            broken: false,
            verdict: None,
        };
        Self { state: Mutex::new(state), given_up: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on requests are expected, by HTTP/2 where it is `multiplexed`.
    pub(crate) fn expect_requests(&self, multiplexed: bool, now: Instant) {
        let mut state = self.lock();
        state.speaks = true;
        state.multiplexed = multiplexed;
        state.idle_since = now;
        state.head_since = None;
    }

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.lock().multiplexed
    }

    /// Bytes came.
    pub(crate) fn received(&self, now: Instant) {
        let mut state = self.lock();
        if state.requests == 0 && !state.multiplexed && state.head_since.is_none() {
            state.head_since = Some(now);
        }
    }

    /// The socket took so many bytes.
    pub(crate) fn sent(&self, bytes: usize) {
        if let Some(window) = &mut self.lock().behind {
            window.bytes = window.bytes.saturating_add(bytes as u64);
        }
    }

    /// The socket takes no more for now.
    pub(crate) fn blocked(&self, now: Instant) {
        let mut state = self.lock();
        if state.behind.is_none() {
            state.behind = Some(Window::new(now));
        }
    }

    /// Everything that was written has gone to the socket.
    pub(crate) fn flushed(&self, now: Instant) {
        let mut state = self.lock();
        if state.behind.take().is_some() {
            // Until now the client was busy with what it was sent.
            state.idle_since = now;
            state.head_since = state.head_since.map(|_| now);
        }
        state.flushes += 1;
        let waker = state.flush_waker.take();
        for sent in &mut state.sent {
            sent.flushed.get_or_insert(now);
        }
        let closed = state.closed;
        let arrived = state.arrived(|_| closed);
        drop(state);
        let_go(arrived);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// How often everything has gone to the socket; `waker` hears of the next time.
    pub(crate) fn flushes(&self, waker: Option<&Waker>) -> u64 {
        let mut state = self.lock();
        if let Some(waker) = waker {
            state.flush_waker = Some(waker.clone());
        }
        state.flushes
    }

    /// An export was handed over whole. Its snapshot stays until it has arrived, as far as that is known: the kernel may
    /// have much of it, and the connection may break. The client has it when it asks for something else or closes its side,
    /// or when the socket took all of it some time ago.
    pub(crate) fn hold(&self, hold: Hold) {
        self.lock().sent.push(Sent { hold, flushed: None });
    }

    /// The client has closed its side, having read what was sent before.
    pub(crate) fn closed(&self) {
        let mut state = self.lock();
        state.closed = true;
        let arrived = state.arrived(|_| true);
        drop(state);
        let_go(arrived);
    }

    /// The socket failed: a client that does not read what was sent resets the connection.
    pub(crate) fn broke(&self) {
        self.lock().broken = true;
    }

    /// A request's headers are there.
    pub(crate) fn request_began(&self) {
        let mut state = self.lock();
        state.requests += 1;
        state.had_request = true;
        state.head_since = None;
        // Of many streams another says nothing.
        let single = !state.multiplexed;
        let arrived = state.arrived(|_| single);
        drop(state);
        let_go(arrived);
    }

    /// A response was sent, or given up.
    pub(crate) fn request_ended(&self, now: Instant) {
        let mut state = self.lock();
        state.requests = state.requests.saturating_sub(1);
        state.idle_since = now;
    }

    /// Since when nothing is asked for, and nothing waits for the socket.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        let idle = state.requests == 0 && state.behind.is_none() && state.verdict.is_none();
        idle.then_some(state.idle_since)
    }

    /// Looks at the rules; what breaks one is given up.
    pub(crate) fn check(&self, now: Instant, patience: &Patience) -> Option<Verdict> {
        let over = |since: Instant, bound: Duration| now.saturating_duration_since(since) >= bound;
        let mut state = self.lock();
        if state.verdict.is_some() || !state.speaks {
            return None;
        }
        let arrived = state.arrived(|flushed| over(flushed, patience.slow));
        let verdict = Self::broken_rule(&mut state, now, patience);
        drop(state);
        let_go(arrived);
        let verdict = verdict?;
        self.give_up(verdict).then_some(verdict)
    }

    fn broken_rule(state: &mut State, now: Instant, patience: &Patience) -> Option<Verdict> {
        let over = |since: Instant, bound: Duration| now.saturating_duration_since(since) >= bound;
        let slow_reader = state.behind.as_mut().is_some_and(|window| window.is_slow(now, patience));
        if slow_reader {
            Some(Verdict::SlowReader)
        } else if state.requests > 0 || state.behind.is_some() {
            None
        } else if state.head_since.is_some_and(|since| over(since, patience.request))
            || (!state.had_request && over(state.idle_since, patience.request))
        {
            Some(Verdict::SlowRequest)
        } else {
            over(state.idle_since, patience.idle).then_some(Verdict::Idle)
        }
    }

    /// Ends the connection, unless it was given up before.
    pub(crate) fn give_up(&self, verdict: Verdict) -> bool {
        let mut state = self.lock();
        let is_first = state.verdict.is_none();
        state.verdict.get_or_insert(verdict);
        drop(state);
        self.given_up.notify_one();
        is_first
    }

    /// Why it was given up, once it was.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.lock().verdict
    }

    /// Waits until it is given up.
    pub(crate) async fn given_up(&self) -> Verdict {
        loop {
            if let Some(verdict) = self.verdict() {
                return verdict;
            }
            self.given_up.notified().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // What the socket did not take, or has lost, can be resumed.
        let broken = state.broken;
        let_go(state.arrived(|_| !broken));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        request: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        slow: Duration::from_secs(30),
        slow_bytes: 1000,
    };

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn headers_come_in_time() {
        let start = Instant::now();
        let silent = Watch::new(start);
        assert_eq!(silent.check(at(start, 99), &PATIENCE), None, "a handshake is not a request");
        silent.expect_requests(false, start);
        assert_eq!(silent.check(at(start, 9), &PATIENCE), None);
        assert_eq!(silent.check(at(start, 10), &PATIENCE), Some(Verdict::SlowRequest));
        assert_eq!(silent.check(at(start, 11), &PATIENCE), None, "said once");

        let dribbling = Watch::new(start);
        dribbling.expect_requests(false, start);
        dribbling.request_began();
        dribbling.request_ended(at(start, 1));
        for second in 20..30 {
            dribbling.received(at(start, second));
            assert_eq!(dribbling.check(at(start, second), &PATIENCE), None);
        }
        assert_eq!(dribbling.check(at(start, 30), &PATIENCE), Some(Verdict::SlowRequest), "bytes prolong nothing");
    }

    #[test]
    fn idle_connections_end() {
        let start = Instant::now();
        for multiplexed in [false, true] {
            let watch = Watch::new(start);
            watch.expect_requests(multiplexed, start);
            watch.request_began();
            assert_eq!(watch.check(at(start, 1000), &PATIENCE), None, "a request is under way");
            watch.request_ended(at(start, 1000));
            if multiplexed {
                watch.received(at(start, 1001));
            }
            assert_eq!(watch.check(at(start, 1059), &PATIENCE), None);
            assert_eq!(watch.check(at(start, 1060), &PATIENCE), Some(Verdict::Idle));
        }
    }

    #[test]
    fn readers_keep_up() {
        let start = Instant::now();
        let watch = Watch::new(start);
        watch.expect_requests(false, start);
        watch.request_began();
        watch.blocked(start);
        watch.sent(1000);
        assert_eq!(watch.check(at(start, 30), &PATIENCE), None, "fast enough");
        watch.sent(999);
        assert_eq!(watch.check(at(start, 59), &PATIENCE), None);
        assert_eq!(watch.check(at(start, 60), &PATIENCE), Some(Verdict::SlowReader));

        let steady = Watch::new(start);
        steady.expect_requests(false, start);
        steady.request_began();
        steady.blocked(start);
        steady.flushed(start);
        assert_eq!(steady.check(at(start, 1000), &PATIENCE), None, "it owes nothing");
    }

    #[test]
    fn who_takes_what_it_was_sent_is_not_idle() {
        let start = Instant::now();
        let watch = Watch::new(start);
        watch.expect_requests(false, start);
        watch.request_began();
        watch.blocked(start);
        watch.request_ended(at(start, 1));
        watch.received(at(start, 2));
        for second in (10..300).step_by(10) {
            watch.sent(500);
            assert_eq!(watch.check(at(start, second), &PATIENCE), None, "{second}");
            assert_eq!(watch.idle_since(), None, "{second}");
        }
        watch.flushed(at(start, 300));
        assert_eq!(watch.idle_since(), Some(at(start, 300)));
        assert_eq!(watch.check(at(start, 309), &PATIENCE), None);
        assert_eq!(watch.check(at(start, 310), &PATIENCE), Some(Verdict::SlowRequest));
    }
}
