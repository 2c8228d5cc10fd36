//! Compression of what is written: gzip members and Zstandard frames, made by several threads.
//!
//! The bytes of an export are cut every [`CUT`] bytes, and each piece becomes a member or a frame of its own: the
//! standard tools read their concatenation as one stream (RFC 1952, section 2.2; RFC 8878, section 3). Where the cuts
//! are depends on nothing but the bytes, so the same export compresses to the same file, whatever the threads.
//! `docs/decisions/007-compression.md` says what the levels and the cuts cost.

mod pool;

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;

use flate2::GzBuilder;
use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::error::Error;
use crate::sink::Sink;
use pool::{Piece, Pool};

/// Bytes of an export that become one member or frame.
const CUT: usize = 1 << 20;

/// How an export is compressed: an algorithm and its level. Its text is `gzip:1` or `zstd:1`; without a level, 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Compression {
    algorithm: Algorithm,
    level: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Algorithm {
    Gzip,
    Zstd,
}

impl Algorithm {
    const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Levels that there are. Above, Zstandard takes more memory a thread than all the rest of an export.
    fn has_level(self, level: i32) -> bool {
        match self {
            Self::Gzip => (1..=9).contains(&level),
            Self::Zstd => (-7..=19).contains(&level) && level != 0,
        }
    }
}

impl Compression {
    /// gzip (RFC 1952), at its fastest.
    pub const GZIP: Self = Self { algorithm: Algorithm::Gzip, level: 1 };
    /// Zstandard (RFC 8878), at the fastest level that looks for the best match.
    pub const ZSTD: Self = Self { algorithm: Algorithm::Zstd, level: 1 };

    /// The algorithm's name: `gzip` or `zstd`, which is also its HTTP content coding.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.algorithm.as_str()
    }

    /// The level.
    #[must_use]
    pub const fn level(self) -> i32 {
        self.level
    }

    /// What a file name's extension asks for: `gz` or `zst`, in any case.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        [("gz", Self::GZIP), ("zst", Self::ZSTD)]
            .into_iter()
            .find_map(|(known, compression)| extension.eq_ignore_ascii_case(known).then_some(compression))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name(), self.level)
    }
}

/// A text that names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression {0:?}: expected gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, or zstd:-7 to zstd:-1")]
pub struct CompressionError(pub String);

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        let unknown = || CompressionError(text.to_owned());
        let (name, level) = text.split_once(':').unwrap_or((text, "1"));
        let algorithm =
            Algorithm::ALL.into_iter().find(|a| a.as_str().eq_ignore_ascii_case(name)).ok_or_else(unknown)?;
        let level = level.parse().ok().filter(|&level| algorithm.has_level(level)).ok_or_else(unknown)?;
        Ok(Self { algorithm, level })
    }
}

impl TryFrom<String> for Compression {
    type Error = CompressionError;

    fn try_from(text: String) -> Result<Self, CompressionError> {
        text.parse()
    }
}

impl From<Compression> for String {
    fn from(compression: Compression) -> Self {
        compression.to_string()
    }
}

/// What one thread compresses with.
pub(crate) enum Encoder {
    Gzip(flate2::Compression),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    /// An encoder, with its memory.
    ///
    /// # Errors
    /// When Zstandard cannot be set up.
    pub(crate) fn new(compression: Compression) -> std::io::Result<Self> {
        let level = compression.level;
        match compression.algorithm {
            Algorithm::Gzip => Ok(Self::Gzip(flate2::Compression::new(level.unsigned_abs()))),
            Algorithm::Zstd => {
                let mut zstd = zstd::bulk::Compressor::new(level)?;
                // As the tool does: a frame whose content was damaged is found by whoever reads it.
                zstd.include_checksum(true)?;
                Ok(Self::Zstd(zstd))
            }
        }
    }

