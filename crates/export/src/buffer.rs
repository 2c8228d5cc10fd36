//! The buffers that rendered users travel in. They are recycled: the bytes of a buffer are zeroed once in its life.

use std::ops::AddAssign;

use crate::memory::Memory;

/// Room before the first rendered byte: a head is written into it, and a kernel may overwrite its last bytes.
pub(crate) const HEADROOM: usize = 64;
/// Bytes after the rendered ones that a kernel may overwrite.
pub(crate) const SLACK: usize = crate::kernel::WINDOW;
/// A buffer is handed on once it holds this many bytes.
pub(crate) const CHUNK: usize = 256 << 10;
/// Length of a buffer that a full chunk was rendered into.
const FULL: usize = HEADROOM + CHUNK + CHUNK / 2;

/// Users and identities that were rendered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) users: u64,
    pub(crate) identities: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.users += other.users;
        self.identities += other.identities;
    }
}

/// Whole rendered users, and how many.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Rendered bytes are `start..end`; what lies around them is scratch.
    bytes: Memory,
    start: usize,
    end: usize,
    /// Length that it grows to at least.
    least: usize,
    pub(crate) counts: Counts,
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffer {
    /// An empty buffer, for chunks: it grows at once to what a full one takes, so that there is one growth in its life.
    pub(crate) fn new() -> Self {
        Self { least: FULL, ..Self::short() }
    }

    /// An empty buffer for what may be short: it grows with what is put into it.
    pub(crate) fn short() -> Self {
        let bytes = Memory::zeroed(HEADROOM + SLACK);
        Self { bytes, start: HEADROOM, end: HEADROOM, least: 0, counts: Counts::default() }
    }

    /// Forgets the rendered bytes and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.start = HEADROOM;
        self.end = HEADROOM;
        self.counts = Counts::default();
    }

    /// The rendered bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Number of rendered bytes.
    pub(crate) const fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Position after the last rendered byte.
    pub(crate) const fn end(&self) -> usize {
        self.end
    }

    /// Sets the position after the last rendered byte.
    pub(crate) fn set_end(&mut self, end: usize) {
        self.end = end.min(self.bytes.len()).max(self.start);
    }

    /// The bytes with room for `more` after the rendered ones, and [`SLACK`].
    pub(crate) fn reserve(&mut self, more: usize) -> &mut [u8] {
        let need = self.end + more + SLACK;
        if self.bytes.len() < need {
            let doubled = (2 * self.bytes.len()).min(FULL);
            self.bytes.grow(need.max(doubled).max(self.least), self.end);
        }
        &mut self.bytes
    }

    /// Appends `text`.
    pub(crate) fn extend(&mut self, text: &[u8]) {
        let (from, to) = (self.end, self.end + text.len());
        if let Some(free) = self.reserve(text.len()).get_mut(from..to) {
            free.copy_from_slice(text);
            self.end = to;
        }
    }

    /// Drops the first `n` bytes.
    pub(crate) fn skip(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }

    /// Puts `text` before the rendered bytes; `false` when the headroom does not hold it.
    pub(crate) fn prepend(&mut self, text: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(text.len()) else { return false };
        let Some(room) = self.bytes.get_mut(start..self.start) else { return false };
        room.copy_from_slice(text);
        self.start = start;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_go_before_and_text_after() {
        let mut buffer = Buffer::new();
        buffer.extend(b",abc");
        buffer.skip(1);
        assert!(buffer.prepend(b"head:"));
        assert_eq!(buffer.as_slice(), b"head:abc");
        assert_eq!(buffer.len(), 8);
        assert!(!buffer.prepend(&[b'x'; HEADROOM]));
        assert_eq!(buffer.as_slice(), b"head:abc");
        buffer.clear();
        assert_eq!(buffer.as_slice(), b"");
        buffer.extend(&vec![b'y'; 3 * CHUNK]);
        assert_eq!(buffer.len(), 3 * CHUNK);
        buffer.skip(4 * CHUNK);
        assert_eq!(buffer.len(), 0);
    }
}
