//! The provider dictionary of a segment: small numbers for provider names, the frequent ones first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{Fault, LimitError};
use crate::limits::{DICTIONARY_MAX, PROVIDER_MAX, PROVIDERS_MAX};
use crate::text::{csv_len, json_len};

/// Provider names by id, and ids by name.
#[derive(Debug)]
pub struct Dictionary {
    unique_id: u64,
    names: Vec<Name>,
    ids: HashMap<Box<[u8]>, u16>,
    /// For each [`slot`] the most frequent name that falls into it: nearly every look-up ends here.
    near: [u16; SLOTS],
}

/// Slots in front of the map.
const SLOTS: usize = 64;

/// Where to look first. Cheap, and good enough to tell some dozen names apart.
fn slot(name: &[u8]) -> usize {
    let (first, last) = (name.first().copied().unwrap_or_default(), name.last().copied().unwrap_or_default());
    (name.len() * 5 + usize::from(first) * 3 + usize::from(last)) % SLOTS
}

#[derive(Debug)]
struct Name {
    bytes: Box<[u8]>,
    json_len: u64,
    csv_len: u64,
}

impl Dictionary {
    /// A dictionary of these names, in id order.
    ///
    /// # Errors
    /// A [`Fault`] for an empty, over-long, not UTF-8 or repeated name.
    fn new(names: impl IntoIterator<Item = Result<Box<[u8]>, Fault>>) -> Result<Self, Fault> {
        // Caches of what was derived from a dictionary are keyed by this number: an address could be used again.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let unique_id = NEXT.fetch_add(1, Relaxed);
        let mut this = Self { unique_id, names: Vec::new(), ids: HashMap::new(), near: [u16::MAX; SLOTS] };
        for bytes in names {
            let (bytes, at) = (bytes?, this.names.len());
            if bytes.is_empty() || bytes.len() > PROVIDER_MAX || std::str::from_utf8(&bytes).is_err() {
                return Err(Fault::new("provider name", at, PROVIDER_MAX as u64, bytes.len() as u64));
            }
            let id = u16::try_from(at).ok().filter(|_| at < PROVIDERS_MAX);
            let id = id.ok_or(Fault::new("provider count", at, PROVIDERS_MAX as u64, at as u64))?;
            if let Some(first) = this.ids.insert(bytes.clone(), id) {
                return Err(Fault::new("repeated provider name", at, u64::from(first), at as u64));
            }
            if let Some(near) = this.near.get_mut(slot(&bytes)).filter(|near| **near == u16::MAX) {
                *near = id;
            }
            let (json_len, csv_len) = (json_len(&bytes) as u64, csv_len(&bytes) as u64);
            this.names.push(Name { bytes, json_len, csv_len });
        }
        Ok(this)
    }

    /// A number that no other dictionary of this process has: a key for caches of templates.
    #[must_use]
    pub const fn unique_id(&self) -> u64 {
        self.unique_id
    }

    /// Number of providers; ids run from 0 to one less.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no provider.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name with this id.
    #[must_use]
    pub fn name(&self, id: u16) -> Option<&[u8]> {
        self.names.get(usize::from(id)).map(|n| &*n.bytes)
    }

    /// The id of this name.
    #[must_use]
    pub fn id_of(&self, name: &[u8]) -> Option<u16> {
        let near = self.near.get(slot(name)).copied().unwrap_or(u16::MAX);
        if self.name(near) == Some(name) { Some(near) } else { self.ids.get(name).copied() }
    }

    /// Names in id order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.iter().map(|n| &*n.bytes)
    }

    /// JSON and CSV length of the name with this id.
    pub(crate) fn lens(&self, id: u16) -> (u64, u64) {
        self.names.get(usize::from(id)).map_or((0, 0), |n| (n.json_len, n.csv_len))
    }

    /// The form in files: a length byte and the name, for each in id order.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for name in self.names() {
            out.push(u8::try_from(name.len()).unwrap_or_default());
            out.extend_from_slice(name);
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// A [`Fault`] when the bytes end inside a name, or a name is not valid.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > DICTIONARY_MAX {
            let found = bytes.len() as u64;
            return Err(Fault::new("provider dictionary length", 0, DICTIONARY_MAX as u64, found));
        }
        let mut rest = bytes;
        Self::new(std::iter::from_fn(|| {
            let (&len, after) = rest.split_first()?;
            let at = bytes.len() - rest.len();
            let split = after.split_at_checked(usize::from(len));
            let fault = Fault::new("provider dictionary", at, u64::from(len), after.len() as u64);
            Some(split.ok_or(fault).map(|(name, after)| {
                rest = after;
                Box::from(name)
            }))
        }))
    }
}

