//! Exports against what the machine can do, interleaved in one run: memory, `write()` of a warm buffer, `cp`. Prints tables.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};

use headcount_benches::measure::{Outcome, load, seconds, spread};
use headcount_benches::{Mix, Synth, env_or, users};
use headcount_export::{Export, Format};
use headcount_store::{Options, Snapshot, Store};

const FORMATS: [Format; 3] = [Format::Json, Format::Csv, Format::Ndjson];

fn export(snapshot: &Snapshot, format: Format, threads: usize) -> Export<Snapshot> {
    Export::new(snapshot).format(format).threads(threads)
}

/// A new file with room set aside, where the file system can.
fn with_room(path: &Path, len: u64) -> io::Result<File> {
    let file = File::create(path)?;
    Command::new("fallocate").args(["-n", "-l", &len.to_string()]).arg(path).status()?;
    Ok(file)
}

/// Writes `len` bytes of a warm buffer: what a file costs at the least.
fn write_warm(mut file: &File, warm: &[u8], len: u64) -> Outcome {
    let mut left = len;
    while left > 0 {
        let n = left.min(warm.len() as u64);
        file.write_all(warm.get(..usize::try_from(n)?).unwrap_or(warm))?;
        left -= n;
    }
    Ok(())
}

fn memory(snapshot: &Snapshot, rounds: usize) -> Outcome<String> {
    let mut rates = vec![Vec::new(); FORMATS.len()];
    for round in 0..=rounds {
        for (format, rates) in FORMATS.into_iter().zip(&mut rates) {
            let mut bytes = 0;
            let took = seconds(|| {
                bytes = export(snapshot, format, 1).write_to(&mut io::sink())?.bytes;
                Ok(())
            })?;
            if round > 0 {
                rates.push(bytes as f64 / took / 1e9);
            }
        }
    }
    let mut table = String::from("| to memory, one thread, checksums verified | GB/s |\n| --- | --- |\n");
    for (format, rates) in FORMATS.into_iter().zip(&rates) {
        writeln!(table, "| {} | {} |", format.as_str(), spread(rates, 2))?;
    }
    Ok(table)
}

fn files(snapshot: &Snapshot, dir: &Path, rounds: usize) -> Outcome<String> {
    let (out, copy, reference) = (dir.join("out"), dir.join("copy"), dir.join("reference"));
    let warm = vec![7; 1 << 20];
    let mut table = String::from(
        "| to a new file, in process | 2 threads / `cp` | 1 thread / `cp` | 2 threads / write | write / `cp` | ms of `cp` |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for format in FORMATS {
        let len = export(snapshot, format, 2).write_file(&reference)?.bytes;
        let mut ratios = vec![Vec::new(); 5];
        for round in 0..=rounds {
            let fresh = |path: &Path| fs::remove_file(path).or_else(|e| if path.exists() { Err(e) } else { Ok(()) });
            let one = |threads| -> Outcome<f64> {
                fresh(&out)?;
                seconds(|| Ok(export(snapshot, format, threads).write_file(&out).map(|_| ())?))
            };
            let (two, one) = (one(2)?, one(1)?);
            fresh(&copy)?;
            let room = with_room(&copy, len)?;
            let write = seconds(|| write_warm(&room, &warm, len))?;
            drop(room);
            fresh(&copy)?;
            let cp = seconds(|| {
                let mut cp = Command::new("cp");
                let done = cp.args(["--reflink=never", "--sparse=never"]).arg(&reference).arg(&copy).status()?;
                if done.success() { Ok(()) } else { Err("cp failed".into()) }
            })?;
            if round > 0 {
                let figures = [two / cp, one / cp, two / write, write / cp, cp * 1e3];
                ratios.iter_mut().zip(figures).for_each(|(list, figure)| list.push(figure));
            }
        }
        write!(table, "| {} ({} MB)", format.as_str(), len / 1_000_000)?;
        for (i, list) in ratios.iter().enumerate() {
            write!(table, " | {}", spread(list, if i < 4 { 2 } else { 0 }))?;
        }
        table.push_str(" |\n");
        for path in [&out, &copy, &reference] {
            fs::remove_file(path)?;
        }
    }
    Ok(table)
}

fn run() -> Outcome {
    let dir = match std::env::var_os("HEADCOUNT_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let rounds = env_or("HEADCOUNT_BENCH_ROUNDS", 9);
    let store = Store::create(dir.path().join("store"), &Options::default())?;
    let synth = Synth::new(1, Mix::USUAL);
    load(&store, (0..users()).map(|n| synth.user(n)))?;
    let snapshot = store.snapshot();
    println!("{} users, medians of {rounds} interleaved rounds (least to greatest)\n", users());
    println!("{}", memory(&snapshot, rounds)?);
    println!("{}", files(&snapshot, dir.path(), rounds)?);
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rates: {error}");
            ExitCode::FAILURE
        }
    }
}
