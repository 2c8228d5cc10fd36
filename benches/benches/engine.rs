//! The engine end to end: render, export, bulk load, lookups, open. Sizes by environment variable: `benches/README.md`.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use headcount_benches::{Mix, Synth, env_or, users};
use headcount_block::{Progress, RowBuf, User};
use headcount_export::{Export, Format};
use headcount_import::{Import, Input};
use headcount_store::{LoadOptions, Options, Place, RowKind, Snapshot, Store};

/// Whatever goes wrong ends the benchmark with its message.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const FORMATS: [Format; 3] = [Format::Json, Format::Csv, Format::Ndjson];

/// How many keys a lookup benchmark asks for.
const LOOKUPS: usize = 100_000;

/// Loads `n` synthetic users, in their own order, through one shard.
fn load(store: &Store, n: u64) -> Outcome {
    let options = LoadOptions { threads: 1, ..LoadOptions::default() };
    let load = store.bulk_load(options, &Arc::new(Progress::default()))?;
    let mut shard = load.shard();
    let mut row = RowBuf::new();
    let synth = Synth::new(1, Mix::USUAL);
    for i in 0..n {
        let place = Place { file: 0, line: i + 1, offset: i };
        shard.push(row.encode(&synth.user(i))?, place, RowKind::User)?;
    }
    load.finish(vec![shard], &mut |_| Ok(()))?;
    Ok(())
}

fn export(snapshot: &Snapshot, format: Format, threads: usize) -> Export<Snapshot> {
    Export::new(snapshot).format(format).threads(threads)
}

fn bytes(group: &mut BenchmarkGroup<'_, WallTime>, export: &Export<Snapshot>) -> Outcome {
    group.throughput(Throughput::Bytes(export.len()?.exact().unwrap_or_default()));
    Ok(())
}

/// A reader that throws away what it reads.
fn drain(mut from: impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut all = 0;
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(all),
            n => all += n as u64,
        }
    }
}

fn exports(c: &mut Criterion, snapshot: &Snapshot, dir: &Path) -> Outcome {
    let mut group = c.benchmark_group("render");
    for format in FORMATS {
        // Rendered chunk by chunk into recycled buffers, on one core, and dropped.
        let export = export(snapshot, format, 1);
        bytes(&mut group, &export)?;
        group.bench_function(BenchmarkId::from_parameter(format.as_str()), |b| {
            b.iter(|| export.write_to(&mut io::sink()).map(|s| s.bytes).ok());
        });
    }
    group.finish();
    let mut group = c.benchmark_group("export");
    for format in FORMATS {
        let export = export(snapshot, format, 2);
        bytes(&mut group, &export)?;
        group.bench_function(BenchmarkId::new("nothing", format.as_str()), |b| {
            b.iter(|| File::create("/dev/null").map(|mut null| export.write_to(&mut null).map(|s| s.bytes).ok()));
        });
        let path = dir.join("export");
        group.bench_function(BenchmarkId::new("file", format.as_str()), |b| {
            b.iter(|| export.write_file(&path).map(|s| s.bytes).ok());
        });
        group.bench_function(BenchmarkId::new("pipe", format.as_str()), |b| {
            b.iter(|| -> Outcome<u64> {
                let (reader, mut writer) = io::pipe()?;
                let reader = thread::spawn(move || drain(reader));
                export.write_to(&mut writer)?;
                writer.flush()?;
                drop(writer);
                Ok(reader.join().map_err(|_| "the reader panicked")??)
            });
        });
    }
    group.finish();
    Ok(())
}

