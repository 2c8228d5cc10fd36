use std::collections::HashMap;

use headcount_block::{RowRef, User};
use proptest::prelude::*;

use super::*;
use crate::chunk::{Chunker, Cutter, Layout, RowCutter};
use crate::csv::Header;
use crate::deleted::Deleted;
use crate::mapped::Settings;
use crate::parse::{OnInvalid, Outcome, Parser};

/// Collects what a parser pushes.
#[derive(Default)]
struct Rows(Vec<(Place, RowKind, User)>);

impl Sink for Rows {
    fn push(&mut self, row: RowRef<'_>, at: Place, kind: RowKind) -> Result<(), headcount_store::Error> {
        self.0.push((at, kind, row.to_user().unwrap()));
        Ok(())
    }
}

fn read(header: &str, rows: &str) -> (Vec<(Place, RowKind, User)>, Outcome) {
    let header = Header::parse(header.as_bytes()).unwrap();
    let mut cutter = RowCutter::new(Layout::Rows(header), 2);
    let cutter: &mut dyn Cutter = &mut cutter;
    let mut content = rows.as_bytes();
    let mut chunker = Chunker::new(&mut content, cutter, 100);
    let (settings, gone) = (Settings::default(), Deleted::default());
    let (mut sink, mut parser, mut all) = (Rows::default(), Parser::new(&settings, &gone), Outcome::default());
    while let Some(piece) = chunker.next(&mut Vec::new).unwrap() {
        let outcome = parser.parse(&piece.into_chunk(0, 0), &mut sink, OnInvalid::Keep).unwrap();
        all.counts.add(&outcome.counts);
        all.refused.examples.extend(outcome.refused.examples);
        all.refused.raw.extend(outcome.refused.raw);
    }
    (sink.0, all)
}

const HEADER: &str = "uid,provider,providerUID";

#[test]
fn consecutive_rows_of_a_uid_are_one_fragment() {
    let (rows, outcome) = read(HEADER, "a,x,1\r\na,y,2\r\na,x,1\r\n\r\nb,,\r\na,z,3");
    let users: Vec<_> = rows.iter().map(|r| r.2.clone()).collect();
    let a = User::new("a").with_identity("x", "1").with_identity("y", "2");
    assert_eq!(users, [a, User::new("b"), User::new("a").with_identity("z", "3")]);
    assert!(rows.iter().all(|r| r.1 == RowKind::Fragment));
    let places: Vec<_> = rows.iter().map(|r| (r.0.line, r.0.offset)).collect();
    assert_eq!(places, [(2, 100), (6, 123), (7, 128)]);
    let counts = outcome.counts;
    assert_eq!((counts.records, counts.rows, counts.bare), (5, 3, 1));
    assert_eq!((counts.identities, counts.repeated, counts.rejected), (4, 1, 0));
}

#[test]
fn a_status_that_changes_begins_a_fragment_of_its_own() {
    let (rows, _) = read("status,uid,provider,providerUID", "pending,a,x,1\npending,a,y,2\nregistered,a,z,3\n");
    let pending = User::new("a").with_identity("x", "1").with_identity("y", "2").with_status(Status::Pending);
    assert_eq!(rows[0].2, pending);
    assert_eq!(rows[1].2, User::new("a").with_identity("z", "3"));
}