/// Counts provider names, for a dictionary with the frequent ones first.
#[derive(Debug, Clone, Default)]
pub struct DictionaryBuilder {
    counts: HashMap<Box<[u8]>, u64>,
}

impl DictionaryBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `n` identities of `provider`.
    ///
    /// # Errors
    /// [`LimitError::TooManyProviders`] for the 65,536th name.
    pub fn add(&mut self, provider: &[u8], n: u64) -> Result<(), LimitError> {
        if let Some(count) = self.counts.get_mut(provider) {
            *count += n;
            return Ok(());
        }
        if self.counts.len() >= PROVIDERS_MAX {
            return Err(LimitError::TooManyProviders { max: PROVIDERS_MAX });
        }
        self.counts.insert(Box::from(provider), n);
        Ok(())
    }

    /// Adds the counts of another builder.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn merge(&mut self, other: &Self) -> Result<(), LimitError> {
        other.counts.iter().try_for_each(|(name, n)| self.add(name, *n))
    }

    /// Names and counts, most frequent first, equal counts by name.
    #[must_use]
    pub fn by_count(&self) -> Vec<(&[u8], u64)> {
        let mut all: Vec<(&[u8], u64)> = self.counts.iter().map(|(name, n)| (&**name, *n)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        all
    }

    /// The dictionary.
    ///
    /// # Errors
    /// A [`Fault`] when a name was added that is empty, over-long or not UTF-8.
    pub fn finish(&self) -> Result<Dictionary, Fault> {
        Dictionary::new(self.by_count().into_iter().map(|(name, _)| Ok(Box::from(name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_frequent_names_first_and_comes_back_from_its_bytes() {
        let mut builder = DictionaryBuilder::new();
        for (name, n) in [("c", 1), ("b", 1), ("rare", 1), ("often", 2), ("often", 3)] {
            builder.add(name.as_bytes(), n).unwrap();
        }
        let mut other = DictionaryBuilder::new();
        other.add(b"rare", 1).unwrap();
        builder.merge(&other).unwrap();
        let dict = builder.finish().unwrap();
        assert_eq!(dict.encode(), b"\x05often\x04rare\x01b\x01c");
        let read = Dictionary::decode(&dict.encode()).unwrap();
        assert!(read.names().eq([&b"often"[..], b"rare", b"b", b"c"]));
        assert!((0..4).all(|id| read.id_of(read.name(id).unwrap()) == Some(id)));
        assert_eq!((read.id_of(b"none"), read.name(4)), (None, None));
        let cut = Dictionary::decode(b"\x01b\x04rar").unwrap_err();
        assert_eq!((cut.what, cut.offset, cut.expected, cut.found), ("provider dictionary", 2, 4, 3));
        let none = Dictionary::decode(b"").unwrap();
        assert!(none.is_empty() && !read.is_empty());
        assert!(dict.unique_id() != read.unique_id() && read.unique_id() != none.unique_id());
        // Bytes that end inside a name.
        assert!([&b"\x05ofte"[..], b"\x01b\x04", b"\x00"].iter().all(|bytes| Dictionary::decode(bytes).is_err()));
    }

    #[test]
    fn names_that_are_common_are_looked_for_in_places_of_their_own() {
        let names = "facebook googleplus site twitter linkedin apple amazon yahoo microsoft github paypal line wechat";
        let slots: std::collections::BTreeSet<usize> = names.split(' ').map(|name| slot(name.as_bytes())).collect();
        assert!(slots.len() > 10, "{slots:?}");
    }

    /// Every byte of a long run of zeros was taken for a name, and kept, before the first of them was looked at.
    #[test]
    fn bytes_that_are_too_many_for_names_are_not_taken_apart() {
        let zeros = vec![0; DICTIONARY_MAX + 1];
        assert_eq!(Dictionary::decode(&zeros).unwrap_err().what, "provider dictionary length");
        assert_eq!(Dictionary::decode(&zeros[1..]).unwrap_err().what, "provider name");
        let mut builder = DictionaryBuilder::new();
        (0..PROVIDERS_MAX).for_each(|n| builder.add(format!("{n:0128}").as_bytes(), 1).unwrap());
        let bytes = builder.finish().unwrap().encode();
        assert_eq!((bytes.len(), Dictionary::decode(&bytes).unwrap().len()), (DICTIONARY_MAX, PROVIDERS_MAX));
    }
}
