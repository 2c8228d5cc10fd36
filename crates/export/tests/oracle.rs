//! Exports equal, byte for byte, what serde_json and the csv crate make of the same users.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Memory, Recipe, Rng, field_lists, oracle, population};
use headcount_block::{Select, User};
use headcount_export::{Export, Fields, Format, Length};

const PLAIN: Recipe =
    Recipe { users: 500, pending: 0, bare: 3, escapes: 0, long: 0, unicode: 0, providers: 12, nasty_providers: false };

fn recipes() -> [(&'static str, Recipe); 7] {
    [
        ("plain", PLAIN),
        ("pending", Recipe { pending: 30, ..PLAIN }),
        ("bare", Recipe { bare: 30, pending: 10, ..PLAIN }),
        ("escapes", Recipe { escapes: 10, pending: 5, ..PLAIN }),
        ("long", Recipe { long: 20, ..PLAIN }),
        // More users than the templates of so many providers cost.
        ("providers", Recipe { users: 1000, providers: 400, pending: 5, nasty_providers: true, ..PLAIN }),
        ("all", Recipe { pending: 30, bare: 30, escapes: 10, long: 5, unicode: 30, nasty_providers: true, ..PLAIN }),
    ]
}

/// Exports and compares; the length is known beforehand unless `scan` says that it takes one.
fn check(
    users: &[User],
    source: &Memory,
    select: &Select,
    format: Format,
    fields: Fields,
    threads: usize,
    dirty: bool,
) {
    let expected = oracle(users, select, format, &fields);
    let after = select.after.as_ref().map(|uid| std::str::from_utf8(uid).unwrap());
    let export = Export::new(source)
        .format(format)
        .fields(fields)
        .limit(select.limit)
        .after(after)
        .include_pending(select.include_pending)
        .threads(threads)
        .call_id("C")
        .time("T");
    let mut out = Vec::new();
    let summary = export.write_to(&mut out).unwrap();
    let context = format!("{format} {fields} {select:?} threads {threads}");
    if out != expected {
        let at = out.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(out.len().min(expected.len()));
        let show = |b: &[u8]| String::from_utf8_lossy(&b[at.saturating_sub(80)..(at + 80).min(b.len())]).into_owned();
        panic!("{context}: differs at {at}\n found {:?}\nwanted {:?}", show(&out), show(&expected));
    }
    assert_eq!(summary.bytes, out.len() as u64, "{context}");
    let chosen: Vec<&User> = common::oracle_select(users, select).collect();
    assert_eq!(summary.users, chosen.len() as u64, "{context}");
    assert_eq!(summary.first_uid.as_deref(), chosen.first().map(|u| u.uid.as_str()), "{context}");
    assert_eq!(summary.last_uid.as_deref(), chosen.last().map(|u| u.uid.as_str()), "{context}");
    let scan = dirty && select.limit != Some(0) && (select.after.is_some() || select.limit.is_some());
    let length = if scan { Length::Unknown } else { Length::Exact(out.len() as u64) };
    assert_eq!(export.len().unwrap(), length, "{context}");
}

fn every(include_pending: bool) -> Select {
    Select { include_pending, ..Select::default() }
}

#[test]
fn every_format_and_every_list_of_fields() {
    for (i, (name, recipe)) in recipes().into_iter().enumerate() {
        let users = population(recipe, 1000 + i as u64);
        for overlay in [0, 5] {
            let source = Memory::with(&users, 60, overlay, None);
            println!("{name}, overlay {overlay}");
            for format in Format::ALL {
                for fields in field_lists(format == Format::Csv) {
                    for include_pending in [false, true] {
                        check(&users, &source, &every(include_pending), format, fields, 1, overlay != 0);
                    }
                }
            }
        }
    }
}

#[test]
fn limits_pages_and_threads() {
    let (_, recipe) = recipes()[6];
    let users = population(recipe, 77);
    let mut rng = Rng(99);
    for overlay in [0, 4] {
        let source = Memory::with(&users, 50, overlay, None);
        let uids = [
            Some("a".to_owned()),
            Some("\u{10ffff}".to_owned()),
            Some(users[users.len() - 1].uid.clone()),
            Some(users[users.len() / 2].uid.clone()),
            Some(format!("{}!", users[users.len() / 3].uid)),
            None,
        ];
        for after in uids {
            for limit in [Some(0), Some(1), Some(rng.below(400) as u64), Some(10_000), Some(u64::MAX), None] {
                for include_pending in [false, true] {
                    let after = after.clone().map(String::into_bytes);
                    let select = Select { after, limit, include_pending };
                    for format in Format::ALL {
                        for threads in [1, 2, 4] {
                            check(&users, &source, &select, format, Fields::default(), threads, overlay != 0);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn pages_join_up() {
    let users = population(Recipe { pending: 30, ..PLAIN }, 5);
    let source = Memory::with(&users, 40, 7, None);
    let (mut whole, mut pages) = (Vec::new(), Vec::new());
    let export = Export::new(&source).format(Format::Ndjson);
    export.write_to(&mut whole).unwrap();
    let mut after: Option<String> = None;
    loop {
        let page = export.clone().limit(37).after(after.as_deref()).write_to(&mut pages).unwrap();
        if page.users == 0 {
            break;
        }
        after = page.last_uid;
    }
    assert!(whole == pages);
}

#[test]
fn chunks_and_default_threads_give_the_same_bytes() {
    // Large enough for many buffers and for threads to be used without being asked for.
    let users = population(Recipe { users: 30_000, pending: 10, long: 2, ..PLAIN }, 8);
    let source = Memory::new(&users, 700);
    for format in Format::ALL {
        let expected = oracle(&users, &every(false), format, &Fields::default());
        let export = Export::new(&source).format(format).call_id("C").time("T");
        for threads in [None, Some(1), Some(2), Some(5)] {
            let export = export.clone().threads(threads);
            let mut out = Vec::new();
            export.write_to(&mut out).unwrap();
            assert!(out == expected, "{format} {threads:?}");
            let mut chunks = export.chunks().unwrap();
            let mut joined = Vec::new();
            for chunk in &mut chunks {
                joined.extend_from_slice(&chunk.unwrap());
            }
            assert!(joined == expected, "{format} {threads:?}");
            assert_eq!(chunks.summary().unwrap().bytes, expected.len() as u64);
            assert!(chunks.next().is_none());
        }
    }
}

#[test]
fn a_source_that_knows_of_no_cut_is_rendered_from_its_start() {
    let source = Memory::new(&population(PLAIN, 6), 40);
    for format in Format::ALL {
        let prepared = Export::new(&source).format(format).prepare().unwrap();
        let (chunks, first) = prepared.chunks_from(5000).unwrap();
        let joined: Vec<u8> = chunks.flat_map(|chunk| chunk.unwrap().to_vec()).collect();
        let (whole, summary) = prepared.to_bytes().unwrap();
        assert!(joined == whole && first == 0 && summary.bytes > 5000, "{format}");
    }
}

#[test]
fn an_empty_source() {
    let source = Memory::new(&[], 10);
    for format in Format::ALL {
        for fields in field_lists(false) {
            for threads in [1, 3] {
                check(&[], &source, &every(true), format, fields, threads, false);
            }
        }
    }
}
