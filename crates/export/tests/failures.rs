//! An export that fails never looks whole: damage, cancellation, panics, destinations that refuse.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::{self, Write};
use std::sync::Arc;

use common::{Fail, Memory, Recipe, oracle, population};
use headcount_block::{HEADER_LEN, Progress, Select, Status, User};
use headcount_export::{Error, Export, Fields, Format};

/// Where a block's header holds its counts and length sums.
const SUMS_AT: usize = 72;

const RECIPE: Recipe =
    Recipe { users: 3000, pending: 10, bare: 5, escapes: 2, long: 0, unicode: 0, providers: 6, nasty_providers: false };

fn users() -> Vec<User> {
    population(RECIPE, 4242)
}

fn export(source: &Memory, format: Format, threads: usize) -> Export<Memory> {
    Export::new(source).format(format).threads(threads).call_id("C").time("T")
}

/// A broken JSON export: valid JSON, counts of what is in it, the code; and a prefix of the whole one until there.
fn check_broken_json(out: &[u8], whole: &[u8], code: u64) {
    let json: serde_json::Value = serde_json::from_slice(out).unwrap();
    let users = json["users"].as_array().unwrap();
    let identities: usize = users.iter().map(|u| u["identities"].as_array().unwrap().len()).sum();
    assert_eq!(json["usersCount"], users.len());
    assert_eq!(json["identitiesCount"], identities);
    assert_eq!(json["statusCode"], 500);
    assert_eq!(json["errorCode"], code);
    assert_eq!(json["statusReason"], "Internal Server Error");
    assert!(json["errorMessage"].is_string() && json["callId"] == "C" && json["time"] == "T");
    let end = out.windows(16).rposition(|w| w == b"],\"usersCount\":3" || w.starts_with(b"],\"usersCount\":")).unwrap();
    assert_eq!(out[..end], whole[..end], "what was sent before the failure");
    assert!(!users.is_empty(), "the failure was meant to come late");
}

#[test]
fn damage_in_the_middle() {
    let users = users();
    let clean = Memory::new(&users, 100);
    // In the header's counts, in the control entries, and in the text at the end.
    for at in [30, HEADER_LEN + 100, HEADER_LEN + 2000] {
        let source = Memory::with(&users, 100, 0, Some(Fail::Flip { block: 17, at }));
        for format in Format::ALL {
            let mut whole = Vec::new();
            export(&clean, format, 1).write_to(&mut whole).unwrap();
            for threads in [1, 2, 4] {
                let mut out = Vec::new();
                let error = export(&source, format, threads).write_to(&mut out).unwrap_err();
                assert!(error.is_damage(), "{error}");
                assert!(error.to_string().contains("memory"), "names the file: {error}");
                if format == Format::Json {
                    check_broken_json(&out, &whole, 500_028);
                } else {
                    assert!(out.len() < whole.len() && whole.starts_with(&out), "{format}");
                    assert!(out.ends_with(b"\n") && !out.is_empty(), "{format}");
                }
                let mut chunks = export(&source, format, threads).chunks().unwrap();
                let mut joined = Vec::new();
                let error = loop {
                    match chunks.next().unwrap() {
                        Ok(chunk) => joined.extend_from_slice(&chunk),
                        Err(error) => break error,
                    }
                };
                assert!(error.is_damage() && joined == out && chunks.next().is_none());
                assert!(chunks.summary().is_none());
            }
        }
    }
}

#[test]
fn blocks_that_contradict_themselves_under_a_right_checksum() {
    let source = Memory::with(&users(), 100, 0, Some(Fail::Unchecked { block: 17, at: SUMS_AT }));
    for format in Format::ALL {
        for threads in [1, 2] {
            let mut out = Vec::new();
            let error = export(&source, format, threads).write_to(&mut out).unwrap_err();
            assert!(error.is_damage() && error.to_string().contains("users of a block"), "{error}");
        }
    }
}

#[test]
fn damage_before_the_first_byte_writes_nothing() {
    let source = Memory::with(&users(), 100, 0, Some(Fail::Flip { block: 0, at: HEADER_LEN + 5 }));
    for format in Format::ALL {
        let mut out = Vec::new();
        assert!(export(&source, format, 1).write_to(&mut out).unwrap_err().is_damage());
        assert_eq!(out, b"");
    }
}

#[test]
fn totals_that_differ_are_damage_before_the_trailer() {
    let users = users();
    let source = Memory::with(&users, 100, 0, Some(Fail::Totals));
    let whole = oracle(&users, &Select::default(), Format::Json, &Fields::default());
    for threads in [1, 3] {
        let mut out = Vec::new();
        let error = export(&source, Format::Json, threads).write_to(&mut out).unwrap_err();
        assert!(matches!(error, Error::Mismatch { what: "users", .. }) && error.is_damage(), "{error}");
        check_broken_json(&out, &whole, 500_028);
    }
}

