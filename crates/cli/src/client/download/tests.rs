use super::*;

fn request(limit: &str) -> Request {
    Request {
        url: "http://localhost/socialize.exportUsers".to_owned(),
        api_key: Some("3_a".to_owned()),
        user_key: None,
        parameters: vec![("limit".to_owned(), limit.to_owned())],
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Writes `bytes` of something with the tag `"t"` and breaks off.
fn break_off(path: &Path, request: &Request, bytes: &[u8], length: Option<u64>) {
    let mut download = Download::open(path, request).unwrap().unwrap();
    download.restart(Some("\"t\""), length).unwrap();
    download.append(bytes).unwrap();
    assert!(download.give_up());
}

#[test]
fn what_came_is_gone_on_from_by_the_same_request_only() {
    let dir = tempfile::tempdir().unwrap();
    let (path, own, other) = (dir.path().join("f"), request("1"), request("2"));
    break_off(&path, &own, b"abc", Some(5));
    assert_eq!(names(dir.path()), ["f.partial", "f.partial.json"]);
    for name in names(dir.path()) {
        assert_eq!(fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777, 0o600);
    }
    let download = Download::open(&path, &other).unwrap().unwrap();
    assert_eq!((download.resume_point(), download.have()), (None, 0));
    assert!(!download.give_up());
    assert_eq!(
        fs::read(dir.path().join("f.partial")).unwrap(),
        b"abc",
        "what is another's stays until there is better"
    );

    let mut download = Download::open(&path, &own).unwrap().unwrap();
    assert_eq!((download.resume_point(), download.length()), (Some((3, "\"t\"")), Some(5)));
    download.append(b"de").unwrap();
    download.finish().unwrap();
    assert_eq!((names(dir.path()), fs::read(&path).unwrap()), (vec!["f".to_owned()], b"abcde".to_vec()));

    break_off(&path, &own, b"xyz", None);
    let mut download = Download::open(&path, &other).unwrap().unwrap();
    download.restart(None, None).unwrap();
    download.append(b"1").unwrap();
    assert_eq!(download.resume_point(), None, "there is no tag to go on by");
    assert!(!download.give_up());
    assert_eq!((names(dir.path()), fs::read(&path).unwrap()), (vec!["f".to_owned()], b"abcde".to_vec()));
}

#[test]
fn what_does_not_fit_is_not_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let (path, own) = (dir.path().join("f"), request("1"));
    let record = dir.path().join("f.partial.json");
    let edited = |edit: &dyn Fn(&mut Record)| {
        break_off(&path, &own, b"abc", Some(5));
        let mut changed = read_record(&record).unwrap();
        edit(&mut changed);
        fs::write(&record, serde_json::to_vec(&changed).unwrap()).unwrap();
        Download::open(&path, &own).unwrap().unwrap().resume_point().map(|(have, _)| have)
    };
    assert_eq!(edited(&|_| {}), Some(3));
    assert_eq!(edited(&|record| record.length = Some(2)), None, "more than there is");
    assert_eq!(edited(&|record| record.boot = Some("before the power cut".to_owned())), None);
    assert_eq!(edited(&|record| record.headcount_call = 2), None);
    for other in ["", "{}", "{\"formatVersion\":1,\"writer\":\"headcount 0\"}"] {
        break_off(&path, &own, b"abc", Some(5));
        fs::write(&record, other).unwrap();
        assert_eq!(Download::open(&path, &own).unwrap().unwrap().resume_point(), None);
    }
    let mut download = Download::open(&path, &own).unwrap().unwrap();
    download.restart(Some("W/\"weak\""), None).unwrap();
    download.append(b"abc").unwrap();
    assert_eq!(download.resume_point(), None);
}

#[test]
fn one_downloads_to_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, own) = (dir.path().join("f"), request("1"));
    let download = Download::open(&path, &own).unwrap().unwrap();
    let text = Download::open(&path, &own).unwrap_err().to_string();
    assert_eq!(text, format!("another process is writing {}.partial", path.display()));
    download.finish().unwrap();
    assert!(Download::open(Path::new("/dev/null"), &own).unwrap().is_none());
    // A pipe that has no name, as of a process that the shell hands over.
    let (_reader, writer) = io::pipe().unwrap();
    let pipe = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    assert!(Download::open(Path::new(&pipe), &own).unwrap().is_none());
    let text = Download::open(dir.path(), &own).unwrap_err().to_string();
    assert!(text.starts_with("cannot write ") && text.ends_with("is a directory"), "{text}");
    std::os::unix::fs::symlink("f", dir.path().join("g.partial")).unwrap();
    assert!(Download::open(&dir.path().join("g"), &own).is_err(), "a link is nobody's partial file");
    assert_eq!(fs::read(&path).unwrap(), b"");
}

/// What somebody put there meanwhile is not taken for the download, nor removed with it.
#[test]
fn another_file_of_that_name_is_not_put_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let (path, own) = (dir.path().join("f"), request("1"));
    fs::write(&path, "old").unwrap();
    for other in [None, Some("half")] {
        for finish in [true, false] {
            let mut download = Download::open(&path, &own).unwrap().unwrap();
            download.restart(None, None).unwrap();
            download.append(b"whole").unwrap();
            fs::remove_file(dir.path().join("f.partial")).unwrap();
            if let Some(other) = other {
                fs::write(dir.path().join("f.partial"), other).unwrap();
            }
            if finish {
                let text = download.finish().unwrap_err().to_string();
                assert!(text.ends_with("found another file or none"), "{text}");
            } else {
                assert!(!download.give_up());
            }
            assert_eq!(fs::read(&path).unwrap(), b"old");
            assert_eq!(fs::read_to_string(dir.path().join("f.partial")).ok().as_deref(), other);
        }
    }
}
