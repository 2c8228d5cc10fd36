//! What is said to the user: messages on standard error, data and summaries on standard output.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;

use clap::builder::styling::{AnsiColor, Style};

use crate::cli::{Output, When};
use crate::failure::Failure;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// How messages are given in this run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    quiet: bool,
    progress: When,
    color: bool,
}

impl Ui {
    /// As the command line and the environment ask for.
    #[must_use]
    pub(crate) fn new(output: &Output) -> Self {
        Self { quiet: output.quiet, progress: output.progress, color: is_colored(output.color) }
    }

    /// Whether messages are coloured.
    #[must_use]
    pub(crate) const fn is_colored(&self) -> bool {
        self.color
    }

    /// What a running operation shows.
    #[must_use]
    pub(crate) fn progress_style(&self) -> ProgressStyle {
        let terminal = io::stderr().is_terminal();
        match self.progress {
            When::Never => ProgressStyle::None,
            When::Auto if self.quiet || !terminal => ProgressStyle::None,
            When::Auto => ProgressStyle::Bar,
            When::Always if terminal => ProgressStyle::Bar,
            When::Always => ProgressStyle::Lines,
        }
    }

    /// A message that a script does not need.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            say(&printable(text));
        }
    }

    /// What a command did: as one line of JSON on standard output, or else as a message.
    ///
    /// # Errors
    /// Those of writing, a broken pipe among them; the failure says what is done.
    pub(crate) fn report(&self, json: bool, report: &impl serde::Serialize, text: &str) -> Result<(), Failure> {
        if json {
            return print_json(report).map_err(|failure| failure.after(text));
        }
        self.note(text);
        Ok(())
    }

    /// Something that should not be overlooked, but is no failure.
    pub(crate) fn warning(&self, text: &str) {
        if !self.quiet {
            say(&format!("{}: {}", self.painted(WARNING, "warning"), printable(text)));
        }
    }

    /// Why the command failed and what there is to do; also with `--quiet`.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.error(&failure.to_string());
        if let Some(hint) = &failure.hint {
            say(&format!("{}: {}", self.painted(HINT, "hint"), printable(hint)));
        }
    }

    /// One problem of several; also with `--quiet`.
    pub(crate) fn error(&self, text: &str) {
        say(&format!("{}: {}", self.painted(ERROR, "error"), printable(text)));
    }

    fn painted(self, style: Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressStyle {
    /// Not at all.
    None,
    /// As a bar that is drawn over itself.
    Bar,
    /// As a line every second.
    Lines,
}

/// Whether messages are coloured: `NO_COLOR` (not empty) and a terminal without colours switch it off.
fn is_colored(when: When) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            !is_set("NO_COLOR")
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
                && io::stderr().is_terminal()
        }
    }
}

/// A message without what would steer a terminal: names from files may hold anything.
fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { plain.extend(c.escape_debug()) } else { plain.push(c) }
    }
    Cow::Owned(plain)
}

/// Writes a line on standard error. There is nowhere to report that this failed.
fn say(text: &str) {
    let _unreportable = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a line of data on standard output.
///
/// # Errors
/// Those of writing, a broken pipe among them.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes of data on standard output.
///
/// # Errors
/// Those of writing, a broken pipe among them.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(stdout_failure)
}

/// Writes `value` as one line of JSON on standard output.
///
/// # Errors
/// Those of writing, a broken pipe among them.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print_line(&json_line(value)?)
}

/// Writes `value` as one line of JSON on standard error, when standard output holds the data; also with `--quiet`.
///
/// # Errors
/// When it cannot be written as JSON.
pub(crate) fn say_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    say(&json_line(value)?);
    Ok(())
}

fn json_line(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(Failure::failed)
}

/// Standard output as a file without a buffer, for those who write large pieces themselves.
///
/// # Errors
/// When it cannot be duplicated; it may be closed.
pub(crate) fn stdout_file() -> Result<File, Failure> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from).map_err(stdout_failure)
}

/// Whether standard output and standard error go to one file or pipe.
#[must_use]
pub(crate) fn is_one_place() -> bool {
    let place = |fd: BorrowedFd<'_>| {
        let found = fd.try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
        found.map(|found| (found.dev(), found.ino())).ok()
    };
    let out = place(io::stdout().as_fd());
    out.is_some() && out == place(io::stderr().as_fd())
}

/// A failure to write standard output.
pub(crate) fn stdout_failure(error: io::Error) -> Failure {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot write standard output")]
    struct Stdout(#[source] io::Error);
    Failure::failed(Stdout(error))
}
