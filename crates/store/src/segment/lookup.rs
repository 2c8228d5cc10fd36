//! Lookups in one segment: by UID and by identity.

use std::fmt;

use headcount_block::{Block, HEADER_LEN, RowRef, UserRef};

use super::hash_index::{Kind, PAGE, RowPlace, hash_identity, hash_uid, line_offset, locate, probe};
use super::read::Segment;
use crate::backing::Bytes;
use crate::error::{Error, Result};
use crate::mmap::fetch;

/// Lookups of a batch whose cache misses overlap.
pub(crate) const BATCH: usize = 16;

/// A user that was looked up: borrowed from the mapped file, or holding the block that was read.
pub struct UserGuard<'s>(Repr<'s>);

enum Repr<'s> {
    Mapped { user: UserRef<'s>, segment: &'s Segment, place: RowPlace },
    Read { block: Vec<u8>, segment: &'s Segment, place: RowPlace },
    Row { user: UserRef<'s>, seq: u64 },
}

impl fmt::Debug for UserGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not what it borrows from: that is a whole segment.
        f.debug_tuple("UserGuard").field(&self.user()).finish()
    }
}

impl<'s> UserGuard<'s> {
    /// A user that is held in memory.
    pub(crate) fn of_row(row: RowRef<'s>, seq: u64) -> Self {
        Self(Repr::Row { user: row.into(), seq })
    }

