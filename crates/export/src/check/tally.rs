//! What is counted while a file is checked, and the order of its UIDs.

use super::error::Problem;
use crate::simple::is_formula;

/// Counts, and the UIDs at the ends. UIDs are of users, or of who is gone.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) users: u64,
    pub(crate) deleted: u64,
    pub(crate) identities: u64,
    /// UID of the first user.
    pub(crate) first: Option<Vec<u8>>,
    /// The UID before, and whether it is a user's; empty before the first.
    last: Vec<u8>,
    last_is_user: bool,
    /// UID of the last user, where that is not the UID before.
    last_user: Vec<u8>,
    /// Whether some UIDs may begin with an apostrophe that the formula guard added.
    may_be_guarded: bool,
    /// The UID before as it sorts, where some may be guarded: with or without its apostrophe.
    least: Vec<u8>,
    /// Whether the UID before, written once more, may be another one that looks like it.
    may_be_another: bool,
    /// Whether that one is among `alike`.
    is_counted: bool,
    /// Whether the order held only because of that, or two users may look like one.
    pub(crate) guard_seen: bool,
    /// Users that may be there besides those that were counted, as what looks like one may be two.
    pub(crate) alike: u64,
}

impl Tally {
    /// Counts of nothing; UIDs `may` be guarded.
    pub(crate) fn guarded(may: bool) -> Self {
        Self { may_be_guarded: may, ..Self::default() }
    }

    /// Counts a user whose UID has to sort after the one before.
    pub(crate) fn user(&mut self, uid: &[u8], identities: u64, offset: u64) -> Result<(), Problem> {
        self.uid(uid, offset)?;
        self.last_is_user = true;
        if self.first.is_none() {
            self.first = Some(uid.to_vec());
        }
        self.count(identities);
        Ok(())
    }

    /// Counts more of the user before, or of one whose UID looks like its.
    pub(crate) fn go_on(&mut self, identities: u64) {
        self.identities += identities;
        if self.may_be_another && !self.is_counted {
            self.is_counted = true;
            self.guard_seen = true;
            self.alike += 1;
        }
    }

    /// Whether the UID before, written once more, may be another one.
    pub(crate) const fn may_be_another(&self) -> bool {
        self.may_be_another
    }

    /// Counts a user without a UID.
    pub(crate) const fn count(&mut self, identities: u64) {
        self.users += 1;
        self.identities += identities;
    }

    /// Counts a UID that is gone.
    pub(crate) fn gone(&mut self, uid: &[u8], offset: u64) -> Result<(), Problem> {
        if self.last_is_user {
            self.last_user.clone_from(&self.last);
        }
        self.uid(uid, offset)?;
        self.last_is_user = false;
        self.deleted += 1;
        Ok(())
    }

    /// UID of the last user.
    pub(crate) fn last(&self) -> Option<&[u8]> {
        let last = if self.last_is_user { &self.last } else { &self.last_user };
        Some(last.as_slice()).filter(|uid| !uid.is_empty())
    }

    /// The UID before.
    pub(crate) fn before(&self) -> &[u8] {
        &self.last
    }

    /// From here on UIDs ascend anew.
    pub(crate) fn begin_list(&mut self) {
        if self.last_is_user {
            self.last_user.clone_from(&self.last);
        }
        self.last_is_user = false;
        self.last.clear();
        self.least.clear();
    }

    fn uid(&mut self, uid: &[u8], offset: u64) -> Result<(), Problem> {
        // No UID is empty, so that the first one sorts after none.
        let before = if self.may_be_guarded { &self.least } else { &self.last };
        let unguarded = if self.may_be_guarded { unguarded(uid) } else { uid };
        // The lesser of the two that sorts after the one before leaves the most room for those that follow.
        let ascending = [uid.min(unguarded), uid.max(unguarded)].into_iter().find(|&uid| uid > before.as_slice());
        let Some(ascending) = ascending else {
            let text = |uid: &[u8]| String::from_utf8_lossy(uid).into_owned();
            return Err(Problem::Order { offset, before: text(&self.last), found: text(uid) });
        };
        self.may_be_another = ascending < uid.max(unguarded);
        // The other one has come, and is counted for itself.
        if std::mem::take(&mut self.is_counted) && uid == self.last {
            self.alike -= 1;
        }
        if self.may_be_guarded {
            self.guard_seen |= ascending != uid;
            self.least.clear();
            self.least.extend_from_slice(ascending);
        }
        self.last.clear();
        self.last.extend_from_slice(uid);
        Ok(())
    }
}

/// A value without the apostrophe that the formula guard puts before it.
fn unguarded(value: &[u8]) -> &[u8] {
    match value {
        [b'\'', rest @ ..] if is_formula(rest) => rest,
        _ => value,
    }
}
