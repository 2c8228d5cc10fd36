//! Files as destinations.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::{Fail, Memory, Recipe, names, oracle, population, seven};
use headcount_block::{HEADER_LEN, Select, User};
use headcount_export::{Envelope, Error, Export, Fields, Format};

const RECIPE: Recipe = Recipe {
    users: 20_000,
    pending: 10,
    bare: 5,
    escapes: 2,
    long: 1,
    unicode: 0,
    providers: 6,
    nasty_providers: false,
};

fn users() -> Vec<User> {
    population(RECIPE, 777)
}

fn export(source: &Memory, format: Format) -> Export<Memory> {
    Export::new(source).format(format).call_id("C").time("T")
}

#[test]
fn a_file_holds_the_export() {
    let users = users();
    let source = Memory::new(&users, 500);
    let dir = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let expected = oracle(&users, &Select::default(), format, &Fields::default());
        for threads in [1, 2, 4] {
            let path = dir.path().join(format!("users.{format}"));
            let summary = export(&source, format).threads(threads).fsync(threads == 2).write_file(&path).unwrap();
            assert!(fs::read(&path).unwrap() == expected, "{format} {threads}");
            assert_eq!(summary.bytes, expected.len() as u64);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "exports are personal data");
        }
    }
    assert_eq!(names(dir.path()).len(), 3, "no partial file is left");
}

#[test]
fn a_file_is_replaced_on_success_only() {
    let users = users();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.json");
    fs::write(&path, "before").unwrap();
    let damaged = Memory::with(&users, 500, 0, Some(Fail::Flip { block: 20, at: HEADER_LEN + 9 }));
    for threads in [1, 3] {
        assert!(export(&damaged, Format::Json).threads(threads).write_file(&path).unwrap_err().is_damage());
        assert_eq!(fs::read(&path).unwrap(), b"before");
        let left = ["users.json", "users.json.partial", "users.json.partial.json"].map(str::to_owned);
        assert_eq!(names(dir.path()), left.into(), "what was written stays, to be resumed");
    }
    // A partial file that a dead export left behind, longer than the export and readable for all.
    let partial = dir.path().join("users.json.partial");
    fs::write(&partial, vec![b'x'; 10 << 20]).unwrap();
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o644)).unwrap();
    export(&Memory::new(&users, 500), Format::Json).write_file(&path).unwrap();
    assert!(fs::read(&path).unwrap() == oracle(&users, &Select::default(), Format::Json, &Fields::default()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(dir.path()).len(), 1);
}

#[test]
fn links_are_followed() {
    let source = Memory::new(&seven(), 3);
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("far")).unwrap();
    let target = dir.path().join("far/users.csv");
    symlink("far/users.csv", dir.path().join("one")).unwrap();
    symlink(dir.path().join("one"), dir.path().join("two")).unwrap();
    for round in 0..2 {
        // The first time the link dangles.
        export(&source, Format::Csv).write_file(dir.path().join("two")).unwrap();
        assert!(fs::symlink_metadata(dir.path().join("two")).unwrap().is_symlink(), "round {round}");
        assert!(fs::read_to_string(&target).unwrap().starts_with("uid,provider,providerUID\r\n"));
        assert_eq!(names(&dir.path().join("far")).len(), 1);
    }
    symlink("loop", dir.path().join("loop")).unwrap();
    let error = export(&source, Format::Csv).write_file(dir.path().join("loop")).unwrap_err();
    assert!(matches!(error, Error::File { op: "open", .. }), "{error}");
}

#[test]
fn what_is_no_regular_file_is_written_in_place() {
    let source = Memory::new(&users(), 500);
    let summary = export(&source, Format::Json).write_file("/dev/null").unwrap();
    assert!(summary.bytes > 1 << 20);
    assert!(!Path::new("/dev/null.partial").exists());
    let error = export(&source, Format::Json).write_file("/dev/full").unwrap_err();
    assert!(error.to_string().contains("/dev/full"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            let mut bytes = Vec::new();
            fs::File::open(pipe).unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        }
    });
    let summary = export(&source, Format::Ndjson).write_file(&pipe).unwrap();
    assert_eq!(reader.join().unwrap().len() as u64, summary.bytes);
}

