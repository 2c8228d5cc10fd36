//! Bodies of requests on their way in, and what is answered to callers that are not known, within a bound for all of them
//! together: nobody knows who sends them, and whether anybody takes an answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::connection::{HEADER, MAX_HEAD, MOST_HEADERS};

/// Bytes of all requests whose bodies are under way. One body of the greatest size has room with any head, where it is alone.
const ROOM: usize = 64 << 20;
/// Bytes of each that are not counted: what is as short as most requests are is not refused because others send large ones.
pub(crate) const FREE: usize = 4 << 10;
/// What a head takes at most.
const LONGEST_HEAD: usize = MAX_HEAD + MOST_HEADERS * HEADER;
/// Bytes with which a body begins.
const FIRST: usize = 1 << 10;

/// Why the body of a request is not there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoBody {
    TooLong,
    TooSlow,
    Gone,
    /// There are too many others.
    NoRoom,
}

/// The room for bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    room: Arc<Semaphore>,
    longest: usize,
    patience: Duration,
}

/// Room that is taken, until it is dropped; nothing where little is needed.
pub(crate) type Share = Option<OwnedSemaphorePermit>;

/// A body, which has its room as long as this lives.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the request's head.
    head: usize,
    room: Arc<Semaphore>,
    share: Share,
}

/// A piece of an answer, with its room as long as hyper has it.
struct Piece {
    bytes: Box<[u8]>,
    _share: Share,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// An answer that is not empty, in pieces that hold no more than themselves, each with its part of the answer's `share`; but
/// the last, which stays with hyper for as long as its reader likes, has none: it is short.
pub(crate) fn pieces(bytes: &[u8], mut share: OwnedSemaphorePermit) -> VecDeque<Bytes> {
    let mut rest = bytes;
    let mut all = VecDeque::with_capacity(bytes.len().div_ceil(FREE));
    // The first takes what does not come out even: so the last is what is not counted.
    let mut len = bytes.len().wrapping_sub(1) % FREE + 1;
    while let Some((piece, after)) = rest.split_at_checked(len).filter(|(piece, _)| !piece.is_empty()) {
        let part = if after.is_empty() { None } else { share.split(piece.len()) };
        all.push_back(Bytes::from_owner(Piece { bytes: piece.into(), _share: part }));
        (rest, len) = (after, FREE);
    }
    all
}

fn take(room: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, NoBody> {
    let bytes = u32::try_from(bytes).map_err(|_| NoBody::NoRoom)?;
    Arc::clone(room).try_acquire_many_owned(bytes).map_err(|_| NoBody::NoRoom)
}

impl Received {
    /// Takes room for a body of so many bytes.
    fn take(&mut self, bytes: usize) -> Result<(), NoBody> {
        let had = self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = (self.head + bytes).saturating_sub(FREE).saturating_sub(had);
        if more == 0 {
            return Ok(());
        }
        let share = take(&self.room, more)?;
        match &mut self.share {
            Some(all) => all.merge(share),
            None => self.share = Some(share),
        }
        Ok(())
    }

    /// Copied, since pieces of a few bytes each would hold many times as much.
    fn push(&mut self, piece: &Bytes, longest: usize) -> Result<(), NoBody> {
        let needed = self.bytes.len() + piece.len();
        if needed > longest {
            return Err(NoBody::TooLong);
        }
        if needed > self.bytes.capacity() {
            let whole = (self.bytes.capacity() * 2).max(FIRST).min(longest).max(needed);
            self.take(whole)?;
            self.bytes.reserve_exact(whole - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            room: Arc::new(Semaphore::new(ROOM.max(limits.body_bytes.saturating_add(LONGEST_HEAD)))),
            longest: limits.body_bytes,
            patience: Duration::from_secs(limits.request_seconds),
        }
    }

    /// Room for an answer of so many bytes, to somebody who is not known.
    pub(crate) fn answer(&self, bytes: usize) -> Result<Share, NoBody> {
        if bytes <= FREE { Ok(None) } else { take(&self.room, bytes - FREE).map(Some) }
    }

    /// The body of a request whose head has so many bytes.
    pub(crate) async fn collect(&self, body: Incoming, head: usize) -> Result<Received, NoBody> {
        let mut received = Received { bytes: Vec::new(), head, room: Arc::clone(&self.room), share: None };
        if body.is_end_stream() {
            return Ok(received);
        }
        if body.size_hint().lower() > self.longest as u64 {
            return Err(NoBody::TooLong);
        }
        received.take(0)?;
        match tokio::time::timeout(self.patience, self.receive(body, &mut received)).await {
            Ok(done) => done.map(|()| received),
            Err(_) => Err(NoBody::TooSlow),
        }
    }

    async fn receive(&self, mut body: Incoming, received: &mut Received) -> Result<(), NoBody> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| NoBody::Gone)?;
            if let Some(piece) = frame.data_ref() {
                received.push(piece, self.longest)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_greatest_size_has_room_with_its_head() {
        for body_bytes in [1 << 20, ROOM, 100 << 20] {
            let bodies = Bodies::new(&Limits { body_bytes, ..Limits::default() });
            let room = Arc::clone(&bodies.room);
            let mut only = Received { bytes: Vec::new(), head: LONGEST_HEAD, room, share: None };
            for sent in 0..body_bytes >> 16 {
                assert_eq!(only.push(&Bytes::from(vec![7; 1 << 16]), bodies.longest), Ok(()), "{sent} of {body_bytes}");
            }
        }
    }

    #[test]
    fn what_is_short_needs_no_room() {
        let bodies = Bodies::new(&Limits { body_bytes: 100 << 20, ..Limits::default() });
        let received = |head| Received { bytes: Vec::new(), head, room: Arc::clone(&bodies.room), share: None };
        let piece = |len: usize| Bytes::from(vec![7; len]);
        let mut large = received(1000);
        for _ in 0..1000 {
            large.push(&piece(100 << 10), bodies.longest).unwrap();
        }
        assert_eq!(large.bytes.len(), 1000 * (100 << 10));
        let room = (100 << 20) + LONGEST_HEAD;
        assert_eq!(bodies.room.available_permits(), room - (large.bytes.capacity() + 1000 - FREE));
        let mut second = received(1000);
        second.push(&piece(2000), bodies.longest).unwrap();
        assert_eq!(second.push(&piece(4 << 20), bodies.longest), Err(NoBody::NoRoom));
        assert_eq!(received(8 << 20).take(0), Err(NoBody::NoRoom), "a head is counted, too");
        drop(large);
        second.push(&piece(4 << 20), bodies.longest).unwrap();
        assert_eq!(second.push(&piece(100 << 20), bodies.longest), Err(NoBody::TooLong));
        drop(second);
        assert_eq!(bodies.room.available_permits(), room);
    }
}
