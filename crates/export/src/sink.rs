//! Where buffers go: the destinations of an export.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::AsFd;

use crate::buffer::Buffer;
use crate::error::Error;

/// Takes the bytes of an export in order. After an error it is not called again.
pub(crate) trait Sink {
    /// Takes what `buffer` holds. The buffer may be swapped for another one; what it holds afterwards is of no account.
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error>;
}

/// Any writer.
pub(crate) struct WriteSink<'a, W: Write> {
    to: &'a mut W,
    name: &'a str,
}

impl<'a, W: Write> WriteSink<'a, W> {
    /// A sink that writes to `to`, which errors call `name`.
    pub(crate) const fn new(to: &'a mut W, name: &'a str) -> Self {
        Self { to, name }
    }

    /// Flushes the writer.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.to.flush().map_err(|source| Error::Write { destination: self.name.to_owned(), source })
    }
}

impl<W: Write> Sink for WriteSink<'_, W> {
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        let written = self.to.write_all(buffer.as_slice());
        written.map_err(|source| Error::Write { destination: self.name.to_owned(), source })
    }
}

/// Writes to regular files begin and end at multiples of this, but for the last.
const ALIGN: usize = 256 << 10;

/// A file, written in aligned pieces: what is over is carried to the next write.
pub(crate) struct AlignedSink<'a> {
    file: &'a File,
    name: String,
    carry: Vec<u8>,
}

impl<'a> AlignedSink<'a> {
    /// A sink that writes to `file` from its start.
    pub(crate) fn new(file: &'a File, name: String) -> Self {
        Self { file, name, carry: Vec::with_capacity(ALIGN) }
    }

    /// Writes what is carried.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let carry = std::mem::take(&mut self.carry);
        self.write(&carry, &[])
    }

    fn write(&mut self, first: &[u8], second: &[u8]) -> Result<(), Error> {
        let mut slices = [IoSlice::new(first), IoSlice::new(second)];
        write_all_vectored(self.file, &mut slices)
            .map_err(|source| Error::Write { destination: self.name.clone(), source })
    }
}

impl Sink for AlignedSink<'_> {
    fn put(&mut self, buffer: &mut Buffer) -> Result<(), Error> {
        let bytes = buffer.as_slice();
        let aligned = (self.carry.len() + bytes.len()) / ALIGN * ALIGN;
        let Some((now, later)) = aligned.checked_sub(self.carry.len()).and_then(|n| bytes.split_at_checked(n)) else {
            self.carry.extend_from_slice(bytes);
            return Ok(());
        };
        let mut carry = std::mem::take(&mut self.carry);
        let written = self.write(&carry, now);
        carry.clear();
        carry.extend_from_slice(later);
        self.carry = carry;
        written
    }
}

/// Writes all of `slices`, in order.
fn write_all_vectored(mut file: &File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Empty slices at the front would make a write of nothing look like a full device.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut slices, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The size that pipes are enlarged to, in bytes: the most that an ordinary user may ask for.
const PIPE_SIZE: usize = 1 << 20;

/// Enlarges the pipe `fd`; whatever is no pipe, and a pipe that may not grow, stays as it is.
pub(crate) fn enlarge_pipe(fd: impl AsFd) {
    #[cfg(target_os = "linux")]
    {
        // It is an offer to write faster: failing changes nothing that the caller asked for.
        let _: Result<usize, rustix::io::Errno> = rustix::pipe::fcntl_setpipe_size(fd, PIPE_SIZE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (fd, PIPE_SIZE);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::new();
        buffer.extend(bytes);
        buffer
    }

    #[test]
    fn aligned_writes_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut expected = Vec::new();
        {
            let file = File::create(&path).unwrap();
            let mut sink = AlignedSink::new(&file, "out".to_owned());
            for (i, len) in [0, 5, ALIGN - 5, 1, ALIGN * 3, ALIGN - 1, 7, 0, 2 * ALIGN + 3].into_iter().enumerate() {
                let bytes: Vec<u8> = (0..len).map(|j| u8::try_from((i * 31 + j) % 251).unwrap()).collect();
                expected.extend_from_slice(&bytes);
                sink.put(&mut buffer(&bytes)).unwrap();
                assert_eq!(file.metadata().unwrap().len() % ALIGN as u64, 0, "a write that is not aligned");
            }
            sink.finish().unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}
