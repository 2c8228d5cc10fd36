//! The command line as a whole; each subcommand's own options stand in its file under `cmd`.

use clap::{Parser, Subcommand, ValueEnum};

use crate::cmd;

/// What the exit codes mean, for the help texts and the man page.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: nothing was changed (put, apply, delete: the message names what was done before)
  2  the command line is wrong
  3  done, but records were rejected (import)
  4  a user or an identity is not there
  5  damage found; salvage: something was lost
  Interrupted by Ctrl-C: 130. Standard output closed by its reader: 141.

Examples:
  headcount quickstart
  headcount import site.hc users.json
  headcount export site.hc -o users.csv
  headcount get site.hc 6625ID
  headcount link site.hc 6625ID facebook 622098199";

/// Stores users and the identities linked to them, and exports all of them fast, counted and checked
#[derive(Debug, Parser)]
#[command(name = "headcount", version, propagate_version = true, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// How messages are given.
    #[command(flatten)]
    pub(crate) output: Output,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every subcommand: what is said on standard error.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Output {
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true, help_heading = "Messages")]
    pub(crate) quiet: bool,
    /// Show progress on standard error; auto: when it is a terminal
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = When::Auto, help_heading = "Messages")]
    pub(crate) progress: When,
    /// Colour messages; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = When::Auto, help_heading = "Messages")]
    pub(crate) color: When,
}

/// When something for human readers is shown; auto is explained by each option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Never,
    Always,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a store with the seven users of the documented example, and print their export
    Quickstart(cmd::quickstart::Args),
    /// Load users from files or standard input into a store: all of them or none
    Import(cmd::import::Args),
    /// Write user objects into a store, each in place of the user with its UID
    Put(cmd::put::Args),
    /// Link an identity to a user
    Link(cmd::link::Args),
    /// Take an identity from a user
    Unlink(cmd::unlink::Args),
    /// Give a user another UID
    Rename(cmd::rename::Args),
    /// Set the status of a user
    Status(cmd::status::Args),
    /// Delete users
    Delete(cmd::delete::Args),
    /// Delete users and remove what the store's files hold of them
    Erase(cmd::erase::Args),
    /// Carry out operations from a file or standard input, in batches that are made whole or not at all
    Apply(cmd::apply::Args),
    /// Write the users of a store, pending ones if asked for, as JSON, CSV or NDJSON, from one point in time
    Export(cmd::export::Args),
    /// Check that an exported file is whole and unchanged
    Check(cmd::check::Args),
    /// Print users by their UIDs
    Get(cmd::get::Args),
    /// Print the user that an identity belongs to
    Find(cmd::find::Args),
    /// Print counts by status and provider, sizes, segments and the sequence number
    Stats(cmd::stats::Args),
    /// Print what changed since a sequence number: users, and UIDs of deleted ones
    Changes(cmd::changes::Args),
    /// Check every checksum, order, index entry, sum and count of a store
    Verify(cmd::verify::Args),
    /// Write what is intact of a damaged store to a new one, and list what is not
    Salvage(cmd::salvage::Args),
    /// Merge segments, so that reading is faster and less space is used
    Compact(cmd::compact::Args),
    /// Copy a store as of one point in time; the copy is a store
    Backup(cmd::backup::Args),
    /// Serve exportUsers and its neighbours over HTTP(S)
    Serve(cmd::serve::Args),
    /// Manage the sites and keys of a server's configuration
    Site(cmd::site::Args),
    /// Call a method of a served store, and check or resume what comes
    Call(cmd::call::Args),
    /// Write synthetic users, the same for the same seed
    Generate(cmd::generate::Args),
    /// Measure what this machine and disk do: load, export against cp, lookups, commits
    Bench(cmd::bench::Args),
    /// Print the completion script of a shell
    Completions(cmd::completions::Args),
    /// Print the manual page, or write the pages of all subcommands into a directory
    Man(cmd::man::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_is_not_wrapped_anew() {
        let command = Cli::command();
        for sub in all(&command) {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                assert!(line.chars().count() <= 100, "{}: {line}", sub.get_name());
            }
        }
    }

    /// Every command, with those below it.
    fn all(command: &clap::Command) -> Vec<&clap::Command> {
        command.get_subcommands().flat_map(|sub| [vec![sub], all(sub)].concat()).collect()
    }

    #[test]
    fn every_subcommand_has_examples_that_parse() {
        let command = Cli::command();
        let all = all(&command);
        assert!(all.iter().any(|command| command.get_name() == "key-add"));
        for sub in all {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<_> = help.lines().map(str::trim).filter(|line| line.starts_with("headcount ")).collect();
            assert!(!examples.is_empty(), "{} has no example", sub.get_name());
            for example in examples {
                // Pipes and redirections are the shell's.
                let words = example.split(['|', '>', '<']).next().unwrap_or_default().split_whitespace();
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{example}: {error}");
                }
            }
        }
    }
}
