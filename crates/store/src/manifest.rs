//! The manifest: the one file that says what a store consists of. `docs/FORMAT.md` has the bytes.
//!
//! A fixed preamble comes first (magic, versions, feature masks, length, checksums), so that a file of another version
//! is recognized before its body is read. The body is bincode with fixed configuration, size-limited.

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use bincode::Options as _;
use headcount_block::{ClassSums, Damage, Fault, Origin, Totals, checksum};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::{MANIFEST, MANIFEST_PREVIOUS, Names, open_file, read_up_to, remove_if_there, replace};

/// Version of all file formats of a store that this crate writes, and the greatest that it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Version of the writer: major, minor and patch in a byte each.
pub(crate) const WRITER_VERSION: u32 = 0x00_01_00;

const MAGIC: [u8; 8] = *b"HCMANIF1";
/// magic 8, format 4, writer 4, three masks 24, body length 8, body checksum 8, preamble checksum 8.
const PREAMBLE: usize = 64;
const PREAMBLE_SUM_AT: usize = 56;
/// Greatest seq of a manifest: two thousand million incarnations, or commits for as long as there are stores.
const SEQ_MAX: u64 = u64::MAX / 2;
/// A manifest of a million segments would be smaller.
const BODY_MAX: u64 = 256 << 20;

/// What a store holds at one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) store_id: u128,
    pub(crate) incarnation: u128,
    /// Last seq that the segments hold.
    pub(crate) seq: u64,
    /// When that seq was committed, in milliseconds since 1970-01-01 UTC.
    pub(crate) time_ms: u64,
    pub(crate) created_ms: u64,
    /// Changes since a seq below this one are no longer known.
    pub(crate) changes_floor: u64,
    pub(crate) registered: [u64; 10],
    pub(crate) pending: [u64; 10],
    /// Newest first.
    pub(crate) segments: Vec<SegmentEntry>,
    /// Delta generations, newest first: what they hold comes on top of the segments.
    pub(crate) generations: Vec<GenerationEntry>,
    /// Number of the next generation; none is used twice.
    pub(crate) next_generation: u64,
    /// Changes may have been visible before they were durable, and the store was not closed since.
    pub(crate) unsynced: bool,
    /// A backup that was not opened for writing yet.
    pub(crate) restored: bool,
    /// UIDs whose erasure has begun and is not complete.
    pub(crate) erasing: Vec<String>,
    /// Reserved: snapshots that outlive a process, as name and seq.
    pub(crate) pins: Vec<(String, u64)>,
}

/// A segment as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    pub(crate) id: u128,
    pub(crate) base_seq: u64,
    pub(crate) bytes: u64,
}

/// A delta generation as the manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GenerationEntry {
    pub(crate) number: u64,
    /// Seq of its first commit.
    pub(crate) first_seq: u64,
}

impl Manifest {
    /// The manifest of a new, empty store.
    pub(crate) fn new(store_id: u128, incarnation: u128, now_ms: u64) -> Self {
        Self {
            store_id,
            incarnation,
            seq: 0,
            time_ms: now_ms,
            created_ms: now_ms,
            changes_floor: 0,
            registered: [0; 10],
            pending: [0; 10],
            segments: Vec::new(),
            generations: Vec::new(),
            next_generation: 1,
            unsynced: false,
            restored: false,
            erasing: Vec::new(),
            pins: Vec::new(),
        }
    }

    pub(crate) const fn totals(&self) -> Totals {
        Totals { registered: ClassSums::from_words(self.registered), pending: ClassSums::from_words(self.pending) }
    }

    pub(crate) const fn set_totals(&mut self, totals: &Totals) {
        self.registered = totals.registered.to_words();
        self.pending = totals.pending.to_words();
    }

    /// Names a generation whose first commit will have this seq.
    pub(crate) fn add_generation(&mut self, number: u64, first_seq: u64) {
        self.generations.insert(0, GenerationEntry { number, first_seq });
    }

