//! The entries of a log, out of the bytes of its file: what sled has written, it does not read again.
//!
//! sled believes what it reads. Of bytes that have the right checksum it makes tables that no memory holds, panics, and
//! walks that do not end; and it writes to what it opens. But a log is written insert-only, so that what it holds is what all of its
//! messages hold together, whichever tree they make. They are (sled 0.34):
//! ```text
//! segment (8 MiB): !CRC-32 of the rest u32 | lsn ^ i64::MAX u64 | stable lsn ^ i64::MAX u64 | messages
//! message: !CRC-32 of body and then head u32 | kind u8 | length | number of the segment | page | body
//! node, a page as a whole (kind 8): next page | merging page | merging u8 | bytes of lo that all keys begin with u8
//!                                   | lo | hi | 0 for a leaf u8 | entries | their keys | their values
//! link, a change of a page (kind 10): 0 for an insert u8 | key | value
//! ```
//! Numbers take 1 to 9 bytes, and texts are a number and so many bytes. Keys are without what all keys of their page begin
//! with, as the node of the page says that comes before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use headcount_block::checksum;

use super::SEGMENT;

/// Bytes of a segment's header.
const SEGMENT_HEAD: usize = 20;
/// sled begins no message in the last bytes of a segment.
const RED_ZONE: usize = 32;
/// Kinds of messages: what was given up, a mark of a batch, and the two that hold entries.
const CANCELED: u8 = 1;
const CAP: u8 = 2;
const NODE: u8 = 8;
const LINK: u8 = 10;
const LAST_KIND: u8 = 11;
/// Bytes of a key of ours.
pub(super) const KEY: usize = 12;

/// Where a value lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) len: usize,
}

/// Bytes that are taken apart from their beginning; `None` where they end too early.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, len: u64) -> Option<Range<usize>> {
        let range = self.at..self.at.checked_add(usize::try_from(len).ok()?)?;
        self.bytes.get(range.clone())?;
        self.at = range.end;
        Some(range)
    }

    /// A number in sled's form, or any longer one.
    fn number(&mut self) -> Option<u64> {
        Some(match self.byte()? {
            first @ 0..=240 => u64::from(first),
            first @ 241..=248 => 240 + 256 * (u64::from(first) - 241) + u64::from(self.byte()?),
            249 => 2288 + 256 * u64::from(self.byte()?) + u64::from(self.byte()?),
            first => {
                let low = self.take(u64::from(first) - 247)?;
                self.bytes.get(low)?.iter().rev().fold(0, |number, b| number << 8 | u64::from(*b))
            }
        })
    }

    fn text(&mut self) -> Option<Range<usize>> {
        let len = self.number()?;
        self.take(len)
    }

    fn get(&self, range: Range<usize>) -> &'a [u8] {
        self.bytes.get(range).unwrap_or_default()
    }
}

/// A message of a segment.
struct Message<'a> {
    kind: u8,
    page: u64,
    body: &'a [u8],
    /// Where the body begins in the segment, and where the message ends.
    start: usize,
    end: usize,
}

impl<'a> Message<'a> {
    /// The message at `at` of segment number `number`; `None` where sled would see none.
    fn read(segment: &'a [u8], at: usize, number: u64) -> Option<Self> {
        let mut cursor = Cursor { bytes: segment, at };
        let stated = u32::from_le_bytes(*cursor.take(4).and_then(|sum| segment.get(sum)?.first_chunk())?);
        let (kind, len, of, page) = (cursor.byte()?, cursor.number()?, cursor.number()?, cursor.number()?);
        let (head, body) = (segment.get(at + 4..cursor.at)?, cursor.take(len)?);
        let found = Self { kind, page, body: segment.get(body.clone())?, start: body.start, end: body.end };
        // What is left over of an earlier use of the segment has another number.
        let is_one = (CANCELED..=LAST_KIND).contains(&kind) && of == number;
        (is_one && is_right(&[found.body, head].concat(), stated)).then_some(found)
    }
}

/// sled keeps the complement of the CRC-32.
fn is_right(bytes: &[u8], stated: u32) -> bool {
    checksum(bytes) == u64::from(!stated)
}

/// The entries of a log as they are found.
#[derive(Default)]
struct Entries {
    places: BTreeMap<[u8; KEY], Place>,
    /// What the keys of each page begin with.
    prefixes: BTreeMap<u64, Vec<u8>>,
}

