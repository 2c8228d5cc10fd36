//! The `headcount` command as a library: the command line, and synthetic users for it and for benchmarks.
//!
//! Data goes to standard output, messages to standard error. A command returns an outcome or a failure, and [`main`]
//! turns either into an exit code.

mod batches;
mod change;
mod cli;
mod client;
mod cmd;
mod errors;
mod failure;
mod input;
mod interrupt;
mod logging;
mod measure;
mod output;
mod progress;
mod server;
mod serving;
mod size;
mod store;
pub mod synthetic;
mod ui;
mod wire;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Command, Output, When};
use crate::failure::{Failure, Kind, Outcome};
use crate::ui::Ui;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = Cli::command().color(help_color()).try_get_matches();
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(answer) => return say(&answer),
    };
    let ui = Ui::new(&cli.output);
    match run(&cli.command, &ui) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(failure) => end(&failure, &ui),
    }
}

/// Writes help and versions to standard output, which can fail, and what is wrong with the command line to standard error.
fn say(answer: &clap::Error) -> ExitCode {
    if answer.use_stderr() {
        answer.exit();
    }
    match answer.print().and_then(|()| std::io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let output = Output { quiet: false, progress: When::Auto, color: When::Auto };
            end(&ui::stdout_failure(error), &Ui::new(&output))
        }
    }
}

fn run(command: &Command, ui: &Ui) -> Result<Outcome, Failure> {
    match command {
        Command::Quickstart(args) => cmd::quickstart::run(args, ui),
        Command::Import(args) => cmd::import::run(args, ui),
        Command::Put(args) => cmd::put::run(args, ui),
        Command::Link(args) => cmd::link::run(args, ui),
        Command::Unlink(args) => cmd::unlink::run(args, ui),
        Command::Rename(args) => cmd::rename::run(args, ui),
        Command::Status(args) => cmd::status::run(args, ui),
        Command::Delete(args) => cmd::delete::run(args, ui),
        Command::Erase(args) => cmd::erase::run(args, ui),
        Command::Apply(args) => cmd::apply::run(args, ui),
        Command::Changes(args) => cmd::changes::run(args),
        Command::Compact(args) => cmd::compact::run(args, ui),
        Command::Backup(args) => cmd::backup::run(args, ui),
        Command::Export(args) => cmd::export::run(args, ui),
        Command::Check(args) => cmd::check::run(args, ui),
        Command::Get(args) => cmd::get::run(args, ui),
        Command::Find(args) => cmd::find::run(args, ui),
        Command::Stats(args) => cmd::stats::run(args),
        Command::Verify(args) => cmd::verify::run(args, ui),
        Command::Serve(args) => cmd::serve::run(args, ui),
        Command::Salvage(args) => cmd::salvage::run(args, ui),
        Command::Bench(args) => cmd::bench::run(args, ui),
        Command::Site(args) => cmd::site::run(args, ui),
        Command::Call(args) => cmd::call::run(args, ui),
        Command::Generate(args) => cmd::generate::run(args, ui),
        Command::Completions(args) => cmd::completions::run(args),
        Command::Man(args) => cmd::man::run(args, ui),
    }
}

/// Tells of `failure` and gives its exit code, or ends by the signal that stands for it.
fn end(failure: &Failure, ui: &Ui) -> ExitCode {
    if failure.is_broken_pipe() {
        interrupt::end_by_broken_pipe();
    }
    ui.failure(failure);
    if failure.kind == Kind::Cancelled {
        interrupt::end_by_received_signal();
    }
    ExitCode::from(failure.code())
}

/// Colour of help and usage errors, which are written before the command line is understood.
fn help_color() -> ColorChoice {
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        let word = word.to_string_lossy().into_owned();
        let value = match word.as_str() {
            "--" => break,
            "--color" => words.next().map(|value| value.to_string_lossy().into_owned()),
            other => other.strip_prefix("--color=").map(str::to_owned),
        };
        match value.as_deref() {
            Some("never") => return ColorChoice::Never,
            Some("always") => return ColorChoice::Always,
            _ => {}
        }
    }
    ColorChoice::Auto
}
