//! Little-endian integers out of untrusted bytes, without panics.

use crate::error::Fault;

/// `N` bytes at `at`.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// A u16 at `at`.
pub(crate) fn get_u16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// A u32 at `at`.
pub(crate) fn get_u32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// A u64 at `at`.
pub(crate) fn get_u64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The fault of bytes that end before `need`.
pub(crate) const fn short(what: &'static str, need: usize, have: usize) -> Fault {
    Fault::new(what, have, need as u64, have as u64)
}
