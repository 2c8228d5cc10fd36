//! Logs of a server: lines on standard error, and the audit of exports in a file of its own where one is named.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Target of the lines that say who exported what.
const AUDIT: &str = "headcount::audit";

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object of JSON a line.
    Json,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// What needs somebody.
    Error,
    /// What may need somebody.
    Warn,
    /// Every request, too.
    Info,
    /// Every connection, too.
    Debug,
}

impl LogLevel {
    const fn level(self) -> Level {
        match self {
            Self::Error => Level::ERROR,
            Self::Warn => Level::WARN,
            Self::Info => Level::INFO,
            Self::Debug => Level::DEBUG,
        }
    }
}

/// The file of the audit. It is opened anew on demand, so that others may move it away.
#[derive(Debug, Clone)]
pub(crate) struct AuditFile {
    path: PathBuf,
    lines: Arc<Mutex<Lines<File>>>,
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

impl AuditFile {
    /// The file at `path`, which is made where it is not there, for the owner alone.
    ///
    /// # Errors
    /// Those of opening it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_path_buf(), lines: Arc::new(Mutex::new(Lines::new(append(path)?))) })
    }

    /// Goes on in the file that has the name now.
    ///
    /// # Errors
    /// Those of opening it; the old one stays in use then.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let new = append(&self.path)?;
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).go_on_in(new);
        Ok(())
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whole lines, appended to a file, and how many could not be since the last that could.
#[derive(Debug)]
struct Lines<W> {
    to: W,
    /// Whether a part of a line stands at the end.
    torn: bool,
    missing: u64,
}

impl<W: Write> Lines<W> {
    const fn new(to: W) -> Self {
        Self { to, torn: false, missing: 0 }
    }

    fn go_on_in(&mut self, to: W) {
        (self.to, self.torn) = (to, false);
    }

    /// Appends a line: in one write, where all of it fits, so that it stays whole whoever else appends.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        // What came of another one must not take this one with it.
        let ended;
        let mut rest = if self.torn {
            ended = [b"\n", line].concat();
            ended.as_slice()
        } else {
            line
        };
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.torn = true;
                    rest = rest.get(n..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.torn = false;
        Ok(())
    }
}

impl Write for &AuditFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let done = lines.append(line);
        let before = lines.missing;
        lines.missing = if done.is_ok() { 0 } else { before.saturating_add(1) };
        drop(lines);
        let path = self.path.display();
        match done {
            Ok(()) if before == 0 => {}
            Ok(()) => {
                tracing::warn!(%path, lines = before, "the audit log is written again; what it misses is in this log")
            }
            Err(error) => {
                // Once for all lines of a full disk.
                if before == 0 {
                    tracing::error!(%path, %error, "the audit log cannot be written: its lines are in this log until it can");
                }
                // There is nobody left to tell when this fails, too.
                let _: io::Result<()> = io::stderr().write_all(line);
            }
        }
        // It is somewhere: who writes would pass an error over.
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for AuditFile {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

/// From now on this process logs. Without a file the audit is among the other lines, whatever the level.
pub(crate) fn start(format: LogFormat, level: LogLevel, color: bool, audit: Option<AuditFile>) {
    let own = Targets::new().with_target("headcount", level.level());
    let shown = match audit {
        Some(_) => own.with_target(AUDIT, None),
        None => own.with_target(AUDIT, Level::INFO),
    };
    let lines = match format {
        LogFormat::Text => fmt::layer().with_ansi(color).with_writer(io::stderr).with_filter(shown).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(io::stderr).with_filter(shown).boxed(),
    };
    let audited = audit.map(|file| {
        let layer = fmt::layer().json().flatten_event(true).with_target(false).with_writer(file);
        layer.with_filter(Targets::new().with_target(AUDIT, Level::INFO))
    });
    // A second start would change nothing; there is none.
    let _: Result<(), _> = registry().with(lines).with(audited).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes more, and fails then.
    struct Room(Vec<u8>, usize);

    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1 -= taken;
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_takes_no_other_one_with_it() {
        let mut lines = Lines::new(Room(Vec::new(), 7));
        lines.append(b"one\n").unwrap();
        assert_eq!(lines.append(b"two two\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(lines.append(b"three\n").is_err());
        lines.to.1 = 100;
        lines.append(b"four\n").unwrap();
        lines.append(b"five\n").unwrap();
        assert_eq!(String::from_utf8(lines.to.0).unwrap(), "one\ntwo\nfour\nfive\n");
    }
}
