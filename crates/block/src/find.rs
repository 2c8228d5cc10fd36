//! Looking a user up inside a block, and the deep check of a block's rows.

use std::cmp::Ordering;

use crate::dictionary::Dictionary;
use crate::error::Fault;
use crate::header::{ENTRY_LEN, ROWS_PER_GROUP};
use crate::limits::{COMPACT_PROVIDER_MAX, COMPACT_PROVIDER_UID_MAX, COMPACT_UID_MAX, IDENTITIES_MAX, USER_MAX};
use crate::read::{Block, Mark, PENDING_BIT, Pos, Rows, UID_LEN_MASK};
use crate::sums::Totals;
use crate::text::is_plain;
use crate::view::{UserRef, utf8};

/// Bytes of a cache line.
const LINE: usize = 64;

impl<'a> Block<'a> {
    /// From a mark forward to the first row whose UID is not less than `uid`. What it costs grows with the logarithm of
    /// the way, not with the size of the block.
    ///
    /// # Errors
    /// A [`Fault`] when a row on the way is damaged.
    pub fn seek(&self, from: Mark, uid: &[u8]) -> Result<Mark, Fault> {
        self.seek_past(from, uid, 0)
    }

    /// As [`seek`](Self::seek), where `uid` and all UIDs from the mark on are known to share their first `skip` bytes.
    ///
    /// # Errors
    /// A [`Fault`] when a row on the way is damaged.
    pub fn seek_past(&self, from: Mark, uid: &[u8], skip: usize) -> Result<Mark, Fault> {
        let key = |uid: &[u8]| uid_prefix(uid.get(skip..).unwrap_or_default());
        let wanted = key(uid);
        // Most rows differ within eight bytes: one comparison of words instead of a call.
        let before = |own: &[u8]| match key(own).cmp(&wanted) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => own < uid,
        };
        let start = from.ordinal / ROWS_PER_GROUP;
        // Greatest group that begins before `uid`: by ever longer steps, then by halves.
        let (mut low, mut step) = (start, 1);
        while low + step < self.groups() && before(self.first_uid(low + step)?) {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(self.groups());
        while low + 1 < high {
            let middle = usize::midpoint(low, high);
            if before(self.first_uid(middle)?) {
                low = middle;
            } else {
                high = middle;
            }
        }
        let mut mark = if low > start { self.rows_from_group(low)?.mark() } else { from };
        while let Some((own, next)) = self.row_at(mark)?.filter(|(own, _)| before(own)) {
            debug_assert!(own < uid, "keys order as UIDs do");
            mark = next;
        }
        Ok(mark)
    }

    /// UID of the row at a mark, and the mark after it; `None` at the end of the block.
    ///
    /// # Errors
    /// A [`Fault`] when the row is damaged.
    #[inline]
    pub fn row_at(&self, mark: Mark) -> Result<Option<(&'a [u8], Mark)>, Fault> {
        if mark.ordinal >= self.users() {
            return Ok(None);
        }
        match self.plain_row_at(mark) {
            Some(found) => Ok(Some(found)),
            None => self.any_row_at(mark),
        }
    }

    /// As above, where the row's group has no exception and nothing is wrong.
    #[inline]
    fn plain_row_at(&self, mark: Mark) -> Option<(&'a [u8], Mark)> {
        if self.group_has_exceptions(mark.ordinal / ROWS_PER_GROUP) {
            return None;
        }
        let (&[head, _, len], rest) = self.entries().get(mark.pos.ctl..)?.split_first()?;
        let uid_len = usize::from(head & UID_LEN_MASK);
        let uid = self.text_bytes().get(mark.pos.text..mark.pos.text + uid_len).filter(|uid| !uid.is_empty())?;
        let mut next = Pos { ctl: mark.pos.ctl + 1, text: mark.pos.text + uid_len + usize::from(len) };
        for &[head, _, len] in rest {
            if head & UID_LEN_MASK != 0 {
                break;
            }
            next = Pos { ctl: next.ctl + 1, text: next.text + usize::from(len) };
        }
        (next.text <= self.text_bytes().len()).then_some((uid, Mark { ordinal: mark.ordinal + 1, pos: next, ..mark }))
    }

