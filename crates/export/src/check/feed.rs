//! The bytes of a file, read and hashed in a thread of their own, for whoever decompresses and looks at them.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use headcount_block::Progress;

use crate::digest::{Digest, DigestAlgorithm, Hasher};

/// Bytes read at a time, and pieces read ahead.
const PIECE: usize = 256 << 10;
const AHEAD: usize = 4;

/// The file's bytes in order. Dropping it ends the reading.
pub(crate) struct Feed {
    full: Receiver<io::Result<Vec<u8>>>,
    back: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

/// What the reading thread found.
pub(crate) struct Passed {
    pub(crate) bytes: u64,
    pub(crate) digest: Option<Digest>,
}

impl Feed {
    /// Starts to read `file`, and to compute its digest.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start<'s>(
        scope: &'s Scope<'s, '_>,
        file: File,
        digest: Option<DigestAlgorithm>,
        progress: Option<&'s Progress>,
    ) -> io::Result<(Self, ScopedJoinHandle<'s, Passed>)> {
        let (full_in, full) = sync_channel(AHEAD);
        let (back, empty) = channel();
        let work = move || pass(file, digest.map(Hasher::new), progress, &full_in, &empty);
        let thread = Builder::new().name("headcount-check".to_owned()).spawn_scoped(scope, work)?;
        Ok((Self { full, back, piece: Vec::new(), at: 0 }, thread))
    }
}

fn pass(
    mut file: File,
    mut hasher: Option<Hasher>,
    progress: Option<&Progress>,
    full: &SyncSender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) -> Passed {
    let mut bytes = 0;
    loop {
        let mut piece = empty.try_recv().unwrap_or_default();
        piece.clear();
        let read = match progress.map_or(Ok(()), Progress::check) {
            Ok(()) => (&mut file).take(PIECE as u64).read_to_end(&mut piece),
            Err(cancelled) => Err(io::Error::other(cancelled)),
        };
        let message = match read {
            Ok(0) => break,
            Ok(n) => {
                bytes += n as u64;
                if let Some(hasher) = &mut hasher {
                    hasher.update(&piece);
                }
                if let Some(progress) = progress {
                    progress.add_bytes(n as u64);
                }
                Ok(piece)
            }
            Err(error) => Err(error),
        };
        let failed = message.is_err();
        // Whoever looks at the bytes has found something, and wants no more.
        if full.send(message).is_err() || failed {
            break;
        }
    }
    Passed { bytes, digest: hasher.map(Hasher::finish) }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.piece.len() {
            let next = match self.full.recv() {
                Ok(next) => next?,
                // The end of the file.
                Err(_) => Vec::new(),
            };
            // The reader may have ended.
            let _: Result<(), _> = self.back.send(std::mem::replace(&mut self.piece, next));
            self.at = 0;
        }
        Ok(self.piece.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for Feed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}
