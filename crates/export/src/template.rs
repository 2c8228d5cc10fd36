//! Prerendered text: for every provider of a dictionary, what stands between the values of an identity.
//!
//! An entry of a block's control array is rendered as
//! ```text
//! pre  UID  mid  providerUID  post
//! ]},{"UID":"  ab12  ","identities":[{"provider":"site","providerUID":"  ab12  "}
//! ```
//! where the text depends on the provider and on the *kind* of the entry: whether it begins a user, and the user's status.
//! An entry that begins a user also closes the user before it.

use headcount_block::{Dictionary, Status};

use crate::fields::Field;
use crate::format::Format;
use crate::kernel::Slot;
use crate::layout::Layout;
use crate::simple::{csv_text, json_member};

/// Kinds of entries: bit 0: the user is pending; bit 1: the entry continues the user of the entry before.
pub(crate) const KINDS: usize = 4;
/// Longest `pre` and `post`.
pub(crate) const FIXED: usize = 16;
/// Longest `mid`: a provider of 128 bytes, each escaped with six, and the text around it.
pub(crate) const MID_MAX: usize = 1023;

/// Slots of one dictionary and layout, by `provider × KINDS + kind`, where provider 0 is "no identity".
#[derive(Debug)]
pub(crate) struct Slots<const W: usize> {
    pub(crate) slots: Vec<Slot<W>>,
    /// The whole `mid` of each slot, for those that are longer than `W`; padded with at least 16 bytes.
    pub(crate) mids: Vec<Vec<u8>>,
    /// The greatest sum of the lengths of an entry's fixed parts.
    pub(crate) longest: usize,
}

/// Slots of one dictionary and layout, at the least width that holds the usual provider names.
#[derive(Debug)]
pub(crate) enum Templates {
    W16(Slots<16>),
    W32(Slots<32>),
    W64(Slots<64>),
    W96(Slots<96>),
}

/// Text of one kind of entry of one provider.
#[derive(Debug, Default)]
struct Pattern {
    parts: [Vec<u8>; 3],
    /// Which part is being written: 0 before the UID, 1 before the providerUID, 2 after it.
    at: usize,
}

impl Pattern {
    fn out(&mut self) -> &mut Vec<u8> {
        let [pre, mid, post] = &mut self.parts;
        match self.at {
            0 => pre,
            1 => mid,
            _ => post,
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.out().extend_from_slice(text);
    }
}

/// What of an entry a pattern is made for.
#[derive(Clone, Copy)]
struct Entry<'a> {
    provider: Option<&'a [u8]>,
    status: Status,
    same: bool,
}

/// The text of an entry; `None` for the entry that must not be: one that continues a user without an identity.
fn pattern(layout: &Layout, entry: Entry<'_>) -> Option<Pattern> {
    if entry.same && entry.provider.is_none() {
        return None;
    }
    let mut pattern = Pattern { at: usize::from(!layout.fields.has(Field::Uid) || entry.same), ..Pattern::default() };
    match layout.format {
        Format::Csv => {
            pattern.at = usize::from(!layout.fields.has(Field::Uid));
            csv_pattern(layout, entry, &mut pattern);
        }
        Format::Json | Format::Ndjson => json_pattern(layout, entry, &mut pattern),
    }
    Some(pattern)
}

fn json_pattern(layout: &Layout, entry: Entry<'_>, p: &mut Pattern) {
    let fields = &layout.fields;
    if entry.same {
        if fields.has_identities() {
            p.text(b",");
            json_identity(layout, entry, p);
        }
        return;
    }
    p.text(layout.close());
    p.text(if layout.format == Format::Json { b",{" } else { b"{" });
    let mut comma: &[u8] = b"";
    if fields.has(Field::Uid) {
        p.text(b"\"UID\":\"");
        p.at = 1;
        p.text(b"\"");
        comma = b",";
    }
    if fields.has(Field::Status) {
        p.text(comma);
        json_member("status", entry.status.as_str().as_bytes(), p.out());
        comma = b",";
    }
    if fields.has_identities() {
        p.text(comma);
        p.text(b"\"identities\":[");
        json_identity(layout, entry, p);
    } else {
        p.text(if layout.format == Format::Json { b"}" } else { b"}\n" });
    }
}

fn json_identity(layout: &Layout, entry: Entry<'_>, p: &mut Pattern) {
    let Some(provider) = entry.provider else { return };
    let (names, ids) = (layout.fields.has(Field::Provider), layout.fields.has(Field::ProviderUid));
    p.text(b"{");
    if names {
        json_member("provider", provider, p.out());
    }
    if ids {
        p.text(if names { b",\"providerUID\":\"" } else { b"\"providerUID\":\"" });
        p.at = 2;
        p.text(b"\"");
    }
    p.text(b"}");
}

fn csv_pattern(layout: &Layout, entry: Entry<'_>, p: &mut Pattern) {
    if entry.same && !layout.fields.has_identities() {
        return;
    }
    for (i, field) in layout.fields.iter().enumerate() {
        if i > 0 {
            p.text(b",");
        }
        match field {
            Field::Uid => p.at = 1,
            Field::Provider => csv_text(entry.provider.unwrap_or_default(), p.out()),
            Field::ProviderUid => p.at = 2,
            Field::Status => p.text(entry.status.as_str().as_bytes()),
        }
    }
    let alone = layout.fields.iter().count() == 1 && layout.fields.has_identities();
    if alone && entry.provider.is_none() {
        p.text(b"\"\"");
    }
    p.text(b"\r\n");
}

