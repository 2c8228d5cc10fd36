//! The hot loop: clean stretches of a block become text by copies of fixed width.
//!
//! Every value is copied as whole 16-byte vectors, more than it is long; what is too much is overwritten by what comes
//! next. So there is no work per byte, and no branch that depends on the data but for values beyond the usual widths.
//! Users that are not exported are rendered too, and then written over, because the position does not advance.
//!
//! It is safe code, but for a prefetch hint: arrays of fixed size compile to vector moves, and offsets inside [`WINDOW`]
//! are provably in bounds. What stays to be checked at run time, per entry, is the slot's index, the room in the output, and
//! the text's end. The same loop over raw pointers was 4 % faster for JSON and 1 % for CSV: not enough.

mod fetch;

use headcount_block::{Clean, Fault, PADDING};

use crate::fields::Field;
use crate::format::Format;
use crate::layout::Layout;
use crate::template::{FIXED, KINDS, MID_MAX, Slots, Templates};

/// Bytes of output that one entry may touch: the sum of the greatest lengths of its five parts, and one vector.
pub(crate) const WINDOW: usize = 4096;
/// UIDs up to this length take no loop.
const UID_WIDE: usize = 48;
/// Room for what [`Layout::close`] returns, at least.
const CLOSE: usize = 4;
/// ProviderUIDs up to this length take no loop.
const PROVIDER_UID_WIDE: usize = 48;
/// Width of a step of the loop for longer values.
const STEP: usize = 16;

/// Where the UID goes.
const NO_UID: u8 = 0;
/// JSON: once, in the entry that begins the user.
const UID_ONCE: u8 = 1;
/// CSV with identity columns: in every row.
const UID_EACH: u8 = 2;

/// Text around the values of one kind of entry, and what the entry counts.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Slot<const W: usize> {
    /// All ones, or 0 for users that are not exported: their text takes up no room.
    pub(crate) keep: usize,
    /// See [`Slot::counts`].
    pub(crate) counts: u64,
    pub(crate) pre: [u8; FIXED],
    pub(crate) post: [u8; FIXED],
    /// The first `W` bytes of `mid`.
    pub(crate) mid: [u8; W],
    pub(crate) pre_len: u8,
    pub(crate) post_len: u8,
    pub(crate) mid_len: u16,
}

/// Bits of each of the three counters of a stretch: more than a block's greatest number of entries.
const COUNT_BITS: u32 = 21;

impl<const W: usize> Slot<W> {
    /// What an entry adds to users, identities and invalid entries, in one word.
    pub(crate) const fn counts(user: bool, identity: bool, invalid: bool) -> u64 {
        user as u64 | (identity as u64) << COUNT_BITS | (invalid as u64) << (2 * COUNT_BITS)
    }

    /// The slot of an entry that must not be.
    pub(crate) const fn invalid() -> Self {
        Self {
            keep: 0,
            counts: Self::counts(false, false, true),
            pre: [0; FIXED],
            post: [0; FIXED],
            mid: [0; W],
            pre_len: 0,
            post_len: 0,
            mid_len: 0,
        }
    }
}

/// What a stretch rendered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// Position after the last byte.
    pub(crate) end: usize,
    pub(crate) users: u64,
    pub(crate) identities: u64,
}

/// Bytes that `clean` renders to at most.
pub(crate) fn bound(templates: &Templates, clean: &Clean<'_>) -> usize {
    let fixed = match templates {
        Templates::W16(slots) => slots.longest,
        Templates::W32(slots) => slots.longest,
        Templates::W64(slots) => slots.longest,
        Templates::W96(slots) => slots.longest,
    };
    // A UID may be repeated in every row of its user.
    clean.text_len + clean.entries * (fixed + headcount_block::limits::COMPACT_UID_MAX) + FIXED
}

/// Renders `clean` into `out` from position `start` on.
///
/// The bytes right before `start` are [`Layout::close`] of the user before, or are of no account.
///
/// # Errors
/// A [`Fault`] when the control entries and the text do not fit each other.
pub(crate) fn render(
    layout: &Layout,
    templates: &Templates,
    clean: &Clean<'_>,
    out: &mut [u8],
    start: usize,
) -> Result<Rendered, Fault> {
    let fault = || Fault::new("control entries of a clean stretch", 0, clean.text_len as u64, clean.entries as u64);
    let begins = clean.ctl.first().is_some_and(|head| head & 0x7f != 0);
    if clean.entries == 0 && clean.users == 0 {
        return Ok(Rendered { end: start, users: 0, identities: 0 });
    }
    if !begins || clean.entries >= 1 << COUNT_BITS {
        return Err(fault());
    }
    let close = layout.close();
    let from = start.checked_sub(close.len()).ok_or_else(fault)?;
    let rendered = match templates {
        Templates::W16(slots) => by_fields(layout, slots, clean, out, from),
        Templates::W32(slots) => by_fields(layout, slots, clean, out, from),
        Templates::W64(slots) => by_fields(layout, slots, clean, out, from),
        Templates::W96(slots) => by_fields(layout, slots, clean, out, from),
    };
    let rendered = rendered.ok_or_else(fault)?;
    let end = rendered.end + close.len();
    // What the next user begins with goes over the rest of it.
    let mut padded = [0; CLOSE];
    padded.iter_mut().zip(close).for_each(|(to, from)| *to = *from);
    *out.get_mut(rendered.end..).and_then(<[u8]>::first_chunk_mut).ok_or_else(fault)? = padded;
    if layout.include_pending && rendered.users != clean.users as u64 {
        return Err(Fault::new("users of a clean stretch", 0, clean.users as u64, rendered.users));
    }
    Ok(Rendered { end, ..rendered })
}

