//! What all commands have in common: help, colours, quiet, progress, signals, completions, manual pages.

mod common;

use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Scratch;
use headcount::{Error, Options, Progress, Store, User};
use signal_hook::consts::{SIGINT, SIGPIPE};

#[rustfmt::skip]
const COMMANDS: [&str; 23] = [
    "quickstart", "import", "put", "link", "unlink", "rename", "status", "delete", "erase", "apply", "export", "get",
    "find", "stats", "changes", "verify", "compact", "backup", "generate", "completions", "man", "site",
    "call",
];

#[test]
fn every_command_has_help_with_examples() {
    let scratch = Scratch::new();
    let help = scratch.run(&["--help"]).exits(0);
    for command in COMMANDS {
        assert!(help.out.contains(command));
        let run = scratch.run(&[command, "--help"]).exits(0);
        assert!(run.out.contains("Examples:\n  headcount "), "{command}: {}", run.out);
        assert_eq!(run.err, "");
        assert_eq!(scratch.run(&["help", command]).exits(0).out, run.out);
    }
    assert!(scratch.run(&["--version"]).exits(0).out.starts_with("headcount "));
}

#[test]
fn a_wrong_command_line_is_2() {
    let scratch = Scratch::new();
    for args in [
        &[][..],
        &["frobnicate"],
        &["import"],
        &["get", "s"],
        &["find", "s", "facebook"],
        &["export", "s", "--format", "xml"],
        &["export", "s", "--fields", "uid,mail"],
        &["export", "s", "--limit", "-1"],
        &["export", "s", "--call-id", "xyz"],
        &["export", "s", "--time", "bogus"],
        &["export", "s", "--time", "2015-03-22"],
        &["export", "s", "--time", "2015-03-22T11:42:25Z"],
        &["export", "s", "--time", "2015-03-22T11:42:25.943+01:00"],
        &["export", "s", "--time", "2015-02-29T11:42:25.943Z"],
        &["export", "s", "--time", "2015-00-22T11:42:25.943Z"],
        &["export", "s", "--time", "2015-03-22T24:00:00.000Z"],
        &["import", "s", "f", "--memory", "lots"],
        &["import", "s", "f", "--threads", "0"],
        &["import", "s", "f", "--rejects", "r"],
        &["stats", "s", "--progress", "perhaps"],
        &["put"],
        &["link", "s", "a", "site"],
        &["status", "s", "a", "gone"],
        &["delete", "s"],
        &["erase", "s", "a", "--wait", "soon"],
        &["apply", "s", "f", "--batch", "0"],
        &["apply", "s", "f", "--batch", "50001"],
        &["apply", "s", "f", "--acks", "--json"],
        &["changes", "s"],
        &["changes", "s", "--since", "now"],
        &["backup", "s"],
        &["site"],
        &["site", "create", "--config", "f"],
        &["site", "key-add", "--config", "f", "--site", "k"],
        &["site", "key-add", "--config", "f", "--site", "k", "--permissions", "export,admin"],
        &["site", "key-add", "--config", "f", "--site", "k", "--permissions", "export", "--rotate"],
        &["site", "key-revoke", "--config", "f", "--site", "k"],
    ] {
        let run = scratch.run(args).exits(2);
        assert_eq!(run.out, "", "{args:?}");
    }
    assert!(scratch.names().is_empty());
}

#[test]
fn help_that_cannot_be_written_is_1() {
    let scratch = Scratch::new();
    for args in [&["--help"][..], &["help"], &["help", "import"], &["export", "--help"], &["--version"], &["-V"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = scratch.command(args).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("cannot write standard output"), "{args:?}: {said}");
    }
}

#[test]
fn colours_are_for_terminals_and_those_who_ask() {
    let scratch = Scratch::new();
    let plain = scratch.run(&["stats", "nothing"]).exits(1);
    assert!(plain.err.starts_with("error: ") && plain.err.contains("\nhint: "), "{}", plain.err);
    let colored = scratch.run(&["stats", "nothing", "--color", "always"]).exits(1);
    assert!(colored.err.starts_with("\u{1b}["), "{}", colored.err);
    for args in [&["frobnicate", "--color", "never"], &["frobnicate", "--color=never"][..]] {
        assert!(!scratch.run(args).exits(2).err.contains('\u{1b}'));
    }
    let help = scratch.run(&["--color", "always", "--help"]).exits(0);
    assert!(help.out.contains('\u{1b}'));
}

