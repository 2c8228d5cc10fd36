//! The self-contained row: one user in bytes that need no dictionary and no block.
//!
//! ```text
//! flags u8 (bit 0: pending) | uid_len u16 | count u16 | { provider_len u8, provider_uid_len u16 } x count
//! | uid | { provider, providerUID } x count
//! ```
//! Little-endian. It is the form of exceptions in blocks, of records in the delta, and of runs in an external sort.

use std::collections::HashSet;

use crate::bytes::get_u16;
use crate::error::{Fault, LimitError};
use crate::limits;
use crate::text::is_plain;
use crate::user::{Identity, Status, User};
use crate::view::IdentityRef;

/// Bytes before the identity lengths.
const FIXED: usize = 5;
/// Bytes of the lengths of one identity.
const LENS: usize = 3;
const PENDING: u8 = 1;

/// A borrowed self-contained row whose structure has been checked: all lengths add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRef<'a> {
    bytes: &'a [u8],
    uid_at: usize,
    uid_len: usize,
    count: usize,
}

impl<'a> RowRef<'a> {
    /// Reads a row that takes up all of `bytes`.
    ///
    /// # Errors
    /// A [`Fault`] when lengths do not add up to `bytes.len()`, a flag is unknown or a limit is passed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        let row = Self::parse_prefix(bytes)?;
        if row.bytes.len() != bytes.len() {
            return Err(Fault::new("row length", 0, bytes.len() as u64, row.bytes.len() as u64));
        }
        Ok(row)
    }

    /// Reads the row that begins at the start of `bytes` and may be followed by other bytes.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_prefix(bytes: &'a [u8]) -> Result<Self, Fault> {
        let short = || crate::bytes::short("row length", FIXED, bytes.len());
        let flags = *bytes.first().ok_or_else(short)?;
        let uid_len = usize::from(get_u16(bytes, 1).ok_or_else(short)?);
        let count = usize::from(get_u16(bytes, 3).ok_or_else(short)?);
        if flags & !PENDING != 0 {
            return Err(Fault::new("row flags", 0, u64::from(PENDING), u64::from(flags)));
        }
        if uid_len == 0 || uid_len > limits::UID_MAX {
            return Err(Fault::new("row UID length", 1, limits::UID_MAX as u64, uid_len as u64));
        }
        if count > limits::IDENTITIES_MAX {
            return Err(Fault::new("row identity count", 3, limits::IDENTITIES_MAX as u64, count as u64));
        }
        let uid_at = FIXED + LENS * count;
        let lens = bytes.get(FIXED..uid_at).ok_or_else(|| crate::bytes::short("row length", uid_at, bytes.len()))?;
        let mut end = uid_at + uid_len;
        for len in lens.as_chunks::<LENS>().0 {
            let [provider, lo, hi] = *len;
            let provider_uid = usize::from(u16::from_le_bytes([lo, hi]));
            if provider == 0
                || usize::from(provider) > limits::PROVIDER_MAX
                || provider_uid == 0
                || provider_uid > limits::PROVIDER_UID_MAX
            {
                let found = u64::from(provider) << 16 | provider_uid as u64;
                return Err(Fault::new("row identity lengths", FIXED, 0x80_1000, found));
            }
            end += usize::from(provider) + provider_uid;
        }
        let whole = bytes.get(..end).ok_or_else(|| crate::bytes::short("row length", end, bytes.len()))?;
        Ok(Self { bytes: whole, uid_at, uid_len, count })
    }

    /// The encoded bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The UID.
    #[must_use]
    pub fn uid(&self) -> &'a [u8] {
        self.bytes.get(self.uid_at..self.uid_at + self.uid_len).unwrap_or_default()
    }

    /// Registered or pending.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.bytes.first().is_some_and(|f| f & PENDING != 0) { Status::Pending } else { Status::Registered }
    }

    /// How many identities follow.
    #[must_use]
    pub const fn identity_count(&self) -> usize {
        self.count
    }

    /// Whether no text in it needs JSON escaping or CSV quoting.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        is_plain(self.bytes.get(self.uid_at..).unwrap_or_default())
    }

    /// The identities, in link order.
    #[must_use]
    pub fn identities(&self) -> RowIdentities<'a> {
        RowIdentities {
            lens: self.bytes.get(FIXED..self.uid_at).unwrap_or_default(),
            text: self.bytes.get(self.uid_at + self.uid_len..).unwrap_or_default(),
        }
    }

    /// An owned copy.
    ///
    /// # Errors
    /// A [`Fault`] when text is not UTF-8.
    pub fn to_user(&self) -> Result<User, Fault> {
        let identities = self.identities().map(|i| i.to_identity()).collect::<Result<Vec<Identity>, Fault>>()?;
        Ok(User { uid: crate::view::utf8(self.uid(), "UID")?.to_owned(), status: self.status(), identities })
    }
}

/// Iterator over the identities of a [`RowRef`].
#[derive(Debug, Clone)]
pub struct RowIdentities<'a> {
    lens: &'a [u8],
    text: &'a [u8],
}

impl<'a> Iterator for RowIdentities<'a> {
    type Item = IdentityRef<'a>;

