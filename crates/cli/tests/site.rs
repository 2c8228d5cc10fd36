//! `headcount site`: sites and keys of a configuration, and what its secrets look like from outside.

#![expect(clippy::unwrap_used, reason = "functions of tests, which clippy cannot see in a program of tests")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use common::{Run, Scratch};

const ADDED: &str = "a running server takes it over on SIGHUP: `kill -HUP PID` or `systemctl reload headcount`";

/// A directory with the store `s` and the configuration `hc.toml` with one site `3_a`.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], "{\"UID\":\"a\",\"identities\":[]}\n").exits(0);
    scratch.run(&["site", "create", "--config", "hc.toml", "--store", "s", "--api-key", "3_a"]).exits(0);
    scratch
}

/// `headcount site COMMAND --config hc.toml ARGS`
fn site(scratch: &Scratch, args: &[&str]) -> Run {
    let (command, rest) = args.split_first().unwrap();
    scratch.run(&[&["site", command, "--config", "hc.toml"], rest].concat())
}

fn mode(scratch: &Scratch, name: &str) -> u32 {
    fs::metadata(scratch.path(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_site_is_made_and_its_secret_is_not_printed() {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], "{\"UID\":\"a\",\"identities\":[]}\n").exits(0);
    let run = scratch.run(&["site", "create", "--config", "hc.toml", "--store", "s"]).exits(0).says(&["made ", ADDED]);
    let lines: Vec<_> = run.out.lines().map(|line| line.split_once("  ").unwrap()).collect();
    let [("apiKey", key), ("secret", file)] = lines[..] else { panic!("{}", run.out) };
    assert!(key.len() == 66 && key.starts_with("3_"), "{key}");
    let secret = fs::read_to_string(file).unwrap();
    assert_eq!((secret.len(), secret.trim_end().len()), (44, 44));
    assert_eq!(mode(&scratch, file), 0o600);
    assert!(!run.out.contains(&secret) && !run.err.contains(&secret) && !scratch.read("hc.toml").contains(&secret));
    assert_eq!(scratch.names(), [&file[file.rfind('/').unwrap() + 1..], "hc.toml", "s"]);

    let run =
        site(&scratch, &["create", "--store", "s", "--api-key", "3_b", "--json"]).exits(0).says(&["added the site"]);
    let json = run.json();
    assert_eq!((&json["apiKey"], mode(&scratch, json["secretFile"].as_str().unwrap())), (&"3_b".into(), 0o600));
    assert_eq!(json["store"].as_str().unwrap(), fs::canonicalize(scratch.path("s")).unwrap().to_str().unwrap());
    let list = site(&scratch, &["list", "--json"]).exits(0).json();
    assert_eq!(list["sites"][0]["apiKey"], key);
    assert_eq!(list["sites"][1]["secrets"][0]["file"], json["secretFile"]);
}

#[test]
fn a_site_has_a_store() {
    let scratch = scratch();
    let before = scratch.read("hc.toml");
    let create = |args: &[&str]| site(&scratch, &[&["create", "--api-key", "3_b"], args].concat());
    create(&["--store", "my store"]).exits(1).says(&["`headcount import 'my store' FILE`", "--create-store"]);
    create(&["--store", "hc.toml"]).exits(1).says(&["error: "]);
    let names = scratch.names();
    // A store that was made goes when the site cannot be.
    site(&scratch, &["create", "--api-key", "3_a", "--store", "new", "--create-store"])
        .exits(1)
        .says(&["\"3_a\" already", "key-add --rotate"]);
    assert_eq!((scratch.names(), scratch.read("hc.toml")), (names, before));
    create(&["--store", "new", "--create-store"]).exits(0);
    assert_eq!(scratch.run(&["stats", "new", "--json"]).exits(0).json()["users"], 0);
}

#[test]
fn a_configuration_that_is_wrong_is_not_touched() {
    let scratch = scratch();
    let text = scratch.read("hc.toml").replace("address", "adress");
    scratch.write("hc.toml", &text);
    for args in [
        &["create", "--store", "s"][..],
        &["list"],
        &["key-add", "--site", "3_a", "--rotate"],
        &["key-revoke", "--site", "3_a", "--user-key", "k"],
    ] {
        site(&scratch, args).exits(1).says(&["hc.toml:8: there is no key \"adress\" here, did you mean \"address\"?"]);
    }
    assert_eq!(scratch.read("hc.toml"), text);
    let missing = scratch.run(&["site", "list", "--config", "no.toml"]).exits(1);
    missing.says(&[
        "cannot read the configuration no.toml: ",
        "hint: `headcount site create --config FILE --store STORE`",
    ]);
    let missing = scratch.run(&["site", "key-add", "--config", "no.toml", "--site", "k", "--rotate"]).exits(1);
    missing.says(&["cannot read no.toml: ", "hint: `headcount site create"]);
}

#[test]
fn the_secret_of_a_site_is_exchanged() {
    let scratch = scratch();
    let rotate = ["key-add", "--site", "3_a", "--rotate"];
    let run = site(&scratch, &[&rotate[..], &["--json"]].concat()).exits(0).says(&["a second secret to the site 3_a"]);
    assert_eq!((&run.json()["userKey"], run.json().get("permissions")), (&serde_json::Value::Null, None));
    let new = run.json()["secretFile"].as_str().unwrap().to_owned();
    assert!(new.ends_with("/3_a-2.secret"), "{new}");
    site(&scratch, &rotate).exits(1).says(&["has two secrets already", "key-revoke --secret"]);
    let revoke = ["key-revoke", "--site", "3_a", "--secret"];
    site(&scratch, &[&revoke[..], &["other.secret"]].concat()).exits(1).says(&["is no secret of site \"3_a\""]);
    // From another directory, as the configuration has it.
    let mut elsewhere = scratch.command(&["site", "key-revoke", "--config", "../hc.toml", "--site", "3_a"]);
    let elsewhere = elsewhere.args(["--secret", "3_a.secret", "--json"]).current_dir(scratch.path("s"));
    let json = Run::from(elsewhere.output().unwrap()).exits(0).says(&["took a secret from the site 3_a", ADDED]).json();
    assert!(json["removedFiles"][0].as_str().unwrap().ends_with("/3_a.secret"), "{json}");
    assert_eq!(scratch.names(), ["3_a-2.secret", "hc.toml", "s"]);
    site(&scratch, &[&revoke[..], &["3_a-2.secret"]].concat()).exits(1).says(&["is the last secret", "--rotate"]);
    assert!(scratch.path("3_a-2.secret").exists());
}

#[test]
fn user_keys_come_and_go() {
    let scratch = scratch();
    let add = ["key-add", "--site", "3_a", "--user-key", "crm"];
    let run = site(&scratch, &[&add[..], &["--permissions", "write,export,write"]].concat()).exits(0);
    assert!(run.out.starts_with("userKey crm\nsecret  /") && run.out.ends_with("/3_a.crm.secret\n"), "{}", run.out);
    site(&scratch, &[&add[..], &["--permissions", "write"]].concat()).exits(1).says(&["\"crm\" already"]);
    site(&scratch, &[&add[..], &["--rotate"]].concat()).exits(0).says(&["second secret to the user key crm"]);
    let key = site(&scratch, &["list", "--json"]).json()["sites"][0]["userKeys"][0].clone();
    assert_eq!((&key["key"], &key["permissions"]), (&"crm".into(), &serde_json::json!(["export", "write"])));
    assert_eq!(key["secrets"].as_array().unwrap().len(), 2);
    let random = site(&scratch, &["key-add", "--site", "3_a", "--permissions", "export", "--json"]).exits(0).json();
    assert!(random["userKey"].as_str().unwrap().starts_with("u_"), "{random}");

    let revoke = ["key-revoke", "--site", "3_a", "--user-key"];
    site(&scratch, &[&revoke[..], &["crm", "--secret", "3_a.crm.secret", "--keep-file"]].concat()).exits(0);
    assert!(scratch.path("3_a.crm.secret").exists());
    site(&scratch, &[&revoke[..], &["crm", "--secret", "3_a.crm-2.secret"]].concat())
        .exits(1)
        .says(&["the last secret"]);
    let json = site(&scratch, &[&revoke[..], &["crm", "--json"]].concat()).exits(0).json();
    assert!(json["removedFiles"][0].as_str().unwrap().ends_with("/3_a.crm-2.secret"), "{json}");
    assert!(!scratch.path("3_a.crm-2.secret").exists());
    site(&scratch, &[&revoke[..], &["crm"]].concat()).exits(1).says(&["has no user key \"crm\"", "site list"]);
    assert_eq!(site(&scratch, &["list", "--json"]).json()["sites"][0]["userKeys"].as_array().unwrap().len(), 1);
}

#[test]
fn a_list_shows_what_is_wrong_and_nothing_that_a_terminal_acts_on() {
    let scratch = scratch();
    let mut text = scratch.read("hc.toml");
    text.push_str("[[site]]\napi_key = \"3_b\"\nstore = \"\\u001b[2Jb\"\nsecrets = [{ file = \"b.secret\" }, { env = \"HC_NO\" }]\n");
    scratch.write("hc.toml", &text);
    scratch.write("b.secret", "AAAA");
    fs::set_permissions(scratch.path("b.secret"), Permissions::from_mode(0o644)).unwrap();
    let list = site(&scratch, &["list"]).exits(0).out;
    let dir = fs::canonicalize(scratch.path(".")).unwrap().display().to_string();
    let expected = format!(
        "site 3_a\n  store  {dir}/s\n  secret {dir}/3_a.secret, mode 0600\nsite 3_b\n  store  {dir}/\\u{{1b}}[2Jb: not \
         there\n  secret {dir}/b.secret, mode 0644: the secret file {dir}/b.secret has mode 0644, so that others can use \
         it; expected 0600: `chmod 600 {dir}/b.secret`\n  secret env:HC_NO: the variable HC_NO is not set; put the secret, \
         in base64, into it\n"
    );
    assert_eq!(list, expected);
    let json = site(&scratch, &["list", "--json"]).exits(0).json();
    let states: Vec<_> = json["sites"].as_array().unwrap().iter().map(|site| site["secrets"][0].clone()).collect();
    assert_eq!((&states[0]["readable"], &states[0]["mode"]), (&true.into(), &"0600".into()));
    assert_eq!((&states[1]["readable"], &states[1]["mode"]), (&false.into(), &"0644".into()));
    // Names of the command line reach messages escaped, too.
    let run = site(&scratch, &["key-add", "--site", "\u{1b}[2J", "--rotate"]).exits(1);
    assert!(!run.err.contains('\u{1b}') && run.err.contains("\\u{1b}"), "{:?}", run.err);
}

#[test]
fn editors_at_the_same_time_take_turns() {
    let scratch = scratch();
    let key = |number: usize| format!("k{number}");
    let start = |number: usize| -> std::process::Child {
        let mut command: Command = scratch.command(&["site", "key-add", "--config", "hc.toml", "--site", "3_a"]);
        let command = command.args(["--permissions", "export", "--user-key", &key(number)]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let children: Vec<_> = (0..8).map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let list = site(&scratch, &["list", "--json"]).exits(0).json();
    let mut keys: Vec<_> = list["sites"][0]["userKeys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| k["key"].as_str().unwrap().to_owned())
        .collect();
    keys.sort();
    assert_eq!(keys, (0..8).map(key).collect::<Vec<_>>());
}

#[test]
fn an_address_that_others_can_reach_is_refused_before_keys_are_made() {
    let scratch = Scratch::new();
    scratch.run_with(&["import", "s", "-"], "{\"UID\":\"a\",\"identities\":[]}\n").exits(0);
    let refused = ["others can reach 0.0.0.0:9", "--plain-http"];
    scratch.run(&["serve", "s", "--listen", "0.0.0.0:9", "--audit-log", "audit"]).exits(2).says(&refused);
    let names: Vec<_> = fs::read_dir(scratch.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["s"]);
}
