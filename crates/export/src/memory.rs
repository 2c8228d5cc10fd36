//! Zeroed memory for buffers. What is large is mapped by itself: when it is dropped, the system has it back at once, where
//! an allocator that was freed of hundreds of large buffers keeps them for the next ones.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Bytes from which memory is mapped.
const LARGE: usize = 128 << 10;

/// Some bytes.
#[derive(Debug)]
pub(crate) enum Memory {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Memory {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        if len >= LARGE {
            // Where the system maps no more, the allocator may still have some.
            if let Ok(map) = MmapMut::map_anon(len) {
                return Self::Mapped(map);
            }
        }
        Self::Heap(vec![0; len])
    }

    /// Makes it `len` bytes long, no less than it was; the first `kept` bytes stay, the others may become zeros.
    pub(crate) fn grow(&mut self, len: usize, kept: usize) {
        match self {
            Self::Heap(bytes) if len < LARGE => bytes.resize(len, 0),
            _ => {
                let mut grown = Self::zeroed(len);
                if let (Some(to), Some(from)) = (grown.get_mut(..kept), self.get(..kept)) {
                    to.copy_from_slice(from);
                }
                *self = grown;
            }
        }
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_from_heap_to_map_and_keeps_what_it_held() {
        let mut memory = Memory::zeroed(10);
        memory.copy_from_slice(b"0123456789");
        for len in [20, LARGE - 1, LARGE, 3 * LARGE + 5] {
            memory.grow(len, 10);
            assert_eq!(memory.len(), len);
            assert!(memory.starts_with(b"0123456789"));
            assert!(memory.iter().skip(10).all(|&byte| byte == 0));
            assert_eq!(matches!(memory, Memory::Mapped(_)), len >= LARGE, "{len}");
        }
    }
}
