//! The program that the crash tests kill: `hammer dir=STORE seed=N …`; see `headcount_benches::crash`.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;

use headcount_benches::crash::{Settings, run};

fn main() -> ExitCode {
    let settings = match Settings::parse(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("hammer: {error}");
            return ExitCode::from(2);
        }
    };
    match std::io::stdout().as_fd().try_clone_to_owned() {
        Ok(out) => ExitCode::from(run(&settings, &File::from(out))),
        Err(error) => {
            eprintln!("hammer: no output: {error}");
            ExitCode::from(2)
        }
    }
}
