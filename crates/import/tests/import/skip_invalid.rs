//! Imports that skip invalid records: what is loaded, reported and written to the file of rejects.

use std::sync::{Arc, Mutex};

use headcount_block::User;
use headcount_import::{ErrorKind, Format, Import, Input, Report};
use headcount_store::{Existing, LoadOptions, Store};

use super::{Shared, inputs, store, users};

fn skip() -> LoadOptions {
    LoadOptions { skip_rejected: true, ..LoadOptions::default() }
}

/// Imports and returns the report and the rejects.
fn load(store: &Store, format: Format, contents: &[&str]) -> (Report, String) {
    let rejects = Shared::default();
    let contents: Vec<&[u8]> = contents.iter().map(|c| c.as_bytes()).collect();
    let import = Import::new(store).format(format).options(skip()).rejects(Some(Box::new(rejects.clone())));
    let report = inputs(import, &contents).run().unwrap();
    (report, rejects.text())
}

fn reasons(report: &Report) -> Vec<(&str, u64)> {
    report.rejected_by_reason.iter().map(|(reason, n)| (reason.as_str(), *n)).collect()
}

#[test]
fn lines_that_are_bad_are_written_as_they_were() {
    let store = store();
    let bad = ["{\"UID\":5}", "{\"UID\":\"\"}", "{\"UID\":\"b\"", "  {\"UID\":\"x\",\"status\":\"?\"} "];
    let text = format!("{{\"UID\":\"a\"}}\r\n{}\r\n{{\"UID\":\"c\"}}\n{}", bad[..2].join("\r\n"), bad[2..].join("\n"));
    let (report, rejects) = load(&store, Format::Auto, &[&text]);
    assert_eq!(users(&store), [User::new("a"), User::new("c")]);
    assert_eq!(rejects, bad.join("\n") + "\n");
    assert_eq!((report.records, report.accepted, report.rejected, report.users), (6, 2, 4, 2));
    let expected = [("invalid-json", 1), ("limit", 1), ("unknown-status", 1), ("wrong-shape", 1)];
    assert_eq!(reasons(&report), expected);
    let lines: Vec<u64> = report.rejected_examples.iter().map(|e| e.at.number).collect();
    assert_eq!(lines, [2, 3, 5, 6]);
    assert_eq!(report.files[0].rejected, 4);
}

#[test]
fn objects_of_a_document_become_lines() {
    let store = store();
    let document =
        "{\"users\":[{\"UID\":\n 5},{\"UID\":\"a\"},{\r\n\"UID\":\"b\nc\"}],\"usersCount\":3,\"identitiesCount\":9}";
    let (report, rejects) = load(&store, Format::Auto, &[document]);
    assert_eq!(users(&store), [User::new("a")]);
    assert_eq!(rejects, "{\"UID\":  5}\n{  \"UID\":\"b\\nc\"}\n");
    assert_eq!(report.warnings, ["in: identitiesCount was not checked, since users were rejected"]);
    let mended = rejects.replace("  5", "\"5\"");
    let (report, rejects) = load(&store, Format::Auto, &[&mended]);
    assert_eq!((report.rejected, rejects.as_str()), (0, ""));
    assert_eq!(users(&store), [User::new("5"), User::new("a"), User::new("b\nc")]);
}

#[test]
fn rows_come_with_the_header_and_mended_ones_can_be_imported() {
    let store = store();
    let csv = "note,providerUID,UID,provider\nx,1,a,p\n\"x\ny\",2,a\n\"n,1\",,a,q\nx,\"3,\"\"\",b,p\n";
    let (report, rejects) = load(&store, Format::Auto, &[csv]);
    assert_eq!(users(&store), [User::new("a").with_identity("p", "1"), User::new("b").with_identity("p", "3,\"")]);
    assert_eq!(rejects, "note,providerUID,UID,provider\r\n\"x\ny\",2,a\r\n\"n,1\",,a,q\r\n");
    assert_eq!(reasons(&report), [("field-count", 1), ("half-identity", 1)]);
    let mended = rejects.replace(",2,a", ",2,z,p").replace(",,a,q", ",7,z,q");
    let (report, rejects) = load(&store, Format::Auto, &[&mended]);
    assert_eq!((report.rejected, rejects.as_str()), (0, ""));
    assert_eq!(users(&store)[2], User::new("z").with_identity("p", "2").with_identity("q", "7"));
}

