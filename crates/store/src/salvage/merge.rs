//! The newest form of each user, out of layers of which parts are missing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Bound;

use headcount_block::{Damage, Progress, UidRange};

use super::plan::{Layer, Plan};
use super::{Loss, Losses};
use crate::error::{Error, Result};
use crate::layer::Changes;
use crate::segment::Found;

/// A row or a tombstone.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Newest {
    pub(super) uid: Vec<u8>,
    pub(super) seq: u64,
    /// The self-contained row; `None` for a tombstone.
    pub(super) row: Option<Vec<u8>>,
}

/// What a cursor stands at; of equal UIDs the newest comes first, of equal seqs any: they are copies of each other.
type Head = Reverse<(Vec<u8>, Reverse<u64>, usize)>;

/// The merge of all layers by UID.
pub(super) struct Merge<'p> {
    cursors: Vec<Cursor<'p>>,
    /// What each cursor stands at.
    rows: Vec<Option<Vec<u8>>>,
    heap: BinaryHeap<Head>,
    progress: &'p Progress,
}

impl<'p> Merge<'p> {
    pub(super) fn new(plan: &'p Plan, losses: &mut Losses, progress: &'p Progress) -> Result<Self> {
        let mut cursors = vec![Cursor::Delta(Box::new(plan.delta.range(&UidRange::all())))];
        for layer in &plan.layers {
            note_sections(layer, losses);
            cursors.push(Cursor::Tombstones { layer, next: 0 });
            cursors.push(Cursor::Rows(Box::new(Rows::new(layer))));
        }
        let rows = cursors.iter().map(|_| None).collect();
        let mut this = Self { cursors, rows, heap: BinaryHeap::new(), progress };
        for number in 0..this.cursors.len() {
            this.advance(number, losses)?;
        }
        Ok(this)
    }

    fn advance(&mut self, number: usize, losses: &mut Losses) -> Result<()> {
        let Some(cursor) = self.cursors.get_mut(number) else { return Ok(()) };
        if let Some(Newest { uid, seq, row }) = cursor.next(losses, self.progress)? {
            if let Some(slot) = self.rows.get_mut(number) {
                *slot = row;
            }
            self.heap.push(Reverse((uid, Reverse(seq), number)));
        }
        Ok(())
    }

    /// The newest form of the next user.
    pub(super) fn next(&mut self, losses: &mut Losses) -> Result<Option<Newest>> {
        let Some(Reverse((uid, Reverse(seq), number))) = self.heap.pop() else { return Ok(None) };
        let row = self.rows.get_mut(number).and_then(Option::take);
        self.advance(number, losses)?;
        while self.heap.peek().is_some_and(|Reverse((other, ..))| *other == uid) {
            let Some(Reverse((_, _, older))) = self.heap.pop() else { break };
            self.advance(older, losses)?;
        }
        Ok(Some(Newest { uid, seq, row }))
    }

    /// Blocks that were read.
    pub(super) fn blocks(&self) -> u64 {
        let read = self.cursors.iter().map(|cursor| if let Cursor::Rows(rows) = cursor { rows.blocks } else { 0 });
        read.sum()
    }
}

/// What is wrong with the parts of a segment that are not blocks, where something is lost by it.
fn note_sections(layer: &Layer, losses: &mut Losses) {
    let remains = &layer.remains;
    for damage in &remains.damages {
        let loss = Loss {
            damage: damage.clone(),
            bytes: 0,
            blocks: None,
            users: None,
            // Without names users are missing from this layer, and without tombstones what it says of others.
            older: damage.what.contains("provider"),
            deleted: remains.tombstones().is_none() && !damage.what.contains("provider"),
        };
        losses.add(loss, UidRange::all(), layer.below);
    }
}

/// Where the merge stands in one layer.
enum Cursor<'p> {
    Delta(Box<Changes<'p>>),
    Tombstones { layer: &'p Layer, next: usize },
    Rows(Box<Rows<'p>>),
}

impl Cursor<'_> {
    fn next(&mut self, losses: &mut Losses, progress: &Progress) -> Result<Option<Newest>> {
        match self {
            Self::Delta(changes) => Ok(changes.next().map(|(record, stamp)| Newest {
                uid: record.uid().to_vec(),
                seq: stamp.seq,
                row: record.row().map(|row| row.as_bytes().to_vec()),
            })),
            Self::Tombstones { layer, next } => {
                let found = layer.remains.tombstone(*next);
                *next += 1;
                Ok(found.map(|(uid, tombstone)| Newest { uid: uid.to_vec(), seq: tombstone.seq, row: None }))
            }
            Self::Rows(rows) => rows.next(losses, progress),
        }
    }
}

/// The rows of a segment, block after block.
struct Rows<'p> {
    layer: &'p Layer,
    /// Place in the list of blocks that were found.
    next: usize,
    /// Number of the block that should come next, and where it should begin.
    expected: u32,
    at: u64,
    ready: VecDeque<Newest>,
    /// Last UID of the last block that was read; empty when there is none.
    last_uid: Vec<u8>,
    /// Blocks that are missing since then.
    missing: Option<Missing>,
    blocks: u64,
    /// Users whose providers cannot be named.
    unnamed: u64,
    done: bool,
}

/// Blocks in a row that cannot be read.
struct Missing {
    first: u32,
    last: u32,
    offset: u64,
    end: u64,
    damage: Option<Damage>,
    users: Option<u64>,
}

impl<'p> Rows<'p> {
    fn new(layer: &'p Layer) -> Self {
        Self {
            layer,
            next: 0,
            expected: 0,
            at: 64,
            ready: VecDeque::new(),
            last_uid: Vec::new(),
            missing: None,
            blocks: 0,
            unnamed: 0,
            done: false,
        }
    }

