//! Builds blocks out of rows that come in UID order, or out of other blocks.

use crate::dictionary::Dictionary;
use crate::error::Fault;
use crate::find::{fits_compact, provider_id, uid_fits_compact};
use crate::header::{BlockId, ENTRY_LEN, GROUP_EXCEPTIONS, Header, RESTART_LEN, ROWS_PER_GROUP, readdress};
use crate::limits::{BLOCK_TARGET, BLOCK_USERS_MAX};
use crate::read::{Block, PENDING_BIT};
use crate::sums::{ClassSums, Totals};
use crate::user::Status;
use crate::view::UserRef;

/// What a finished block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Built {
    /// Length in bytes, a multiple of 64.
    pub len: usize,
    /// Users.
    pub users: usize,
    /// Counts and length sums.
    pub totals: Totals,
}

/// Collects rows and writes them out as a block; reusable.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    ctl: Vec<u8>,
    text: Vec<u8>,
    restarts: Vec<u8>,
    exceptions: Vec<u8>,
    exception_count: usize,
    wide: Vec<u8>,
    seqs: Vec<u64>,
    entries: usize,
    totals: Totals,
    last_uid: Vec<u8>,
    row: crate::RowBuf,
}

impl BlockBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Users in the block so far.
    #[must_use]
    pub const fn users(&self) -> usize {
        self.seqs.len()
    }

    /// Whether no user was added since the last block.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }

    /// Whether the block has reached its target size and should be finished.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        let bytes = self.ctl.len() + self.text.len() + self.wide.len() + self.restarts.len() + self.exceptions.len();
        bytes >= BLOCK_TARGET || self.seqs.len() >= BLOCK_USERS_MAX
    }

    /// UID of the last user added; empty when there is none.
    #[must_use]
    pub fn last_uid(&self) -> &[u8] {
        if self.is_empty() { &[] } else { &self.last_uid }
    }

    /// Adds a user. `seq` is relative to the segment's base.
    ///
    /// # Errors
    /// A [`Fault`] when UIDs do not ascend, a provider is not in `dict`, or the user's text is not valid.
    pub fn push(&mut self, user: &UserRef<'_>, dict: &Dictionary, seq: u64) -> Result<(), Fault> {
        let uid = user.uid();
        if !self.is_empty() && self.last_uid.as_slice() >= uid {
            return Err(Fault::new("UID order of rows for a block", 0, uid.len() as u64, self.last_uid.len() as u64));
        }
        if self.seqs.len().is_multiple_of(ROWS_PER_GROUP) {
            push_u32s(&mut self.restarts, &[self.entries, self.text.len()]);
        }
        let before = (self.ctl.len(), self.text.len(), self.entries);
        if uid.is_empty() || !uid_fits_compact(uid) || !self.push_compact(user, dict)? {
            self.ctl.truncate(before.0);
            self.text.truncate(before.1);
            self.entries = before.2;
            self.push_exception(user, dict)?;
        }
        self.last_uid.clear();
        self.last_uid.extend_from_slice(uid);
        self.seqs.push(seq);
        Ok(())
    }

    /// Adds the user in compact form; `false` when it does not fit, with whatever was added left to the caller.
    fn push_compact(&mut self, user: &UserRef<'_>, dict: &Dictionary) -> Result<bool, Fault> {
        let pending = if user.status() == Status::Pending { PENDING_BIT } else { 0 };
        let uid = user.uid();
        let mut head = pending | u8::try_from(uid.len()).unwrap_or_default();
        self.text.extend_from_slice(uid);
        let mut sums = ClassSums { users: 1, ..ClassSums::default() };
        let mut identities = user.identities();
        for identity in identities.by_ref() {
            let provider = provider_id(dict, identity.provider)?;
            if !fits_compact(provider, identity.provider_uid) {
                return Ok(false);
            }
            let len = u8::try_from(identity.provider_uid.len()).unwrap_or_default();
            let id = u8::try_from(provider + 1).unwrap_or_default();
            self.ctl.extend_from_slice(&[head, id, len]);
            self.text.extend_from_slice(identity.provider_uid);
            head = pending;
            sums.identities += 1;
            let (json, csv) = dict.lens(provider);
            sums.json_provider += json;
            sums.csv_provider += csv;
            sums.json_provider_uid += u64::from(len);
        }
        // A block that is taken apart is not written anew without what could not be read.
        identities.expect_end()?;
        if sums.identities == 0 {
            self.ctl.extend_from_slice(&[head, 0, 0]);
            sums.bare_users = 1;
        }
        self.entries = self.ctl.len() / ENTRY_LEN;
        // Compact text is plain: its length is the same in every format.
        sums.csv_provider_uid = sums.json_provider_uid;
        sums.json_uid = uid.len() as u64;
        sums.csv_uid = sums.json_uid;
        sums.csv_uid_rows = sums.json_uid * sums.rows();
        let mut totals = Totals::default();
        *totals.class_mut(user.status()) = sums;
        self.totals += totals;
        Ok(true)
    }

    fn push_exception(&mut self, user: &UserRef<'_>, dict: &Dictionary) -> Result<(), Fault> {
        for identity in user.identities() {
            provider_id(dict, identity.provider)?;
        }
        let row = if let Some(row) = user.as_row() {
            row
        } else {
            let owned = user.to_user()?;
            let wrong = |_| Fault::new("row limits", 0, crate::limits::USER_MAX as u64, owned.uid.len() as u64);
            self.row.encode(&owned).map_err(wrong)?
        };
        push_u32s(&mut self.exceptions, &[self.seqs.len(), self.entries, self.text.len(), self.wide.len()]);
        self.exception_count += 1;
        // The restart point of this group is the last one written.
        if let Some([.., high, _, _, _, _]) = self.restarts.last_chunk_mut::<RESTART_LEN>().map(|r| &mut r[..]) {
            *high |= GROUP_EXCEPTIONS.to_le_bytes()[3];
        }
        self.wide.extend_from_slice(row.as_bytes());
        self.totals.add_user(user);
        Ok(())
    }

    /// Appends the finished block to `out` and empties the builder.
    pub fn finish(&mut self, id: BlockId, out: &mut Vec<u8>) -> Built {
        let start = out.len();
        let min_seq = self.seqs.iter().copied().min().unwrap_or_default();
        let max_seq = self.seqs.iter().copied().max().unwrap_or_default();
        let mut header = Header {
            users: self.seqs.len(),
            block_len: 0,
            entries: self.entries,
            text_len: self.text.len(),
            exceptions: self.exception_count,
            wide_len: self.wide.len(),
            seq_width: seq_width(max_seq - min_seq),
            min_seq,
            max_seq,
        };
        let at = header.sections();
        header.block_len = at.end;
        let mut section = |begin: usize, bytes: &[u8]| {
            out.resize(start + begin, 0);
            out.extend_from_slice(bytes);
        };
        section(at.restarts, &self.restarts);
        section(at.exceptions, &self.exceptions);
        section(at.seqs, &encode_seqs(&self.seqs, min_seq, header.seq_width));
        section(at.wide, &self.wide);
        section(at.control, &self.ctl);
        section(at.text, &self.text);
        section(at.end, &[]);
        if let Some(block) = out.get_mut(start..) {
            header.write(block, id, &self.totals);
        }
        let built = Built { len: at.end, users: self.seqs.len(), totals: self.totals };
        self.clear();
        built
    }

    fn clear(&mut self) {
        for buffer in [&mut self.ctl, &mut self.text, &mut self.restarts, &mut self.exceptions, &mut self.wide] {
            buffer.clear();
        }
        self.seqs.clear();
        self.exception_count = 0;
        self.entries = 0;
        self.totals = Totals::default();
    }
}

impl Block<'_> {
    /// Appends a copy of the block to `out` as the block `id`. The body goes over byte for byte with its checksum, so
    /// that the copy is as good as the original: verify that first.
    pub fn copy_as(&self, id: BlockId, out: &mut Vec<u8>) -> Built {
        let start = out.len();
        out.extend_from_slice(self.as_bytes());
        readdress(out.get_mut(start..).unwrap_or_default(), id);
        Built { len: self.as_bytes().len(), users: self.users(), totals: self.totals() }
    }
}

fn push_u32s(out: &mut Vec<u8>, words: &[usize]) {
    for word in words {
        out.extend_from_slice(&u32::try_from(*word).unwrap_or(u32::MAX).to_le_bytes());
    }
}

/// Bytes that hold every offset up to `range`: 0 after a bulk load, where all rows have one seq.
const fn seq_width(range: u64) -> usize {
    match range {
        0 => 0,
        1..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn encode_seqs(seqs: &[u64], base: u64, width: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(seqs.len() * width);
    if width > 0 {
        for seq in seqs {
            out.extend(seq.wrapping_sub(base).to_le_bytes().into_iter().take(width));
        }
    }
    out
}

#[cfg(test)]
mod tests;
