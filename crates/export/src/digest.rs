//! Digests of exported files: SHA-256 and BLAKE3, computed while the bytes are written.

use std::fmt;
use std::str::FromStr;
use std::thread::{Builder, JoinHandle};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::buffer::Buffer;
use crate::error::Error;
use crate::pipeline::{Receiver, Sender, bounded, panic_text, unbounded};

/// A digest algorithm. `docs/decisions/006-digest.md` says what each costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DigestAlgorithm {
    /// BLAKE3, 256 bits, as `b3sum` prints it: faster than files are written.
    #[default]
    Blake3,
    /// SHA-256, as `sha256sum` prints it.
    Sha256,
}

impl DigestAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 2] = [Self::Blake3, Self::Sha256];

    /// The name: `blake3` or `sha256`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
        }
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no digest algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown digest {0:?}: expected blake3 or sha256")]
pub struct DigestAlgorithmError(pub String);

impl FromStr for DigestAlgorithm {
    type Err = DigestAlgorithmError;

    fn from_str(name: &str) -> Result<Self, DigestAlgorithmError> {
        let known = Self::ALL.into_iter().find(|a| a.as_str().eq_ignore_ascii_case(name));
        known.ok_or_else(|| DigestAlgorithmError(name.to_owned()))
    }
}

/// The digest of a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// How it was computed.
    pub algorithm: DigestAlgorithm,
    /// 64 hexadecimal digits in lower case.
    pub hex: String,
}

/// A digest in work.
pub(crate) enum Hasher {
    Blake3(Box<blake3::Hasher>),
    Sha256(Box<sha2::Sha256>),
}

impl Hasher {
    /// The digest of nothing so far.
    pub(crate) fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Blake3 => Self::Blake3(Box::default()),
            DigestAlgorithm::Sha256 => Self::Sha256(Box::default()),
        }
    }

    /// Adds `bytes`.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes.
    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Blake3(hasher) => {
                Digest { algorithm: DigestAlgorithm::Blake3, hex: hasher.finalize().to_hex().to_string() }
            }
            Self::Sha256(hasher) => {
                let hex = hasher.finalize().iter().map(|b| format!("{b:02x}")).collect();
                Digest { algorithm: DigestAlgorithm::Sha256, hex }
            }
        }
    }
}

/// Buffers that wait to be hashed, at most.
const AHEAD: usize = 4;

/// The digest of a stream of buffers, in the calling thread or beside it.
pub(crate) enum Hashing {
    Here(Hasher),
    Beside { full: Sender<Buffer>, empty: Receiver<Buffer>, thread: JoinHandle<Hasher> },
}

impl Hashing {
    /// Begins; with `beside`, in a thread of its own where one can be started.
    pub(crate) fn begin(algorithm: DigestAlgorithm, beside: bool) -> Self {
        let mut hasher = Hasher::new(algorithm);
        if !beside {
            return Self::Here(hasher);
        }
        let (full, waiting) = bounded::<Buffer>(AHEAD);
        let (back, empty) = unbounded();
        let thread = Builder::new().name("headcount-digest".to_owned()).spawn(move || {
            for buffer in waiting {
                hasher.update(buffer.as_slice());
                // The export has ended: nobody needs the buffer.
                let _: Result<(), _> = back.send(buffer);
            }
            hasher
        });
        match thread {
            Ok(thread) => Self::Beside { full, empty, thread },
            // One thread does the same work.
            Err(_) => Self::Here(Hasher::new(algorithm)),
        }
    }

    /// Adds what `buffer` holds; it may be swapped for another one.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub(crate) fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        match self {
            Self::Here(hasher) => hasher.update(buffer.as_slice()),
            Self::Beside { full, empty, .. } => {
                let mut free = empty.try_recv().unwrap_or_default();
                free.clear();
                let taken = std::mem::replace(buffer, free);
                full.send(taken).map_err(|_| Error::Thread("the digest ended early".to_owned()))?;
            }
        }
        Ok(())
    }

    /// The digest of everything.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub(crate) fn finish(self) -> Result<Digest, Error> {
        match self {
            Self::Here(hasher) => Ok(hasher.finish()),
            Self::Beside { full, thread, .. } => {
                drop(full);
                let hasher = thread.join().map_err(|panic| Error::Thread(panic_text(panic.as_ref())))?;
                Ok(hasher.finish())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(algorithm: DigestAlgorithm, beside: bool, pieces: &[&[u8]]) -> String {
        let mut hashing = Hashing::begin(algorithm, beside);
        for piece in pieces {
            let mut buffer = Buffer::new();
            buffer.extend(piece);
            hashing.put(&mut buffer).unwrap();
        }
        hashing.finish().unwrap().hex
    }

    #[test]
    fn digests_are_those_of_the_standard_tools() {
        for (algorithm, empty, abc) in [
            (
                DigestAlgorithm::Sha256,
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                DigestAlgorithm::Blake3,
                "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
                "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
            ),
        ] {
            for beside in [false, true] {
                assert_eq!(digest(algorithm, beside, &[]), empty);
                assert_eq!(digest(algorithm, beside, &[b"a", b"", b"bc"]), abc);
            }
            assert_eq!(algorithm.as_str().to_uppercase().parse(), Ok(algorithm));
        }
        assert!("md5".parse::<DigestAlgorithm>().unwrap_err().to_string().contains("blake3 or sha256"));
    }

    #[test]
    fn a_long_stream_is_hashed_alike_on_both_ways() {
        let pieces: Vec<Vec<u8>> = (0..40_u8).map(|i| vec![i; 50_000 + usize::from(i)]).collect();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        for algorithm in DigestAlgorithm::ALL {
            assert_eq!(digest(algorithm, true, &pieces), digest(algorithm, false, &[&pieces.concat()]));
        }
    }
}
