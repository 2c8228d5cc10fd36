//! A process that fills a delta and then waits for its end: for memory without anything else in it, and for kills.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use headcount_store::{Batch, Options, Store};

use crate::Outcome;
use crate::machine::proc_bytes;
use crate::stores::BUFFERED;
use crate::work::user;

const STATUS: &str = "/proc/self/status";

/// What the filling process found out about itself, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Private memory before the first change.
    pub(crate) before: u64,
    /// Private memory with all changes made.
    pub(crate) after: u64,
    /// The greatest private memory that samples every few milliseconds saw.
    pub(crate) peak: u64,
    /// The greatest resident memory, mapped files included.
    pub(crate) resident: u64,
}

/// A filling process that is done and waits. It is killed when dropped, so that its store is never closed.
#[derive(Debug)]
pub(crate) struct Filled {
    child: Child,
    /// What it measured.
    pub(crate) memory: Memory,
}

impl Drop for Filled {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing to do about an error here.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts this program again to create a store at `path` and to make `changes` changes in as many commits. A delta
/// holds `limit` changes, or what is the default.
pub(crate) fn start(path: &Path, changes: u64, limit: Option<usize>) -> Outcome<Filled> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("fill")
        .arg(path)
        .args([changes.to_string(), limit.unwrap_or_default().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [before, after, peak, resident] = *numbers else {
        child.kill().ok();
        child.wait()?;
        return Err("the filling process ended early".into());
    };
    Ok(Filled { child, memory: Memory { before, after, peak, resident } })
}

fn private() -> u64 {
    proc_bytes(STATUS, "RssAnon").unwrap_or_default()
}

/// What the started process does, with the arguments after its part's name.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Outcome {
    let mut argument = || arguments.next().ok_or("fill: PATH CHANGES LIMIT, for this program's own use");
    let (path, changes, limit) = (argument()?, argument()?.parse::<u64>()?, argument()?.parse::<usize>()?);
    let mut options = Options::default();
    if limit > 0 {
        options.delta_changes = limit;
        options.delta_bytes = usize::MAX >> 1;
    }
    let store = Store::create(Path::new(&path), &options)?;
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let before = private();
    thread::scope(|scope| -> Outcome {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(private(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let filled = (0..changes).try_for_each(|n| -> Outcome {
            let mut batch = Batch::new();
            batch.put(user(n));
            store.commit_with(batch, BUFFERED)?;
            Ok(())
        });
        let synced = store.sync();
        done.store(true, Ordering::Relaxed);
        filled?;
        Ok(synced?)
    })?;
    let after = private();
    let resident = proc_bytes(STATUS, "VmHWM").unwrap_or_default();
    println!("{before} {after} {} {resident}", peak.into_inner().max(after));
    // Until the end of whoever started this, or the kill.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    // Nothing is closed: what is on disk is what a kill leaves.
    std::process::exit(0);
}
