//! The bodies of responses, as hyper takes them.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headcount::ExportError;
use headcount::method::ExportBody;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::audit::{Audit, End};
use crate::bodies::{Share, pieces};
use crate::metrics::Metrics;
use crate::slots::{Slot, Ticket};
use crate::transfer::Entry;
use crate::watch::{Verdict, Watch};

/// How long a failed stream of HTTP/2 stays open: a reset throws away the frames that its connection has not written.
const RESET_AFTER: Duration = Duration::from_millis(100);

/// Most bytes that a stream of HTTP/2 is given at a time. hyper takes the next piece when the stream has a window again, and
/// lets go of the body with the last: pieces are small, so that little is on its way unwatched then.
const PIECE: usize = 32 << 10;

/// A request under way: its connection is not idle.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Watch>);

impl Busy {
    pub(crate) fn new(watch: Arc<Watch>) -> Self {
        watch.request_began();
        Self(watch)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.request_ended(Instant::now());
    }
}

/// A body, and what lasts as long as it.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    kind: Kind,
    _busy: Busy,
}

#[derive(Debug)]
enum Kind {
    /// On a connection of many streams with its entry among those that are watched.
    Bytes(Bytes, Option<Entry>),
    /// The same where nobody knows who takes it: in pieces that have their room for as long as hyper has them. One whose client
    /// has a large window, and reads nothing, takes them all at once.
    Pieces(VecDeque<Bytes>, Entry),
    Export(Box<Stream>),
}

impl ResponseBody {
    /// These bytes; `entry` is that of a stream of many, which may get no window, and `share` the room that they have.
    pub(crate) fn bytes(bytes: Vec<u8>, entry: Option<Entry>, share: Share, busy: Busy) -> Self {
        let kind = match (entry, share) {
            (Some(entry), Some(share)) => Kind::Pieces(pieces(&bytes, share), entry),
            (entry, _) => Kind::Bytes(bytes.into(), entry),
        };
        Self { kind, _busy: busy }
    }

    pub(crate) fn export(stream: Stream, busy: Busy) -> Self {
        Self { kind: Kind::Export(Box::new(stream)), _busy: busy }
    }
}

