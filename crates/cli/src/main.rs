//! The `headcount` binary: everything is in the library, so that it can be tested and measured.

use std::process::ExitCode;

fn main() -> ExitCode {
    headcount_cli::main()
}