#[test]
fn places_that_cannot_be_written() {
    let source = Memory::new(&seven(), 3);
    let dir = tempfile::tempdir().unwrap();
    let error = export(&source, Format::Json).write_file(dir.path()).unwrap_err();
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    let error = export(&source, Format::Json).write_file(dir.path().join("no/such/dir")).unwrap_err();
    assert!(matches!(error, Error::File { op: "create", .. }), "{error}");
    // The name of the partial file taken by something else: nothing is followed, nothing is removed.
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, dir.path().join("out.partial")).unwrap();
    export(&source, Format::Json).write_file(dir.path().join("out")).unwrap_err();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn two_exports_to_one_place_do_not_mix() {
    let source = Memory::new(&seven(), 3);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let other = fs::File::create(dir.path().join("out.partial")).unwrap();
    other.lock().unwrap();
    let error = export(&source, Format::Json).write_file(&path).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    assert!(dir.path().join("out.partial").exists(), "the other's file stays");
    drop(other);
    export(&source, Format::Json).write_file(&path).unwrap();
}

#[test]
fn a_failure_before_the_first_byte_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.json");
    let damaged = Memory::with(&users(), 500, 0, Some(Fail::Flip { block: 0, at: HEADER_LEN + 9 }));
    for format in Format::ALL {
        assert!(export(&damaged, format).write_file(&path).unwrap_err().is_damage());
        assert_eq!(names(dir.path()).len(), 0, "{format}");
    }
    // Settings that do not go together throw nothing away that an earlier export left.
    fs::write(dir.path().join("users.json.partial"), "earlier").unwrap();
    assert!(matches!(export(&damaged, Format::Json).since(1).limit(1).write_file(&path), Err(Error::Settings(_))));
    assert_eq!(fs::read(dir.path().join("users.json.partial")).unwrap(), b"earlier");
}

/// Runs only as a child of the next test, with a limit on file sizes.
#[test]
fn child_with_a_file_size_limit() {
    let Some(path) = std::env::var_os("HEADCOUNT_EXPORT_LIMITED") else { return };
    let users = users();
    let source = Memory::new(&users, 500);
    for guard in [false, true] {
        let error = export(&source, Format::Csv).formula_guard(guard).write_file(&path).unwrap_err();
        assert!(matches!(error, Error::Write { .. }), "{error}");
        assert!(error.to_string().contains("out.csv"), "{error}");
    }
}

#[test]
fn no_room_leaves_what_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.csv");
    fs::write(&path, "before").unwrap();
    // `trap ''` ignores SIGXFSZ, so that the limit is an error of the write. The unit is 512 or 1024 bytes.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" child_with_a_file_size_limit --exact --nocapture";
    let out = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(std::env::current_exe().unwrap())
        .env("HEADCOUNT_EXPORT_LIMITED", &path)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(fs::read(&path).unwrap(), b"before");
    assert_eq!(names(dir.path()).len(), 3, "what was written stays, to be resumed");
    let source = Memory::new(&users(), 500);
    Export::new(&source).resume_file(&path).unwrap();
    assert!(fs::read(&path).unwrap().starts_with(b"uid,"));
    assert_eq!(names(dir.path()).len(), 1);
}

const SEVEN_JSON: &str = concat!(
    r#"{"users":[{"UID":"6625ID","identities":[{"provider":"site","providerUID":"6625ID"},"#,
    r#"{"provider":"google","providerUID":"115480002607925776950"}]},"#,
    r#"{"UID":"AABCWA","identities":[{"provider":"site","providerUID":"AABCWA"}]},"#,
    r#"{"UID":"AAKODB","identities":[{"provider":"site","providerUID":"AAKODB"}]},"#,
    r#"{"UID":"AJDPHN","identities":[{"provider":"site","providerUID":"AJDPHN"}]},"#,
    r#"{"UID":"_gid_UnXMjySuZJwyz654w==","identities":[{"provider":"facebook","providerUID":"622098199"}]},"#,
    r#"{"UID":"_gid_kcugodwRh72tw==","identities":[{"provider":"twitter","providerUID":"14047511"}]},"#,
    r#"{"UID":"_gid_t+0P1vgAjhVTw8fPs1DSJnjAr3E=","identities":[{"provider":"twitter","providerUID":"262710724"},"#,
    r#"{"provider":"facebook","providerUID":"100002136853114"}]}],"#,
    r#""usersCount":7,"identitiesCount":9,"statusCode":200,"errorCode":0,"statusReason":"OK","#,
    r#""callId":"2c69299d3bc14d65b9fe313f9f98b3ef","time":"2015-03-22T11:42:25.943Z"}"#
);

