//! Random ids and hash keys, from the operating system.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|e| Error::io("draw random bytes for", Path::new("the store"), io::Error::other(e)))
}

/// A random id.
pub(crate) fn id() -> Result<u128> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}

/// A random hash key.
pub(crate) fn key() -> Result<[u64; 2]> {
    let id = id()?;
    let half = |v: u128| u64::try_from(v & u128::from(u64::MAX)).unwrap_or_default();
    Ok([half(id), half(id >> 64)])
}
