//! Exports of what changed: the same users and deletions in every format, in order.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Memory, Recipe, oracle, population};
use headcount_block::{Select, Status, User};
use headcount_export::{Error, Export, Fields, Format, Length};
use serde_json::Value;

const AWKWARD: Recipe = Recipe {
    users: 2000,
    pending: 30,
    bare: 20,
    escapes: 10,
    long: 5,
    unicode: 20,
    providers: 12,
    nasty_providers: true,
};

/// A user in its newest form, or a UID that is gone.
type Expected<'u> = Result<&'u User, String>;

/// What the source of the tests says has changed, as an export shows it.
fn expected(users: &[User], since: u64, pending: bool) -> Vec<Expected<'_>> {
    let mut all = Vec::new();
    for (i, user) in users.iter().enumerate().filter(|(i, _)| since == 0 || i % 3 == 0) {
        let kept = pending || user.status == Status::Registered;
        all.push(if kept { Ok(user) } else { Err(user.uid.clone()) });
        if since > 0 {
            all.push(Err(format!("{}\"gone,{i}", user.uid)));
        }
    }
    all
}

fn export(source: &Memory, format: Format, fields: &str, since: u64, pending: bool) -> Export<Memory> {
    let fields: Fields = fields.parse().unwrap();
    Export::new(source).format(format).fields(fields).include_pending(pending).since(since).call_id("C").time("T")
}

fn bytes(export: &Export<Memory>) -> Vec<u8> {
    let mut out = Vec::new();
    let summary = export.write_to(&mut out).unwrap();
    assert_eq!(summary.bytes, out.len() as u64);
    let chunks: Vec<u8> = export.chunks().unwrap().flat_map(|c| c.unwrap().as_ref().to_vec()).collect();
    assert!(chunks == out, "chunks give the same bytes");
    for threads in [1, 3] {
        let mut again = Vec::new();
        export.clone().threads(threads).write_to(&mut again).unwrap();
        assert!(again == out, "{threads} threads give the same bytes");
    }
    out
}

