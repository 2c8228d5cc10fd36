//! Threads that compress pieces, and their results in order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use super::{CUT, Compression, Encoder};
use crate::error::Error;
use crate::pipeline::{Receiver, Sender, bounded, panic_text, unbounded};

/// A piece of an export, and what it was compressed to.
#[derive(Debug, Default)]
pub(super) struct Piece {
    number: u64,
    pub(super) plain: Vec<u8>,
    pub(super) packed: Vec<u8>,
}

/// A number, and what became of the piece.
type Done = (u64, Result<Piece, String>);

/// Threads, and the pieces that they have in work.
pub(super) struct Pool {
    work: Option<Sender<Piece>>,
    done: Receiver<Done>,
    threads: Vec<JoinHandle<()>>,
    /// Number of the next piece that is handed in.
    given: u64,
    /// Number of the next piece that is handed out.
    taken: u64,
    /// Results from `taken` on, as far as they are there.
    ready: VecDeque<Option<Result<Piece, String>>>,
    spare: Vec<Piece>,
    most: u64,
}

/// How a thread treats a piece: replaced by tests.
pub(super) type Treat = fn(&mut Encoder, &mut Piece) -> std::io::Result<()>;

fn pack(encoder: &mut Encoder, piece: &mut Piece) -> std::io::Result<()> {
    encoder.pack(&piece.plain, &mut piece.packed)
}

impl Pool {
    /// Starts so many threads, or as many as can be started.
    ///
    /// # Errors
    /// [`Error::Thread`] when there is not one.
    pub(super) fn start(compression: Compression, threads: usize) -> Result<Self, Error> {
        Self::start_with(compression, threads, pack)
    }

    pub(super) fn start_with(compression: Compression, threads: usize, treat: Treat) -> Result<Self, Error> {
        let (work, waiting) = unbounded::<Piece>();
        // One piece a thread in work, one that waits for it, and one to be filled meanwhile.
        let most = 2 * threads as u64 + 1;
        let (finished, done) = bounded::<Done>(usize::try_from(most).unwrap_or(usize::MAX));
        let mut running = Vec::new();
        for number in 0..threads {
            let (waiting, finished) = (waiting.clone(), finished.clone());
            let thread = Builder::new().name(format!("headcount-pack-{number}"));
            match thread.spawn(move || run(compression, treat, &waiting, &finished)) {
                Ok(thread) => running.push(thread),
                // Fewer threads do the same work.
                Err(_) if number > 0 => break,
                Err(error) => return Err(Error::Thread(error.to_string())),
            }
        }
        let (ready, spare) = (VecDeque::new(), Vec::new());
        Ok(Self { work: Some(work), done, threads: running, given: 0, taken: 0, ready, spare, most })
    }

    /// Hands in what `plain` holds, and leaves an empty vector in its place.
    pub(super) fn give(&mut self, plain: &mut Vec<u8>) -> Result<(), Error> {
        let mut piece =
            self.spare.pop().unwrap_or_else(|| Piece { plain: Vec::with_capacity(CUT), ..Piece::default() });
        piece.plain.clear();
        std::mem::swap(&mut piece.plain, plain);
        piece.number = self.given;
        self.given += 1;
        let sent = self.work.as_ref().map(|work| work.send(piece).is_ok());
        if sent == Some(true) { Ok(()) } else { Err(ended()) }
    }

    /// Takes a piece back whose bytes nobody needs any more.
    pub(super) fn recycle(&mut self, piece: Piece) {
        self.spare.push(piece);
    }

    /// The next piece in order when as many are in work as may be: whoever hands in more than that waits for it.
    pub(super) fn next_if_full(&mut self) -> Result<Option<Piece>, Error> {
        if self.given - self.taken < self.most { Ok(None) } else { self.next() }
    }

    /// The next piece in order, when it is done; `None` when none is in work.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Error> {
        if self.taken == self.given {
            return Ok(None);
        }
        loop {
            if let Some(result) = self.ready.front_mut().and_then(Option::take) {
                self.ready.pop_front();
                self.taken += 1;
                return result.map(Some).map_err(Error::Thread);
            }
            let (number, result) = self.done.recv().map_err(|_| ended())?;
            let at = usize::try_from(number - self.taken).unwrap_or(usize::MAX);
            while self.ready.len() <= at {
                self.ready.push_back(None);
            }
            if let Some(slot) = self.ready.get_mut(at) {
                *slot = Some(result);
            }
        }
    }
}

fn ended() -> Error {
    Error::Thread("the threads that compress have ended".to_owned())
}

/// Compresses pieces until there are no more. A panic is the piece's outcome: whoever waits for it hears of it.
fn run(compression: Compression, treat: Treat, waiting: &Receiver<Piece>, finished: &Sender<Done>) {
    let mut encoder = Encoder::new(compression);
    for mut piece in waiting {
        let number = piece.number;
        let outcome = match &mut encoder {
            Ok(encoder) => match catch_unwind(AssertUnwindSafe(|| treat(encoder, &mut piece))) {
                Ok(Ok(())) => Ok(piece),
                Ok(Err(error)) => Err(error.to_string()),
                Err(panic) => Err(panic_text(panic.as_ref())),
            },
            Err(error) => Err(error.to_string()),
        };
        if finished.send((number, outcome)).is_err() {
            return;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // No more work, and nobody who waits: each thread ends after the piece in its hands.
        self.work = None;
        self.done = bounded(0).1;
        for thread in self.threads.drain(..) {
            // A panic was the outcome of a piece.
            let _: std::thread::Result<()> = thread.join();
        }
    }
}
