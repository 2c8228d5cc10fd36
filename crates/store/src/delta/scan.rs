//! Groups of commits in the bytes of a log, whatever sled makes of them.
//!
//! sled takes damage in its log for the end of it: one flipped bit, and all commits after it are gone without a word. But
//! the values that were written stand in the file as they were given, and each says how long its group is and what its
//! checksum is. So they are found without sled: a group that lies beyond what sled reads shows that something is missing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use headcount_block::checksum;

use super::{CHUNK, FORMAT, GROUP_MAX, HEAD};

/// Bytes of a key.
const KEY: usize = 12;
/// Bytes that are looked through at a time.
const WINDOW: usize = 4 << 20;

/// What a value says of its group: chunks, bytes, checksum.
type Head = (u32, u32, u32);

/// The head that a value begins with, if one begins here.
fn head(bytes: &[u8]) -> Option<Head> {
    let [format, c0, c1, c2, c3, l0, l1, l2, l3, s0, s1, s2, s3, 0, 0, 0, 0] = *bytes.first_chunk::<HEAD>()? else {
        return None;
    };
    let (chunks, len) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([l0, l1, l2, l3]));
    let fits =
        format == FORMAT && len > 0 && u64::from(len) <= GROUP_MAX && chunks as usize == (len as usize).div_ceil(CHUNK);
    fits.then_some((chunks, len, u32::from_le_bytes([s0, s1, s2, s3])))
}

/// What a place of the file shows of a group.
#[derive(Debug)]
pub(super) enum Shown<'a> {
    /// All of it, with the right checksum.
    Whole(&'a [u8]),
    /// The beginning of a longer one, whose chunks lie somewhere.
    Begun(&'a [u8]),
}

impl Shown<'_> {
    /// Seq of the first commit: a group begins with number of commits, seq, time.
    pub(super) fn first_seq(&self) -> Option<u64> {
        let (Self::Whole(group) | Self::Begun(group)) = self;
        let long = |at: usize| group.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b));
        let (count, seq, time) = (long(0)?, long(8)?, long(16)?);
        // Nothing but the time, in milliseconds from 1978 to 2527, tells a beginning from other bytes.
        let is_one = matches!(self, Self::Whole(_)) || (1 << 38..1 << 44).contains(&time);
        ((1..1 << 24).contains(&count) && is_one).then_some(seq)
    }
}

/// What may be looked at behind heads: values that sled wrote do not overlap, those that somebody made up may.
struct Budget {
    bytes: u64,
    /// Heads of groups of several chunks: of two of them at least one has a whole chunk behind it.
    heads: u64,
}

impl Budget {
    const fn of(len: u64) -> Self {
        Self { bytes: (64 << 20) + len.saturating_mul(4), heads: 1024 + len / (CHUNK as u64 / 4) }
    }

    fn take_bytes(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(forged)?;
        Ok(())
    }

    fn take_head(&mut self) -> io::Result<()> {
        self.heads = self.heads.checked_sub(1).ok_or_else(forged)?;
        Ok(())
    }
}

fn forged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "more groups than there are bytes for")
}