#[test]
fn users_that_the_loader_refuses_are_written_anew() {
    let store = store();
    let text = "{\"UID\":\"a\"}\n{\"UID\":\"a\",\"status\":\"pending\",\"identities\":[{\"provider\":\"p\",\
                \"providerUID\":\"\\u00e9\\n\\\"\"}]}\n";
    let (report, rejects) = load(&store, Format::Auto, &[text]);
    assert_eq!(users(&store), [User::new("a")]);
    assert_eq!(
        rejects,
        "{\"UID\":\"a\",\"status\":\"pending\",\"identities\":[{\"provider\":\"p\",\"providerUID\":\"é\\n\\\"\"}]}\n"
    );
    assert_eq!(reasons(&report), [("duplicate-uid", 1)]);
    let example = &report.rejected_examples[0];
    assert_eq!((example.uid.as_deref(), example.at.number), (Some("a"), 2));
    assert!(example.message.contains("in: line 1, byte 0"), "{}", example.message);
}

#[test]
fn rows_that_the_loader_refuses_stand_under_the_same_header() {
    let store = store();
    let csv =
        "status,uid,x,provider,providerUID\nregistered,a,,p,1\nregistered,\"b,\",7,p,1\nregistered,\"b,\",8,q,2\n";
    let (report, rejects) = load(&store, Format::Auto, &[csv]);
    assert_eq!(users(&store), [User::new("a").with_identity("p", "1")]);
    let expected = "status,uid,x,provider,providerUID\r\nregistered,\"b,\",,p,1\r\nregistered,\"b,\",,q,2\r\n";
    assert_eq!(rejects, expected);
    assert_eq!(reasons(&report), [("identity-taken", 1)]);
    assert_eq!((report.records, report.rejected), (3, 1));
}

#[test]
fn only_the_first_twenty_are_described_and_all_are_written_in_order() {
    let store = store();
    let lines: String = (0..50_000).map(|i| format!("{{\"UID\":{i}}}\n{{\"UID\":\"{i}\"}}\n")).collect();
    let (report, rejects) = load(&store, Format::Ndjson, &[&lines]);
    assert_eq!((report.users, report.rejected), (50_000, 50_000));
    assert_eq!(report.rejected_examples.len(), 20);
    assert_eq!(report.rejected_examples[19].at.number, 39);
    let expected: String = (0..50_000).map(|i| format!("{{\"UID\":{i}}}\n")).collect();
    assert!(rejects == expected);
}

#[test]
fn rejects_of_different_layouts_are_refused_before_anything_is_read() {
    let store = store();
    let csv = "uid,provider,providerUID\n";
    for (contents, named) in [
        (&[csv.as_bytes(), b"{\"UID\":\"a\"}"][..], "in and in2"),
        (&[csv.as_bytes(), csv.as_bytes(), b"UID,provider,providerUID\n"], "in and in3"),
    ] {
        let import = Import::new(&store).options(skip()).rejects(Some(Box::new(Shared::default())));
        let error = inputs(import, contents).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(named), "{error}");
        assert!(inputs(Import::new(&store).options(skip()), contents).run().is_ok());
    }
}

