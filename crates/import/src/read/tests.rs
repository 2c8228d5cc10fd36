use std::io;
use std::time::Instant;

use headcount_block::RowRef;
use headcount_store::RowKind;

use super::*;
use crate::input::Input;

/// Counts rows; panics at a UID if told so.
#[derive(Default)]
struct Counter {
    rows: u64,
    bytes: u64,
    places: Vec<Place>,
    panic_at: Option<&'static [u8]>,
}

impl Sink for Counter {
    fn push(&mut self, row: RowRef<'_>, at: Place, _: RowKind) -> Result<(), headcount_store::Error> {
        assert!(self.panic_at != Some(row.uid()), "told to");
        self.rows += 1;
        self.bytes += row.as_bytes().len() as u64;
        if self.places.len() < self.places.capacity() {
            self.places.push(at);
        }
        Ok(())
    }
}

fn stream(content: Vec<u8>) -> Input {
    Input::reader("in", Box::new(io::Cursor::new(content)))
}

fn read(inputs: Vec<Input>, sinks: Vec<Counter>, on_invalid: OnInvalid) -> Result<AllRead<Counter>, ImportError> {
    let (progress, settings) = (Arc::default(), Arc::default());
    let prepare = |input| Prepared::new(input, Format::Auto, &settings, &progress);
    let mut inputs = inputs.into_iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
    let names = Names::of(&inputs);
    let plan = Plan {
        names: &names,
        on_invalid,
        settings: &settings,
        gone: &Deleted::default(),
        progress: &progress,
        rejects: None,
    };
    let read = read_all(&mut inputs, sinks, plan)?;
    for (file, input) in read.files.iter().zip(&inputs) {
        file.check_counts(&input.name)?;
    }
    Ok(read)
}

fn workers(n: usize) -> Vec<Counter> {
    (0..n).map(|_| Counter { places: Vec::with_capacity(1 << 17), ..Counter::default() }).collect()
}

