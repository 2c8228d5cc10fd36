//! Exports that broke off are continued: the same bytes as unbroken, or a refusal that says why.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Fail, Memory, Recipe, Rng, names, population};
use headcount_block::{HEADER_LEN, Origin, Progress, Source, User};
use headcount_export::{DigestAlgorithm, Envelope, Error, Export, Format, Manifest, ResumeError, ResumeRecord};

/// Escapes, wide users, bare and pending ones.
const RECIPE: Recipe = Recipe {
    users: 300,
    pending: 10,
    bare: 10,
    escapes: 10,
    long: 5,
    unicode: 10,
    providers: 8,
    nasty_providers: true,
};

/// More than fits into one piece of the file.
const LONG: Recipe = Recipe { users: 4000, ..RECIPE };

fn users() -> Vec<User> {
    population(RECIPE, 5150)
}

fn export(source: &Memory, format: Format) -> Export<Memory> {
    Export::new(source).format(format).fields("uid,provider,providerUID,status".parse().unwrap()).include_pending(true)
}

/// A source that fails after many users.
fn damaged() -> Memory {
    Memory::with(&population(LONG, 99), 100, 0, Some(Fail::Flip { block: 38, at: HEADER_LEN + 9 }))
}

/// A place for an export to `out` that has the record of one that broke off there.
struct Place(tempfile::TempDir);

impl Place {
    /// The record depends on the settings and the snapshot's ids alone, which all sources here share.
    fn new(settings: impl FnOnce(&Memory) -> Export<Memory>) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        let error = settings(&damaged()).write_file(this.out()).unwrap_err();
        assert!(error.is_damage(), "{error}");
        assert_eq!(names(this.0.path()), ["out.partial", "out.partial.json"].map(str::to_owned).into());
        this
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    fn partial(&self) -> PathBuf {
        self.0.path().join("out.partial")
    }

    fn record(&self) -> PathBuf {
        self.0.path().join("out.partial.json")
    }

