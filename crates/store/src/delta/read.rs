//! Reading the log of a delta, without sled: after a crash, of a store that another process left open, and for salvage.
//!
//! The entries that sled's messages hold are put together to groups of commits, as far as their sequence is unbroken. What
//! lies behind its end was never acknowledged, or is damage: where each group was durable before the next one was written, a
//! later one tells. It is looked for in the whole file (`delta/scan.rs`), since damage hides the messages after it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use headcount_block::checksum;

use super::check::Checker;
use super::entries::{KEY, Place, entries};
use super::scan::{self, Shown};
use super::{DB, FORMAT, GROUP_MAX, HEAD, Record, damage, decode};
use crate::error::{Error, Result};
use crate::files;

/// Shows the commits of the generation in `path`, which begins at seq `first`, to `each`: an unbroken sequence. A group
/// at the end that is not whole was never acknowledged and is left out. Returns the last seq, `first - 1` when empty.
/// Without a `first` it begins where it does: for salvage.
///
/// `synced`: each group was durable before the next one was written. Then one that lies behind a missing one is damage, and
/// not what a crash leaves.
pub(crate) fn read(
    path: &Path,
    first: impl Into<Option<u64>>,
    synced: bool,
    each: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<u64> {
    let db = path.join(DB);
    let file = match files::open_file(&db) {
        Ok(file) => file,
        Err(e) if [ErrorKind::NotFound, ErrorKind::InvalidInput].contains(&e.kind()) => {
            return Err(damage(&db, 0, "log of the delta", "the file of a log", e.to_string()));
        }
        Err(e) => return Err(Error::io("open", &db, e)),
    };
    let found = entries(&file).map_err(|e| Error::io("read", &db, e))?;
    let parts: Vec<(u64, u32, Place)> = found.iter().map(|(key, place)| part(*key, *place)).collect();
    let first = first.into().or_else(|| parts.first().map(|(seq, ..)| *seq)).unwrap_or(1);
    let mut groups = Groups { path: &db, file: &file, parts: &parts, expected: first, checker: Checker::default() };
    while groups.next(each)? {}
    let last = groups.expected.saturating_sub(1);
    match if synced { latest(path)? } else { None } {
        Some((offset, seq)) if seq > last.saturating_add(1) => Err(damage(
            &db,
            offset,
            "log of the delta (commits before this one are missing)",
            &format!("commits up to seq {last} alone"),
            format!("a commit with seq {seq}"),
        )),
        _ => Ok(last),
    }
}

/// What a key says: seq of its group, number of the chunk.
fn part([s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3]: [u8; KEY], place: Place) -> (u64, u32, Place) {
    (u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]), u32::from_be_bytes([n0, n1, n2, n3]), place)
}

/// The groups of a log, one after the other.
struct Groups<'a> {
    path: &'a Path,
    file: &'a File,
    /// What was not read yet, by seq and number.
    parts: &'a [(u64, u32, Place)],
    expected: u64,
    checker: Checker,
}

