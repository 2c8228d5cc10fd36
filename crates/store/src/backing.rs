//! Where a segment's bytes come from: a mapping, or reads.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files::open_file;
use crate::mmap::Mapping;

/// How segments are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backend {
    /// Mapped on local file systems, read elsewhere (NFS, SMB, FUSE, 9P, Ceph).
    #[default]
    Auto,
    /// Mapped into memory: lookups and exports without a copy. A failing disk ends the process by SIGBUS.
    Mmap,
    /// Read by `pread`: every fault is an error. Lookups read a whole block each.
    Pread,
}

/// Bytes of a file: borrowed from a mapping, or read.
#[derive(Debug)]
pub(crate) enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Bytes of a file that are kept: of the mapping, which lives as long, or read.
#[derive(Debug)]
pub(crate) enum Kept {
    Mapped(Arc<Mapping>, Range<usize>),
    Read(Vec<u8>),
}

impl Deref for Kept {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map, range) => map.get(range.clone()).unwrap_or_default(),
            Self::Read(bytes) => bytes,
        }
    }
}

/// An open file of known length.
#[derive(Debug)]
pub(crate) enum Backing {
    Mapped(Arc<Mapping>),
    Pread(File, u64),
}

impl Backing {
    /// Opens `path` for reading.
    pub(crate) fn open(path: &Path, backend: Backend) -> Result<Self> {
        let file = open_file(path).map_err(|e| Error::io("open", path, e))?;
        let len = file.metadata().map_err(|e| Error::io("look at", path, e))?.len();
        let mapped = match backend {
            Backend::Auto => is_local(&file),
            Backend::Mmap => true,
            Backend::Pread => false,
        };
        if mapped && len > 0 {
            return Mapping::of(&file).map(|map| Self::Mapped(Arc::new(map))).map_err(|e| Error::io("map", path, e));
        }
        Ok(Self::Pread(file, len))
    }

    /// Length of the file in bytes.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Mapped(map) => map.len() as u64,
            Self::Pread(_, len) => *len,
        }
    }

    /// As [`read`](Self::read), for as long as the caller wants them.
    pub(crate) fn keep(&self, offset: u64, len: usize) -> io::Result<Kept> {
        match (self, self.read(offset, len)?) {
            (Self::Mapped(map), Bytes::Borrowed(bytes)) => {
                let from = usize::try_from(offset).map_err(|_| past_end())?;
                Ok(Kept::Mapped(Arc::clone(map), from..from + bytes.len()))
            }
            (_, Bytes::Borrowed(bytes)) => Ok(Kept::Read(bytes.to_vec())),
            (_, Bytes::Owned(bytes)) => Ok(Kept::Read(bytes)),
        }
    }

    /// `len` bytes from `offset`; an `UnexpectedEof` error when the file is shorter.
    #[inline]
    pub(crate) fn read(&self, offset: u64, len: usize) -> io::Result<Bytes<'_>> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.len()).ok_or_else(past_end)?;
        match self {
            Self::Mapped(map) => {
                let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
                range.and_then(|(from, to)| map.get(from..to)).map(Bytes::Borrowed).ok_or_else(past_end)
            }
            Self::Pread(file, _) => {
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(Bytes::Owned(bytes))
            }
        }
    }
}

fn past_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it should be")
}

/// Whether a file lies on a file system where a mapping cannot lose its bytes to another machine.
fn is_local(file: &File) -> bool {
    // Magic numbers from statfs(2): NFS, SMB (three), FUSE, 9P, Ceph, AFS, Coda, Lustre.
    const REMOTE: [u64; 10] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x6573_5546,
        0x0102_1997,
        0x00c3_6400,
        0x5346_414f,
        0x7375_7245,
        0x0bd0_0bd0,
    ];
    rustix::fs::fstatfs(file).is_ok_and(|fs| {
        let kind = u64::try_from(fs.f_type).unwrap_or_default() & 0xffff_ffff;
        !REMOTE.contains(&kind)
    })
}