fn by_fields<const W: usize>(
    layout: &Layout,
    slots: &Slots<W>,
    clean: &Clean<'_>,
    out: &mut [u8],
    start: usize,
) -> Option<Rendered> {
    let each = layout.format == Format::Csv && layout.fields.has_identities();
    match (layout.fields.has(Field::Uid), layout.fields.has(Field::ProviderUid)) {
        (false, false) => stretch::<W, NO_UID, false>(slots, clean, out, start),
        (false, true) => stretch::<W, NO_UID, true>(slots, clean, out, start),
        (true, false) if each => stretch::<W, UID_EACH, false>(slots, clean, out, start),
        (true, false) => stretch::<W, UID_ONCE, false>(slots, clean, out, start),
        (true, true) if each => stretch::<W, UID_EACH, true>(slots, clean, out, start),
        (true, true) => stretch::<W, UID_ONCE, true>(slots, clean, out, start),
    }
}

/// Copies a whole array to `at`. Offsets that the compiler knows to be inside the window cost no check.
#[inline(always)]
fn put<const N: usize>(window: &mut [u8; WINDOW], at: usize, text: &[u8; N]) {
    if let Some(to) = window.get_mut(at..at + N).and_then(|to| to.first_chunk_mut::<N>()) {
        *to = *text;
    }
}

/// `N` bytes of `text` from `at` on.
#[inline(always)]
fn wide<const N: usize>(text: &[u8], at: usize) -> Option<&[u8; N]> {
    text.get(at..at + N)?.first_chunk::<N>()
}

/// Copies the bytes of a long value from `done` on: `len` bytes that begin at `from` of `text`, to `to`.
#[inline(always)]
fn put_rest(window: &mut [u8; WINDOW], to: usize, text: &[u8], from: usize, done: usize, len: usize) -> Option<()> {
    let mut done = done;
    while done < len {
        put(window, to + done, wide::<STEP>(text, from + done)?);
        done += STEP;
    }
    Some(())
}

/// The loop. `None` when a slot, the text or the output ends too early, or an entry is invalid.
fn stretch<const W: usize, const UID: u8, const PROVIDER_UID: bool>(
    slots: &Slots<W>,
    clean: &Clean<'_>,
    out: &mut [u8],
    start: usize,
) -> Option<Rendered> {
    let (entries, _) = clean.ctl.get(..clean.entries.checked_mul(3)?)?.as_chunks::<3>();
    let whole = out.len();
    let mut out = out.get_mut(start..)?;
    let mut text = clean.text;
    let mut counts = 0u64;
    // The UID of the user in work, with at least the padding after it.
    let (mut row_uid, mut row_uid_len) = (text, 0);
    for &[head, provider, len] in entries {
        let (uid_len, len) = (usize::from(head & 0x7f), usize::from(len));
        let kind = usize::from(head >> 7) | usize::from(uid_len == 0) << 1;
        let index = usize::from(provider) * KINDS + kind;
        let slot = slots.slots.get(index)?;
        fetch::fetch(text.as_ptr().wrapping_add(fetch::AHEAD));
        let window = out.first_chunk_mut::<WINDOW>()?;
        let values = text.get(..uid_len + len + PADDING)?;
        put(window, 0, &slot.pre);
        let mut at = usize::from(slot.pre_len);
        if UID == UID_ONCE {
            put(window, at, wide::<UID_WIDE>(values, 0)?);
            if uid_len > UID_WIDE {
                put_rest(window, at, values, 0, UID_WIDE, uid_len)?;
            }
            at += uid_len;
        } else if UID == UID_EACH {
            let begins = uid_len != 0;
            row_uid = if begins { values } else { row_uid };
            row_uid_len = if begins { uid_len } else { row_uid_len };
            put(window, at, wide::<UID_WIDE>(row_uid, 0)?);
            if row_uid_len > UID_WIDE {
                put_rest(window, at, row_uid, 0, UID_WIDE, row_uid_len)?;
            }
            at += row_uid_len & 0x7f;
        }
        put(window, at, &slot.mid);
        let mid_len = usize::from(slot.mid_len) & MID_MAX;
        if mid_len > W {
            put_rest(window, at, slots.mids.get(index)?, 0, W, mid_len)?;
        }
        at += mid_len;
        if PROVIDER_UID {
            put(window, at, wide::<PROVIDER_UID_WIDE>(values, uid_len)?);
            if len > PROVIDER_UID_WIDE {
                put_rest(window, at, values, uid_len, PROVIDER_UID_WIDE, len)?;
            }
            at += len;
        }
        put(window, at, &slot.post);
        at += usize::from(slot.post_len);
        counts = counts.wrapping_add(slot.counts);
        text = text.get(uid_len + len..)?;
        out = out.get_mut(at & slot.keep..)?;
    }
    let counter = |i: u32| counts >> (i * COUNT_BITS) & ((1 << COUNT_BITS) - 1);
    let used = clean.text.len() - text.len();
    let rendered = Rendered { end: whole - out.len(), users: counter(0), identities: counter(1) };
    (used == clean.text_len && counter(2) == 0).then_some(rendered)
}

#[cfg(test)]
mod tests;