/// Users in each format, a few MiB of them.
fn samples(users: usize) -> [Vec<u8>; 3] {
    let object = |i: usize| {
        let escape = if i.is_multiple_of(10) { "\\n\\u00e9" } else { "" };
        format!(
            r#"{{"UID":"user-{i:08}","identities":[{{"provider":"google","providerUID":"{i}"}},{{"provider":"site","providerUID":"{escape}s{i}"}}]}}"#
        )
    };
    let lines: String = (0..users).map(|i| object(i) + "\n").collect();
    let elements = (0..users).map(object).collect::<Vec<_>>().join(",");
    let document =
        format!(r#"{{"usersCount":{users},"users":[{elements}],"identitiesCount":{},"errorCode":0}}"#, users * 2);
    let mut rows = "uid,provider,providerUID\n".to_owned();
    for i in 0..users {
        let site = if i.is_multiple_of(10) { format!("\"a\nb{i}\"") } else { format!("s{i}") };
        rows += &format!("user-{i:08},google,{i}\nuser-{i:08},site,{site}\n");
    }
    [lines.into_bytes(), document.into_bytes(), rows.into_bytes()]
}

#[test]
fn large_inputs_come_out_whole_whatever_the_threads() {
    const USERS: usize = 40_000;
    for content in samples(USERS) {
        for threads in [1, 2, 5] {
            let read = read(vec![stream(content.clone())], workers(threads), OnInvalid::Fail).unwrap();
            let mut places: Vec<Place> = read.sinks.iter().flat_map(|s| s.places.clone()).collect();
            places.sort_unstable();
            assert!(places.len() >= USERS);
            places.dedup();
            assert_eq!(places.len() as u64, read.sinks.iter().map(|s| s.rows).sum::<u64>());
            assert_eq!(read.files[0].counts.identities, 2 * USERS as u64);
            assert_eq!(read.files[0].bytes, content.len() as u64);
            for place in places.iter().step_by(997) {
                let at = usize::try_from(place.offset).unwrap();
                let rest = &content[at..];
                assert!(rest.starts_with(b"{\"UID\"") || rest.starts_with(b"user-"));
            }
        }
    }
}

#[test]
fn the_first_bad_record_in_input_order_is_the_error() {
    let [lines, _, _] = samples(60_000);
    let mut content = lines.clone();
    for at in [content.len() / 5, content.len() / 2, content.len() * 9 / 10] {
        let start = content[at..].iter().position(|&b| b == b'\n').unwrap() + at + 1;
        content[start] = b'[';
    }
    let bad = content.len() / 5;
    let first = bad + content[bad..].iter().position(|&b| b == b'\n').unwrap() + 1;
    for _ in 0..20 {
        let error = read(vec![stream(lines.clone()), stream(content.clone())], workers(3), OnInvalid::Fail).err();
        let Some(ImportError::Record { at, .. }) = error else { panic!("{error:?}") };
        let line = memchr::memchr_iter(b'\n', &content[..first]).count() as u64 + 1;
        assert_eq!(at.number, line);
        assert!(at.offset >= first as u64 && at.offset < first as u64 + 200);
    }
}

#[test]
fn examples_are_the_first_ones_whatever_the_threads() {
    let lines: String = (0..100_000).map(|i| format!("{{\"UID\":{i}}}\n")).collect();
    let read =
        read(vec![stream(format!("{{\"UID\":\"a\"}}\n{lines}").into_bytes())], workers(4), OnInvalid::Count).unwrap();
    let numbers: Vec<u64> = read.examples.iter().map(|(at, _)| at.line).collect();
    assert_eq!(numbers, (2..22).collect::<Vec<_>>());
    assert_eq!(read.by_reason.get("wrong-shape"), Some(&100_000));
}

#[test]
#[should_panic(expected = "told to")]
fn a_panic_of_a_worker_goes_on_in_the_caller() {
    let [lines, _, _] = samples(40_000);
    let sinks = (0..2).map(|_| Counter { panic_at: Some(b"user-00000100"), ..Counter::default() }).collect();
    let _ = read(vec![stream(lines)], sinks, OnInvalid::Fail);
}

#[test]
fn a_cancelled_import_says_so() {
    let [lines, _, _] = samples(10);
    let (progress, settings) = (Arc::new(Progress::default()), Arc::default());
    let mut inputs = vec![Prepared::new(stream(lines), Format::Auto, &settings, &progress).unwrap()];
    progress.cancel();
    let names = Names::of(&inputs);
    let plan = Plan {
        names: &names,
        on_invalid: OnInvalid::Fail,
        settings: &settings,
        gone: &Deleted::default(),
        progress: &progress,
        rejects: None,
    };
    assert!(matches!(read_all(&mut inputs, workers(2), plan), Err(ImportError::Cancelled)));
}

#[test]
fn the_bytes_counted_are_those_of_the_inputs_as_they_lie_there() {
    let [lines, _, _] = samples(30_000);
    let packed = zstd::encode_all(&lines[..], 1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    std::fs::write(&path, &packed).unwrap();
    for input in [Input::path(&path), stream(packed.clone())] {
        let (progress, settings) = (Arc::new(Progress::default()), Arc::default());
        let mut inputs = vec![Prepared::new(input, Format::Auto, &settings, &progress).unwrap()];
        let names = Names::of(&inputs);
        let plan = Plan {
            names: &names,
            on_invalid: OnInvalid::Fail,
            settings: &settings,
            gone: &Deleted::default(),
            progress: &progress,
            rejects: None,
        };
        read_all(&mut inputs, workers(2), plan).map(drop).unwrap();
        assert_eq!((progress.bytes(), progress.users()), (packed.len() as u64, 30_000));
    }
}

/// Parse rates of the formats; `cargo test --release -- --ignored --nocapture rates`.
#[test]
#[ignore = "measures"]
fn rates() {
    const USERS: usize = 2_000_000;
    for (name, content) in ["ndjson", "gigya-json", "csv"].into_iter().zip(samples(USERS)) {
        for threads in [1, 2] {
            let sinks = (0..threads).map(|_| Counter::default()).collect();
            let input = stream(content.clone());
            let start = Instant::now();
            read(vec![input], sinks, OnInvalid::Fail).unwrap();
            let seconds = start.elapsed().as_secs_f64();
            let rate = f64::from(u32::try_from(USERS).unwrap()) / seconds / 1e6;
            println!("{name}, {threads} threads: {rate:.2} M users/s ({} MB)", content.len() / 1_000_000);
        }
    }
}
