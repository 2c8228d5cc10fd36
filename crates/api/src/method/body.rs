//! The body of an export: pieces in order, a range of them where one is asked for, and the wrapping of JSONP.
//!
//! It ends as promised or with an error, never short of a promised length and silent: the piece that would complete the
//! length is handed out when the export has ended well, and not before.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use headcount_export::{Chunk, Chunks, Error, Summary};
use headcount_store::{Snapshot, Store};

use crate::method::pins::Pins;
use crate::method::site::Site;

/// Some of the bytes of a body.
pub struct Piece(Part);

enum Part {
    Chunk(Chunk, Range<usize>),
    Bytes(Vec<u8>),
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Part::Chunk(chunk, range) => chunk.get(range.clone()).unwrap_or_default(),
            Part::Bytes(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its bytes are personal data.
        f.debug_struct("Piece").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The snapshot of a transfer that is under way, with its store. Dropped, the snapshot stays for a while, so that the transfer can be resumed; a server
/// that knows that all has arrived [lets go](Self::let_go) of it.
#[derive(Debug)]
pub struct Hold {
    pins: Arc<Pins>,
    site: String,
    snapshot: Arc<Snapshot>,
    /// Nobody closes it before all has arrived.
    store: Arc<Store>,
    /// When the request came, and since when its clock has gone on.
    now_ms: u64,
    since: Instant,
    arrived: bool,
}

impl Hold {
    /// Of a request that came at `now_ms`.
    pub(crate) fn new(pins: &Arc<Pins>, site: &Site, snapshot: &Snapshot, now_ms: u64) -> Self {
        Self {
            pins: Arc::clone(pins),
            site: site.api_key.clone(),
            snapshot: pins.enter(&site.api_key, snapshot),
            store: Arc::clone(&site.store),
            now_ms,
            since: Instant::now(),
            arrived: false,
        }
    }

    /// All has arrived: nobody will resume the transfer.
    pub fn let_go(mut self) {
        self.arrived = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.arrived {
            let elapsed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.pins.keep(&self.site, &self.store, &self.snapshot, self.now_ms.saturating_add(elapsed));
        }
    }
}

/// The body of an export, for a thread to iterate over or for a task to poll. An `Err` is the last item, and means: break the
/// transfer off. Dropping it ends the export, and waits for nobody. Until then it has the [`Site::store`](crate::method::Site::store)
/// of which it is: whoever closes that waits for it, and does not let others erase what is still being sent.
#[derive(Debug)]
pub struct ExportBody {
    chunks: Chunks,
    first: Option<Chunk>,
    /// Bytes that the client has already.
    skip: u64,
    /// Bytes that are still to come, where that is known.
    left: Option<u64>,
    /// Whether the last of them is the last of the export.
    to_end: bool,
    /// The piece that completes the length: kept until the export has ended well.
    last: Option<Piece>,
    /// Bytes beyond the promised ones: the export's own error is waited for, if it has one.
    excess: Option<u64>,
    jsonp: Option<Jsonp>,
    hold: Option<Hold>,
    _store: Option<Arc<Store>>,
    ended: bool,
    /// Whether it ended well.
    whole: bool,
}

impl ExportBody {
    /// Waits for the first chunk, so that what fails before it can still be said properly.
    pub(crate) fn new(chunks: Chunks, length: Option<u64>) -> Result<Self, Error> {
        let mut chunks = chunks.detach();
        let first = chunks.next().transpose()?;
        Ok(Self {
            chunks,
            first,
            skip: 0,
            left: length,
            to_end: true,
            last: None,
            excess: None,
            jsonp: None,
            hold: None,
            _store: None,
            ended: false,
            whole: false,
        })
    }

    /// Only the `len` bytes after the first `skip`; `to_end` says whether the last of them is the last of the export.
    pub(crate) const fn part(mut self, skip: u64, len: u64, to_end: bool) -> Self {
        (self.skip, self.left, self.to_end) = (skip, Some(len), to_end);
        self
    }

    /// As a call of `callback`. The length is no longer known.
    pub(crate) fn jsonp(mut self, callback: &str) -> Self {
        self.jsonp = Some(Jsonp::new(callback));
        self.left = None;
        self
    }

    /// Keeps the store as long as it lives.
    pub(crate) fn of(mut self, store: &Arc<Store>) -> Self {
        self._store = Some(Arc::clone(store));
        self
    }

    /// Keeps the snapshot when the transfer breaks off.
    pub(crate) fn hold(mut self, hold: Hold) -> Self {
        self.hold = Some(hold);
        self
    }

    /// What the export held; known once all of it was read. Of a part of the bytes it is what was rendered for it.
    #[must_use]
    pub const fn summary(&self) -> Option<&Summary> {
        self.chunks.summary()
    }

    /// The snapshot of a transfer that can be resumed, for a server to hold until what it took of this body has arrived.
    /// Otherwise it is let go of with the body, when that has ended well.
    pub const fn take_hold(&mut self) -> Option<Hold> {
        self.hold.take()
    }

    /// The next piece, as [`next`](Iterator::next) has it, without blocking; when there is none yet, the task of `cx` is
    /// woken once there is.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Error>>> {
        self.advance(|chunks| chunks.poll_next(cx))
    }

    /// The next piece, out of what `next` gets of the chunks.
    fn advance(
        &mut self,
        next: impl FnMut(&mut Chunks) -> Poll<Option<Result<Chunk, Error>>>,
    ) -> Poll<Option<Result<Piece, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.piece(next));
        // A server that has sent what was promised does not ask again.
        self.ended = piece.as_ref().is_none_or(Result::is_err) || self.left == Some(0);
        self.whole = self.ended && !matches!(piece, Some(Err(_)));
        Poll::Ready(piece)
    }

    fn piece(
        &mut self,
        mut next: impl FnMut(&mut Chunks) -> Poll<Option<Result<Chunk, Error>>>,
    ) -> Poll<Option<Result<Piece, Error>>> {
        if let Some(head) = self.jsonp.as_mut().and_then(|jsonp| jsonp.head.take()) {
            return Poll::Ready(Some(Ok(Piece(Part::Bytes(head.into_bytes())))));
        }
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        loop {
            let chunk = match self.first.take() {
                Some(first) => first,
                None => match ready!(next(&mut self.chunks)) {
                    Some(Ok(chunk)) => chunk,
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => return Poll::Ready(self.end().transpose()),
                },
            };
            if let Some(piece) = self.take(chunk) {
                return Poll::Ready(Some(Ok(piece)));
            }
        }
    }

    /// What of a chunk goes out now.
    fn take(&mut self, chunk: Chunk) -> Option<Piece> {
        let len = chunk.len() as u64;
        if self.last.take().is_some() {
            self.excess = Some(len);
        }
        if self.excess.is_some() {
            return None;
        }
        if self.skip >= len {
            self.skip -= len;
            return None;
        }
        let start = usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(usize::MAX);
        if let Some(jsonp) = &mut self.jsonp {
            let bytes = jsonp.escape(chunk.get(start..).unwrap_or_default());
            return Some(Piece(Part::Bytes(bytes)));
        }
        let available = (chunk.len() - start) as u64;
        let Some(left) = self.left.filter(|left| available >= *left) else {
            self.left = self.left.map(|left| left - available);
            let end = chunk.len();
            return Some(Piece(Part::Chunk(chunk, start..end)));
        };
        // This completes the length. At the end of the export nothing may follow, and nothing have failed.
        if self.to_end && available > left {
            self.excess = Some(available - left);
            return None;
        }
        let end = usize::try_from(left).map_or(chunk.len(), |left| start.saturating_add(left).min(chunk.len()));
        let piece = Piece(Part::Chunk(chunk, start..end));
        if self.to_end {
            self.last = Some(piece);
            return None;
        }
        self.left = Some(0);
        Some(piece)
    }

    /// The end of the chunks: short of a promise, or beyond it, it is an error.
    fn end(&mut self) -> Result<Option<Piece>, Error> {
        if let Some(found) = self.excess {
            return Err(Error::Mismatch { what: "bytes after the promised ones", expected: 0, found });
        }
        if let Some(last) = self.last.take() {
            self.left = Some(0);
            return Ok(Some(last));
        }
        if let Some(jsonp) = self.jsonp.take() {
            return Ok(Some(Piece(Part::Bytes(jsonp.end()))));
        }
        match self.left {
            Some(expected) if expected > 0 => Err(Error::Mismatch { what: "bytes still to come", expected, found: 0 }),
            _ => Ok(None),
        }
    }
}