    fn next(&mut self) -> Option<IdentityRef<'a>> {
        let (&[provider, lo, hi], rest) = self.lens.split_first_chunk::<LENS>()?;
        let (provider, text) = self.text.split_at_checked(usize::from(provider))?;
        let (provider_uid, text) = text.split_at_checked(usize::from(u16::from_le_bytes([lo, hi])))?;
        self.lens = rest;
        self.text = text;
        Some(IdentityRef { provider, provider_uid })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.lens.len() / LENS;
        (n, Some(n))
    }
}

/// Identities up to this many are compared one by one for repeats; beyond it a hash set takes over.
const LINEAR_REPEATS: usize = 16;

/// Builds self-contained rows one after the other in the same buffers.
#[derive(Debug, Default)]
pub struct RowBuf {
    uid: String,
    status: Status,
    lens: Vec<u8>,
    text: String,
    seen: HashSet<(String, String)>,
    out: Vec<u8>,
}

impl RowBuf {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the row in work: registered, no UID, no identities.
    pub fn clear(&mut self) {
        self.uid.clear();
        self.status = Status::Registered;
        self.lens.clear();
        self.text.clear();
        self.seen.clear();
    }

    /// Sets the UID.
    ///
    /// # Errors
    /// [`LimitError`] when it is empty, longer than 1,024 bytes or holds a NUL.
    pub fn set_uid(&mut self, uid: &str) -> Result<(), LimitError> {
        check("UID", uid, limits::UID_MAX)?;
        self.uid.clear();
        self.uid.push_str(uid);
        Ok(())
    }

    /// Sets the status.
    pub const fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// Appends an identity; `Ok(false)` when the user has it already and it was dropped.
    ///
    /// # Errors
    /// [`LimitError`] for an empty or over-long value, a NUL, or the 4,097th identity.
    pub fn push_identity(&mut self, provider: &str, provider_uid: &str) -> Result<bool, LimitError> {
        check("provider", provider, limits::PROVIDER_MAX)?;
        check("providerUID", provider_uid, limits::PROVIDER_UID_MAX)?;
        if self.has(provider.as_bytes(), provider_uid.as_bytes()) {
            return Ok(false);
        }
        if self.lens.len() >= limits::IDENTITIES_MAX * LENS {
            return Err(LimitError::TooManyIdentities { max: limits::IDENTITIES_MAX });
        }
        if let (Ok(p), Ok(u)) = (u8::try_from(provider.len()), u16::try_from(provider_uid.len())) {
            let [lo, hi] = u.to_le_bytes();
            self.lens.extend_from_slice(&[p, lo, hi]);
            self.text.push_str(provider);
            self.text.push_str(provider_uid);
        }
        Ok(true)
    }

    fn has(&mut self, provider: &[u8], provider_uid: &[u8]) -> bool {
        let mut so_far = RowIdentities { lens: &self.lens, text: self.text.as_bytes() };
        if self.lens.len() <= LINEAR_REPEATS * LENS {
            return so_far.any(|i| i.provider == provider && i.provider_uid == provider_uid);
        }
        let owned = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if self.seen.is_empty() {
            self.seen.extend(so_far.map(|i| (owned(i.provider), owned(i.provider_uid))));
        }
        !self.seen.insert((owned(provider), owned(provider_uid)))
    }

    /// Encodes the row.
    ///
    /// # Errors
    /// [`LimitError`] when no UID was set or the row is longer than 1 MiB.
    pub fn finish(&mut self) -> Result<RowRef<'_>, LimitError> {
        if self.uid.is_empty() {
            return Err(LimitError::Empty { what: "UID", max: limits::UID_MAX });
        }
        let found = FIXED + self.lens.len() + self.uid.len() + self.text.len();
        if found > limits::USER_MAX {
            return Err(LimitError::UserTooLong { max: limits::USER_MAX, found });
        }
        let count = self.lens.len() / LENS;
        let uid_len = u16::try_from(self.uid.len()).unwrap_or_default();
        self.out.clear();
        self.out.push(if self.status == Status::Pending { PENDING } else { 0 });
        self.out.extend_from_slice(&uid_len.to_le_bytes());
        self.out.extend_from_slice(&u16::try_from(count).unwrap_or_default().to_le_bytes());
        self.out.extend_from_slice(&self.lens);
        self.out.extend_from_slice(self.uid.as_bytes());
        self.out.extend_from_slice(self.text.as_bytes());
        Ok(RowRef { bytes: &self.out, uid_at: FIXED + self.lens.len(), uid_len: self.uid.len(), count })
    }

    /// Encodes an owned user; repeated identities are dropped.
    ///
    /// # Errors
    /// As the setters and [`finish`](Self::finish).
    pub fn encode(&mut self, user: &User) -> Result<RowRef<'_>, LimitError> {
        self.clear();
        self.set_uid(&user.uid)?;
        self.set_status(user.status);
        for identity in &user.identities {
            self.push_identity(&identity.provider, &identity.provider_uid)?;
        }
        self.finish()
    }
}

fn check(what: &'static str, value: &str, max: usize) -> Result<(), LimitError> {
    if value.is_empty() {
        return Err(LimitError::Empty { what, max });
    }
    if value.len() > max {
        return Err(LimitError::TooLong { what, max, found: value.len() });
    }
    // Folded without an early exit so that it vectorizes; the position is looked for only when there is one.
    if value.bytes().fold(false, |nul, b| nul | (b == 0)) {
        return Err(LimitError::Nul { what, at: value.bytes().position(|b| b == 0).unwrap_or_default() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