impl Entries {
    /// Adds what a message at `base` of the file holds; `None` where that ends early, or is no entry.
    fn add(&mut self, message: &Message<'_>, base: u64) -> Option<()> {
        let mut cursor = Cursor { bytes: message.body, at: 0 };
        if message.kind == LINK {
            let (0, key, value) = (cursor.byte()?, cursor.text()?, cursor.text()?) else { return None };
            let prefix = self.prefixes.get(&message.page).map_or(&[][..], Vec::as_slice);
            insert(&mut self.places, prefix, cursor.get(key), value, base + message.start as u64);
            return Some(());
        }
        let (_next, _merging_page, _merging) = (cursor.number()?, cursor.number()?, cursor.byte()?);
        let (shared, lo, _hi) = (cursor.byte()?, cursor.text()?, cursor.text()?);
        let prefix = cursor.get(lo).get(..usize::from(shared))?.to_vec();
        if cursor.byte()? == 0 {
            let count = cursor.number()?;
            // Each takes a byte at least: the body is what bounds them.
            let keys: Vec<_> = (0..count).map_while(|_| cursor.text()).collect();
            for key in keys {
                let value = cursor.text()?;
                insert(&mut self.places, &prefix, cursor.get(key), value, base + message.start as u64);
            }
        }
        self.prefixes.insert(message.page, prefix);
        Some(())
    }
}

/// Notes a value. A key that is too short or too long is one of a page whose node is missing: a crash can have left it so
/// among what was never acknowledged.
fn insert(places: &mut BTreeMap<[u8; KEY], Place>, prefix: &[u8], key: &[u8], value: Range<usize>, body: u64) {
    if let Ok(key) = <[u8; KEY]>::try_from([prefix, key].concat()) {
        places.insert(key, Place { offset: body + value.start as u64, len: value.len() });
    }
}

/// The segments of a log as sled wrote them, one after the other: lsn and offset of each.
fn segments(file: &File) -> io::Result<Vec<(u64, u64)>> {
    let len = file.metadata()?.len();
    let mut found = Vec::new();
    for offset in (0..len).step_by(SEGMENT) {
        let mut head = [0; SEGMENT_HEAD];
        if len - offset < SEGMENT_HEAD as u64 {
            break;
        }
        file.read_exact_at(&mut head, offset)?;
        let [s0, s1, s2, s3, rest @ ..] = head;
        let lsn = rest.first_chunk().map_or(0, |b| u64::from_le_bytes(*b)) ^ i64::MAX.cast_unsigned();
        if is_right(&rest, u32::from_le_bytes([s0, s1, s2, s3])) {
            found.push((lsn, offset));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Shows the messages of a log in the order in which they were written, each with the place of its segment.
fn walk(file: &File, each: &mut dyn FnMut(u64, &Message<'_>)) -> io::Result<()> {
    let len = file.metadata()?.len();
    let mut segment = Vec::new();
    for (lsn, offset) in segments(file)? {
        segment.resize(usize::try_from(len - offset).map_or(SEGMENT, |rest| rest.min(SEGMENT)), 0);
        file.read_exact_at(&mut segment, offset)?;
        let mut at = SEGMENT_HEAD;
        while at <= SEGMENT - RED_ZONE
            && let Some(message) = Message::read(&segment, at, lsn / SEGMENT as u64)
            && message.kind != CAP
        {
            each(offset, &message);
            at = message.end;
        }
    }
    Ok(())
}

/// The entries of the log in `file`: of each key, where its value lies. Of several the last one that was written counts. What is not
/// there or not whole is left out.
///
/// # Errors
/// Those of reading.
pub(super) fn entries(file: &File) -> io::Result<BTreeMap<[u8; KEY], Place>> {
    let mut entries = Entries::default();
    walk(file, &mut |offset, message| {
        if [NODE, LINK].contains(&message.kind) {
            let _ = entries.add(message, offset);
        }
    })?;
    Ok(entries.places)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message as sled writes it.
    pub(in crate::delta) fn message(kind: u8, segment: u8, page: u64, body: &[u8]) -> Vec<u8> {
        let mut head = [&[kind], &long(body.len())[..], &[segment, 255]].concat();
        head.extend(page.to_le_bytes());
        let sum = !u32::try_from(checksum(&[body, &head].concat())).unwrap();
        [&sum.to_le_bytes(), &head[..], body].concat()
    }

    /// A number of five bytes.
    pub(in crate::delta) fn long(number: usize) -> Vec<u8> {
        [&[251], &u32::try_from(number).unwrap().to_le_bytes()[..]].concat()
    }

    /// Where the last message of a log of one segment ends.
    pub(in crate::delta) fn end(file: &File) -> usize {
        let mut end = 0;
        walk(file, &mut |offset, message| end = usize::try_from(offset).unwrap() + message.end).unwrap();
        end
    }
}
