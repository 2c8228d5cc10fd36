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
    file: Arc<Mutex<File>>,
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
        Ok(Self { path: path.to_path_buf(), file: Arc::new(Mutex::new(append(path)?)) })
    }

    /// Goes on in the file that has the name now.
    ///
    /// # Errors
    /// Those of opening it; the old one stays in use then.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let new = append(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl Write for &AuditFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line is one call, and one write to a file that is appended to: lines stay whole.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write(line)
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