    /// The user.
    ///
    /// # Panics
    /// Never: the block that it lies in was read and checked before.
    #[must_use]
    #[expect(clippy::expect_used, reason = "an owned block cannot have changed since the same call succeeded on it")]
    pub fn user(&self) -> UserRef<'_> {
        match &self.0 {
            Repr::Mapped { user, .. } | Repr::Row { user, .. } => *user,
            Repr::Read { block, segment, place } => Block::parse(block, segment.dictionary())
                .and_then(|b| b.user_in_group(usize::from(place.group), usize::from(place.row)))
                .expect("a row that was read before"),
        }
    }

    /// The seq of the commit or load that wrote the user as it is.
    ///
    /// # Errors
    /// [`Error::Damage`].
    pub fn seq(&self) -> Result<u64> {
        match &self.0 {
            Repr::Row { seq, .. } => Ok(*seq),
            Repr::Mapped { segment, place, .. } => segment.row_seq(*place),
            Repr::Read { block, segment, place } => {
                let block =
                    Block::parse(block, segment.dictionary()).map_err(|f| segment.block_fault(f, place.block))?;
                segment.seq_in(&block, place.block, place.ordinal())
            }
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
        self.find(Kind::Uid, hash, |user| user.uid() == uid)
    }

    /// The user of this segment that carries this identity. A newer segment may have another row of that user.
    pub(crate) fn find_identity(&self, provider: &[u8], provider_uid: &[u8]) -> Result<Option<UserGuard<'_>>> {
        let Some(id) = self.dictionary().id_of(provider) else { return Ok(None) };
        let (key, _) = self.hash_params(Kind::Identity);
        let hash = hash_identity(key, id, provider_uid);
        self.find(Kind::Identity, hash, |user| user.has_identity(provider, provider_uid))
    }

    /// The first row under `hash` that is `wanted`.
    pub(crate) fn find(
        &self,
        kind: Kind,
        hash: u64,
        wanted: impl Fn(&UserRef<'_>) -> bool,
    ) -> Result<Option<UserGuard<'_>>> {
        let mut found = Ok(None);
        self.candidates(kind, hash, |place| {
            found = match self.user_at(place) {
                Ok(guard) if wanted(&guard.user()) => Ok(Some(guard)),
                Ok(_) => return false,
                Err(error) => Err(error),
            };
            true
        })?;
        found
    }

    /// Shows every place whose tag fits `hash` to `each`, until it returns `true`.
    #[inline]
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
    #[inline]
    pub(crate) fn user_at(&self, place: RowPlace) -> Result<UserGuard<'_>> {
        let (bytes, offset) = self.block(place.block, false)?;
        let (group, row) = (usize::from(place.group), usize::from(place.row));
        let fault = |f| self.block_fault(f, place.block);
        match bytes {
            Bytes::Borrowed(bytes) => {
                let user = self.parse(bytes, offset)?.user_in_group(group, row).map_err(fault)?;
                Ok(UserGuard(Repr::Mapped { user, segment: self, place }))
            }
            Bytes::Owned(block) => {
                self.parse(&block, offset)?.user_in_group(group, row).map_err(fault)?;
                Ok(UserGuard(Repr::Read { block, segment: self, place }))
            }
        }
    }

    /// Looks up to [`BATCH`] users up by UID in a mapped segment; calls `each` in order.
    ///
    /// A lookup is a chain of cache misses: index line, block header and restart point, control entries, text. Each
    /// stage here asks, for the whole batch, for what the next one reads, without waiting for any of it.
    pub(crate) fn find_batch<S: AsRef<str>>(
        &self,
        uids: &[S],
        mut each: impl FnMut(usize, Option<UserRef<'_>>),
    ) -> Result<()> {
        let (key, _) = self.hash_params(Kind::Uid);
        let mut hashes = [0; BATCH];
        let mut places = [None; BATCH];
        for (hash, uid) in hashes.iter_mut().zip(uids) {
            *hash = hash_uid(key, uid.as_ref().as_bytes());
            self.fetch_line(*hash);
        }
        for ((hash, place), _) in hashes.iter().zip(&mut places).zip(uids) {
            self.candidates(Kind::Uid, *hash, |candidate| {
                *place = Some(candidate);
                true
            })?;
            place.iter().for_each(|place| self.fetch_header(*place));
        }
        for place in places.iter().flatten() {
            let (bytes, offset) = self.block(place.block, false)?;
            let Bytes::Borrowed(bytes) = bytes else { continue };
            let lines = self.parse(bytes, offset)?.lines_of(usize::from(place.group), usize::from(place.row));
            lines.into_iter().flatten().for_each(fetch);
        }
        let mut users = [None; BATCH];
        for (user, place) in users.iter_mut().zip(places) {
            let Some(place) = place else { continue };
            let Some(bytes) = self.mapped_block(place.block) else { continue };
            *user = Block::parse_again(bytes, self.dictionary())
                .ok()
                .and_then(|b| b.compact_user(usize::from(place.group), usize::from(place.row)));
            user.and_then(|user: UserRef<'_>| user.uid().first()).into_iter().for_each(fetch);
        }
        for (i, ((hash, uid), user)) in hashes.iter().zip(uids).zip(users).enumerate() {
            let uid = uid.as_ref().as_bytes();
            // Another key with the same tag, a row that is an exception, and an absent key take the whole way.
            match user.filter(|user| user.uid() == uid) {
                Some(user) => each(i, Some(user)),
                None => each(i, self.find_uid_hashed(*hash, uid)?.as_ref().map(UserGuard::user)),
            }
        }
        Ok(())
    }

    /// The bytes of a block that was verified before, where the file is mapped.
    fn mapped_block(&self, number: u32) -> Option<&[u8]> {
        let entry = self.index().entry(number as usize)?;
        self.mapped(entry.offset, entry.len as usize)
    }

    /// Asks for the index line that a lookup of `hash` begins with.
    fn fetch_line(&self, hash: u64) {
        let (_, pages) = self.hash_params(Kind::Uid);
        let (number, line, _) = locate(hash, pages);
        self.fetch_at(self.footer().uids.section.offset + number * PAGE as u64 + line_offset(line) as u64);
    }

    /// Asks for the header of the block at `place`, and for the restart point there.
    fn fetch_header(&self, place: RowPlace) {
        let Some(entry) = self.index().entry(place.block as usize) else { return };
        self.fetch_at(entry.offset);
        self.fetch_at(entry.offset + 64);
        self.fetch_at(entry.offset + HEADER_LEN as u64 + 8 * u64::from(place.group));
    }

    fn fetch_at(&self, offset: u64) {
        self.mapped(offset, 1).and_then(|bytes| bytes.first()).into_iter().for_each(fetch);
    }
}
