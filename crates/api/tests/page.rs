//! What `docs/API.md` says that can be compared with the code: its tables, and the signature that is made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod support;

use std::collections::BTreeSet;
use std::process::Command;

use headcount::method::{Code, Verb};
use support::*;

const PAGE: &str = include_str!("../../../docs/API.md");

/// The first cells of the rows of the table whose header begins with `head`.
fn rows(head: &str) -> Vec<(&'static str, &'static str)> {
    let after = PAGE.split(head).nth(1).unwrap_or_else(|| panic!("no table {head:?}"));
    let lines = after.lines().skip(2).take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split_once('|').unwrap()).map(|(a, b)| (a.trim(), b.trim())).collect()
}

/// What stands between back quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_table_of_codes_is_that_of_the_code() {
    let page: Vec<(String, String)> = rows("| code | message |")
        .iter()
        .map(|(code, rest)| ((*code).to_owned(), rest.split('|').next().unwrap().trim().to_owned()))
        .collect();
    let code: Vec<(String, String)> =
        Code::ALL.iter().map(|code| (code.number().to_string(), code.message().to_owned())).collect();
    assert_eq!(page, code);
}

#[test]
fn every_parameter_of_the_tables_is_known_and_no_other() {
    let f = fixture();
    let own: BTreeSet<&str> =
        rows("| parameter of exportUsers |").iter().flat_map(|(names, _)| quoted(names)).collect();
    let common: BTreeSet<&str> =
        rows("| parameter of every method |").iter().flat_map(|(names, _)| quoted(names)).collect();
    assert!(own.len() >= 9 && common.len() >= 16, "{own:?} {common:?}");
    for name in own.union(&common).filter(|name| !["apiKey", "secret"].contains(name)) {
        let answer = json(f.export(&[(name, ""), ("checkParams", "true")]));
        let answer = if *name == "checkParams" { json(f.export(&[])) } else { answer };
        assert_eq!(answer["errorCode"], 0, "{name}: {answer}");
    }
    for name in own.iter().filter(|name| !["format", "callback"].contains(*name)) {
        let params = [("apiKey", KEY), ("secret", SECRET), ("UID", "AABCWA"), (*name, ""), ("checkParams", "1")];
        assert_eq!(code(f.api.handle(&get("getUserInfo", &params))), 403_007, "{name} is not of every method");
    }
    let verbs: Vec<&str> = rows("| method | parameters |").iter().flat_map(|(name, _)| quoted(name)).collect();
    let others = [Verb::ExportUsers, Verb::GetToken];
    let known: Vec<&str> = Verb::ALL.iter().filter(|verb| !others.contains(verb)).map(|verb| verb.as_str()).collect();
    assert_eq!(verbs, known);
}

#[test]
fn the_signature_by_hand() {
    let section = PAGE.split("## 4. Authorization").nth(1).unwrap();
    let (script, rest) = section.split_once("```sh\n").unwrap().1.split_once("```\n\n```text\n").unwrap();
    let expected = rest.split("```").next().unwrap();
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: openssl cannot be run, so the signature of docs/API.md was not made by hand");
        return;
    }
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert_eq!(expected, "G56DCZYLlreQ6tizQnoPgoRSFB4=\n");
}