#[test]
fn a_panic_is_an_error() {
    let users = users();
    let source = Memory::with(&users, 100, 0, Some(Fail::Panic { block: 16 }));
    for threads in [2, 4] {
        let mut out = Vec::new();
        let error = export(&source, Format::Json, threads).write_to(&mut out).unwrap_err();
        assert!(matches!(&error, Error::Thread(text) if text == "the source panics"), "{error}");
        assert!(!error.is_damage());
        serde_json::from_slice::<serde_json::Value>(&out).unwrap();
        let last = export(&source, Format::Json, threads).chunks().unwrap().last().unwrap();
        assert!(matches!(last, Err(Error::Thread(_))));
    }
    // In the calling thread of `chunks` too.
    let last = export(&source, Format::Csv, 1).chunks().unwrap().last().unwrap();
    assert!(matches!(last, Err(Error::Thread(_))));
}

/// Takes some bytes, and then no more.
struct Full {
    room: usize,
    writes_after: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            self.writes_after += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let n = bytes.len().min(self.room);
        self.room -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_destination_that_is_full_ends_the_export_at_once() {
    let source = Memory::new(&users(), 100);
    for format in Format::ALL {
        for threads in [1, 2, 4] {
            let mut full = Full { room: 1000, writes_after: 0 };
            let error = export(&source, format, threads).write_to(&mut full).unwrap_err();
            assert!(
                matches!(&error, Error::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull),
                "{error}"
            );
            assert!(error.to_string().contains("the destination"), "{error}");
            assert_eq!(full.writes_after, 1, "nothing is written after a failed write");
        }
    }
}

/// Cancels after some bytes.
struct Canceller(Arc<Progress>, Vec<u8>);

impl Write for Canceller {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.cancel();
        self.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn cancellation() {
    let users = users();
    let source = Memory::new(&users, 100);
    let whole = oracle(&users, &Select::default(), Format::Json, &Fields::default());
    for threads in [1, 2, 4] {
        let progress = Arc::new(Progress::default());
        let mut out = Canceller(Arc::clone(&progress), Vec::new());
        let error = export(&source, Format::Json, threads).progress(progress).write_to(&mut out).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        check_broken_json(&out.1, &whole, 500_001);

        let progress = Arc::new(Progress::default());
        progress.cancel();
        let mut out = Vec::new();
        let error = export(&source, Format::Csv, threads).progress(progress).write_to(&mut out).unwrap_err();
        assert!(matches!(error, Error::Cancelled) && out.is_empty(), "{error}");
    }
}

/// Changes that fill no buffer: none of these users is selected, and JSON lists who is gone at the end.
#[test]
fn changes_are_cancelled_long_before_a_buffer_is_full() {
    let users: Vec<User> = (0..60_000).map(|i| User::new(format!("{i:06}")).with_status(Status::Pending)).collect();
    // Every third of them changed. JSON goes through the changes twice.
    let pass = users.len() / 3;
    for (format, at) in Format::ALL.map(|format| (format, 1)).into_iter().chain([(Format::Json, pass + 1)]) {
        let source = Memory::new(&users, 1000);
        let progress = Arc::new(Progress::default());
        source.cancel_at(at, &progress);
        let export = export(&source, format, 1).fields("uid".parse().unwrap()).since(5).progress(progress);
        let error = export.write_to(&mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        let more = source.visits() - at;
        assert!((1..=4096).contains(&more), "{format}: {more} more changes were looked at");
    }
    // What holds no changes is walked as well.
    for format in Format::ALL {
        let source = Memory::new(&users, 1000);
        let progress = Arc::new(Progress::default());
        source.cancel_at(0, &progress);
        let error = export(&source, format, 1).since(5).progress(progress).write_to(&mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::Cancelled) && source.visits() == 0, "{format}: {error}");
    }
}

#[test]
fn progress_counts_up_to_its_totals() {
    let source = Memory::new(&users(), 100);
    for threads in [1, 3] {
        let progress = Arc::new(Progress::default());
        let export = export(&source, Format::Json, threads).progress(Arc::clone(&progress));
        let summary = export.write_to(&mut Vec::new()).unwrap();
        assert_eq!((progress.users(), progress.bytes()), (summary.users, summary.bytes));
        assert_eq!((progress.total_users(), progress.total_bytes()), (summary.users, summary.bytes));
    }
}

#[test]
fn chunks_that_are_dropped_end_their_threads() {
    let source = Memory::with(&users(), 20, 0, Some(Fail::Slow { ms: 1 }));
    for threads in [1, 2, 4] {
        for taken in [0, 1, 3] {
            let before = source.visits();
            let mut chunks = export(&source, Format::Json, threads).chunks().unwrap();
            for _ in 0..taken {
                assert!(chunks.next().unwrap().is_ok());
            }
            drop(chunks);
            assert_eq!(source.handles(), 1, "every thread has ended when drop returns");
            assert!(source.visits() - before < 75, "the export went on to its end");
        }
    }
}

#[test]
fn chunks_outlive_their_iterator() {
    let source = Memory::new(&users(), 100);
    let mut chunks = export(&source, Format::Ndjson, 2).chunks().unwrap();
    let chunk = chunks.next().unwrap().unwrap();
    drop(chunks);
    assert!(chunk.ends_with(b"\n") && !chunk.is_empty());
    assert!(!format!("{chunk:?}").contains("UID"), "chunks are personal data");
}
