//! Mapping files, and asking for their cache lines ahead: the one `unsafe` module of this crate.

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

/// Asks for the cache line of `at`, without waiting for it.
///
/// A read would do the same, but the processor runs only so far ahead of one that waits. There is no safe twin to compare
/// with, since a hint has no result: on other processors lookups are the same, and slower.
#[inline(always)]
pub(crate) fn fetch(at: &u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(
            unsafe_code,
            reason = "lookups of a batch wait for memory together: docs/PERFORMANCE.md has the measurement"
        )]
        // SAFETY: a prefetch dereferences nothing and never faults, whatever the address. It needs SSE, which every x86-64
        // processor has.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = std::hint::black_box(*at);
}
