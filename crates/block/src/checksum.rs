//! The checksum of block bodies and headers.

/// Number of the checksum algorithm in block headers and segment footers: 1 is CRC-32 (IEEE 802.3).
pub const CHECKSUM_ALGORITHM: u8 = 1;

/// Checksum of `bytes`. See `docs/decisions/002-checksum.md` for the alternatives that were measured.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    u64::from(crc32fast::hash(bytes))
}