    #[cold]
    fn any_row_at(&self, mark: Mark) -> Result<Option<(&'a [u8], Mark)>, Fault> {
        let mut rows = self.rows_at(mark);
        let user = rows.next().transpose()?;
        Ok(user.map(|user| (user.uid(), rows.mark())))
    }
}

/// The first eight bytes as a number that is ordered as they are; shorter ones are followed by zeros, and a UID holds none.
#[must_use]
#[inline]
pub fn uid_prefix(uid: &[u8]) -> u64 {
    uid.first_chunk().map_or_else(
        || uid.iter().take(8).enumerate().fold(0, |sum, (i, b)| sum | u64::from(*b) << (56 - 8 * i)),
        |bytes| u64::from_be_bytes(*bytes),
    )
}

impl<'a> Block<'a> {
    /// The user in row `row` of `group`: what an index slot points at.
    ///
    /// # Errors
    /// A [`Fault`] when there is no such row or it is damaged.
    pub fn user_in_group(&self, group: usize, row: usize) -> Result<UserRef<'a>, Fault> {
        if !self.group_has_exceptions(group) {
            return self.compact_in_group(group, row);
        }
        let mut rows = self.rows_from_group(group)?;
        let missing = Fault::new("row number in a group", 28, self.header.users as u64, row as u64);
        rows.nth(row).ok_or(missing)?
    }

    /// As above where no exception stands between the start of the group and the row: one walk over the control
    /// entries finds it.
    fn compact_in_group(&self, group: usize, row: usize) -> Result<UserRef<'a>, Fault> {
        let missing = Fault::new("row number in a group", 28, self.header.users as u64, row as u64);
        let start = self.restart(group)?;
        // The text's cache miss need not wait for the control entries': where the row's text is most likely, and the
        // line after that, are read ahead of the walk that tells where it is.
        let guess = self.guess(start, row);
        let byte = |at: usize| self.text.get(at).copied().unwrap_or_default();
        std::hint::black_box(byte(guess) ^ byte(guess + LINE));
        let pos = self.walk(start, row).ok_or(missing)?;
        self.compact_at(pos.ctl, pos.text)
    }

    /// Position of the compact row that follows `row` others after `start`.
    #[inline]
    fn walk(&self, start: Pos, row: usize) -> Option<Pos> {
        let mut text = start.text;
        let mut left = row;
        // Counting heads without a branch on them: what follows an entry cannot be guessed, when the row comes can.
        for (i, &[head, _, len]) in self.entries().get(start.ctl..)?.iter().enumerate() {
            let uid_len = usize::from(head & UID_LEN_MASK);
            let (rest, found) = left.overflowing_sub(usize::from(uid_len != 0));
            if found {
                return Some(Pos { ctl: start.ctl + i, text });
            }
            left = rest;
            text += uid_len + usize::from(len);
        }
        None
    }

    /// The cache lines that a lookup of row `row` of `group` will read: its control entries, and where its text is most
    /// likely. For a caller that asks for them ahead.
    #[must_use]
    #[inline]
    pub fn lines_of(&self, group: usize, row: usize) -> [Option<&'a u8>; 4] {
        let Ok(start) = self.restart(group) else { return [None; 4] };
        let ctl = start.ctl * ENTRY_LEN;
        let text = self.guess(start, row);
        [self.ctl.get(ctl), self.ctl.get(ctl + LINE), self.text.get(text), self.text.get(text + LINE)]
    }

    /// Where the text of row `row` after `start` is, if users were all of one length.
    #[inline]
    const fn guess(&self, start: Pos, row: usize) -> usize {
        let users = if self.header.users == 0 { 1 } else { self.header.users };
        start.text + row * self.header.text_len / users
    }

    /// The user in row `row` of `group`, where finding it takes no more than control entries; `None` where it takes more.
    #[must_use]
    #[inline]
    pub fn compact_user(&self, group: usize, row: usize) -> Option<UserRef<'a>> {
        if self.group_has_exceptions(group) {
            return None;
        }
        let pos = self.walk(self.restart(group).ok()?, row)?;
        self.compact_at(pos.ctl, pos.text).ok()
    }

    #[inline]
    fn compact_at(&self, ctl: usize, text: usize) -> Result<UserRef<'a>, Fault> {
        let fault = || self.ctl_fault("text ends before the users", ctl);
        let own = self.entries().get(ctl..).ok_or_else(fault)?;
        let head = own.first().map_or(0, |e| e[0]);
        let text = self.text_bytes().get(text..).ok_or_else(fault)?;
        let (uid, rest) = text.split_at_checked(usize::from(head & UID_LEN_MASK)).ok_or_else(fault)?;
        Ok(UserRef::compact(uid, head & PENDING_BIT != 0, own, rest, self.dictionary()))
    }

    /// Number of the first row whose UID is not less than `uid`; the number of rows when there is none.
    ///
    /// # Errors
    /// A [`Fault`] when a row on the way is damaged.
    pub fn lower_bound(&self, uid: &[u8]) -> Result<usize, Fault> {
        // Greatest group whose first UID is less than `uid`: the bound lies in it or at the start of the next.
        let (mut low, mut high) = (0, self.groups());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.user_in_group(middle, 0)?.uid() < uid {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut rows = self
            .rows_from_group(low.saturating_sub(1))
            .or_else(|f| if self.users() == 0 { Ok(self.rows()) } else { Err(f) })?;
        loop {
            let ordinal = rows.ordinal();
            match rows.next().transpose()? {
                Some(user) if user.uid() < uid => {}
                _ => return Ok(ordinal),
            }
        }
    }

    fn first_uid(&self, group: usize) -> Result<&'a [u8], Fault> {
        self.user_in_group(group, 0).map(|user| user.uid())
    }

    /// The row with this UID.
    ///
    /// # Errors
    /// A [`Fault`] when a row on the way is damaged.
    pub fn find(&self, uid: &[u8]) -> Result<Option<(usize, UserRef<'a>)>, Fault> {
        let ordinal = self.lower_bound(uid)?;
        if ordinal >= self.users() {
            return Ok(None);
        }
        let user = self.user(ordinal)?;
        Ok((user.uid() == uid).then_some((ordinal, user)))
    }

    /// Checks every row: order, text, providers, restart points, exceptions, seqs, sums. `after` is the last UID
    /// before this block, if there is one. Returns the last UID.
    ///
    /// # Errors
    /// The first [`Fault`].
    pub fn verify_rows(&self, after: Option<&[u8]>) -> Result<Option<&'a [u8]>, Fault> {
        let mut previous: Option<&[u8]> = after;
        let mut last = None;
        let mut totals = Totals::default();
        let mut rows = self.rows();
        loop {
            let ordinal = rows.ordinal();
            self.verify_restart(&rows)?;
            let Some(user) = rows.next().transpose()? else { break };
            if previous.is_some_and(|p| p >= user.uid()) {
                return Err(Fault::new("UID order", 0, ordinal as u64, ordinal as u64));
            }
            verify_text(&user)?;
            let (min, max) = self.seq_range();
            let seq = self.seq(ordinal)?;
            if seq < min || seq > max {
                return Err(Fault::new("seq of a row", 56, max, seq));
            }
            totals.add_user(&user);
            previous = Some(user.uid());
            last = Some(user.uid());
        }
        self.verify_ends(&rows)?;
        self.verify_exceptions()?;
        self.verify_compact()?;
        if totals == self.totals() {
            return Ok(last);
        }
        Err(Fault::new("block sums", 72, self.totals().users(), totals.users()))
    }

    fn verify_restart(&self, rows: &Rows<'_>) -> Result<(), Fault> {
        if !rows.ordinal().is_multiple_of(ROWS_PER_GROUP) || rows.ordinal() >= self.users() {
            return Ok(());
        }
        let restart = self.restart(rows.ordinal() / ROWS_PER_GROUP)?;
        let group = rows.ordinal() / ROWS_PER_GROUP;
        let first = self.exception_ordinal(self.exceptions_before(rows.ordinal()));
        let inside = first.is_some_and(|first| first / ROWS_PER_GROUP == group);
        if restart == rows.pos() && self.group_has_exceptions(group) == inside {
            return Ok(());
        }
        Err(Fault::new("restart point", self.header.sections().restarts, rows.pos().text as u64, restart.text as u64))
    }

    fn verify_ends(&self, rows: &Rows<'_>) -> Result<(), Fault> {
        let (end, pos) = (&self.header, rows.pos());
        if pos.ctl != end.entries || pos.text != end.text_len {
            return Err(Fault::new("unused control entries or text", 36, end.entries as u64, pos.ctl as u64));
        }
        Ok(())
    }

    fn verify_exceptions(&self) -> Result<(), Fault> {
        let at = self.header.sections().exceptions;
        let mut previous = None;
        let mut wide = 0;
        for i in 0..self.exceptions() {
            let Some(exception) = self.exception(i) else { break };
            let ordinal = exception.ordinal;
            if previous.is_some_and(|p| p >= ordinal) || ordinal >= self.users() || exception.wide != wide {
                return Err(Fault::new("exception order", at, self.users() as u64, ordinal as u64));
            }
            if self.rows_from(ordinal)?.pos() != exception.pos {
                return Err(Fault::new("exception position", at, ordinal as u64, exception.pos.text as u64));
            }
            wide += self.wide_row(&exception)?.as_bytes().len();
            previous = Some(ordinal);
        }
        if wide == self.header.wide_len {
            return Ok(());
        }
        Err(Fault::new("wide rows", 48, self.header.wide_len as u64, wide as u64))
    }

    /// What compact rows promise to the renderer: plain text, known providers, one status a user.
    pub(crate) fn verify_compact(&self) -> Result<(), Fault> {
        if !is_plain(self.text_bytes()) {
            return Err(Fault::new("text to escape in a compact row", self.header.sections().text, 0, 1));
        }
        let mut pending = 0;
        for (i, &[head, provider, len]) in self.entries().iter().enumerate() {
            let heads = head & UID_LEN_MASK != 0;
            if heads {
                pending = head & PENDING_BIT;
            }
            let known = usize::from(provider) <= self.dictionary().len();
            let whole = if provider == 0 { heads && len == 0 } else { len != 0 };
            if !known || !whole || head & PENDING_BIT != pending {
                return Err(self.ctl_fault("control entry", i));
            }
        }
        Ok(())
    }
}

