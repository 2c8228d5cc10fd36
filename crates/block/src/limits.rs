//! What a store accepts, in one place. Lengths are in bytes.

/// Longest UID.
pub const UID_MAX: usize = 1024;
/// Longest provider name.
pub const PROVIDER_MAX: usize = 128;
/// Longest providerUID.
pub const PROVIDER_UID_MAX: usize = 4096;
/// Most identities of one user.
pub const IDENTITIES_MAX: usize = 4096;
/// Longest encoded user ([`crate::RowRef::as_bytes`]).
pub const USER_MAX: usize = 1 << 20;
/// Most providers in one segment's dictionary.
pub const PROVIDERS_MAX: usize = 65_535;
/// Longest encoded dictionary: each name has a byte in front of it.
pub const DICTIONARY_MAX: usize = PROVIDERS_MAX * (1 + PROVIDER_MAX);

/// A block is closed once its sections hold this many bytes.
pub const BLOCK_TARGET: usize = 64 << 10;
/// No block is longer than this: a reader may refuse to allocate more.
pub const BLOCK_MAX: usize = 4 << 20;
/// Most users in one block: 256 restart groups, so that an index slot names a group in eight bits.
pub const BLOCK_USERS_MAX: usize = 4096;

/// Most control entries of a block: those of its target size, and those of the user that exceeds it.
pub const BLOCK_ENTRIES_MAX: usize = BLOCK_TARGET / 3 + IDENTITIES_MAX;

/// Longest UID of a compact row: seven bits in the control array.
pub const COMPACT_UID_MAX: usize = 127;
/// Longest providerUID of a compact row: eight bits in the control array.
pub const COMPACT_PROVIDER_UID_MAX: usize = 255;
/// Greatest dictionary id of a compact row; zero in the control array means "no identity".
pub const COMPACT_PROVIDER_MAX: u16 = 254;