fn lookups(c: &mut Criterion, snapshot: &Snapshot, n: u64) -> Outcome {
    let synth = Synth::new(1, Mix::USUAL);
    // Numbers far apart, so that neighbours in the list are not neighbours in a block; UIDs are scattered anyway.
    let picked = |i: usize| synth.user((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % n);
    let sample: Vec<User> = (0..LOOKUPS).map(picked).collect();
    let keys: Vec<&str> = sample.iter().map(|u| u.uid.as_str()).collect();
    let absent: Vec<String> = keys.iter().map(|k| format!("{k}-")).collect();
    let identities: Vec<(&str, &str)> = sample
        .iter()
        .flat_map(|u| u.identities.first().map(|i| (i.provider.as_str(), i.provider_uid.as_str())))
        .collect();
    // Wrong answers are fast: the right number of hits is checked before anything is measured.
    let hits = keys.iter().filter(|k| matches!(snapshot.get(k), Ok(Some(_)))).count();
    assert_eq!(hits, keys.len(), "every user is found");
    let mut group = c.benchmark_group("lookup");
    group.throughput(Throughput::Elements(keys.len() as u64));
    group.bench_function("get", |b| {
        b.iter(|| keys.iter().filter(|k| matches!(snapshot.get(black_box(k)), Ok(Some(_)))).count());
    });
    group.bench_function("get-absent", |b| {
        b.iter(|| absent.iter().filter(|k| matches!(snapshot.get(black_box(k)), Ok(Some(_)))).count());
    });
    for batch in [16, 256] {
        group.bench_function(BenchmarkId::new("get_many", batch), |b| {
            b.iter(|| {
                let mut found = 0;
                for keys in keys.chunks(batch) {
                    snapshot.get_many(black_box(keys), |_, user| found += usize::from(user.is_some())).ok();
                }
                found
            });
        });
    }
    group.throughput(Throughput::Elements(identities.len() as u64));
    group.bench_function("find", |b| {
        b.iter(|| identities.iter().filter(|(p, u)| matches!(snapshot.find(p, u), Ok(Some(_)))).count());
    });
    group.finish();
    Ok(())
}

fn loads(c: &mut Criterion, snapshot: &Snapshot, dir: &Path, n: u64) -> Outcome {
    let mut group = c.benchmark_group("load");
    group.throughput(Throughput::Elements(n));
    // Rows that are encoded already: the sort, the checks and the writing.
    let synth = Synth::new(1, Mix::USUAL);
    let mut row = RowBuf::new();
    let rows = (0..n).map(|i| Ok(row.encode(&synth.user(i))?.as_bytes().to_vec())).collect::<Outcome<Vec<_>>>()?;
    group.bench_function("rows", |b| {
        b.iter_batched(
            || Store::temporary().ok(),
            |store| -> Outcome<Option<Store>> {
                let Some(open) = &store else { return Err("no temporary store".into()) };
                let load = open.bulk_load(LoadOptions::default(), &Arc::new(Progress::default()))?;
                let mut shard = load.shard();
                for (line, bytes) in (1..).zip(&rows) {
                    let row = headcount_block::RowRef::parse(bytes).map_err(|fault| fault.to_string())?;
                    shard.push(row, Place { file: 0, line, offset: line }, RowKind::User)?;
                }
                load.finish(vec![shard], &mut |_| Ok(()))?;
                Ok(store)
            },
            BatchSize::PerIteration,
        );
    });
    drop(rows);
    for format in FORMATS {
        let path = dir.join("import");
        Export::new(snapshot).format(format).include_pending(true).write_file(&path)?;
        group.bench_function(BenchmarkId::new("import", format.as_str()), |b| {
            b.iter_batched(
                || Store::temporary().ok(),
                |store| {
                    let users = store.as_ref().map(|s| Import::new(s).input(Input::path(&path)).run().map(|r| r.users));
                    assert!(matches!(users, Some(Ok(users)) if users == n), "everything was imported");
                    store
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
    Ok(())
}

fn main() -> Outcome {
    let mut c = headcount_benches::criterion();
    let n = users();
    let dir = tempfile::Builder::new()
        .prefix("headcount-bench")
        .tempdir_in(env_or("HEADCOUNT_BENCH_DIR", std::env::temp_dir().display().to_string()))?;
    let path = dir.path().join("store");
    let store = Store::create(&path, &Options::default())?;
    load(&store, n)?;
    let stats = store.stats();
    eprintln!("{n} users, {:.1} bytes a user on disk, indexes included", stats.bytes as f64 / n as f64);
    let snapshot = store.snapshot();
    exports(&mut c, &snapshot, dir.path())?;
    lookups(&mut c, &snapshot, n)?;
    loads(&mut c, &snapshot, dir.path(), n)?;
    drop(snapshot);
    store.close()?;
    c.bench_function("open", |b| b.iter(|| Store::open_read_only(&path, &Options::default()).is_ok()));
    c.final_summary();
    Ok(())
}
