//! What is remembered of signed requests, within bounds: those that passed, and those that came too early.

use std::collections::{BTreeSet, HashMap};

use crate::method::nonce::forgotten::Forgotten;

/// Half of a SHA-256: what is remembered of a nonce, and of the key that used it.
pub(crate) type Id = [u8; 16];

/// There is no room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The times of requests with one nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    /// Second of the earliest timestamp.
    pub(crate) first: u64,
    /// Second after which no request of these can pass.
    pub(crate) until: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    time: Time,
    key: Id,
}

/// Entries, by their ends and by their keys.
#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Id, Entry>,
    /// The first is forgotten first.
    ends: BTreeSet<(u64, Id)>,
    /// How many there are of each key.
    of_key: HashMap<Id, usize>,
}

impl Table {
    fn count(&self, key: &Id) -> usize {
        self.of_key.get(key).copied().unwrap_or_default()
    }

    fn insert(&mut self, id: Id, entry: Entry) {
        *self.of_key.entry(entry.key).or_default() += 1;
        self.ends.insert((entry.time.until, id));
        self.entries.insert(id, entry);
    }

    /// Takes `time` in where `id` is known: `None` when it is not, or its end before and now.
    fn prolong(&mut self, id: Id, time: Time) -> Option<(u64, u64)> {
        let known = self.entries.get_mut(&id)?;
        let before = known.time.until;
        known.time = Time { first: known.time.first.min(time.first), until: before.max(time.until) };
        let now = known.time.until;
        // Listed once: a nonce that is sent again and again takes no memory.
        if now > before {
            self.ends.remove(&(before, id));
            self.ends.insert((now, id));
        }
        Some((before, now))
    }

    fn remove(&mut self, id: &Id) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.ends.remove(&(entry.time.until, *id));
        if let Some(count) = self.of_key.get_mut(&entry.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_key.remove(&entry.key);
            }
        }
        Some(entry)
    }

    /// What ended before `now`.
    fn ended(&self, now: u64) -> Option<Id> {
        self.ends.first().filter(|(end, _)| *end < now).map(|(_, id)| *id)
    }
}

/// Requests that passed.
#[derive(Debug)]
pub(crate) struct Used {
    table: Table,
    most: usize,
}

impl Used {
    /// Whether `id` was known before; when it was not, it is now, unless there is no room. One key takes half of it at
    /// most, so that others are not locked out.
    pub(crate) fn remember(&mut self, id: Id, key: Id, time: Time) -> Result<bool, Full> {
        if self.table.prolong(id, time).is_some() {
            return Ok(true);
        }
        if self.table.entries.len() >= self.most || self.table.count(&key) >= self.most.div_ceil(2) {
            return Err(Full);
        }
        self.table.insert(id, Entry { time, key });
        Ok(false)
    }

    /// Takes in what passed in a process before, whatever room there is: it ends soon.
    pub(crate) fn restore(&mut self, id: Id, key: Id, time: Time) {
        if self.table.prolong(id, time).is_none() {
            self.table.insert(id, Entry { time, key });
        }
    }
}

/// Requests that were too far in the future, and stay refused when their time comes.
///
/// They have a room of their own, since they may stay for years: with it full, requests of now pass all the same.
/// What finds no room is the farthest of its key, and of that is remembered from when to when it is: with the clock
/// there, the key's requests cannot be told from those that were refused, and are refused too. Only who has the secret
/// of a key, and signs tens of thousands of requests ahead, comes to that, and only with that key.
#[derive(Debug)]
pub(crate) struct Refused {
    table: Table,
    /// Key, end and nonce: the last of a key is the farthest.
    by_key: BTreeSet<(Id, u64, Id)>,
    /// Of each key the times of what found no room.
    no_room: HashMap<Id, Time>,
    /// Of each key the times of what has ended. They bind no other key, and there are as many as keys that somebody has
    /// the secret of.
    ended: HashMap<Id, Forgotten>,
    most: usize,
    most_of_key: usize,
}