    /// Takes over the state that segments now hold.
    pub(crate) fn advance(&mut self, origin: &Origin, totals: &Totals) {
        (self.seq, self.time_ms) = (origin.seq, origin.time_ms);
        self.set_totals(totals);
    }

    /// Makes this the current manifest of the store in `dir`, durably.
    pub(crate) fn write(&self, dir: &Path, names: &Names) -> Result<()> {
        let path = dir.join(MANIFEST);
        replace(dir, MANIFEST, Some(MANIFEST_PREVIOUS), &self.encode(&path)?, names)
    }

    /// The same, and leaves none before it. Wherever it breaks off, that one is current still, or gone: nobody would look for
    /// what it names once this one is current.
    pub(crate) fn write_alone(&self, dir: &Path, names: &Names) -> Result<()> {
        let path = dir.join(MANIFEST);
        let bytes = self.encode(&path)?;
        remove_if_there(&dir.join(MANIFEST_PREVIOUS))?;
        names.sync(dir)?;
        replace(dir, MANIFEST, None, &bytes, names)
    }

    pub(crate) fn encode(&self, path: &Path) -> Result<Vec<u8>> {
        let body = codec().serialize(self).map_err(|e| Error::io("encode", path, std::io::Error::other(e)))?;
        let mut out = Vec::with_capacity(PREAMBLE + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&WRITER_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 24]);
        out.extend_from_slice(&(body.len() as u64).to_le_bytes());
        out.extend_from_slice(&checksum(&body).to_le_bytes());
        out.extend_from_slice(&checksum(&out).to_le_bytes());
        out.extend_from_slice(&body);
        Ok(out)
    }

    /// Reads the current manifest of the store in `dir`.
    pub(crate) fn read(dir: &Path, writable: bool) -> Result<Self> {
        let path = dir.join(MANIFEST);
        Self::read_file(&path, writable).map_err(|e| match e {
            Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                Error::NotAStore { path: dir.to_path_buf(), why: "it holds no MANIFEST" }
            }
            other => other,
        })
    }

    /// Reads the manifest in the file `path`.
    pub(crate) fn read_file(path: &Path, writable: bool) -> Result<Self> {
        let most = PREAMBLE as u64 + BODY_MAX;
        let (bytes, found) = read_up_to(path, most).map_err(|e| Error::io("read", path, e))?;
        if found > most {
            return Err(Error::fault(Fault::new("manifest length", 40, most, found), path, 0));
        }
        Self::decode(&bytes, path, writable)
    }

    pub(crate) fn decode(bytes: &[u8], path: &Path, writable: bool) -> Result<Self> {
        let damage = |offset: usize, what: &str, expected: String, found: String| {
            let file = path.to_path_buf();
            Error::Damage(Box::new(Damage {
                file,
                offset: offset as u64,
                what: what.into(),
                expected,
                found,
                uids: None,
            }))
        };
        let hex = |v: u64| format!("{v:#x}");
        let word =
            |at: usize| bytes.get(at..at + 8).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
        let Some((head, body)) = bytes.split_first_chunk::<PREAMBLE>() else {
            return Err(damage(bytes.len(), "manifest length", format!("{PREAMBLE} or more"), bytes.len().to_string()));
        };
        if !head.starts_with(&MAGIC) {
            return Err(damage(0, "manifest magic", hex(u64::from_le_bytes(MAGIC)), hex(word(0))));
        }
        let sum = checksum(head.get(..PREAMBLE_SUM_AT).unwrap_or_default());
        if sum != word(PREAMBLE_SUM_AT) {
            return Err(damage(PREAMBLE_SUM_AT, "manifest preamble checksum", hex(word(PREAMBLE_SUM_AT)), hex(sum)));
        }
        check_version(head, path, writable)?;
        if word(40) != body.len() as u64 {
            return Err(damage(40, "manifest length", word(40).to_string(), body.len().to_string()));
        }
        if word(48) != checksum(body) {
            return Err(damage(48, "manifest checksum", hex(word(48)), hex(checksum(body))));
        }
        let this: Self = codec()
            .deserialize(body)
            .map_err(|e| damage(PREAMBLE, "manifest body", "a manifest".into(), e.to_string()))?;
        let found = this.greatest_seq();
        if found > SEQ_MAX {
            return Err(damage(PREAMBLE, "seq of the manifest", format!("{SEQ_MAX} at most"), found.to_string()));
        }
        Ok(this)
    }

    fn greatest_seq(&self) -> u64 {
        let (segments, generations) =
            (self.segments.iter().map(|s| s.base_seq), self.generations.iter().map(|g| g.first_seq));
        segments.chain(generations).fold(self.seq.max(self.changes_floor), u64::max)
    }
}

