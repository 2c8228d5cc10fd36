//! A hint to the memory system: the one `unsafe` of this crate.

/// How far ahead of the text in work memory is fetched, in bytes: about a block and its header. What follows a block in
/// a segment is the next block, whose checksum is then computed over bytes that are near.
pub(super) const AHEAD: usize = 72 << 10;

/// Asks for the cache line of `at`, which may be any address, mapped or not: nothing is read, and nothing can fail.
///
/// There is no safe twin to compare with, since it has no result; without it, and on other processors, exports are the
/// same, and wait for memory.
#[inline(always)]
pub(super) fn fetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        #[expect(unsafe_code, reason = "a fifth of an export's time was the checksum's wait for the next block")]
        // SAFETY: a prefetch dereferences nothing and never faults, whatever the address. It needs SSE, which every x86-64
        // processor has.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(at.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