impl Iterator for ExportBody {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance(|chunks| Poll::Ready(chunks.next())) {
            Poll::Ready(piece) => piece,
            // Whoever waits for the chunks has none that are pending.
            Poll::Pending => None,
        }
    }
}

impl Drop for ExportBody {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take().filter(|_| self.whole) {
            hold.let_go();
        }
    }
}

/// U+2028 and U+2029, which end lines in older scripts, are escaped: three bytes that may lie across two chunks.
#[derive(Debug)]
struct Jsonp {
    head: Option<String>,
    /// What may be the beginning of one of them.
    carry: Vec<u8>,
}

/// `json` as a call of `callback`.
pub(crate) fn called(callback: &str, json: &[u8]) -> Vec<u8> {
    let mut jsonp = Jsonp::new(callback);
    let mut out = jsonp.head.take().unwrap_or_default().into_bytes();
    out.extend(jsonp.escape(json));
    out.extend(jsonp.end());
    out
}

impl Jsonp {
    fn new(callback: &str) -> Self {
        Self { head: Some(format!("{callback}(")), carry: Vec::new() }
    }

    /// What is left, and the end of the call.
    fn end(self) -> Vec<u8> {
        let mut tail = self.carry;
        tail.extend_from_slice(b");");
        tail
    }

