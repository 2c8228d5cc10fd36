//! Ctrl-C and SIGTERM: the first one cancels what is running, the second one ends the process at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::thread;

use headcount::Progress;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::failure::Failure;

/// The signal that cancelled; 0 before.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// From now on the first SIGINT or SIGTERM cancels `progress`; a second one ends the process.
///
/// # Errors
/// When signals cannot be handled.
pub(crate) fn cancel_on_signals(progress: &Arc<Progress>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let progress = Arc::clone(progress);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if progress.is_cancelled() {
                end_by(signal);
            }
            RECEIVED.store(signal, Relaxed);
            progress.cancel();
        }
    })?;
    Ok(())
}

/// Ends the process as the signal that cancelled it would have: a shell sees 130 after Ctrl-C and stops its script too.
pub(crate) fn end_by_received_signal() {
    match RECEIVED.load(Relaxed) {
        0 => {}
        signal => end_by(signal),
    }
}

/// Ends the process as a closed pipe ends other commands: a shell sees 141.
pub(crate) fn end_by_broken_pipe() {
    end_by(SIGPIPE);
}

fn end_by(signal: i32) {
    // It returns only when the signal cannot be raised; the caller then exits with a code.
    let _not_raised = emulate_default_handler(signal);
}

/// Standard input, or a pipe with a name, that stops waiting for data once cancelled.
#[derive(Debug)]
pub(crate) struct Cancellable {
    file: File,
    progress: Arc<Progress>,
}

impl Cancellable {
    /// Standard input, given up when `progress` is cancelled.
    ///
    /// # Errors
    /// When standard input is closed.
    pub(crate) fn stdin(progress: &Arc<Progress>) -> io::Result<Self> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self { file, progress: Arc::clone(progress) })
    }

    /// What is at `path`, given up when `progress` is cancelled. It is opened without waiting for who writes to it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(path: &Path, progress: &Arc<Progress>) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
        Ok(Self { file, progress: Arc::clone(progress) })
    }
}

impl Read for Cancellable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        /// How long Ctrl-C may go unnoticed.
        const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        loop {
            self.progress.check().map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&WAIT)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => match self.file.read(buffer) {
                    // Somebody else took it.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return result,
                },
                Err(error) => return Err(error.into()),
            }
        }
    }
}
