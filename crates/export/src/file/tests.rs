use std::cell::Cell;
use std::process::Command;

use super::*;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A whole export in work that is to replace an old one.
fn in_work(dir: &Path) -> Partial {
    fs::write(dir.join("out"), "old").unwrap();
    let mut partial = Partial::create(dir.join("out")).unwrap();
    partial.record(b"{}", false).unwrap();
    partial.file.write_all(b"whole").unwrap();
    partial
}

#[test]
fn no_room_is_found_before_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let partial = Partial::create(dir.path().join("out")).unwrap();
    partial.reserve(4096).unwrap();
    assert_eq!(partial.file.metadata().unwrap().len(), 0, "a killed export must not look whole");
    let error = partial.reserve(1 << 62).unwrap_err();
    assert!(matches!(error, Error::NoSpace { needed, .. } if needed == 1 << 62), "{error}");
    drop(partial);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

/// Somebody gave the export up, and another one has begun or left its half under that name.
#[test]
fn another_file_of_that_name_is_not_put_in_place() {
    for other in [None, Some("half of another export")] {
        let dir = tempfile::tempdir().unwrap();
        let partial = in_work(dir.path());
        fs::remove_file(&partial.path).unwrap();
        if let Some(other) = other {
            fs::write(&partial.path, other).unwrap();
        }
        let error = partial.place(None, false).unwrap_err();
        assert!(matches!(&error, Error::Taken { path } if *path == dir.path().join("out.partial")), "{error}");
        assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"old");
        let left = fs::read_to_string(dir.path().join("out.partial")).ok();
        assert_eq!(left.as_deref(), other, "what is another's stays");
        assert!(names(dir.path()).contains(&"out.partial.json".to_owned()), "and so does its record");
    }
}

/// While it was synced, somebody gave it up, and another export was put in place with its manifest.
#[test]
fn what_is_given_up_while_it_is_synced_leaves_the_manifest_alone() {
    let manifest: Manifest = serde_json::from_str(
        r#"{"formatVersion":1,"writer":"headcount 0","storeId":"00000000000000000000000000000000",
        "incarnation":"00000000000000000000000000000000","seq":1,"callId":"C","time":"T","format":"csv","fields":["uid"],
        "includePending":false,"users":1,"identities":0,"bytes":5,"digestAlgorithm":"sha256",
        "files":[{"name":"out","bytes":5,"digest":"00"}]}"#,
    )
    .unwrap();
    let others = r#"{"formatVersion":1,"writer":"headcount 0","callId":"another"}"#;
    // The file is synced first, then its manifest.
    for (manifest, last) in [(None, 1), (Some(&manifest), 1), (Some(&manifest), 2)] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("out.manifest.json"), r#"{"formatVersion":1,"writer":"headcount 0","callId":"old"}"#).unwrap();
        let partial = in_work(dir.path());
        let syncs = Cell::new(0);
        let sync = |_: &File| {
            syncs.set(syncs.get() + 1);
            if syncs.get() == last {
                fs::remove_file(at("out.partial"))?;
                fs::remove_file(at("out.partial.json"))?;
                fs::write(at("out"), "another")?;
                fs::write(at("out.manifest.json"), others)?;
            }
            Ok(())
        };
        let error = partial.place_by(manifest, Some(&sync)).unwrap_err();
        drop(partial);
        assert!(matches!(&error, Error::Taken { path } if *path == at("out.partial")), "{error}");
        assert_eq!(syncs.get(), last);
        assert_eq!(names(dir.path()), ["out", "out.manifest.json"]);
        assert_eq!(fs::read_to_string(at("out")).unwrap(), "another");
        assert_eq!(fs::read_to_string(at("out.manifest.json")).unwrap(), others);
    }
}

/// Pages that could not be written count as written afterwards: resuming would find them right, and sync nothing.
#[test]
fn what_could_not_be_synced_is_not_resumed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("out"), "old").unwrap();
    let path = dir.path().join("out.partial");
    // A pipe takes the bytes, and cannot be synced.
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let partial = Partial { file, path, target: dir.path().join("out"), ours: false };
    partial.record(b"{}", false).unwrap();
    let error = partial.place(None, true).unwrap_err();
    assert!(matches!(error, Error::File { op: "sync", .. }), "{error}");
    drop(partial);
    assert_eq!(names(dir.path()), ["out"]);
    assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"old");
}