/// Shows what `file` holds of groups to `each`, with its places; whole ones perhaps more than once. Of groups of several
/// chunks it shows every beginning, and those as a whole whose chunks stand with their keys, as they are first written.
///
/// # Errors
/// Those of reading; `InvalidData` when it begins more groups than it can hold.
pub(super) fn groups(file: &File, each: &mut dyn FnMut(u64, Shown<'_>)) -> io::Result<()> {
    let len = file.metadata()?.len();
    // Places of the chunks of longer groups, which need not lie side by side, by their numbers.
    let mut parts: BTreeMap<Head, BTreeMap<u32, u64>> = BTreeMap::new();
    let mut budget = Budget::of(len);
    let mut window = Vec::new();
    let mut at = 0;
    while at < len {
        // A value that begins in a window may end in the next one.
        let size = (len - at).min((WINDOW + HEAD + CHUNK) as u64);
        window.resize(usize::try_from(size).unwrap_or_default(), 0);
        file.read_exact_at(&mut window, at)?;
        // Most bytes are told apart by the first one alone.
        let starts = window.iter().take(WINDOW).enumerate().filter(|(_, byte)| **byte == FORMAT);
        for (start, _) in starts {
            let value = window.get(start..).unwrap_or_default();
            let Some(found @ (chunks, bytes, sum)) = head(value) else { continue };
            if chunks > 1 {
                budget.take_head()?;
                let place = at + start as u64;
                each(place, Shown::Begun(value.get(HEAD..).unwrap_or_default()));
                for number in numbers_before(file, place)? {
                    parts.entry(found).or_default().entry(number).or_insert(place);
                }
            } else if let Some(group) = value.get(HEAD..HEAD + bytes as usize) {
                budget.take_bytes(u64::from(bytes))?;
                if checksum(group) == u64::from(sum) {
                    each(at + start as u64, Shown::Whole(group));
                }
            }
        }
        at += WINDOW as u64;
    }
    parts.iter().try_for_each(|(head, places)| longer(file, *head, places, &mut budget, each))
}

/// What may be the number of the chunk at `place`. It ends the key, which stands in front of the value: the key's length,
/// the key without what all keys of its page begin with, the value's length in one to three bytes. Which of them it is the
/// checksum of the group tells.
fn numbers_before(file: &File, place: u64) -> io::Result<Vec<u32>> {
    let mut before = [0; 1 + KEY + 3];
    let Some(from) = place.checked_sub(before.len() as u64) else { return Ok(Vec::new()) };
    file.read_exact_at(&mut before, from)?;
    let mut numbers = Vec::new();
    for end in before.len() - 3..before.len() {
        for len in 1..=KEY.min(end - 1) {
            let Some([first, key @ ..]) = before.get(end - len - 1..end) else { continue };
            if usize::from(*first) == len {
                numbers.push(key.iter().rev().take(4).rev().fold(0, |number, b| number << 8 | u32::from(*b)));
            }
        }
    }
    Ok(numbers)
}

/// Puts a group of several chunks together.
fn longer(
    file: &File,
    (chunks, len, sum): Head,
    places: &BTreeMap<u32, u64>,
    budget: &mut Budget,
    each: &mut dyn FnMut(u64, Shown<'_>),
) -> io::Result<()> {
    let mut group = Vec::new();
    for (number, from) in (0..chunks).zip((0..len as usize).step_by(CHUNK)) {
        let Some(place) = places.get(&number) else { return Ok(()) };
        let mut chunk = vec![0; CHUNK.min(len as usize - from)];
        budget.take_bytes(chunk.len() as u64)?;
        match file.read_exact_at(&mut chunk, place + HEAD as u64) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        group.extend_from_slice(&chunk);
    }
    if let Some(first) = places.get(&0).filter(|_| checksum(&group) == u64::from(sum)) {
        each(*first, Shown::Whole(&group));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn scan(bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        groups(&file, &mut |_, _| {})
    }

    /// Each head had up to 64 KiB behind it read, and those of long groups up to 256 MiB.
    #[test]
    fn heads_without_groups_do_not_cost_more_than_the_file_is_long() {
        let head = |len: u32, number: u16| {
            let chunks = len.div_ceil(u32::try_from(CHUNK).unwrap());
            let [high, low] = number.to_be_bytes();
            let key = [2, high, low, 0, 0, 0];
            [&key[..], &[FORMAT], &chunks.to_le_bytes(), &len.to_le_bytes(), &[1, 1, 1, 1, 0, 0, 0, 0]].concat()
        };
        let many: Vec<u8> = (0..200_000).flat_map(|_| head(65_000, 0)).collect();
        assert_eq!(scan(&many).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let long: Vec<u8> = (1..100_000).flat_map(|i| head(100_000 + i, 0)).collect();
        assert_eq!(scan(&long).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // One head after the other is complete, at places that overlap.
        let chunks: Vec<u8> = (0..200).flat_map(|i| (0..400).flat_map(move |n| head(400 * 65_000 + i, n))).collect();
        assert_eq!(scan(&[&chunks[..], &[0; 1 << 20]].concat()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // A few of them are bytes like any others.
        scan(&[&many[..2_000], &[0; 1 << 20]].concat()).unwrap();
    }
}