#[test]
fn bad_rows_are_refused_alone_and_kept_as_they_were() {
    let bad = "b,x\n\"c\"d,x,1\nd,x,\ne,,1\n,x,1\na,\"y\n\",\"2\"\"\"\"z\"\nf,\0,1\n";
    let (rows, outcome) = read(HEADER, &format!("a,x,1\n{bad}a,x,2\n"));
    let users: Vec<_> = rows.into_iter().map(|r| r.2).collect();
    assert!(users.iter().all(|u| u.uid == "a"));
    assert_eq!(users.iter().map(|u| u.identities.len()).sum::<usize>(), 3);
    let found: Vec<_> = outcome.refused.examples.iter().map(|(at, r)| (at.line, at.offset, r.to_string())).collect();
    let expected = [
        (3, 106, "expected 3 fields as in the header, found 2"),
        (4, 113, "text after the closing quote"),
        (5, 119, "providerUID is empty but provider is not"),
        (6, 124, "provider is empty but providerUID is not"),
        (7, 129, "UID is empty"),
        (10, 150, "provider holds a NUL"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((line, offset, message), (at_line, at_offset, part)) in found.iter().zip(expected) {
        assert!(message.contains(part), "{message}");
        assert_eq!((*line, *offset), (at_line, at_offset), "{message}");
    }
    let raw = String::from_utf8(outcome.refused.raw).unwrap();
    assert_eq!(raw, "b,x\r\n\"c\"d,x,1\r\nd,x,\r\ne,,1\r\n,x,1\r\nf,\0,1\r\n");
}

#[test]
fn a_row_that_is_not_utf8_is_refused_and_its_neighbours_are_read() {
    let header = Header::parse(HEADER.as_bytes()).unwrap();
    let mut cutter = RowCutter::new(Layout::Rows(header), 2);
    let mut content = &b"a,x,1\nb\xff,x,2\nc,\xc3\xa9,3\n"[..];
    let mut chunker = Chunker::new(&mut content, &mut cutter, 0);
    let chunk = chunker.next(&mut Vec::new).unwrap().unwrap().into_chunk(0, 0);
    let (mut sink, settings, gone) = (Rows::default(), Settings::default(), Deleted::default());
    let outcome = Parser::new(&settings, &gone).parse(&chunk, &mut sink, OnInvalid::Count).unwrap();
    assert_eq!(sink.0.len(), 2);
    assert_eq!(sink.0[1].2, User::new("c").with_identity("é", "3"));
    assert_eq!(outcome.refused.examples, [(Place { file: 0, line: 3, offset: 7 }, BadRecord::Utf8)]);
    assert!(outcome.refused.raw.is_empty());
}

#[test]
fn too_many_identities_leave_the_group_to_the_loader() {
    let rows: String = (0..headcount_block::limits::IDENTITIES_MAX + 2).map(|i| format!("a,x,{i}\n")).collect();
    let (rows, outcome) = read(HEADER, &rows);
    let sizes: Vec<_> = rows.iter().map(|r| r.2.identities.len()).collect();
    assert_eq!(sizes, [headcount_block::limits::IDENTITIES_MAX, 2]);
    assert_eq!(outcome.counts.rejected, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The users that come out are those of a slow reading by the csv crate.
    #[test]
    fn tables_are_read_as_by_the_csv_crate(
        table in prop::collection::vec(("[ab]", prop::option::of(("[x\",]{1,2}", "[1\n\ré]{1,2}"))), 0..12),
    ) {
        let mut writer = ::csv::WriterBuilder::new().terminator(::csv::Terminator::CRLF).from_writer(Vec::new());
        for (uid, identity) in &table {
            let (provider, provider_uid) = identity.clone().unwrap_or_default();
            writer.write_record([uid, &provider, &provider_uid]).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let mut expected: HashMap<String, User> = HashMap::new();
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        for record in reader.records() {
            let record = record.unwrap();
            let user = expected.entry(record[0].to_owned()).or_insert_with(|| User::new(&record[0]));
            let identity = headcount_block::Identity::new(&record[1], &record[2]);
            if !record[1].is_empty() && !user.identities.contains(&identity) {
                user.identities.push(identity);
            }
        }
        let (rows, outcome) = read(HEADER, &text);
        prop_assert_eq!(outcome.counts.rejected, 0);
        let mut found: HashMap<String, User> = HashMap::new();
        for (_, _, part) in rows {
            let user = found.entry(part.uid.clone()).or_insert_with(|| User::new(&part.uid));
            for identity in part.identities {
                if !user.identities.contains(&identity) {
                    user.identities.push(identity);
                }
            }
        }
        prop_assert_eq!(found, expected);
    }
}