fn verify_text(user: &UserRef<'_>) -> Result<(), Fault> {
    let text = |bytes: &[u8], what| {
        utf8(bytes, what)?;
        if bytes.contains(&0) { Err(Fault::new(what, 0, 1, 0)) } else { Ok(()) }
    };
    text(user.uid(), "UID")?;
    let (mut identities, mut len) = (0, 5 + user.uid().len());
    for identity in user.identities() {
        text(identity.provider, "provider")?;
        text(identity.provider_uid, "providerUID")?;
        identities += 1;
        len += 3 + identity.provider.len() + identity.provider_uid.len();
    }
    if identities > IDENTITIES_MAX {
        return Err(Fault::new("identities of a row", 0, IDENTITIES_MAX as u64, identities as u64));
    }
    if len > USER_MAX {
        return Err(Fault::new("length of a row", 0, USER_MAX as u64, len as u64));
    }
    Ok(())
}

/// Whether a value pair fits a control entry.
pub(crate) fn fits_compact(provider: u16, provider_uid: &[u8]) -> bool {
    provider <= COMPACT_PROVIDER_MAX && provider_uid.len() <= COMPACT_PROVIDER_UID_MAX && is_plain(provider_uid)
}

/// Whether a UID fits a control entry.
pub(crate) fn uid_fits_compact(uid: &[u8]) -> bool {
    uid.len() <= COMPACT_UID_MAX && is_plain(uid)
}

/// The dictionary id of a provider that has to be there.
pub(crate) fn provider_id(dict: &Dictionary, name: &[u8]) -> Result<u16, Fault> {
    dict.id_of(name).ok_or(Fault::new("provider name that is not in the dictionary", 0, dict.len() as u64, 0))
}