fn text(export: &Export<Memory>) -> String {
    let mut out = Vec::new();
    export.write_to(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_documented_example() {
    let source = Memory::new(&seven(), 3);
    let json = Export::new(&source).call_id("2c69299d3bc14d65b9fe313f9f98b3ef");
    assert_eq!(text(&json), SEVEN_JSON);
    let fields = |list: &str| Export::new(&source).fields(list.parse().unwrap()).limit(2);
    assert_eq!(
        text(&fields("providerUID,uid").format(Format::Csv)),
        "providerUID,uid\r\n6625ID,6625ID\r\n115480002607925776950,6625ID\r\nAABCWA,AABCWA\r\n"
    );
    assert_eq!(
        text(&fields("status,uid").format(Format::Ndjson)),
        "{\"UID\":\"6625ID\",\"status\":\"registered\"}\n{\"UID\":\"AABCWA\",\"status\":\"registered\"}\n"
    );
    assert_eq!(
        text(&fields("provider").format(Format::Ndjson)),
        concat!(
            "{\"identities\":[{\"provider\":\"site\"},{\"provider\":\"google\"}]}\n",
            "{\"identities\":[{\"provider\":\"site\"}]}\n"
        )
    );
}

#[test]
fn the_default_call_id_depends_on_snapshot_and_parameters() {
    let source = Memory::new(&seven(), 3);
    let id = |export: Export<Memory>| {
        let json: serde_json::Value = serde_json::from_str(&text(&export)).unwrap();
        json["callId"].as_str().unwrap().to_owned()
    };
    let plain = id(Export::new(&source));
    assert_eq!(plain.len(), 32);
    assert!(plain.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{plain}");
    assert_eq!(plain, id(Export::new(&source).threads(3)), "threads change nothing");
    let mut ids: Vec<String> = vec![
        plain,
        id(Export::new(&source).limit(3)),
        id(Export::new(&source).limit(4)),
        id(Export::new(&source).after("A")),
        id(Export::new(&source).include_pending(true)),
        id(Export::new(&source).fields("uid".parse().unwrap())),
    ];
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn members_after_time() {
    let source = Memory::new(&seven(), 3);
    let envelope = Envelope::new().call_id("C").time("T").text("context", "x\ny").number("seq", 42).next_after(true);
    let cut = Export::new(&source).envelope(envelope.clone()).fields("uid".parse().unwrap()).limit(1);
    assert_eq!(
        text(&cut),
        concat!(
            r#"{"users":[{"UID":"6625ID"}],"usersCount":1,"identitiesCount":0,"statusCode":200,"errorCode":0,"#,
            r#""statusReason":"OK","callId":"C","time":"T","context":"x\ny","seq":42,"nextAfter":"6625ID"}"#
        )
    );
    assert_eq!(cut.len().unwrap().exact(), Some(text(&cut).len() as u64));
    let whole = Export::new(&source).envelope(envelope).limit(7);
    assert!(text(&whole).ends_with(r#""seq":42}"#), "a page that holds all has no next");
}

#[test]
fn the_formula_guard() {
    let users = [
        User::new("+1").with_identity("=p", "@x,\"y\""),
        User::new("-").with_identity("a=b", "\tz"),
        User::new("plain"),
    ];
    let source = Memory::new(&users, 10);
    let guarded = Export::new(&source).format(Format::Csv).formula_guard(true);
    assert_eq!(text(&guarded), "uid,provider,providerUID\r\n'+1,'=p,\"'@x,\"\"y\"\"\"\r\n'-,a=b,'\tz\r\nplain,,\r\n");
    assert_eq!(guarded.len().unwrap().exact(), None);
    let json = Export::new(&source).formula_guard(true);
    assert!(text(&json).contains("\"+1\""), "only CSV is guarded");
    assert_eq!(json.len().unwrap().exact(), Some(text(&json).len() as u64));
}