/// Whether `dir` holds a manifest, be it damaged or of a later version.
pub(crate) fn is_store(dir: &Path) -> bool {
    [MANIFEST, MANIFEST_PREVIOUS].iter().any(|name| {
        let mut magic = [0; MAGIC.len()];
        open_file(&dir.join(name)).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok()) && magic == MAGIC
    })
}

/// Checks the versions and masks in the first bytes of a manifest or footer (after an eight-byte magic).
pub(crate) fn check_version(head: &[u8], path: &Path, writable: bool) -> Result<()> {
    let at = |from: usize| head.get(from..from + 8).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
    let found = u32::try_from(at(8) & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let path = || path.to_path_buf();
    if found != FORMAT_VERSION {
        return Err(Error::Version { path: path(), found, supported: FORMAT_VERSION });
    }
    let (read_only, incompatible) = (at(24), at(32));
    if incompatible != 0 {
        return Err(Error::Feature { path: path(), unknown: incompatible, kind: "incompatible" });
    }
    if writable && read_only != 0 {
        return Err(Error::Feature { path: path(), unknown: read_only, kind: "read-only compatible" });
    }
    Ok(())
}

fn codec() -> impl bincode::Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .with_limit(BODY_MAX)
        .reject_trailing_bytes()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// It was read whole, however long: zeros that take no room on disk filled the memory, and a pipe was waited for.
    #[test]
    fn what_is_too_long_or_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (path, previous) = (dir.path().join(MANIFEST), dir.path().join(MANIFEST_PREVIOUS));
        fs::File::create(&path).unwrap().set_len(1 << 36).unwrap();
        let Error::Damage(damage) = Manifest::read(dir.path(), false).unwrap_err() else { panic!() };
        assert_eq!(damage.what, "manifest length");
        for path in [&path, &previous] {
            let _ = fs::remove_file(path);
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }
        let error = Manifest::read(dir.path(), false).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        let to = dir.path().join("new");
        let error = crate::salvage(dir.path(), to, &std::sync::Arc::default()).unwrap_err();
        assert!(matches!(error, Error::NotAStore { .. } | Error::Io { .. }), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(matches!(Manifest::read(dir.path(), false), Err(Error::NotAStore { .. })));
    }

    /// The seq of a new incarnation began anew at 0.
    #[test]
    fn seqs_that_leave_no_room_for_others_are_damage() {
        let of = |change: fn(&mut Manifest)| {
            let mut manifest = Manifest::new(1, 2, 3);
            manifest.add_generation(1, 1);
            manifest.segments.push(SegmentEntry { id: 1, base_seq: 0, bytes: 1 });
            change(&mut manifest);
            let path = Path::new("m");
            Manifest::decode(&manifest.encode(path).unwrap(), path, true).map(|read| read == manifest)
        };
        assert!(of(|m| (m.seq, m.changes_floor) = (SEQ_MAX, SEQ_MAX)).unwrap());
        let changes: [fn(&mut Manifest); 5] = [
            |m| m.seq = SEQ_MAX + 1,
            |m| m.seq = u64::MAX,
            |m| m.changes_floor = SEQ_MAX + 1,
            |m| m.generations[0].first_seq = u64::MAX,
            |m| m.segments[0].base_seq = u64::MAX,
        ];
        for change in changes {
            let Error::Damage(damage) = of(change).unwrap_err() else { panic!() };
            assert_eq!(damage.what, "seq of the manifest");
        }
    }
}