    /// Makes `plain` a member or a frame.
    ///
    /// # Errors
    /// None that data can cause.
    pub(crate) fn pack(&mut self, plain: &[u8], packed: &mut Vec<u8>) -> std::io::Result<()> {
        packed.clear();
        match self {
            Self::Gzip(level) => {
                // No time, no name, and no system (255): the same bytes everywhere.
                let header = GzBuilder::new().mtime(0).operating_system(255);
                let mut member = header.write(packed, *level);
                member.write_all(plain)?;
                member.finish()?;
            }
            Self::Zstd(zstd) => {
                packed.resize(zstd::zstd_safe::compress_bound(plain.len()), 0);
                let len = zstd.compress_to_buffer(plain, packed.as_mut_slice())?;
                packed.truncate(len);
            }
        }
        Ok(())
    }
}

/// Compresses what passes through, with threads of its own from the second piece on.
pub(crate) struct Stage<'a> {
    to: &'a mut dyn Sink,
    compression: Compression,
    threads: usize,
    pool: Option<Pool>,
    /// What the calling thread compresses with.
    own: Option<Encoder>,
    /// Not yet [`CUT`] bytes.
    plain: Vec<u8>,
    out: Buffer,
    begun: bool,
    /// Bytes handed on.
    pub(crate) bytes: u64,
}

impl<'a> Stage<'a> {
    /// A stage before `to`; with one thread, all is done in the calling one.
    pub(crate) fn new(compression: Compression, threads: usize, to: &'a mut dyn Sink) -> Self {
        let (plain, out) = (Vec::with_capacity(CUT), Buffer::short());
        Self { to, compression, threads, pool: None, own: None, plain, out, begun: false, bytes: 0 }
    }

    /// Whether anything came.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun || !self.plain.is_empty()
    }

    /// Hands on what is left, as a member or a frame; one of nothing, where nothing came.
    ///
    /// # Errors
    /// As [`put`](Sink::put).
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        if !self.plain.is_empty() || !self.begun {
            self.cut(true)?;
        }
        self.drain()
    }

    /// Hands on the pieces that are in work.
    ///
    /// # Errors
    /// As [`put`](Sink::put).
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        while let Some(piece) = self.pool.as_mut().map(Pool::next).transpose()?.flatten() {
            self.hand_on(&piece)?;
        }
        Ok(())
    }

    /// Ends the piece in work. The last one of few is not worth a thread.
    fn cut(&mut self, last: bool) -> Result<(), Error> {
        let alone = self.threads <= 1 || (last && !self.begun);
        self.begun = true;
        if alone {
            let failed = |error: std::io::Error| Error::Thread(error.to_string());
            let own = match &mut self.own {
                Some(own) => own,
                none => none.insert(Encoder::new(self.compression).map_err(failed)?),
            };
            let mut piece = Piece::default();
            own.pack(&self.plain, &mut piece.packed).map_err(failed)?;
            self.plain.clear();
            return self.hand_on(&piece);
        }
        let pool = match &mut self.pool {
            Some(pool) => pool,
            none => none.insert(Pool::start(self.compression, self.threads)?),
        };
        if let Some(done) = pool.next_if_full()? {
            self.hand_on(&done)?;
            self.recycle(done);
        }
        if let Some(pool) = &mut self.pool {
            pool.give(&mut self.plain)?;
        }
        Ok(())
    }

    fn recycle(&mut self, piece: Piece) {
        if let Some(pool) = &mut self.pool {
            pool.recycle(piece);
        }
    }

    fn hand_on(&mut self, piece: &Piece) -> Result<(), Error> {
        self.out.clear();
        self.out.extend(&piece.packed);
        self.bytes += self.out.len() as u64;
        self.to.put(&mut self.out)
    }
}

impl Sink for Stage<'_> {
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let room = CUT.saturating_sub(self.plain.len()).min(rest.len());
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.plain.extend_from_slice(now);
            rest = later;
            if self.plain.len() >= CUT {
                self.cut(false)?;
            }
        }
        Ok(())
    }

    fn is_resumable(&self) -> bool {
        self.to.is_resumable()
    }
}

#[cfg(test)]
mod tests;
