//! Other engines beside ours in one run: `benches/writes.sh` and `benches/peers.sh` run this, `benches/README.md` says what.

mod commits;
mod compaction;
mod engines;
mod export;
mod figures;
mod fill;
mod machine;
mod memory;
mod parse;
mod peers;
mod reopen;
mod settings;
mod stores;
mod work;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use headcount_benches::env_or;

/// Whatever goes wrong ends the run with its message.
type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Where the files go: `HEADCOUNT_BENCH_DIR`, or beside this program, since the temporary directory may be memory.
fn base() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    let beside = program.parent().ok_or("this program is in no directory")?;
    Ok(env_or("HEADCOUNT_BENCH_DIR", beside.to_path_buf()))
}

/// Measures and prints, with files in this directory.
type Measure = fn(&Path) -> Outcome;

/// What there is to measure, each in a directory of its own.
const PARTS: [(&str, Measure); 6] = [
    ("commits", commits::run),
    ("memory", memory::run),
    ("open", reopen::run),
    ("export", export::run),
    ("compaction", compaction::run),
    ("peers", peers::run),
];

fn run(part: &str) -> Outcome {
    let Some((_, measure)) = PARTS.iter().find(|(name, _)| *name == part) else {
        return Err(format!("name a part: {}", PARTS.map(|(name, _)| name).join(", ")).into());
    };
    let dir = tempfile::Builder::new().prefix("headcount-peers").tempdir_in(base()?)?;
    println!("## {part}\n\n{}\n", machine::describe(dir.path())?);
    measure(dir.path())?;
    Ok(dir.close()?)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next().unwrap_or_default();
    // Some processes are started by this program itself, into a directory of the part that needs them.
    let outcome = match part.as_str() {
        "fill" => fill::run(arguments),
        "peer" => peers::child(arguments),
        "parse" => parse::run(arguments),
        _ => run(&part),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{part}: {error}");
            ExitCode::FAILURE
        }
    }
}
