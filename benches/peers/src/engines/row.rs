//! How a user travels into the key-value stores: the same bytes in each.

use headcount_block::{Identity, RowBuf, RowRef, User};

use crate::Outcome;

/// The encoded user.
pub(super) fn encode(user: &User) -> Outcome<Vec<u8>> {
    Ok(RowBuf::new().encode(user)?.as_bytes().to_vec())
}

/// The user of an encoded row.
pub(super) fn decode(bytes: &[u8]) -> Outcome<User> {
    RowRef::parse(bytes).and_then(|row| row.to_user()).map_err(|fault| fault.to_string().into())
}

/// Key of an identity. Neither part may hold a NUL.
pub(super) fn key(provider: &str, provider_uid: &str) -> Vec<u8> {
    [provider.as_bytes(), provider_uid.as_bytes()].join(&0)
}

/// Key of an identity.
pub(super) fn key_of(identity: &Identity) -> Vec<u8> {
    key(&identity.provider, &identity.provider_uid)
}

/// Identities that the old row has and the new one has not: their keys.
pub(super) fn unlinked(old: &[u8], new: &User) -> Outcome<Vec<Vec<u8>>> {
    Ok(decode(old)?.identities.iter().filter(|i| !new.identities.contains(i)).map(key_of).collect())
}

/// The refusal of an identity that another user has.
pub(super) fn taken<T>(identity: &Identity) -> Outcome<T> {
    Err(format!("the identity {:?} {:?} belongs to another user", identity.provider, identity.provider_uid).into())
}
