//! What a figure was measured on.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

/// A machine, as far as it says what it is.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) system: String,
    /// Type of the file system that the files of the run were on.
    pub(crate) file_system: Option<String>,
}

fn value_of(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Type of the file system below `dir`: of the longest mount point that `dir` begins with.
fn file_system(mounts: &str, dir: &Path) -> Option<String> {
    let fields = |line: &str| {
        let mut fields = line.split(' ').skip(1).map(str::to_owned);
        Some((fields.next()?, fields.next()?))
    };
    let all = mounts.lines().filter_map(fields).filter(|(point, _)| dir.starts_with(point));
    // Of two mounts at one place the later one is seen.
    all.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

impl Machine {
    /// This machine, and the file system of `dir`.
    pub(crate) fn this(dir: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let memory = value_of(&read("/proc/meminfo"), "MemTotal");
        let kib = memory.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let release = read("/proc/sys/kernel/osrelease");
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        Self {
            processor: value_of(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: available_parallelism().map_or(1, usize::from),
            memory_bytes: kib.map(|kib| kib << 10),
            system: format!("{} {}", std::env::consts::OS, release.trim()).trim().to_owned(),
            file_system: file_system(&read("/proc/self/mounts"), &dir),
        }
    }

    /// All of it in one line.
    pub(crate) fn text(&self) -> String {
        let memory = self.memory_bytes.map_or_else(String::new, |bytes| format!(", {} GiB", (bytes + (1 << 29)) >> 30));
        let disk = self.file_system.as_ref().map_or_else(String::new, |kind| format!(", {kind}"));
        format!("{}, {} cores{memory}, {}{disk}", self.processor, self.cores, self.system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_counts_and_the_last_of_equals() {
        let mounts = "a / ext4 rw 0 0\nb /tmp tmpfs rw 0 0\nc /tmp xfs rw 0 0\nd /tmpfoo btrfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")).as_deref(), Some("xfs"));
        assert_eq!(file_system(mounts, Path::new("/tmpfoo")).as_deref(), Some("btrfs"));
        assert_eq!(file_system(mounts, Path::new("/home")).as_deref(), Some("ext4"));
        assert_eq!(file_system("", Path::new("/home")), None);
        assert_eq!(value_of("a\t: 1\nmodel name\t: X 1\n", "model name").as_deref(), Some("X 1"));
    }
}
