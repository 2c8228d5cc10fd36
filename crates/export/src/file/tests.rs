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