/// A piece as hyper takes it now.
fn handed(entry: &Entry, piece: Bytes, is_last: bool) -> Frame<Bytes> {
    let now = Instant::now();
    entry.transfer.asked(now);
    if is_last {
        entry.transfer.rest(piece.len(), now);
    } else {
        entry.transfer.handed(piece.len(), now);
    }
    Frame::data(piece)
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ExportError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ExportError>>> {
        match &mut self.get_mut().kind {
            Kind::Bytes(bytes, ..) if bytes.is_empty() => Poll::Ready(None),
            Kind::Bytes(bytes, None) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Bytes(bytes, Some(entry)) => {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                Poll::Ready(Some(Ok(handed(entry, piece, bytes.is_empty()))))
            }
            Kind::Pieces(pieces, entry) => {
                let piece = pieces.pop_front();
                Poll::Ready(piece.map(|piece| Ok(handed(entry, piece, pieces.is_empty()))))
            }
            Kind::Export(stream) => stream.poll(cx).map(|item| item.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Bytes(bytes, ..) => bytes.is_empty(),
            Kind::Pieces(pieces, _) => pieces.is_empty(),
            Kind::Export(stream) => stream.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Bytes(bytes, ..) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Pieces(pieces, _) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Kind::Export(stream) => stream.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// Why the transfer is broken off, and what was handed over before has not gone to the socket yet.
#[derive(Debug)]
struct Failing {
    error: ExportError,
    /// Flushes of the connection when the error came.
    flushes: u64,
    /// Of HTTP/2, whose connection is flushed for all streams.
    reset: Option<Pin<Box<Sleep>>>,
}

/// An export on its way to a client.
pub(crate) struct Stream {
    body: ExportBody,
    /// What is left of its newest piece.
    uncut: Bytes,
    /// Most bytes that are handed over at a time.
    most: usize,
    entry: Entry,
    ticket: Ticket,
    /// While a slot that was lost is waited for.
    again: Option<Pin<Box<dyn Future<Output = Option<Slot>> + Send>>>,
    watch: Arc<Watch>,
    metrics: Arc<Metrics>,
    audit: Audit,
    /// Bytes still promised, where the length is known.
    left: Option<u64>,
    sent: u64,
    failing: Option<Failing>,
    failed: Option<String>,
    ended: bool,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("left", &self.left).field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// What an export holds while it is under way.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) entry: Entry,
    pub(crate) ticket: Ticket,
    pub(crate) watch: Arc<Watch>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: Audit,
}

impl Stream {
    pub(crate) fn new(body: ExportBody, length: Option<u64>, held: Held) -> Self {
        let Held { entry, ticket, watch, metrics, audit } = held;
        Self {
            body,
            uncut: Bytes::new(),
            most: if watch.is_multiplexed() { PIECE } else { usize::MAX },
            entry,
            ticket,
            again: None,
            watch,
            metrics,
            audit,
            left: length,
            sent: 0,
            failing: None,
            failed: None,
            ended: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ExportError>>> {
        if self.failing.is_some() {
            return self.break_off(cx);
        }
        if !self.uncut.is_empty() {
            self.entry.transfer.asked(Instant::now());
            return Poll::Ready(Some(Ok(self.cut())));
        }
        if !self.entry.transfer.asked(Instant::now()) {
            let ticket = &self.ticket;
            let again = self.again.get_or_insert_with(|| ticket.again());
            let slot = ready!(again.as_mut().poll(cx));
            self.again = None;
            if let Some(slot) = slot {
                self.entry.transfer.resume(slot);
            }
        }
        match ready!(self.body.poll_next(cx)) {
            Some(Ok(piece)) => {
                if self.sent == 0 {
                    self.metrics.first_byte(self.audit.began.elapsed());
                }
                self.uncut = Bytes::from_owner(piece);
                Poll::Ready(Some(Ok(self.cut())))
            }
            Some(Err(error)) => {
                tracing::error!(callId = %self.audit.outcome.call_id, error = %Chain(&error), "an export broke off");
                self.failed = Some(error.to_string());
                self.entry.transfer.rest(0, Instant::now());
                self.failing = Some(Failing { error, flushes: self.watch.flushes(None), reset: None });
                self.break_off(cx)
            }
            None => {
                self.ended = true;
                self.entry.transfer.rest(0, Instant::now());
                Poll::Ready(None)
            }
        }
    }

    /// What goes out now of the newest piece.
    fn cut(&mut self) -> Bytes {
        let now = Instant::now();
        let part = self.uncut.split_to(self.uncut.len().min(self.most));
        let len = part.len();
        self.sent += len as u64;
        self.left = self.left.map(|left| left.saturating_sub(len as u64));
        self.ended = self.left == Some(0);
        if self.ended {
            self.entry.transfer.rest(len, now);
        } else {
            self.entry.transfer.handed(len, now);
        }
        part
    }

    /// Hands the error on once what came before it has gone to the socket: a JSON export says in its last bytes that it
    /// failed.
    fn break_off(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ExportError>>> {
        let Some(failing) = &mut self.failing else { return Poll::Ready(None) };
        if self.sent > 0 && self.watch.is_multiplexed() {
            let reset = failing.reset.get_or_insert_with(|| Box::pin(sleep(RESET_AFTER)));
            ready!(reset.as_mut().poll(cx));
        } else if self.sent > 0 && self.watch.flushes(Some(cx.waker())) == failing.flushes {
            return Poll::Pending;
        }
        self.ended = true;
        Poll::Ready(self.failing.take().map(|failing| Err(failing.error)))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let end = match (&self.failed, self.ended, self.watch.verdict()) {
            (Some(_), ..) => End::Failed,
            (None, true, _) => End::Whole,
            (None, false, Some(Verdict::SlowReader)) => End::SlowClient,
            (None, false, Some(Verdict::Stopped)) => End::Stopped,
            (None, false, _) => End::ClientGone,
        };
        // What is handed over has not arrived: the connection knows when.
        if end == End::Whole
            && let Some(hold) = self.body.take_hold()
        {
            self.watch.hold(hold);
        }
        let counts = self.audit.counts(self.body.summary()).filter(|_| end == End::Whole);
        let (users, identities) = counts.unwrap_or_default();
        let site = self.audit.outcome.api_key.as_deref().unwrap_or_default();
        self.metrics.export(site, end.as_str(), users, identities, self.sent);
        self.audit.write(end, counts, self.sent, self.failed.as_deref());
    }
}

/// An error with its causes.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}
