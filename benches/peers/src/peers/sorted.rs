//! The input parsed and sorted, for engines that load fastest in key order: serde_json and a sort, on every core.

use std::cmp::Ordering;
use std::path::Path;
use std::thread;

use super::compact::{self, Record};
use crate::Outcome;

/// Where an entry is in its run: the first bytes of its key, and the rest in the arena, the value behind the key.
#[derive(Debug, Clone, Copy)]
struct Entry {
    prefix: u64,
    at: usize,
    key: u32,
    value: u32,
}

/// Keys and values of one thread's part of the input, by key.
#[derive(Debug, Default)]
struct Run {
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

impl Run {
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Outcome<usize>) -> Outcome {
        let at = self.arena.len();
        let value_at = write(&mut self.arena)?;
        let key = self.arena.get(at..value_at).unwrap_or_default();
        let mut prefix = [0; 8];
        prefix.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        let (key, value) = (u32::try_from(key.len())?, u32::try_from(self.arena.len() - value_at)?);
        self.entries.push(Entry { prefix: u64::from_be_bytes(prefix), at, key, value });
        Ok(())
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        self.arena.get(entry.at..entry.at + entry.key as usize).unwrap_or_default()
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        let from = entry.at + entry.key as usize;
        self.arena.get(from..from + entry.value as usize).unwrap_or_default()
    }

    fn sort(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| self.key(a).cmp(self.key(b))));
        self.entries = entries;
    }
}

/// Sorted entries of all threads.
#[derive(Debug, Default)]
pub(crate) struct Sorted(Vec<Run>);

impl Sorted {
    /// Keys and values in key order.
    ///
    /// # Errors
    /// `visit`'s, and a key that occurs twice.
    pub(crate) fn each<'a>(&'a self, mut visit: impl FnMut(&'a [u8], &'a [u8]) -> Outcome) -> Outcome {
        let mut runs: Vec<_> = self.0.iter().map(|run| (run, run.entries.iter().peekable())).collect();
        let mut last: Option<&[u8]> = None;
        loop {
            let mut least: Option<(u64, &[u8], usize)> = None;
            for (number, (run, entries)) in runs.iter_mut().enumerate() {
                let Some(entry) = entries.peek() else { continue };
                let less = match least {
                    None => true,
                    Some((prefix, key, _)) => match entry.prefix.cmp(&prefix) {
                        Ordering::Equal => run.key(entry) < key,
                        order => order == Ordering::Less,
                    },
                };
                if less {
                    least = Some((entry.prefix, run.key(entry), number));
                }
            }
            let Some((_, key, number)) = least else { return Ok(()) };
            if last == Some(key) {
                return Err(format!("{:?} is there twice", String::from_utf8_lossy(key)).into());
            }
            last = Some(key);
            let Some((run, entries)) = runs.get_mut(number) else { return Ok(()) };
            let Some(entry) = entries.next() else { return Ok(()) };
            visit(key, run.value(entry))?;
        }
    }
}

/// The input as two maps, each sorted.
#[derive(Debug)]
pub(crate) struct Input {
    /// UID to encoded user.
    pub(crate) users: Sorted,
    /// Identity to UID.
    pub(crate) identities: Sorted,
}

/// How a user becomes a value.
pub(crate) type Encode = fn(&Record<'_>, &mut Vec<u8>) -> Outcome;

/// Reads NDJSON, with a thread a core. `identities` says whether identities are wanted too.
pub(crate) fn read(input: &Path, encode: Encode, identities: bool) -> Outcome<Input> {
    let text = std::fs::read(input)?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut parts = Vec::new();
    let mut rest = text.as_slice();
    for left in (1..=threads).rev() {
        let about = rest.len() / left;
        let end = rest.iter().skip(about).position(|b| *b == b'\n').map_or(rest.len(), |i| about + i + 1);
        let (part, more) = rest.split_at_checked(if left == 1 { rest.len() } else { end }).unwrap_or((rest, &[]));
        parts.push(part);
        rest = more;
    }
    thread::scope(|scope| {
        let threads: Vec<_> =
            parts.into_iter().map(|part| scope.spawn(move || parse(part, encode, identities))).collect();
        let mut all = Input { users: Sorted::default(), identities: Sorted::default() };
        for thread in threads {
            let (users, identities) = thread.join().map_err(|_| "a parsing thread panicked")??;
            all.users.0.push(users);
            all.identities.0.push(identities);
        }
        Ok(all)
    })
}

fn parse(text: &[u8], encode: Encode, with_identities: bool) -> Outcome<(Run, Run)> {
    let (mut users, mut identities) = (Run::default(), Run::default());
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let record: Record<'_> = serde_json::from_slice(line)?;
        users.push(|out| {
            out.extend(record.uid.as_bytes());
            let value_at = out.len();
            encode(&record, out)?;
            Ok(value_at)
        })?;
        for link in record.identities.iter().filter(|_| with_identities) {
            identities.push(|out| {
                compact::key(&link.provider, &link.provider_uid, out);
                let value_at = out.len();
                out.extend(record.uid.as_bytes());
                Ok(value_at)
            })?;
        }
    }
    users.sort();
    identities.sort();
    Ok((users, identities))
}