impl Refused {
    pub(crate) fn remember(&mut self, id: Id, key: Id, time: Time) {
        if let Some((before, now)) = self.table.prolong(id, time) {
            self.by_key.remove(&(key, before, id));
            self.by_key.insert((key, now, id));
            return;
        }
        let no_room = self.table.entries.len() >= self.most || self.table.count(&key) >= self.most_of_key;
        if no_room {
            let farthest = self.by_key.range((key, 0, Id::default())..=(key, u64::MAX, [u8::MAX; 16])).next_back();
            let Some((_, _, farthest)) = farthest.copied().filter(|(_, until, _)| *until > time.until) else {
                return self.forget_one(key, time);
            };
            if let Some(entry) = self.remove(&farthest) {
                self.forget_one(key, entry.time);
            }
        }
        self.by_key.insert((key, time.until, id));
        self.table.insert(id, Entry { time, key });
    }

    fn forget_one(&mut self, key: Id, time: Time) {
        let all = self.no_room.entry(key).or_insert(time);
        *all = Time { first: all.first.min(time.first), until: all.until.max(time.until) };
    }

    fn remove(&mut self, id: &Id) -> Option<Entry> {
        let entry = self.table.remove(id)?;
        self.by_key.remove(&(entry.key, entry.time.until, *id));
        Some(entry)
    }

    /// Whether a request with this nonce was refused.
    pub(crate) fn knows(&self, id: &Id) -> bool {
        self.table.entries.contains_key(id)
    }

    /// Whether one of `key` and of `time` may have been refused, and be forgotten since its time was past.
    pub(crate) fn may_have_forgotten(&self, key: &Id, time: Time) -> bool {
        self.ended.get(key).is_some_and(|ended| ended.holds(time))
    }

    /// Whether one of `key` with a timestamp in this second may have been refused, of which nothing else is known.
    pub(crate) fn may_hold(&self, key: &Id, second: u64) -> bool {
        let window = super::WINDOW;
        self.no_room.get(key).is_some_and(|time| time.first <= second && second.saturating_add(window) <= time.until)
    }
}

/// All that is remembered.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) used: Used,
    pub(crate) refused: Refused,
    /// Times of what passed and is forgotten.
    pub(crate) forgotten: Forgotten,
}

impl Memory {
    /// For so many requests that passed, and a quarter of that again for those of the future.
    pub(crate) fn new(capacity: usize) -> Self {
        let part = |of: usize| capacity.div_ceil(of).max(1);
        let used = Used { table: Table::default(), most: part(1) };
        let refused = Refused {
            table: Table::default(),
            by_key: BTreeSet::new(),
            no_room: HashMap::new(),
            ended: HashMap::new(),
            most: part(4),
            most_of_key: part(16),
        };
        Self { used, refused, forgotten: Forgotten::default() }
    }

    /// Forgets what ended before second `now`.
    pub(crate) fn forget(&mut self, now: u64) {
        while let Some(id) = self.used.table.ended(now) {
            self.forgotten.extend(self.used.table.remove(&id).map(|entry| entry.time), now);
        }
        while let Some(id) = self.refused.table.ended(now) {
            if let Some(Entry { time, key }) = self.refused.remove(&id) {
                self.refused.ended.entry(key).or_default().add(time, now);
            }
        }
    }

    /// Whether a request of `time` may be one that passed and was forgotten. Whoever looks at the clock, waits, and then
    /// asks here is told so, and so is whoever comes after the clock was set back.
    pub(crate) fn may_have_forgotten(&self, time: Time) -> bool {
        self.forgotten.holds(time)
    }

    /// Forgets what was not remembered one by one, once its time has passed.
    pub(crate) fn sweep(&mut self, now: u64) {
        self.forget(now);
        for (key, time) in self.refused.no_room.extract_if(|_, time| time.until < now) {
            self.refused.ended.entry(key).or_default().add(time, now);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.used.table.entries.len() + self.refused.table.entries.len() + self.refused.no_room.len()
    }

    /// Entries, and where they are listed.
    #[cfg(test)]
    pub(crate) fn listed(&self) -> (usize, usize) {
        (
            self.used.table.entries.len() + self.refused.table.entries.len(),
            self.used.table.ends.len() + self.refused.table.ends.len(),
        )
    }
}
