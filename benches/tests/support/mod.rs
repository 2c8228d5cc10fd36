//! What the crash tests share: the hammer as a process, random numbers, a limit on time.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use headcount_benches::crash::{Acks, Checker, Found};
use headcount_store::{Options, Store};

/// The value of an environment variable, or `default`.
pub(crate) fn env(name: &str, default: u64) -> u64 {
    headcount_benches::env_or(name, default)
}

/// `CRASH_SEED`, or another one each time. Printed, so that a failure can be had again.
pub(crate) fn seed() -> u64 {
    // Only a seed: the modification time of a new file, in nanoseconds.
    let now = tempfile::tempfile().and_then(|f| f.metadata()?.modified()).unwrap();
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64 >> 8 & 0xffff_ffff;
    let seed = env("CRASH_SEED", now);
    println!("CRASH_SEED={seed}");
    seed
}

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

/// A hammer that runs, and its lines as they come.
pub(crate) struct Hammer {
    pub(crate) child: Child,
    pub(crate) lines: Receiver<String>,
}

/// The hammer's command.
pub(crate) fn hammer(dir: &Path, words: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hammer"));
    command.arg(format!("dir={}", dir.display())).args(words);
    command
}

impl Hammer {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        // Ends with the pipe.
        thread::spawn(move || {
            out.split(b'\n').map_while(Result::ok).for_each(|line| {
                let _ = send.send(String::from_utf8_lossy(&line).into_owned());
            })
        });
        Self { child, lines }
    }

    /// The lines of the next `time`, fewer when it ends by itself.
    pub(crate) fn lines_for(&self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return lines,
            }
        }
    }

    /// All lines until it ends by itself, and its exit code; killed and an error when that takes longer than `limit`.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<(Vec<String>, Option<i32>), String> {
        let end = Instant::now() + limit;
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            lines.push(line);
        }
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Ok((lines, status.code()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Err(format!("still running after {limit:?}; last line {:?}", lines.last()))
    }

    /// `kill -9`. Returns the lines that were still in the pipe.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

/// A directory in memory where that is possible, since nobody cuts the power of this one.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Every file below a directory with its bytes.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Copies a directory with what is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Looks at a store that was broken off, or at what there is of it. `None`: there was none, and none was acknowledged.
pub(crate) fn look(
    mut checker: Checker,
    path: &Path,
    acks: &Acks,
    probe: bool,
) -> Result<(Checker, Option<Found>), String> {
    if acks.created || path.join("MANIFEST").exists() {
        let found = checker.check(path, acks, probe)?;
        return Ok((checker, Some(found)));
    }
    // Not acknowledged and not there: then it can be created.
    let store = Store::create(path, &Options::default()).map_err(|e| format!("create over what is left: {e}"))?;
    store.close().map_err(|e| format!("close what was created: {e}"))?;
    Ok((checker, None))
}

/// The result of `call`, or an error when it takes longer than two minutes.
pub(crate) fn in_time<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (send, answer) = channel();
    thread::spawn(move || {
        let _ = send.send(call());
    });
    // In pieces: a machine that sleeps meanwhile, or stops the process, takes one of them.
    for _ in 0..24 {
        match answer.recv_timeout(Duration::from_secs(5)) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("the check panicked".to_owned()),
        }
    }
    Err("the check hangs".to_owned())
}

/// Whether a program can be run; says so when not.
pub(crate) fn is_there(program: &str, why: &str) -> bool {
    let there = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        println!("#### SKIPPED: {program} is not installed: {why} ####");
        eprintln!("#### SKIPPED: {program} is not installed: {why} ####");
    }
    there
}