    fn refused(&self, source: &Memory) -> ResumeError {
        match Export::new(source).resume_file(self.out()) {
            Err(Error::Resume(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

/// Exports unbroken, for comparison.
fn unbroken(export: &Export<Memory>) -> Vec<u8> {
    let mut out = Vec::new();
    export.write_to(&mut out).unwrap();
    out
}

/// Lays `partial` down as what is left, resumes, and compares.
fn resume(place: &Place, record: &[u8], partial: &[u8], export: &Export<Memory>, whole: &[u8]) {
    fs::write(place.partial(), partial).unwrap();
    fs::write(place.record(), record).unwrap();
    let summary = export.resume_file(place.out()).unwrap();
    assert!(fs::read(place.out()).unwrap() == whole, "of {} bytes", partial.len());
    assert_eq!(summary.bytes, whole.len() as u64);
    assert_eq!(names(place.0.path()).len(), 1 + usize::from(summary.digest.is_some()), "only the export is left");
}

/// What writes to files are aligned to.
const ALIGN: usize = 64 << 10;

#[test]
fn cut_anywhere_the_bytes_are_those_of_an_unbroken_run() {
    let source = Memory::with(&users(), 40, 7, None);
    for format in Format::ALL {
        let place = Place::new(|source| export(source, format));
        let record = fs::read(place.record()).unwrap();
        let whole = unbroken(&export(&source, format));
        let mut rng = Rng(0x9e37_79b9);
        for round in 0..1000 {
            let cut = match round {
                0 => 0,
                1 => whole.len(),
                _ => rng.below(whole.len()),
            };
            // The record alone says what is exported; threads and syncing are the caller's.
            resume(&place, &record, &whole[..cut], &Export::new(&source).threads(1 + round % 3), &whole);
        }
    }
}

#[test]
fn whatever_lies_there_the_bytes_are_those_of_an_unbroken_run() {
    let source = Memory::new(&population(LONG, 3), 100);
    for format in Format::ALL {
        let place = Place::new(|source| export(source, format));
        let record = fs::read(place.record()).unwrap();
        let whole = unbroken(&export(&source, format));
        assert!(whole.len() > 4 * (ALIGN), "several pieces");
        let mut rng = Rng(77);
        for _ in 0..60 {
            // Of any length up to twice that of the export, with some bytes that differ.
            let mut partial = whole.repeat(2);
            partial.truncate(rng.below(partial.len()));
            for _ in 0..rng.below(3) {
                if !partial.is_empty() {
                    let at = rng.below(partial.len());
                    partial[at] ^= 1 << rng.below(8);
                }
            }
            resume(&place, &record, &partial, &Export::new(&source).threads(1 + rng.below(3)), &whole);
        }
        for edge in [1, (ALIGN) - 1, ALIGN, (ALIGN) + 1, 2 * ALIGN, whole.len() - 1] {
            resume(&place, &record, &whole[..edge], &Export::new(&source), &whole);
            resume(&place, &record, &[&whole[..edge], &[0; 1000][..]].concat(), &Export::new(&source), &whole);
        }
        resume(&place, &record, &vec![0; 5 << 20], &Export::new(&source), &whole);
        resume(&place, &record, b"", &Export::new(&source), &whole);
    }
}

#[test]
fn an_export_that_breaks_off_again_keeps_what_it_had() {
    let good = Memory::new(&population(LONG, 99), 100);
    for format in Format::ALL {
        let whole = unbroken(&export(&good, format));
        let place = Place::new(|source| export(source, format));
        let left = fs::read(place.partial()).unwrap();
        assert!(left.len() >= ALIGN && left.len().is_multiple_of(ALIGN), "{}", left.len());
        assert!(whole.starts_with(&left), "{format}: nothing but users, no end of a failed export");
        // Broken off at the same place, and while it still compares: nothing is lost, nothing is closed.
        for threads in [1, 2] {
            assert!(Export::new(&damaged()).threads(threads).resume_file(place.out()).unwrap_err().is_damage());
            assert!(fs::read(place.partial()).unwrap().starts_with(&left));
            let progress = Arc::new(Progress::default());
            progress.cancel();
            let cancelled = Export::new(&good).progress(progress).resume_file(place.out());
            assert!(matches!(cancelled, Err(Error::Cancelled)));
            assert!(fs::read(place.partial()).unwrap().starts_with(&left));
        }
        Export::new(&good).resume_file(place.out()).unwrap();
        assert!(fs::read(place.out()).unwrap() == whole);
        assert_eq!(names(place.0.path()).len(), 1);
    }
}

#[test]
fn every_setting_is_in_the_record() {
    let source = Memory::new(&population(LONG, 5), 100);
    let uid = population(LONG, 5)[40].uid.clone();
    let envelope = || Envelope::new().text("context", "a\"\né").number("n", 7).next_after(true);
    type Settings<'s> = Box<dyn Fn(&Memory) -> Export<Memory> + 's>;
    let cases: Vec<Settings<'_>> = vec![
        Box::new(Export::new),
        Box::new(|s| Export::new(s).format(Format::Csv).fields("status,providerUID,uid".parse().unwrap())),
        Box::new(|s| Export::new(s).format(Format::Csv).formula_guard(true).fsync(true)),
        Box::new(|s| Export::new(s).format(Format::Ndjson).include_pending(true).after(uid.as_str())),
        Box::new(|s| Export::new(s).limit(3900).envelope(envelope()).include_pending(true)),
        Box::new(|s| Export::new(s).since(5).call_id("C").time("T")),
        Box::new(|s| Export::new(s).since(0).format(Format::Csv).manifest(DigestAlgorithm::Sha256)),
    ];
    for settings in &cases {
        let whole = unbroken(&settings(&source));
        let broken = damaged();
        let place = Place(tempfile::tempdir().unwrap());
        settings(&broken).write_file(place.out()).unwrap_err();
        let record = fs::read(place.record()).unwrap();
        for cut in [0, whole.len() / 2, whole.len()] {
            resume(&place, &record, &whole[..cut], &Export::new(&source), &whole);
            let manifest = Manifest::path_of(place.out()).unwrap();
            if manifest.exists() {
                assert_eq!(Manifest::read(&manifest).unwrap().bytes, whole.len() as u64);
                fs::remove_file(manifest).unwrap();
            }
        }
    }
}

/// The users of another source, of a store in another state.
#[derive(Clone)]
struct Other(Memory, Origin);

impl Source for Other {
    fn origin(&self) -> Origin {
        self.1
    }
    fn totals(&self) -> headcount_block::Totals {
        self.0.totals()
    }
    fn measure(
        &self,
        select: &headcount_block::Select,
        scan: headcount_block::Scan,
    ) -> Result<Option<headcount_block::Measured>, headcount_block::Error> {
        self.0.measure(select, scan)
    }
    fn parts<'s>(
        &'s self,
        range: &headcount_block::UidRange,
    ) -> Result<
        Box<dyn Iterator<Item = Result<headcount_block::Part, headcount_block::Error>> + Send + 's>,
        headcount_block::Error,
    > {
        self.0.parts(range)
    }
    fn visit(
        &self,
        part: &headcount_block::Part,
        visitor: &mut dyn headcount_block::Visitor,
    ) -> Result<(), headcount_block::Error> {
        self.0.visit(part, visitor)
    }
    fn changes(
        &self,
        since: u64,
        each: &mut dyn FnMut(headcount_block::Change<'_>) -> Result<(), headcount_block::Error>,
    ) -> Result<(), headcount_block::Error> {
        self.0.changes(since, each)
    }
}

/// Everything in a directory.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

#[test]
fn another_snapshot_is_refused_by_what_is_different() {
    let place = Place::new(|source| export(source, Format::Ndjson));
    let source = Memory::new(&users(), 100);
    let before = content(place.0.path());
    let origin = source.origin();
    let refused = |origin: Origin| match Export::new(&Other(source.clone(), origin)).resume_file(place.out()) {
        Err(Error::Resume(error)) => error,
        other => panic!("{other:?}"),
    };
    let error = refused(Origin { store_id: 5, seq: 9, ..origin });
    assert!(matches!(error, ResumeError::Store { expected: 0xabcd, found: 5 }), "{error}");
    let error = refused(Origin { incarnation: 5, seq: 9, ..origin });
    assert!(matches!(error, ResumeError::Incarnation { expected: 0xef01, found: 5 }), "{error}");
    let error = refused(Origin { seq: 43, ..origin });
    assert!(matches!(error, ResumeError::Seq { expected: 42, found: 43 }), "{error}");
    assert!(error.to_string().contains("the store went on"), "{error}");
    assert_eq!(content(place.0.path()), before, "a refusal changes nothing");
}

#[test]
fn what_is_no_record_is_refused() {
    let place = Place::new(|source| export(source, Format::Json).limit(4000).after("0"));
    let source = Memory::new(&users(), 100);
    let text = fs::read_to_string(place.record()).unwrap();
    let left = fs::read(place.partial()).unwrap();
    // Torn anywhere; its last bytes are a brace and a line end.
    for len in 0..text.len() - 2 {
        fs::write(place.record(), &text[..len]).unwrap();
        let error = place.refused(&source);
        assert!(matches!(error, ResumeError::Unreadable { .. }), "{len}: {error}");
    }
    for (from, to) in [
        ("\"seq\": 42", "\"seq\": -1"),
        ("\"json\"", "\"xml\""),
        ("\"uid\"", "\"mail\""),
        ("abcd\"", "abc\""),
        ("\"seq\"", "\"gzip\": 3, \"seq\""),
        // What stands there raw in the file has to be members that are not there already.
        ("\"seq\"", r#""members": "x", "seq""#),
        ("\"seq\"", r#""members": ",", "seq""#),
        ("\"seq\"", r#""members": ",\"a\":1}", "seq""#),
        ("\"seq\"", r#""members": ",\"a\":1,", "seq""#),
        ("\"seq\"", r#""members": "\"a\":1", "seq""#),
        ("\"seq\"", r#""members": ",\"a\":1,\"statusCode\":200", "seq""#),
        ("\"seq\"", r#""members": ",\"callId\":1", "seq""#),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        fs::write(place.record(), text.replacen(from, to, 1)).unwrap();
        assert!(matches!(place.refused(&source), ResumeError::Unreadable { .. }), "{to}");
    }
    fs::write(place.record(), b"\xff\0garbage").unwrap();
    assert!(matches!(place.refused(&source), ResumeError::Unreadable { .. }));
    fs::write(place.record(), text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    let error = place.refused(&source);
    assert!(matches!(error, ResumeError::Version { expected: 1, found: 2, .. }), "{error}");
    fs::remove_file(place.record()).unwrap();
    assert!(matches!(place.refused(&source), ResumeError::Nothing { .. }));
    assert_eq!(fs::read(place.partial()).unwrap(), left, "refusals change nothing");
    // A record whose file is gone: the export was completed, or removed.
    fs::remove_file(place.partial()).unwrap();
    fs::write(place.record(), &text).unwrap();
    let error = place.refused(&source);
    assert!(error.to_string().contains("out.partial is not there"), "{error}");
    assert_eq!(names(place.0.path()).len(), 1);
    let error = Export::new(&source).resume_file("/dev/null").unwrap_err();
    assert!(matches!(error, Error::Resume(ResumeError::NoFile { .. })), "{error}");
}

/// It said that there is nothing to resume, where nobody could look.
#[test]
fn a_broken_export_that_cannot_be_looked_at_is_not_taken_for_missing() {
    let place = Place::new(|source| export(source, Format::Json));
    fs::remove_file(place.partial()).unwrap();
    std::os::unix::fs::symlink("out.partial", place.partial()).unwrap();
    let error = ResumeRecord::read(place.out()).unwrap_err();
    assert!(matches!(&error, Error::File { path, .. } if *path == place.partial()), "{error}");
}

#[test]
fn what_is_being_written_is_not_resumed() {
    let place = Place::new(|source| export(source, Format::Json));
    let held = fs::File::open(place.partial()).unwrap();
    held.lock().unwrap();
    let error = Export::new(&Memory::new(&users(), 100)).resume_file(place.out()).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
}

#[test]
fn a_record_can_be_read_and_a_new_export_begins_anew() {
    let place = Place::new(|source| export(source, Format::Csv).limit(3990));
    let record = ResumeRecord::read(place.out()).unwrap();
    assert_eq!((record.seq, record.format, record.limit), (42, Format::Csv, Some(3990)));
    let source = Memory::new(&users(), 100);
    export(&source, Format::Json).write_file(place.out()).unwrap();
    assert!(fs::read(place.out()).unwrap() == unbroken(&export(&source, Format::Json)));
    assert_eq!(names(place.0.path()).len(), 1);
    assert!(matches!(ResumeRecord::read(place.out()), Err(Error::Resume(ResumeError::Nothing { .. }))));
}
