//! `headcount bench`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headcount::Progress;

use crate::failure::{Failure, Outcome};
use crate::interrupt::cancel_on_signals;
use crate::measure::{self, Figure, Machine, Plan};
use crate::progress::watch;
use crate::size::{human_bytes, human_count};
use crate::ui::{self, Ui};

const EXAMPLES: &str = "\
Makes synthetic users in a directory of its own below DIR, loads them, exports them in turns with
cp of the same file and a plain write, looks users up and commits some. Everything is checked, and
removed in the end. Figures are medians of the rounds, with the least and the greatest; what the
disk is slow at shows in cp too, so compare the ratios. Nothing else should run meanwhile.

Examples:
  headcount bench
  headcount bench --users 5000000 --dir /mnt/disk
  headcount bench --users 100000 --json";

/// Options of `headcount bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Users
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    users: u64,
    /// Where the files go: the disk that is measured [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Rounds of each figure
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Write the figures as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Room that a user takes at the most: its line, its place in the store while it is made, and four files of its export.
const BYTES_A_USER: u64 = 1200;

#[derive(serde::Serialize)]
struct Report<'a> {
    version: &'static str,
    machine: &'a Machine,
    users: u64,
    rounds: u16,
    figures: &'a [Figure],
}

/// Measures this machine and the disk of DIR.
///
/// # Errors
/// When DIR has no room or cannot be written, on Ctrl-C, and when something that was measured went wrong.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Outcome, Failure> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    has_room(&parent, args.users.saturating_mul(BYTES_A_USER))?;
    let progress = Arc::new(Progress::default());
    cancel_on_signals(&progress)?;
    let scratch = tempfile::Builder::new().prefix("headcount-bench-").tempdir_in(&parent).map_err(|source| {
        Failure::failed(source).hint(format!("{} must be a directory that can be written to", parent.display()))
    })?;
    ui.note(&format!("files go to {} and are removed in the end", scratch.path().display()));
    let plan = Plan { dir: scratch.path(), users: args.users, rounds: usize::from(args.rounds), progress: &progress };
    let figures = watch(ui, &progress, || measure::run(&plan))?;
    let machine = Machine::this(scratch.path());
    scratch.close()?;
    if args.json {
        let version = env!("CARGO_PKG_VERSION");
        ui::print_json(&Report {
            version,
            machine: &machine,
            users: args.users,
            rounds: args.rounds,
            figures: &figures,
        })?;
        return Ok(Outcome::Done);
    }
    let users = human_count(args.users);
    let version = env!("CARGO_PKG_VERSION");
    ui::print_line(&format!(
        "headcount {version}, {users} synthetic users, {} rounds; {}\n",
        args.rounds,
        machine.text()
    ))?;
    ui::print_line("| what | median (least to greatest) |\n| --- | --- |")?;
    for figure in &figures {
        ui::print_line(&format!("| {} | {} |", figure.what, figure.text()))?;
    }
    Ok(Outcome::Done)
}

/// Refuses a directory on a file system that has not so many bytes free.
fn has_room(dir: &Path, needed: u64) -> Result<(), Failure> {
    let stat = rustix::fs::statvfs(dir).map_err(|errno| {
        Failure::failed(format!("cannot use {}: {}", dir.display(), std::io::Error::from(errno)))
            .hint("give a directory that is there: headcount bench --dir DIR")
    })?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let (needed, free) = (human_bytes(needed), human_bytes(free));
    Err(Failure::failed(format!("{} has {free} free, the benchmark needs up to {needed}", dir.display()))
        .hint("measure fewer users, or another disk: headcount bench --users N --dir DIR"))
}
