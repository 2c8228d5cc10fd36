//! Mapping files: the one `unsafe` of this crate.

use std::fs::File;
use std::io;
use std::ops::Deref;

/// A file mapped read-only.
///
/// # What makes it sound
/// The bytes must not change, and the file must not shrink, while the mapping lives. Segments are written once, made
/// read-only, fsynced and renamed into place before they are mapped, and never modified: the only writers left are
/// programs that disregard the store's lock and permissions. Should one change a byte all the same, every length read
/// out of a mapping is read once and every access is bounds-checked, so the outcome is a wrong value or an error.
/// A file that is truncated by others, or a disk that fails, ends the process by SIGBUS; the `Pread` backend serves
/// those who cannot accept that, and is the default off local file systems.
#[derive(Debug)]
pub(crate) struct Mapping(memmap2::Mmap);

impl Mapping {
    /// Maps all of `file`.
    ///
    /// # Errors
    /// The operating system's.
    #[expect(unsafe_code, reason = "reading a mapped block without copying it is what exports and lookups rest on")]
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        // SAFETY: the type's documentation says who keeps the file unchanged; nothing here writes to it.
        unsafe { memmap2::Mmap::map(file) }.map(Self)
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
