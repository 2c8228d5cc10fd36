//! What stands beside a figure: machine, file system, commit.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::Outcome;

/// The first line of a file of `/proc` that starts with `key`, without the key.
pub(crate) fn proc_line(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// A value in kB of a file of `/proc`, in bytes.
pub(crate) fn proc_bytes(path: &str, key: &str) -> Option<u64> {
    proc_line(path, key)?.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Type of the file system that holds `dir`, as mounted: the longest mount point that `dir` is below.
fn file_system(dir: &Path) -> Outcome<String> {
    let dir = dir.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let fields = |line: &str| {
        let mut words = line.split(' ').skip(1).map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?))
    };
    let below = mounts.lines().filter_map(fields).filter(|(point, ..)| dir.starts_with(point));
    // Of two mounts at one point the later one is seen.
    let found = below.max_by_key(|(point, ..)| point.len()).ok_or("no mount point found")?;
    Ok(format!("{} ({})", found.1, found.2))
}

/// One line about the machine, the file system of `dir` and the commit.
///
/// # Errors
/// Where `dir` is in memory: an fsync costs nothing there, and every ratio would be wrong.
pub(crate) fn describe(dir: &Path) -> Outcome<String> {
    let file_system = file_system(dir)?;
    if ["tmpfs", "ramfs"].iter().any(|memory| file_system.starts_with(memory)) {
        return Err(format!("{} is in memory ({file_system}): name a directory on a disk", dir.display()).into());
    }
    let unknown = || "unknown".to_owned();
    let model = proc_line("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let memory = proc_bytes("/proc/meminfo", "MemTotal").unwrap_or_default() >> 30;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| unknown());
    // A busy machine shows in every figure: a thread that wakes up after an fsync waits for its turn.
    let load = fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|l| l.split(' ').next().map(str::to_owned)).unwrap_or_else(unknown);
    let home = env!("CARGO_MANIFEST_DIR");
    let commit = output("git", &["-C", home, "describe", "--always", "--dirty"]).unwrap_or_else(unknown);
    let kernel = kernel.trim();
    Ok(format!(
        "{model}, {cores} cores, {memory} GiB, Linux {kernel}, {file_system}, commit {commit}, load average {load} before"
    ))
}