/// On a terminal, NO_COLOR switches colours off; `script` makes one.
#[test]
fn no_color_is_respected_on_a_terminal() {
    let scratch = Scratch::new();
    let on_terminal = |no_color: Option<&str>| {
        let mut command = std::process::Command::new("script");
        command.args(["-qec", concat!(env!("CARGO_BIN_EXE_headcount"), " stats nothing"), "/dev/null"]);
        command.current_dir(scratch.path(".")).stdin(Stdio::null()).env("TERM", "xterm").env_remove("NO_COLOR");
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        command.output().ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(colored) = on_terminal(None) else {
        eprintln!("SKIPPED: script(1) is not installed");
        return;
    };
    assert!(colored.contains("\u{1b}["), "{colored:?}");
    assert!(on_terminal(Some("")).unwrap().contains("\u{1b}["));
    let plain = on_terminal(Some("1")).unwrap();
    assert!(plain.contains("error: ") && !plain.contains('\u{1b}'), "{plain:?}");
}

#[test]
fn quiet_leaves_errors_only() {
    let scratch = Scratch::new();
    assert_eq!(scratch.run(&["-q", "generate", "--users", "5", "-o", "u"]).exits(0).err, "");
    assert_eq!(scratch.run(&["import", "s", "u", "--quiet"]).exits(0).err, "");
    assert_eq!(scratch.run(&["export", "s", "-o", "f.json", "-q"]).exits(0).err, "");
    scratch.run(&["stats", "nothing", "-q"]).exits(1).says(&["error: "]);
}

/// The open forgets of whom it was: nobody is told a second time.
#[test]
fn who_was_not_erased_is_told_of_also_with_quiet() {
    let scratch = Scratch::new();
    let store = Store::create(scratch.path("s"), &Options::default()).unwrap();
    store.load([User::new("gone"), User::new("back"), User::new("other")]).unwrap();
    let snapshot = store.snapshot();
    let error = store.erase(&["gone", "back"], Duration::ZERO, &Progress::default()).unwrap_err();
    assert!(matches!(error, Error::Pinned { .. }), "{error}");
    store.load([User::new("back")]).unwrap();
    drop(snapshot);
    store.close().unwrap();
    let run = scratch.run(&["delete", "s", "other", "-q"]).exits(0);
    run.says(&["completed the erasure of 1 user, not erased: 1 user whose erasure had begun"]);
    assert_eq!(scratch.run(&["compact", "s", "-q"]).exits(0).err, "");
    scratch.run(&["get", "s", "back"]).exits(0);
}

#[test]
fn progress_is_lines_where_there_is_no_terminal() {
    let scratch = Scratch::new();
    let args = ["generate", "--users", "100000", "-o", "u"];
    let run = scratch.run(&[&args[..], &["--progress", "always"]].concat()).exits(0);
    assert!(run.err.contains("generating: 100,000 users"), "{}", run.err);
    assert!(!run.err.contains(['\r', '\u{1b}']), "{:?}", run.err);
    for when in ["auto", "never"] {
        let run = scratch.run(&[&args[..], &["--progress", when]].concat()).exits(0);
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    }
}

#[test]
fn a_closed_standard_output_ends_quietly_by_sigpipe() {
    let scratch = Scratch::new();
    scratch.store("50000");
    let uids: Vec<String> = scratch
        .read("users.ndjson")
        .lines()
        .take(2000)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["UID"].as_str().unwrap().to_owned())
        .collect();
    let mut get = vec!["get", "s", "--"];
    get.extend(uids.iter().map(String::as_str));
    for args in [
        &["generate", "--users", "50000"][..],
        &["export", "s"],
        &["export", "s", "--format", "csv"],
        &["export", "s", "--format", "ndjson", "--threads", "1"],
        &["changes", "s", "--since", "0"],
        &["changes", "s", "--since", "0", "--format", "csv"],
        &get,
    ] {
        let mut child = scratch.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(SIGPIPE), "{args:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn ctrl_c_ends_by_the_signal_and_leaves_nothing() {
    let scratch = Scratch::new();
    // Standard input stays open, so that the import waits for more.
    for args in [&["import", "s", "-"][..], &["generate", "--users", "1000000000000", "-o", "huge"]] {
        let mut child = scratch.command(args).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        // The store or the temporary file is there: the command has begun, and handles signals.
        let begun = Instant::now();
        while scratch.names().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{args:?} did not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(200));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(output.status.signal(), Some(SIGINT), "{args:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("cancelled"), "{output:?}");
        assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    }
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = scratch.run(&["completions", shell]).exits(0).out;
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let page = scratch.run(&["man"]).exits(0).out;
    assert!(page.contains(".TH headcount 1"));
    fs::create_dir(scratch.path("man1")).unwrap();
    scratch.run(&["man", "man1"]).exits(0);
    let pages = common::names(&scratch.path("man1"));
    for command in COMMANDS {
        assert!(pages.contains(&format!("headcount-{command}.1")), "{pages:?}");
    }
    scratch.run(&["man", "nowhere"]).exits(1).says(&["hint:"]);
}