    fn escape(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.carry);
        all.extend_from_slice(bytes);
        let kept = if all.ends_with(&[0xe2]) {
            1
        } else if all.ends_with(&[0xe2, 0x80]) {
            2
        } else {
            0
        };
        self.carry = all.split_off(all.len() - kept);
        let mut out = Vec::with_capacity(all.len());
        let mut rest = all.as_slice();
        while let Some((&b, after)) = rest.split_first() {
            rest = match rest {
                [0xe2, 0x80, 0xa8, after @ ..] => {
                    out.extend_from_slice(b"\\u2028");
                    after
                }
                [0xe2, 0x80, 0xa9, after @ ..] => {
                    out.extend_from_slice(b"\\u2029");
                    after
                }
                _ => {
                    out.push(b);
                    after
                }
            };
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};
    use std::thread::{Thread, current, park};

    use headcount_block::{Change, Error as SourceError, Measured, Scan, Select, Totals, UidRange, User, Visitor};
    use headcount_block::{Origin, Part as Stretch, Source};
    use headcount_export::{Export, Format};

    use super::*;

    /// Fails when all of its users were handed out, if it is told to.
    #[derive(Debug, Clone)]
    struct Late(Snapshot, bool);

    impl Source for Late {
        fn origin(&self) -> Origin {
            self.0.origin()
        }

        fn totals(&self) -> Totals {
            self.0.totals()
        }

        fn measure(&self, select: &Select, scan: Scan) -> Result<Option<Measured>, SourceError> {
            self.0.measure(select, scan)
        }

        fn parts<'s>(
            &'s self,
            range: &UidRange,
        ) -> Result<Box<dyn Iterator<Item = Result<Stretch, SourceError>> + Send + 's>, SourceError> {
            self.0.parts(range)
        }

        fn visit(&self, part: &Stretch, visitor: &mut dyn Visitor) -> Result<(), SourceError> {
            self.0.visit(part, visitor)?;
            let fails = self.1 && part.range.end == std::ops::Bound::Unbounded;
            if fails { Err(SourceError::Stopped) } else { Ok(()) }
        }

        fn changes(
            &self,
            since: u64,
            each: &mut dyn FnMut(Change<'_>) -> Result<(), SourceError>,
        ) -> Result<(), SourceError> {
            self.0.changes(since, each)
        }
    }

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// The pieces of a body as a thread gets them, or as a task does.
    fn pieces(mut body: ExportBody, polled: bool) -> (Vec<u8>, Option<Error>) {
        let waker = Waker::from(Arc::new(Unpark(current())));
        let mut all = Vec::new();
        loop {
            let piece =
                if polled { body.poll_next(&mut Context::from_waker(&waker)) } else { Poll::Ready(body.next()) };
            match piece {
                Poll::Pending => park(),
                Poll::Ready(Some(Ok(piece))) => all.extend_from_slice(&piece),
                Poll::Ready(last) => {
                    assert!(body.next().is_none(), "the end is the end");
                    return (all, last.and_then(Result::err));
                }
            }
        }
    }

    /// The piece that completes the promised length is not handed out unless the export ends there, and well.
    #[test]
    fn a_promise_is_not_kept_by_an_export_that_fails() {
        let store = Store::temporary().unwrap();
        let users = (0..40_000).map(|n| User::new(format!("u{n:08}")).with_identity("site", format!("{n}")));
        store.load(users).unwrap();
        let snapshot = store.snapshot();
        let mut whole = Vec::new();
        Export::new(&snapshot).format(Format::Csv).write_to(&mut whole).unwrap();
        let length = whole.len() as u64;
        let body = |fails, promise| {
            let export = Export::new(&Late(snapshot.clone(), fails)).format(Format::Csv).threads(2);
            ExportBody::new(export.chunks().unwrap(), promise).unwrap()
        };
        for polled in [false, true] {
            let (all, error) = pieces(body(false, Some(length)), polled);
            assert!(all == whole && error.is_none());
            let (all, error) = pieces(body(true, None), polled);
            assert!(all == whole && error.is_some(), "all bytes come, and then the error");
            for (fails, promise, damage) in
                [(true, length, false), (false, length - 1, true), (true, length - 1, false), (false, length + 1, true)]
            {
                let (all, error) = pieces(body(fails, Some(promise)), polled);
                assert!((all.len() as u64) < promise && whole.starts_with(&all), "{fails} {promise}");
                assert_eq!(error.unwrap().is_damage(), damage, "the export's own error goes first");
                // A part that ends before the end has nothing to do with it.
                let (part, error) = pieces(body(fails, Some(length)).part(5, 299_995, false), polled);
                assert!(part == whole[5..300_000] && error.is_none());
                let (part, error) = pieces(body(true, Some(length)).part(5, length - 5, true), polled);
                assert!(part.len() < whole.len() - 5 && error.is_some());
            }
        }
    }

    #[test]
    fn line_separators_are_escaped_wherever_they_are_cut() {
        let text = "a\u{2028}b\u{2029}\u{2027}é\u{2028}".as_bytes();
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let mut jsonp = Jsonp { head: None, carry: Vec::new() };
                let mut out = Vec::new();
                for part in [&text[..cut], &text[cut..second], &text[second..]] {
                    out.extend(jsonp.escape(part));
                }
                out.extend(jsonp.carry);
                assert_eq!(String::from_utf8(out).unwrap(), "a\\u2028b\\u2029\u{2027}é\\u2028");
            }
        }
    }
}