impl Groups<'_> {
    /// Shows the records of the next group; false where none follows that is whole.
    fn next(&mut self, each: &mut dyn FnMut(Record) -> Result<()>) -> Result<bool> {
        let Some((seq, _, place)) = self.parts.first().copied() else { return Ok(false) };
        if seq < self.expected {
            let what = "seq of a group of the log";
            return Err(damage(self.path, place.offset, what, &format!("{} or more", self.expected), seq.to_string()));
        }
        let Some(group) = self.group()?.filter(|_| seq == self.expected) else { return Ok(false) };
        let records: Vec<Record> = decode(&group)
            .map_err(|e| damage(self.path, place.offset, "record of the log", "a group of commits", e.to_string()))?;
        for record in records {
            if record.seq != self.expected {
                let (what, expected) = ("seq of a record of the log", self.expected.to_string());
                return Err(damage(self.path, place.offset, what, &expected, record.seq.to_string()));
            }
            self.checker.check(self.path, &record)?;
            self.expected = self.expected.saturating_add(1);
            each(record)?;
        }
        Ok(true)
    }

    /// The bytes of the group that comes next, out of its chunks; `None` where some are missing.
    fn group(&mut self) -> Result<Option<Vec<u8>>> {
        let mut group = Vec::new();
        let Some((seq, _, first)) = self.parts.first().copied() else { return Ok(None) };
        let chunks = self.parts.iter().take_while(|(of, ..)| *of == seq).count();
        let (parts, rest) = self.parts.split_at(chunks);
        self.parts = rest;
        let mut stated = None;
        for (expected, (_, number, place)) in (0..).zip(parts) {
            let mut value = vec![0; place.len];
            self.file.read_exact_at(&mut value, place.offset).map_err(|e| Error::io("read", self.path, e))?;
            let broken = |what, expected: &str, found| Err(damage(self.path, place.offset, what, expected, found));
            let Some((head, chunk)) = value.split_first_chunk::<HEAD>() else {
                return broken(
                    "length of a value of the log",
                    &format!("{HEAD} bytes or more"),
                    value.len().to_string(),
                );
            };
            if head[0] != FORMAT {
                return broken("format of a record of the log", &FORMAT.to_string(), head[0].to_string());
            }
            if *number != expected {
                return Ok(None);
            }
            stated.get_or_insert(*head);
            group.extend_from_slice(chunk);
        }
        let [_, c0, c1, c2, c3, l0, l1, l2, l3, sum @ ..] = stated.unwrap_or_default();
        let (count, len) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([l0, l1, l2, l3]));
        if chunks < count as usize {
            return Ok(None);
        }
        if group.len() != len as usize || u64::from(len) > GROUP_MAX || checksum(&group) != u64::from_le_bytes(sum) {
            let found = format!("{} bytes of which the checksum differs", group.len());
            let expected = format!("{len} bytes with the checksum that stands in front of them");
            return Err(damage(self.path, first.offset, "checksum of a group of the log", &expected, found));
        }
        Ok(Some(group))
    }
}

/// Greatest seq that a group in the file of a log begins with, and where that lies.
pub(super) fn latest(path: &Path) -> Result<Option<(u64, u64)>> {
    let mut latest = None;
    scan(path, &mut |offset, shown| {
        if let Some(found) = shown.first_seq()
            && latest.is_none_or(|(_, seq)| seq < found)
        {
            latest = Some((offset, found));
        }
    })?;
    Ok(latest)
}

/// Shows the groups of commits that lie in the file of a log, whole, to `each`: in no order, and some more than once.
/// Records that no commit can have written are left out.
pub(crate) fn groups(path: &Path, each: &mut dyn FnMut(Vec<Record>)) -> Result<()> {
    let mut checker = Checker::default();
    // What has the checksum of a group is one, unless somebody else wrote it.
    let mut show = |group: &[u8]| {
        if let Ok(mut records) = decode(group) {
            records.retain(|record| checker.check(path, record).is_ok());
            each(records);
        }
    };
    // Of long groups the messages know which bytes belong together, and of those behind damage the bytes alone are left.
    by_messages(path, &mut show)?;
    scan(path, &mut |_, shown| {
        if let Shown::Whole(group) = shown {
            show(group);
        }
    })
}

fn by_messages(path: &Path, show: &mut dyn FnMut(&[u8])) -> Result<()> {
    let db = path.join(DB);
    let file = files::open_file(&db).map_err(|e| Error::io("open", &db, e))?;
    let found = entries(&file).map_err(|e| Error::io("read", &db, e))?;
    let parts: Vec<(u64, u32, Place)> = found.iter().map(|(key, place)| part(*key, *place)).collect();
    let mut groups = Groups { path: &db, file: &file, parts: &parts, expected: 0, checker: Checker::default() };
    while !groups.parts.is_empty() {
        if let Ok(Some(group)) = groups.group() {
            show(&group);
        }
    }
    Ok(())
}

pub(super) fn scan(path: &Path, each: &mut dyn FnMut(u64, Shown<'_>)) -> Result<()> {
    let name = path.join(DB);
    let file = files::open_file(&name).map_err(|e| Error::io("open", &name, e))?;
    scan::groups(&file, each).map_err(|e| match e.kind() {
        ErrorKind::InvalidData => damage(&name, 0, "log of the delta", "the groups of a log", e.to_string()),
        _ => Error::io("read", &name, e),
    })
}
