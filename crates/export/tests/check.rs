//! Checks of exported files: what is whole passes, what was cut or changed does not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use common::{Fail, Memory, Recipe, Rng, field_lists, oracle_select, population, seven};
use headcount_block::{HEADER_LEN, Select, Status, User};
use headcount_export::{
    CheckError, CheckReport, Digest, DigestAlgorithm, Envelope, Export, Field, Fields, Format, Manifest, Problem,
    Unchecked, check_file,
};
use proptest::prelude::*;

const RECIPE: Recipe = Recipe {
    users: 300,
    pending: 20,
    bare: 20,
    escapes: 20,
    long: 5,
    unicode: 20,
    providers: 8,
    nasty_providers: true,
};

/// A file that is written and checked again and again.
struct Checked {
    dir: tempfile::TempDir,
    name: String,
}

impl Checked {
    fn new(name: &str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), name: name.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    /// Exports to the file and reads its manifest.
    fn export(&self, export: &Export<Memory>, digest: DigestAlgorithm) -> Manifest {
        export.clone().manifest(digest).write_file(self.path()).unwrap();
        Manifest::read(Manifest::path_of(self.path()).unwrap()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn check(&self, bytes: &[u8], manifest: Option<&Manifest>) -> Result<CheckReport, CheckError> {
        fs::write(self.path(), bytes).unwrap();
        check_file(self.path(), manifest, None)
    }

    #[track_caller]
    fn problem(&self, bytes: &[u8], manifest: Option<&Manifest>) -> Problem {
        match self.check(bytes, manifest) {
            Err(error @ CheckError::Problem { .. }) => {
                assert!(error.is_damage() && error.to_string().contains(&self.name), "{error}");
                let CheckError::Problem { problem, .. } = error else { unreachable!() };
                *problem
            }
            other => panic!("{other:?}"),
        }
    }
}

fn export(source: &Memory, format: Format) -> Export<Memory> {
    Export::new(source).format(format).include_pending(true)
}

/// What a report has to say of these users.
fn compare(report: &CheckReport, users: &[&User], fields: &Fields, format: Format, manifest: bool) {
    let identities: usize = users.iter().map(|user| user.identities.len()).sum();
    let identities = if fields.has_identities() { identities } else { 0 };
    let has_uid = fields.has(Field::Uid);
    let users_shown = format != Format::Csv || has_uid || !fields.has_identities();
    assert_eq!(report.users, users_shown.then_some(users.len() as u64), "{format} {fields}");
    assert_eq!(report.identities, identities as u64, "{format} {fields}");
    let end = |user: Option<&&User>| user.filter(|_| has_uid).map(|user| user.uid.clone());
    assert_eq!((report.first_uid.clone(), report.last_uid.clone()), (end(users.first()), end(users.last())));
    assert_eq!(report.deleted, None);
    assert_eq!(report.unchecked.contains(&Unchecked::Unchanged), !manifest);
    assert_eq!(report.unchecked.contains(&Unchecked::Whole), !manifest && format != Format::Json);
    assert_eq!(report.unchecked.contains(&Unchecked::Order), !manifest && !has_uid);
    assert_eq!(report.unchecked.contains(&Unchecked::Users), !manifest && !users_shown);
    assert_eq!(report.digest.is_some(), manifest);
    assert_eq!((report.bytes, report.compression), (report.content_bytes, None));
}

#[test]
fn whole_exports_pass_in_every_format_and_field_set() {
    let users = population(RECIPE, 31);
    let source = Memory::with(&users, 40, 7, None);
    let file = Checked::new("out");
    for format in Format::ALL {
        for fields in field_lists(format == Format::Csv) {
            for pending in [false, true] {
                let export = Export::new(&source).format(format).fields(fields).include_pending(pending);
                let digest = if pending { DigestAlgorithm::Sha256 } else { DigestAlgorithm::Blake3 };
                let manifest = file.export(&export, digest);
                let select = Select { include_pending: pending, ..Select::default() };
                let users: Vec<&User> = oracle_select(&users, &select).collect();
                let report = check_file(file.path(), Some(&manifest), None).unwrap();
                compare(&report, &users, &fields, format, true);
                assert_eq!(report.fields, Some(fields));
                assert_eq!(
                    report.digest.map(|d| (d.algorithm, d.hex)),
                    Some((digest, manifest.files[0].digest.clone()))
                );
                compare(&check_file(file.path(), None, None).unwrap(), &users, &fields, format, false);
            }
        }
    }
}

#[test]
fn pages_and_files_longer_than_the_window_pass() {
    let users = population(Recipe { users: 12_000, ..RECIPE }, 32);
    let source = Memory::new(&users, 200);
    for format in Format::ALL {
        let file = Checked::new("out");
        for (limit, after) in
            [(None, None), (Some(9000), Some(users[100].uid.as_str())), (Some(0), None), (Some(1), None)]
        {
            let export = export(&source, format).limit(limit).after(after);
            let manifest = file.export(&export, DigestAlgorithm::Blake3);
            let select = Select { after: after.map(|uid| uid.as_bytes().to_vec()), limit, include_pending: true };
            let users: Vec<&User> = oracle_select(&users, &select).collect();
            let fields = Fields::default();
            compare(&check_file(file.path(), Some(&manifest), None).unwrap(), &users, &fields, format, true);
            if format == Format::Ndjson && users.is_empty() {
                // An empty file: what it is of is known by its name alone.
                assert!(matches!(file.problem(b"", None), Problem::Content { .. }));
                let named = Checked::new("out.ndjson");
                assert_eq!(named.check(b"", None).unwrap().users, Some(0));
            } else {
                compare(&check_file(file.path(), None, None).unwrap(), &users, &fields, format, false);
            }
        }
    }
}

#[test]
fn changes_and_guarded_values_pass() {
    let mut users = population(RECIPE, 33);
    let file = Checked::new("out");
    let source = Memory::new(&users, 40);
    for format in Format::ALL {
        for fields in ["uid,provider,providerUID,status", "uid", "status,uid"] {
            let export = export(&source, format).fields(fields.parse().unwrap()).since(5);
            let manifest = file.export(&export, DigestAlgorithm::Blake3);
            for manifest in [Some(&manifest), None] {
                let report = check_file(file.path(), manifest, None).unwrap();
                assert_eq!((report.users, report.deleted), (Some(100), Some(100)), "{format} {fields}");
                assert_eq!(report.first_uid.as_ref(), Some(&users[0].uid));
                assert_eq!(report.last_uid.as_ref(), Some(&users[297].uid));
            }
        }
    }
    for (i, prefix) in ["+", "-", "=", "@", "'", "'+"].iter().enumerate() {
        users[i * 3].uid.insert_str(0, prefix);
    }
    users.sort_by(|a, b| a.uid.cmp(&b.uid));
    // The first UID begins with an apostrophe of its own.
    let own = users.split_off(users.partition_point(|user| user.uid.as_str() < "'"));
    assert!(own[0].uid.starts_with("'+"));
    for users in [[users, own.clone()].concat(), own] {
        let source = Memory::new(&users, 40);
        let manifest = file.export(&export(&source, Format::Csv).formula_guard(true), DigestAlgorithm::Blake3);
        let report = check_file(file.path(), Some(&manifest), None).unwrap();
        assert_eq!((report.users, report.first_uid.as_ref()), (Some(users.len() as u64), Some(&users[0].uid)));
        let report = check_file(file.path(), None, None).unwrap();
        assert_eq!(report.users, Some(users.len() as u64));
        assert!(report.unchecked.contains(&Unchecked::Guard));
    }
}

/// With the guard, `'=a` and `=a` are written alike; nothing but their order and their statuses tells them apart.
#[test]
fn users_that_the_guard_makes_alike_pass() {
    let linked = |uid: &str, status| User::new(uid).with_status(status).with_identity("p", uid).with_identity("q", uid);
    let (registered, pending) = (Status::Registered, Status::Pending);
    // How many users are seen, and how many more there may be.
    let cases = [
        (vec![linked("'=a", registered), linked("=a", registered)], 1, 1),
        (vec![linked("\ta", registered), linked("'\ta", registered)], 1, 1),
        (vec![linked("'=a", registered), linked("=a", pending)], 2, 0),
        (vec![linked("'=a", registered), User::new("=a")], 2, 0),
        (vec![linked("'=a", registered)], 1, 1),
        (vec![linked("=a", registered)], 1, 1),
        (vec![linked("'=a", registered), linked("'=b", registered), linked("=a", registered)], 3, 2),
        (vec![linked("'=a", registered), linked("0", registered), linked("=a", registered)], 3, 1),
    ];
    let fields = "uid,provider,providerUID,status".parse().unwrap();
    for (users, seen, more) in cases {
        let file = Checked::new("out");
        let export = export(&Memory::new(&users, 40), Format::Csv).fields(fields).formula_guard(true);
        let manifest = file.export(&export, DigestAlgorithm::Blake3);
        let report = check_file(file.path(), Some(&manifest), None).unwrap();
        assert_eq!((report.users, report.identities), (Some(users.len() as u64), manifest.identities));
        assert_eq!(report.first_uid.as_ref(), users.first().map(|user| &user.uid));
        assert_eq!(report.last_uid.as_ref(), users.last().map(|user| &user.uid));
        let report = check_file(file.path(), None, None).unwrap();
        assert_eq!(report.users, Some(seen), "{users:?}");
        assert!(report.unchecked.contains(&Unchecked::Guard), "{users:?}");
        for other in [seen - 1, seen + more + 1] {
            let mut manifest = manifest.clone();
            manifest.users = other;
            let problem = file.problem(&file.bytes(), Some(&manifest));
            assert!(matches!(problem, Problem::Count { what: "users", .. }), "{users:?}: {problem}");
        }
        for uid in ["'=b", "=", "x"].into_iter().filter(|uid| users.iter().all(|user| user.uid != *uid)) {
            let mut manifest = manifest.clone();
            manifest.first_uid = Some(uid.to_owned());
            let problem = file.problem(&file.bytes(), Some(&manifest));
            assert!(matches!(problem, Problem::Differs { what: "the first UID", .. }), "{users:?}: {problem}");
        }
    }
}

/// What changed is guarded in the rows of those who are gone too.
#[test]
fn guarded_deletions_pass() {
    let mut users = population(RECIPE, 37);
    for (i, prefix) in ["=", "+", "-", "@"].iter().enumerate() {
        users[i * 3].uid.insert_str(0, prefix);
    }
    users.sort_by(|a, b| a.uid.cmp(&b.uid));
    let file = Checked::new("out");
    let export = export(&Memory::new(&users, 40), Format::Csv).since(5).formula_guard(true);
    let manifest = file.export(&export, DigestAlgorithm::Blake3);
    for manifest in [Some(&manifest), None] {
        let report = check_file(file.path(), manifest, None).unwrap();
        assert_eq!((report.users, report.deleted), (Some(100), Some(100)));
    }
}

/// The seven users of the documented example and two that need escapes.
fn small(format: Format) -> Export<Memory> {
    let mut users = seven();
    users.push(User::new("zz\"\n").with_identity("my,\"own\"", "é\\\u{1}"));
    users.push(User::new("zzz"));
    export(&Memory::new(&users, 3), format)
}

#[test]
fn every_cut_and_every_flipped_byte_is_found_by_the_manifest() {
    for format in Format::ALL {
        for digest in DigestAlgorithm::ALL {
            let file = Checked::new("out");
            let manifest = file.export(&small(format), digest);
            let whole = file.bytes();
            for len in 0..whole.len() {
                let problem = file.problem(&whole[..len], Some(&manifest));
                let (expected, found) = (whole.len() as u64, len as u64);
                assert!(matches!(problem, Problem::Length { expected: e, found: f } if (e, f) == (expected, found)));
            }
            for at in 0..whole.len() {
                for flip in [1 << (at % 8), 0xff] {
                    let mut changed = whole.clone();
                    changed[at] ^= flip;
                    file.problem(&changed, Some(&manifest));
                }
            }
            file.problem(&[&whole[..], b"\n"].concat(), Some(&manifest));
            file.check(&whole, Some(&manifest)).unwrap();
        }
    }
}

#[test]
fn a_thousand_cuts_and_flips_of_larger_files() {
    let source = Memory::new(&population(RECIPE, 34), 40);
    for format in Format::ALL {
        let file = Checked::new("out");
        let manifest = file.export(&export(&source, format), DigestAlgorithm::Blake3);
        let whole = file.bytes();
        let mut rng = Rng(41);
        for _ in 0..1000 {
            let at = rng.below(whole.len());
            assert!(matches!(file.problem(&whole[..at], Some(&manifest)), Problem::Length { .. }));
            let mut changed = whole.clone();
            changed[at] ^= 1 << rng.below(8);
            file.problem(&changed, Some(&manifest));
            match format {
                Format::Json => {
                    file.problem(&whole[..at], None);
                }
                // At the end of a line it may as well have been written like that; not inside a quoted value.
                _ if at > 0 && whole[at - 1] == b'\n' => match file.check(&whole[..at], None) {
                    Ok(report) => assert!(report.unchecked.contains(&Unchecked::Whole)),
                    Err(error) => assert!(format == Format::Csv && error.to_string().contains("cut short"), "{error}"),
                },
                _ => drop(file.problem(&whole[..at], None)),
            }
        }
    }
}

#[test]
fn every_cut_json_is_rejected_without_a_manifest() {
    for export in [small(Format::Json), small(Format::Json).since(5), small(Format::Json).limit(0)] {
        let file = Checked::new("out.json");
        let mut whole = Vec::new();
        export.write_to(&mut whole).unwrap();
        for len in 0..whole.len() {
            file.problem(&whole[..len], None);
        }
        file.check(&whole, None).unwrap();
        // A line end that a program put after it changes nothing.
        file.check(&[&whole[..], b"\n"].concat(), None).unwrap();
        file.problem(&[&whole[..], b"}"].concat(), None);
    }
}

/// The members after the users stand byte for byte as exports have them.
#[test]
fn a_reformatted_end_of_the_json_is_found() {
    let file = Checked::new("out.json");
    let envelope = Envelope::new().call_id("C\"1").time("T").raw("x", "[1, {\"a\": 2}]").next_after(true);
    let end = |export: Export<Memory>| {
        let mut whole = Vec::new();
        export.write_to(&mut whole).unwrap();
        file.check(&whole, None).unwrap();
        String::from_utf8(whole).unwrap()
    };
    let page = end(small(Format::Json).limit(3).envelope(envelope.clone()));
    let changes = end(small(Format::Json).since(5).envelope(envelope));
    for (whole, from, to) in [
        (&page, "\"}", "\"} "),
        (&page, "\"}", "\"}\n\n"),
        (&page, "\"}", "\" }"),
        (&page, "\"usersCount\":3", "\"usersCount\": 3"),
        (&page, "\"usersCount\":3", "\"usersCount\":03"),
        (&page, "],\"usersCount\":3", "],\"statusCode\":200,\"usersCount\":3"),
        (&page, "],\"usersCount\"", "], \"usersCount\""),
        (&page, ",\"statusCode\":200,\"errorCode\":0", ",\"errorCode\":0,\"statusCode\":200"),
        (&page, "\"statusReason\":\"OK\"", "\"statusReason\":\"ok\""),
        (&page, ",\"statusReason\":\"OK\"", ""),
        (&page, "\"callId\":\"C\\\"1\"", "\"callId\":\"C\\u00221\""),
        (&page, "\"time\":\"T\",\"x\"", "\"x\":1,\"time\":\"T\",\"y\""),
        (&page, "\"time\":\"T\",", "\"time\":\"T\", "),
        (&page, "\"nextAfter\":\"", "\"nextAfter\":17,\"y\":\""),
        (&changes, "\"seq\":42", "\"seq\":\"42\""),
        (&changes, "\"seq\":42", "\"seq\": 42"),
        (&changes, ",\"seq\":42", ""),
    ] {
        let at = whole.rfind(from).unwrap();
        let changed = [&whole[..at], to, &whole[at + from.len()..]].concat();
        file.problem(changed.as_bytes(), None);
    }
}

#[test]
fn compressed_files_are_looked_into() {
    let source = Memory::new(&population(RECIPE, 35), 40);
    for format in Format::ALL {
        let file = Checked::new("out");
        file.export(&export(&source, format), DigestAlgorithm::Blake3);
        let whole = file.bytes();
        let plain = file.check(&whole, None).unwrap();
        let (one, two) = whole.split_at(whole.len() / 3);
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let members = [[gzip(one), gzip(two)], [zstd(one), zstd(two)]];
        for (members, name) in members.iter().zip(["gzip", "zstd"]) {
            let packed = members.concat();
            let report = file.check(&packed, None).unwrap();
            assert_eq!((report.users, report.identities), (plain.users, plain.identities));
            assert_eq!((report.compression, report.bytes), (Some(name), packed.len() as u64));
            assert_eq!(report.content_bytes, whole.len() as u64);
            for cut in (1..packed.len()).step_by(packed.len() / 200) {
                file.problem(&packed[..cut], None);
            }
            // Between two members it is cut as a plain file would be.
            file.problem(&packed[..members[0].len()], None);
            if name == "gzip" {
                // Its checksum finds it; Zstandard has one only where it was asked for.
                let mut changed = packed.clone();
                changed[packed.len() / 2] ^= 1;
                file.problem(&changed, None);
            }
        }
    }
}

#[test]
fn what_no_export_looks_like_is_rejected() {
    let file = Checked::new("x");
    let trailer = concat!(
        r#"],"usersCount":2,"identitiesCount":0,"statusCode":200,"errorCode":0,"statusReason":"OK","#,
        r#""callId":"C","time":"T"}"#
    );
    let json = |users: &str| format!("{{\"users\":[{users}{trailer}");
    file.check(json(r#"{"UID":"a"},{"UID":"b"}"#).as_bytes(), None).unwrap();
    for (text, expected) in [
        (json(r#"{"UID":"b"},{"UID":"a"}"#), "expected a UID after \"b\", found \"a\""),
        (json(r#"{"UID":"a"},{"UID":"a"}"#), "expected a UID after"),
        (json(r#"{"UID":"a"}"#), "expected 2 users as usersCount states, found 1"),
        (json(r#"{"UID":"a"},{"UID":"b","identities":[{"provider":"p","providerUID":"u"}]}"#), "the one before"),
        (json(r#"{"UID":"a"}{"UID":"b"}"#), "a comma or the end of the users"),
        (json(r#"{"UID":"a"},"#), "a user object"),
        (json("{\"UID\":\"a\"},\n{\"UID\":\"b\"}"), "a user object"),
        (json(r#"{"UID":"a"},{"UID":"b"}"#).replace("\"errorCode\":0", "\"errorCode\":5"), "broke off after 2 users"),
        (json(r#"{"UID":"a"},{"UID":"b"}"#).replace("\"errorCode\":0,", ""), "errorCode"),
        (json(r#"{"UID":"a"},{"UID":"b"}"#) + "{}", "trailing"),
        ("{\"UID\":\"a\"}\n{\"UID\":\"b\"}".to_owned(), "cut short"),
        ("{\"UID\":\"a\"}\n\n{\"UID\":\"b\"}\n".to_owned(), "a user object"),
        ("{\"UID\":\"a\"}\r\n".to_owned(), "the end of the line"),
        ("uid\nb\r\n".to_owned(), "a header of"),
        ("mail\r\nb\r\n".to_owned(), "a header of"),
        ("UID\r\nb\r\n".to_owned(), "a header of"),
        ("uid\r\nb\r\na\r\n".to_owned(), "expected a UID after"),
        ("uid\r\nb\r\nb\r\n".to_owned(), "expected a UID after"),
        ("uid\r\na\nb\r\n".to_owned(), "CR before LF"),
        ("uid\r\n\"a\"\r\n".to_owned(), "no quotes around"),
        ("uid\r\na\"b\r\n".to_owned(), "no quote inside"),
        ("uid\r\na,b\r\n".to_owned(), "no more fields"),
        ("uid,status\r\na\r\n".to_owned(), "as many fields"),
        ("uid,status\r\na,gone\r\n".to_owned(), "registered or pending"),
        ("uid\r\n\"\"\r\n".to_owned(), "a UID that is not empty"),
        ("uid,provider,providerUID\r\na,,b\r\n".to_owned(), "or neither"),
        ("uid,provider\r\na,\r\na,b\r\n".to_owned(), "expected a UID after"),
        ("uid,provider,status\r\na,p,pending\r\na,q,registered\r\n".to_owned(), "the row before"),
        ("change,uid\r\nput,a\r\n".to_owned(), "upsert or delete"),
        ("change,uid,provider\r\ndelete,a,b\r\n".to_owned(), "of a deletion"),
        ("uid,provider\r\na,\"b\r\n".to_owned(), "cut short"),
        ("".to_owned(), "expected an export"),
        ("\u{feff}uid\r\na\r\n".to_owned(), "a header of"),
        ("change,change,uid\r\nupsert,a\r\n".to_owned(), "a header of"),
    ] {
        let problem = file.problem(text.as_bytes(), None).to_string();
        assert!(problem.contains(expected), "{text:?}: {problem}");
    }
    let problem = file.problem(b"{\"UID\":\"a\"}\n{\"UID\":\"b\xff\"}\n", None);
    assert!(matches!(&problem, Problem::Content { offset: 21, .. }), "{problem}");
    assert!(matches!(check_file(file.dir.path(), None, None), Err(CheckError::Io { .. })));
    assert!(matches!(check_file(file.dir.path().join("none"), None, None), Err(CheckError::Io { .. })));
}

#[test]
fn an_export_that_reported_its_failure_is_no_whole_one() {
    let users = population(Recipe { users: 3000, ..RECIPE }, 36);
    let source = Memory::with(&users, 100, 0, Some(Fail::Flip { block: 20, at: HEADER_LEN + 9 }));
    let mut out = Vec::new();
    export(&source, Format::Json).write_to(&mut out).unwrap_err();
    let problem = Checked::new("out").problem(&out, None);
    assert!(matches!(problem, Problem::BrokenOff { status: 500, code: 500_028, users } if users > 0), "{problem}");
}

#[test]
fn a_manifest_that_states_something_else_is_named() {
    let file = Checked::new("out");
    for format in Format::ALL {
        let manifest = file.export(&small(format).since(5), DigestAlgorithm::Blake3);
        let whole = file.bytes();
        type Change = fn(&mut Manifest);
        let changes: [(Change, &str); 9] = [
            (|m| m.users += 1, "users as the manifest states"),
            (|m| m.deleted = None, "expected 0 deleted UIDs"),
            (|m| m.identities -= 1, "identities as the manifest states"),
            (|m| m.first_uid = Some("x".to_owned()), "the first UID x"),
            (|m| m.last_uid = None, "the last UID none"),
            (|m| m.compression = Some("gzip".to_owned()), "the compression gzip"),
            (|m| m.files[0].digest = "0".repeat(64), "digest 0000"),
            (|m| m.digest_algorithm = DigestAlgorithm::Sha256, "sha256 digest"),
            (|m| m.fields = "uid".parse().unwrap(), "the fields uid"),
        ];
        for (change, expected) in changes {
            let mut other = manifest.clone();
            change(&mut other);
            let problem = file.problem(&whole, Some(&other)).to_string();
            assert!(problem.contains(expected), "{format}: {problem}");
        }
        let mut other = manifest.clone();
        other.format = if format == Format::Csv { Format::Json } else { Format::Csv };
        assert!(matches!(file.problem(&whole, Some(&other)), Problem::Content { offset: 0, .. }));
        if format == Format::Json {
            let envelope: [(Change, &str); 3] = [
                (|m| m.call_id = "C".to_owned(), "callId C"),
                (|m| m.time = "T".to_owned(), "time T"),
                (|m| m.seq = 43, "seq 43"),
            ];
            for (change, expected) in envelope {
                let mut other = manifest.clone();
                change(&mut other);
                let problem = file.problem(&whole, Some(&other)).to_string();
                assert!(problem.contains(expected), "{problem}");
            }
        }
        // Of several files, the one of its name.
        let mut several = manifest.clone();
        several.files.push(several.files[0].clone());
        file.check(&whole, Some(&several)).unwrap();
        several.files.iter_mut().for_each(|file| file.name = "other".to_owned());
        assert!(matches!(file.problem(&whole, Some(&several)), Problem::Differs { what: "the name", .. }));
    }
}

#[test]
fn a_manifest_names_no_uid_that_is_not_exported() {
    let file = Checked::new("out");
    let manifest = file.export(&small(Format::Csv).fields("provider".parse().unwrap()), DigestAlgorithm::Blake3);
    assert_eq!((manifest.users, manifest.first_uid, manifest.last_uid), (9, None, None));
}

#[test]
fn a_check_can_be_cancelled() {
    let file = Checked::new("out");
    let manifest = file.export(&small(Format::Csv), DigestAlgorithm::Blake3);
    let progress = headcount_block::Progress::default();
    check_file(file.path(), Some(&manifest), Some(&progress)).unwrap();
    assert_eq!((progress.bytes(), progress.total_bytes()), (manifest.bytes, manifest.bytes));
    progress.cancel();
    assert!(matches!(check_file(file.path(), Some(&manifest), Some(&progress)), Err(CheckError::Cancelled)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was done to a file: an answer, and never the wrong one where it is known.
    #[test]
    fn any_change_is_an_answer(
        format in 0..3_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..4),
    ) {
        let file = Checked::new("out");
        let manifest = file.export(&small(Format::ALL[format]), DigestAlgorithm::Sha256);
        let whole = file.bytes();
        let mut changed = whole.clone();
        for (at, kind, byte) in edits {
            let at = at.index(changed.len().max(1));
            match kind {
                0 => changed.truncate(at),
                1 => changed.insert(at.min(changed.len()), byte),
                2 => drop(changed.drain(at.min(changed.len())..(at + usize::from(byte)).min(changed.len()).max(at.min(changed.len())))),
                _ => if let Some(place) = changed.get_mut(at) { *place = byte },
            }
        }
        let answer = file.check(&changed, Some(&manifest));
        prop_assert_eq!(answer.is_ok(), changed == whole);
        if let Err(error) = file.check(&changed, None) {
            prop_assert!(error.is_damage(), "{}", error);
        }
    }
}

/// What a digest looks like to the standard tools is in `digest.rs`; here only that it is of the whole file.
#[test]
fn the_digest_is_of_the_file() {
    let file = Checked::new("out");
    let manifest = file.export(&small(Format::Json), DigestAlgorithm::Sha256);
    let summary = small(Format::Json).manifest(DigestAlgorithm::Sha256).write_file(file.path()).unwrap();
    let digest = Digest { algorithm: DigestAlgorithm::Sha256, hex: manifest.files[0].digest.clone() };
    assert_eq!(summary.digest, Some(digest));
    assert_eq!(manifest.files[0].name, "out");
}