    fn next(&mut self, losses: &mut Losses, progress: &Progress) -> Result<Option<Newest>> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Ok(Some(row));
            }
            if self.done {
                return Ok(None);
            }
            progress.check()?;
            let before = self.at;
            self.read_block(losses)?;
            progress.add_bytes(self.at.saturating_sub(before));
        }
    }

    /// Goes on to the next block, whole or not; notes what is missing as soon as it is known where that ends.
    fn read_block(&mut self, losses: &mut Losses) -> Result<()> {
        let remains = &self.layer.remains;
        let Some(found) = remains.found.get(self.next).copied() else {
            self.done = true;
            match remains.blocks {
                Some(blocks) if blocks > self.expected => {
                    self.miss(self.expected, blocks - 1, remains.bytes(), None, None)
                }
                // Index pages follow the last block: then none is missing.
                None if !remains.is_page(self.at) => self.miss(self.expected, u32::MAX, remains.bytes(), None, None),
                _ => {}
            }
            self.note_missing(None, losses);
            self.note_unnamed(losses);
            return Ok(());
        };
        self.next += 1;
        if found.number > self.expected {
            self.miss(self.expected, found.number - 1, found.offset, None, None);
        }
        self.expected = found.number.saturating_add(1);
        self.at = found.offset + u64::from(found.len);
        let saved = match remains.read(&found) {
            Ok(saved) => saved,
            Err(error) => {
                let damage = damage_of(error, &found, self.layer)?;
                self.miss(found.number, found.number, self.at, Some(damage), found.users.map(u64::from));
                return Ok(());
            }
        };
        self.blocks += 1;
        let first = saved.rows.first().map(|row| row.uid.clone());
        self.note_missing(first.as_deref(), losses);
        self.unnamed += saved.unnamed;
        self.last_uid = saved.last_uid;
        let base = self.layer.base_seq;
        let rows = saved.rows.into_iter();
        self.ready.extend(rows.map(|r| Newest { uid: r.uid, seq: base.saturating_add(r.seq), row: Some(r.row) }));
        Ok(())
    }

    /// Notes that blocks are missing, together with those before them.
    fn miss(&mut self, first: u32, last: u32, end: u64, damage: Option<Damage>, users: Option<u64>) {
        let at = if damage.is_some() { damage.as_ref().map_or(self.at, |d| d.offset) } else { self.at };
        self.missing = Some(match self.missing.take() {
            Some(before) => Missing {
                last,
                end: before.end.max(end),
                damage: before.damage.or(damage),
                users: before.users.zip(users).map(|(a, b)| a + b),
                ..before
            },
            None => Missing { first, last, offset: at, end, damage, users },
        });
    }

    /// Adds the missing blocks to the losses: the next UID that is there, `next`, is known now.
    fn note_missing(&mut self, next: Option<&[u8]>, losses: &mut Losses) {
        let Some(missing) = self.missing.take() else { return };
        let remains = &self.layer.remains;
        let open = missing.last == u32::MAX;
        let first = remains.first_uid(missing.first).map(<[u8]>::to_vec).unwrap_or_else(|| self.last_uid.clone());
        let after = remains.first_uid(missing.last.saturating_add(1)).or(next).unwrap_or_default().to_vec();
        let end = match remains.last_uid() {
            _ if !after.is_empty() => Bound::Excluded(after.clone()),
            Some(last) => Bound::Included(last.to_vec()),
            None => Bound::Unbounded,
        };
        let start = if first.is_empty() { Bound::Unbounded } else { Bound::Included(first.clone()) };
        let text = |uid: &[u8]| String::from_utf8_lossy(uid).into_owned();
        let mut damage = missing.damage.unwrap_or_else(|| Damage {
            file: remains.path.clone(),
            offset: missing.offset,
            what: "blocks that no header names".into(),
            expected: if open { "the end of the blocks".into() } else { format!("block {}", missing.first) },
            found: "other bytes".into(),
            uids: None,
        });
        damage.uids = Some((text(&first), text(&after)));
        let loss = Loss {
            damage,
            bytes: missing.end.saturating_sub(missing.offset),
            blocks: (!open).then_some((missing.first, missing.last)),
            users: missing.users,
            older: true,
            deleted: false,
        };
        losses.add(loss, UidRange { start, end }, self.layer.below);
    }

    /// Users whose providers cannot be named, since the dictionary is damaged. That it is was noted before.
    fn note_unnamed(&self, losses: &mut Losses) {
        if self.unnamed == 0 {
            return;
        }
        let remains = &self.layer.remains;
        let damage = Damage {
            file: remains.path.clone(),
            offset: 64,
            what: "users whose providers only the provider dictionary names".into(),
            expected: "the provider dictionary".into(),
            found: format!("{} users without it", self.unnamed),
            uids: None,
        };
        let users = Some(self.unnamed);
        let bytes = remains.end_of_blocks().saturating_sub(64);
        let loss = Loss { damage, bytes, blocks: None, users, older: true, deleted: false };
        losses.add(loss, UidRange::all(), self.layer.below);
    }
}

/// What is wrong with a block. Only what cannot be read for another reason than damage ends the salvage.
fn damage_of(error: Error, found: &Found, layer: &Layer) -> Result<Damage> {
    match error {
        Error::Damage(damage) => Ok(*damage),
        // A sector that the disk does not give back.
        Error::Io { source, .. } => Ok(Damage {
            file: layer.remains.path.clone(),
            offset: found.offset,
            what: format!("block {}", found.number),
            expected: format!("{} bytes that can be read", found.len),
            found: source.to_string(),
            uids: None,
        }),
        other => Err(other),
    }
}