/// The users alone, as a full export of them would be.
fn only(users: &[Expected<'_>], format: Format, fields: &str, pending: bool) -> Vec<u8> {
    let users: Vec<User> = users.iter().filter_map(|e| e.as_ref().ok().map(|u| (*u).clone())).collect();
    let select = Select { include_pending: pending, ..Select::default() };
    oracle(&users, &select, format, &fields.parse().unwrap())
}

#[test]
fn json_lists_users_then_deleted_uids_then_the_seq() {
    let users = population(AWKWARD, 7);
    let source = Memory::new(&users, 100);
    for (since, pending) in [(0, true), (0, false), (5, true), (5, false)] {
        for fields in ["uid,provider,providerUID", "uid,status", "providerUID,uid"] {
            let all = expected(&users, since, pending);
            let out = bytes(&export(&source, Format::Json, fields, since, pending));
            let whole = String::from_utf8(only(&all, Format::Json, fields, pending)).unwrap();
            let (list, trailer) = whole.split_once("],\"usersCount\"").unwrap();
            let gone: Vec<&String> = all.iter().filter_map(|e| e.as_ref().err()).collect();
            let gone = serde_json::to_string(&gone).unwrap();
            let trailer = trailer.replace("\"time\":\"T\"", "\"time\":\"T\",\"seq\":42");
            let wanted = format!("{list}],\"deletedUIDs\":{gone},\"usersCount\"{trailer}");
            assert_eq!(String::from_utf8(out).unwrap(), wanted, "since {since} {fields}");
        }
    }
}

#[test]
fn ndjson_has_a_line_for_each_deletion_where_its_uid_belongs() {
    let users = population(AWKWARD, 8);
    let source = Memory::new(&users, 100);
    let fields = "uid,provider,providerUID";
    for (since, pending) in [(5, false), (0, false), (0, true)] {
        let all = expected(&users, since, pending);
        let out = String::from_utf8(bytes(&export(&source, Format::Ndjson, fields, since, pending))).unwrap();
        let whole = String::from_utf8(only(&all, Format::Ndjson, fields, pending)).unwrap();
        let mut upserts = whole.lines();
        assert_eq!(out.lines().count(), all.len());
        for (line, expected) in out.lines().zip(&all) {
            match expected {
                Ok(_) => assert_eq!(Some(line), upserts.next()),
                Err(uid) => {
                    let value: Value = serde_json::from_str(line).unwrap();
                    assert_eq!(value, serde_json::json!({"UID": uid, "deleted": true}));
                }
            }
        }
    }
}

#[test]
fn csv_begins_with_the_kind_of_change() {
    let users = population(AWKWARD, 9);
    let source = Memory::new(&users, 100);
    for fields in ["uid,provider,providerUID,status", "status,uid", "uid"] {
        for (since, pending) in [(5, true), (0, true), (0, false)] {
            let all = expected(&users, since, pending);
            let out = bytes(&export(&source, Format::Csv, fields, since, pending));
            let mut rows = csv::Reader::from_reader(&out[..]);
            let header: Vec<String> = rows.headers().unwrap().iter().map(str::to_owned).collect();
            assert_eq!(header.join(","), format!("change,{fields}"));
            let uid_at = header.iter().position(|name| name == "uid").unwrap();
            let found: Vec<(String, String)> =
                rows.records().map(|r| r.unwrap()).map(|r| (r[0].to_owned(), r[uid_at].to_owned())).collect();
            let mut wanted = Vec::new();
            for change in &all {
                let of_identities = fields.contains("provider");
                let rows = |user: &User| if of_identities { user.identities.len().max(1) } else { 1 };
                match change {
                    Ok(user) => wanted.extend(vec![("upsert".to_owned(), user.uid.clone()); rows(user)]),
                    Err(uid) => wanted.push(("delete".to_owned(), uid.clone())),
                }
            }
            assert_eq!(found, wanted, "{fields} since {since}");
        }
    }
}

#[test]
fn the_formula_guard_is_on_deletions_too() {
    let users = [User::new("=y").with_identity("=p", "@x"), User::new("z")];
    let source = Memory::new(&users, 10);
    let guarded = |since| export(&source, Format::Csv, "uid,provider,providerUID", since, true).formula_guard(true);
    let text = |export| String::from_utf8(bytes(&export)).unwrap();
    let header = "change,uid,provider,providerUID\r\n";
    let gone = "delete,\"'=y\"\"gone,0\",,\r\n";
    assert_eq!(text(guarded(5)), format!("{header}upsert,'=y,'=p,'@x\r\n{gone}"));
    assert_eq!(text(guarded(0)), format!("{header}upsert,'=y,'=p,'@x\r\nupsert,z,,\r\n"));
}

/// Where nobody is gone, what changed since 0 is a whole export with a column, or a list, more.
#[test]
fn everything_is_a_whole_export() {
    let users: Vec<User> = population(AWKWARD, 11).into_iter().filter(|u| u.status == Status::Registered).collect();
    let source = Memory::new(&users, 100);
    let fields = "uid,provider,providerUID";
    let whole = |format| {
        let whole = Export::new(&source).format(format).call_id("C").time("T");
        let mut out = Vec::new();
        (whole.write_to(&mut out).unwrap(), String::from_utf8(out).unwrap())
    };
    for pending in [false, true] {
        let changed = |format| {
            let export = export(&source, format, fields, 0, pending);
            let summary = export.write_to(&mut Vec::new()).unwrap();
            (summary, String::from_utf8(bytes(&export)).unwrap())
        };
        let ((of, json), (found, changes)) = (whole(Format::Json), changed(Format::Json));
        let list = json.replace("],\"usersCount\"", "],\"deletedUIDs\":[],\"usersCount\"");
        assert_eq!(changes, list.replace("\"time\":\"T\"", "\"time\":\"T\",\"seq\":42"));
        assert_eq!((found.users, found.identities, found.deleted), (of.users, of.identities, 0));
        assert_eq!((found.first_uid, found.last_uid), (of.first_uid, of.last_uid));
        assert_eq!(changed(Format::Ndjson).1, whole(Format::Ndjson).1);
        let rows = |text: &str| {
            csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes()).into_records().count()
        };
        let (csv, changes) = (whole(Format::Csv).1, changed(Format::Csv).1);
        assert_eq!(rows(&changes), rows(&csv));
        assert_eq!(changes.len(), csv.len() + "change,".len() + (rows(&csv) - 1) * "upsert,".len());
    }
}

#[test]
fn it_is_summed_up_and_its_length_is_not_known() {
    let users = population(AWKWARD, 10);
    let source = Memory::new(&users, 100);
    let export = export(&source, Format::Json, "uid", 5, false);
    assert_eq!(export.len().unwrap(), Length::Unknown);
    let summary = export.write_to(&mut Vec::new()).unwrap();
    let all = expected(&users, 5, false);
    let upserts: Vec<&User> = all.iter().filter_map(|e| e.as_ref().ok().copied()).collect();
    assert_eq!((summary.users, summary.deleted), (upserts.len() as u64, (all.len() - upserts.len()) as u64));
    assert_eq!(summary.first_uid.as_ref(), upserts.first().map(|u| &u.uid));
    assert_eq!(summary.last_uid.as_ref(), upserts.last().map(|u| &u.uid));
    assert_eq!(summary.seq, 42);
}

#[test]
fn what_cannot_be_asked_for_is_refused_before_the_first_byte() {
    let source = Memory::new(&population(AWKWARD, 11), 100);
    let base = export(&source, Format::Json, "uid", 5, false);
    for refused in [base.clone().limit(3), base.clone().after("a"), base.clone().fields("provider".parse().unwrap())] {
        let mut out = Vec::new();
        assert!(matches!(refused.write_to(&mut out), Err(Error::Settings(_))));
        assert!(matches!(refused.len(), Err(Error::Settings(_))));
        assert!(out.is_empty());
    }
    let mut out = Vec::new();
    let ahead = base.since(43).write_to(&mut out).unwrap_err();
    assert!(ahead.to_string().contains("seq 43 lies ahead"), "{ahead}");
    assert!(out.is_empty());
}
