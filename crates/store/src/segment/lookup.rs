//! Lookups in one segment: by UID and by identity.

use headcount_block::{Dictionary, UserRef};

use super::hash_index::{Kind, PAGE, RowPlace, hash_identity, hash_uid, line_offset, locate, probe};
use super::read::Segment;
use crate::backing::Bytes;
use crate::error::{Error, Result};

/// A user that was looked up: borrowed from the mapped file, or holding the block that was read.
#[derive(Debug)]
pub struct UserGuard<'s>(Repr<'s>);

#[derive(Debug)]
enum Repr<'s> {
    Borrowed(UserRef<'s>),
    Owned { block: Vec<u8>, dict: &'s Dictionary, place: RowPlace },
}

impl UserGuard<'_> {
    /// The user.
    ///
    /// # Panics
    /// Never: the block that it lies in was read and checked before.
    #[must_use]
    #[expect(clippy::expect_used, reason = "an owned block cannot have changed since the same call succeeded on it")]
    pub fn user(&self) -> UserRef<'_> {
        match &self.0 {
            Repr::Borrowed(user) => *user,
            Repr::Owned { block, dict, place } => headcount_block::Block::parse(block, dict)
                .and_then(|b| b.user_in_group(usize::from(place.group), usize::from(place.row)))
                .expect("a row that was read before"),
        }
    }
}

impl Segment {
    /// The user with this UID, if the segment has it.
    pub(crate) fn find_uid(&self, uid: &[u8]) -> Result<Option<UserGuard<'_>>> {
        if !self.may_hold(uid) {
            return Ok(None);
        }
        let (key, _) = self.hash_params(Kind::Uid);
        self.find_uid_hashed(hash_uid(key, uid), uid)
    }

    /// As [`find_uid`](Self::find_uid), with the hash computed before.
    pub(crate) fn find_uid_hashed(&self, hash: u64, uid: &[u8]) -> Result<Option<UserGuard<'_>>> {
        self.find(Kind::Uid, hash, |user| user.uid() == uid).map(|found| found.map(|(_, guard)| guard))
    }

    /// The user of this segment that carries this identity. A newer segment may have another row of that user.
    pub(crate) fn find_identity(&self, provider: &[u8], provider_uid: &[u8]) -> Result<Option<UserGuard<'_>>> {
        let Some(id) = self.dictionary().id_of(provider) else { return Ok(None) };
        let (key, _) = self.hash_params(Kind::Identity);
        let hash = hash_identity(key, id, provider_uid);
        let found = self.find(Kind::Identity, hash, |user| user.has_identity(provider, provider_uid))?;
        Ok(found.map(|(_, guard)| guard))
    }

    /// The place of the first row under `hash` that is `wanted`, and the row.
    pub(crate) fn find(
        &self,
        kind: Kind,
        hash: u64,
        wanted: impl Fn(&UserRef<'_>) -> bool,
    ) -> Result<Option<(RowPlace, UserGuard<'_>)>> {
        let mut found = Ok(None);
        self.candidates(kind, hash, |place| {
            found = match self.user_at(place) {
                Ok(guard) if wanted(&guard.user()) => Ok(Some((place, guard))),
                Ok(_) => return false,
                Err(error) => Err(error),
            };
            true
        })?;
        found
    }

    /// Shows every place whose tag fits `hash` to `each`, until it returns `true`.
    pub(crate) fn candidates(&self, kind: Kind, hash: u64, mut each: impl FnMut(RowPlace) -> bool) -> Result<()> {
        let (_, pages) = self.hash_params(kind);
        if pages == 0 {
            return Ok(());
        }
        let (number, line, tag) = locate(hash, pages);
        let page = self.page(kind, number, false)?;
        probe(&page, line, tag, &mut each).map_err(|f| {
            let section = if kind == Kind::Uid { &self.footer().uids } else { &self.footer().identities };
            Error::fault(f, self.path(), section.section.offset + number * PAGE as u64)
        })
    }

    /// The user in a row that an index names.
    pub(crate) fn user_at(&self, place: RowPlace) -> Result<UserGuard<'_>> {
        let (bytes, offset) = self.block(place.block, false)?;
        let (group, row) = (usize::from(place.group), usize::from(place.row));
        let fault = |f| self.block_fault(f, place.block);
        match bytes {
            Bytes::Borrowed(bytes) => {
                let user = self.parse(bytes, offset)?.user_in_group(group, row).map_err(fault)?;
                Ok(UserGuard(Repr::Borrowed(user)))
            }
            Bytes::Owned(block) => {
                self.parse(&block, offset)?.user_in_group(group, row).map_err(fault)?;
                Ok(UserGuard(Repr::Owned { block, dict: self.dictionary(), place }))
            }
        }
    }

    /// Reads one byte of the line that a lookup of `hash` begins with, so that it is on its way into the cache.
    pub(crate) fn touch_line(&self, kind: Kind, hash: u64) -> u8 {
        let (_, pages) = self.hash_params(kind);
        let (number, line, _) = locate(hash, pages);
        let offset = self.footer().uids.section.offset + number * PAGE as u64 + line_offset(line) as u64;
        self.mapped(offset, 1).and_then(|b| b.first()).copied().unwrap_or_default()
    }

    /// The first place that a lookup of `hash` would look at, and a byte of the block header there, likewise.
    pub(crate) fn touch_block(&self, kind: Kind, hash: u64) -> Result<(Option<RowPlace>, u8)> {
        let mut first = None;
        self.candidates(kind, hash, |place| {
            first = Some(place);
            true
        })?;
        let entry = first.and_then(|place: RowPlace| self.index().entry(place.block as usize));
        let byte = entry.and_then(|e| self.mapped(e.offset + 28, 1)).and_then(|b| b.first()).copied();
        Ok((first, byte.unwrap_or_default()))
    }
}