/// The slot of a pattern; `None` when a part is longer than its place, which no valid provider name causes.
fn slot<const W: usize>(layout: &Layout, entry: Entry<'_>, pattern: &Pattern) -> Option<Slot<W>> {
    let [pre, mid, post] = &pattern.parts;
    let keep = layout.keeps(entry.status);
    let padded = |text: &[u8]| {
        let mut bytes = [0; FIXED];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(bytes)
    };
    let mut wide = [0; W];
    let head = mid.len().min(W);
    wide.get_mut(..head)?.copy_from_slice(mid.get(..head)?);
    if mid.len() > MID_MAX {
        return None;
    }
    let counts = Slot::<W>::counts(keep && !entry.same, keep && entry.provider.is_some(), false);
    Some(Slot {
        keep: if keep { usize::MAX } else { 0 },
        counts,
        pre: padded(pre)?,
        post: padded(post)?,
        mid: wide,
        pre_len: u8::try_from(pre.len()).ok()?,
        post_len: u8::try_from(post.len()).ok()?,
        mid_len: u16::try_from(mid.len()).ok()?,
    })
}

fn entries(dict: &Dictionary) -> impl Iterator<Item = Entry<'_>> {
    // Control entries name at most 255 providers; the others occur in self-contained rows only.
    let providers = std::iter::once(None).chain(dict.names().take(255).map(Some));
    providers.flat_map(|provider| {
        (0..KINDS).map(move |kind| Entry {
            provider,
            status: if kind & 1 == 0 { Status::Registered } else { Status::Pending },
            same: kind & 2 != 0,
        })
    })
}

fn slots<const W: usize>(layout: &Layout, dict: &Dictionary) -> Slots<W> {
    let mut all = Slots { slots: Vec::new(), mids: Vec::new(), longest: 0 };
    for entry in entries(dict) {
        let made = pattern(layout, entry).and_then(|p| Some((slot(layout, entry, &p)?, p)));
        let (slot, mid) = match made {
            Some((slot, p)) => {
                let [_, mut mid, _] = p.parts;
                mid.resize(mid.len() + FIXED, 0);
                (slot, mid)
            }
            None => (Slot::invalid(), vec![0; FIXED]),
        };
        let fixed = usize::from(slot.pre_len) + usize::from(slot.mid_len) + usize::from(slot.post_len);
        all.longest = all.longest.max(fixed);
        all.slots.push(slot);
        all.mids.push(if mid.len() > W + FIXED { mid } else { Vec::new() });
    }
    all
}

/// Names that decide the width: the most frequent ones.
const USUAL: usize = 24 * KINDS;

impl Templates {
    /// Renders the templates of `dict`.
    pub(crate) fn new(layout: &Layout, dict: &Dictionary) -> Self {
        let mids = entries(dict).take(USUAL).filter_map(|entry| pattern(layout, entry)).map(|p| p.parts[1].len());
        match mids.max().unwrap_or_default() {
            0..=16 => Self::W16(slots(layout, dict)),
            17..=32 => Self::W32(slots(layout, dict)),
            33..=64 => Self::W64(slots(layout, dict)),
            _ => Self::W96(slots(layout, dict)),
        }
    }
}

/// Templates of the dictionaries seen last.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: Vec<(u64, Templates)>,
}

impl Cache {
    /// Dictionaries remembered: more than the segments of a store in good order.
    const MOST: usize = 32;

    /// The templates of `dict`. A cache is used with one layout only.
    #[inline]
    pub(crate) fn get(&mut self, layout: &Layout, dict: &Dictionary) -> &Templates {
        let id = dict.unique_id();
        let at = self.entries.iter().position(|(known, _)| *known == id).unwrap_or_else(|| self.make(layout, dict));
        match self.entries.get(at) {
            Some((_, templates)) => templates,
            None => &EMPTY,
        }
    }

    /// Adds the templates of `dict`; returns where they are.
    #[cold]
    fn make(&mut self, layout: &Layout, dict: &Dictionary) -> usize {
        if self.entries.len() >= Self::MOST {
            self.entries.remove(0);
        }
        self.entries.push((dict.unique_id(), Templates::new(layout, dict)));
        self.entries.len() - 1
    }
}

/// Templates of a dictionary that was never made: every entry is a fault.
static EMPTY: Templates = Templates::W16(Slots { slots: Vec::new(), mids: Vec::new(), longest: 0 });

#[cfg(test)]
mod tests {
    use headcount_block::DictionaryBuilder;

    use super::*;

    #[test]
    fn each_dictionary_gets_its_own_templates() {
        let fields = "uid,provider,providerUID".parse().unwrap();
        let layout =
            Layout { format: Format::Ndjson, fields, include_pending: false, formula_guard: false, changes: false };
        let dictionary = |n: usize| {
            let mut builder = DictionaryBuilder::new();
            builder.add(format!("provider{n}").as_bytes(), 1).unwrap();
            builder.finish().unwrap()
        };
        let dictionaries: Vec<_> = (0..Cache::MOST + 2).map(dictionary).collect();
        let mut cache = Cache::default();
        for _ in 0..2 {
            for dict in &dictionaries {
                let expected = format!("{:?}", Templates::new(&layout, dict));
                assert_eq!(format!("{:?}", cache.get(&layout, dict)), expected);
            }
        }
        assert_eq!(cache.entries.len(), Cache::MOST);
    }
}