/// Two tables of one system: the rejects of each stand under its own header, a refused user where its identities can.
#[test]
fn rejects_of_different_layouts_go_to_destinations_of_their_own() {
    let users_table = "id,aud,deleted_at\nu1,x,\n,x,\nu2,x,\nu3,x,\n";
    let links =
        "provider_id,user_id,identity_data,provider\n1,u1,{},google\n,u1,{},github\n1,u2,{},google\n9,u2,{},github\n";
    let (first, apart) = (Shared::default(), Shared::default());
    let opened = Arc::new(Mutex::new(Vec::new()));
    let store = store();
    let (to, noted) = (apart.clone(), Arc::clone(&opened));
    let import =
        Import::new(&store).options(skip()).rejects(Some(Box::new(first.clone()))).rejects_apart(move |name| {
            noted.lock().unwrap().push(name.to_owned());
            Ok(Box::new(to.clone()))
        });
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        Input::path(dir.path().join(name))
    };
    let report = import.input(path("users.csv", users_table)).input(path("links.csv", links)).run().unwrap();
    assert_eq!(reasons(&report), [("half-identity", 1), ("identity-taken", 1), ("limit", 1)]);
    assert_eq!(users(&store), [User::new("u1").with_identity("google", "1"), User::new("u3")]);
    assert_eq!(first.text(), "id,aud,deleted_at\r\n,x,\r\n");
    let header = "provider_id,user_id,identity_data,provider";
    let kept = format!("{header}\r\n,u1,{{}},github\r\n9,u2,,github\r\n1,u2,,google\r\n");
    assert_eq!(sorted(&apart.text()), sorted(&kept));
    let links_name = dir.path().join("links.csv").display().to_string();
    assert_eq!(*opened.lock().unwrap(), [links_name]);
    // Mended, they can be imported as they are.
    let mended =
        [first.text().replace("\n,x", "\nu4,x"), apart.text().replace("\n,u1", "\n7,u1").replace("\n1,u2", "\n2,u2")];
    let import = Import::new(&store).options(LoadOptions { existing: Existing::Merge, ..LoadOptions::default() });
    import.input(path("users.csv", &mended[0])).input(path("links.csv", &mended[1])).run().unwrap();
    let again: Vec<_> = users(&store).into_iter().map(|u| (u.uid, u.identities.len())).collect();
    let expected = [("u1", 2), ("u2", 2), ("u3", 0), ("u4", 0)].map(|(uid, n)| (uid.to_owned(), n));
    assert_eq!(again, expected);
}

/// Nothing is opened for a layout none of whose records is refused, and what cannot be opened fails the import.
#[test]
fn a_destination_of_its_own_is_opened_when_it_is_needed() {
    let text: [&[u8]; 2] = [b"uid,provider,providerUID\na,p,1\n", b"{\"UID\":\"b\"}\n"];
    let bad: [&[u8]; 2] = [text[0], b"{\"UID\":5}\n"];
    for (contents, fails) in [(text, false), (bad, true)] {
        let store = store();
        let import = Import::new(&store).options(skip()).rejects(Some(Box::new(Shared::default())));
        let import = import.rejects_apart(|_| Err(std::io::Error::from_raw_os_error(28)));
        let outcome = inputs(import, &contents).run().map(|report| report.users).map_err(|e| e.to_string());
        match outcome {
            Ok(users) => assert!(!fails && users == 2),
            Err(message) => {
                assert!(fails && message.contains("rejected records") && message.contains("No space left"), "{message}")
            }
        }
        assert_eq!(users(&store).is_empty(), fails);
    }
}

/// All sheets can be given to an import when only the second has records; a report says that users came in parts.
#[test]
fn a_sheet_without_records_has_its_header_when_another_has_some() {
    let users_table = b"id,aud\nu1,x\n";
    let links = b"provider_id,user_id,identity_data,provider\n1,u1,{},google\n,u1,{},github\n";
    for (links, first_text, parts) in [(&links[..], "id,aud\r\n", 2), (&links[..58], "", 2)] {
        let (first, apart) = (Shared::default(), Shared::default());
        let store = store();
        let to = apart.clone();
        let import = Import::new(&store).options(skip()).rejects(Some(Box::new(first.clone())));
        let import = import.rejects_apart(move |_| Ok(Box::new(to.clone())));
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &[u8]| {
            std::fs::write(dir.path().join(name), text).unwrap();
            Input::path(dir.path().join(name))
        };
        let import = import.input(path("users.csv", users_table)).input(path("links.csv", links));
        let report = import.run().unwrap();
        assert_eq!((first.text().as_str(), report.parts), (first_text, parts), "{report:?}");
        assert_eq!(apart.text().is_empty(), first_text.is_empty());
    }
    assert_eq!(load(&store(), Format::Ndjson, &["{\"UID\":\"a\"}\n"]).0.parts, 0);
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_file_of_rejects_that_cannot_be_written_fails_the_import() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(28))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let bad_line = "{\"UID\":\"a\"}\n{\"UID\":5}\n";
    let refused_by_the_loader = "{\"UID\":\"a\"}\n{\"UID\":\"a\"}\n";
    for text in [bad_line.to_owned(), bad_line.repeat(2000), refused_by_the_loader.to_owned()] {
        let store = store();
        let import = Import::new(&store).options(skip()).rejects(Some(Box::new(Full)));
        let error = inputs(import, &[text.as_bytes()]).run().unwrap_err();
        let message = error.to_string();
        assert!(message.contains("rejected record") && message.contains("No space left"), "{message}");
        assert_eq!(users(&store), []);
    }
}
