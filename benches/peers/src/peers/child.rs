//! One engine doing one thing in a process of its own, so that its memory is its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::keys::{Keys, Seen};
use super::{Home, Reader, Runner, Text};
use crate::Outcome;
use crate::engines::PEERS;
use crate::machine::proc_bytes;

const STATUS: &str = "/proc/self/status";

/// Seconds of `work`, and the greatest private memory that samples saw, on a line each.
fn measured(work: impl FnOnce() -> Outcome) -> Outcome {
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let sample = || peak.fetch_max(proc_bytes(STATUS, "RssAnon").unwrap_or_default(), Ordering::Relaxed);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                sample();
                thread::sleep(Duration::from_millis(5));
            }
        });
        let began = Instant::now();
        let outcome = work();
        let took = began.elapsed();
        done.store(true, Ordering::Relaxed);
        println!("seconds {}", took.as_secs_f64());
        outcome
    })?;
    sample();
    println!("private {}", peak.into_inner());
    println!("resident {}", proc_bytes(STATUS, "VmHWM").unwrap_or_default());
    Ok(())
}

/// Bytes that the files below a directory have, holes not counted.
fn disk(dir: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Seconds a lookup, after a pass that warms up; what was seen must be right both times.
fn lookup(what: &str, expected: Seen, mut pass: impl FnMut(&mut Seen) -> Outcome<bool>, count: usize) -> Outcome {
    let mut took = Duration::ZERO;
    for _ in 0..2 {
        let mut seen = Seen::default();
        let began = Instant::now();
        if !pass(&mut seen)? {
            return Ok(());
        }
        took = began.elapsed();
        if seen != expected {
            return Err(format!("{what}: saw {seen:?} where {expected:?} is there").into());
        }
    }
    println!("{what} {}", took.as_secs_f64() / count.max(1) as f64);
    Ok(())
}

fn lookups(mut reader: Box<dyn Reader>, users: u64, count: u64) -> Outcome {
    let keys = Keys::new(users, count);
    let uids: Vec<&str> = keys.uids.iter().map(String::as_str).collect();
    let links: Vec<(&str, &str)> = keys.links.iter().map(|(p, u)| (p.as_str(), u.as_str())).collect();
    lookup("get", keys.by_uid, |seen| reader.get(&uids, seen).map(|()| true), uids.len())?;
    lookup("get_many", keys.by_uid, |seen| reader.get_many(&uids, seen), uids.len())?;
    lookup("find", keys.by_link, |seen| reader.find(&links, seen).map(|()| true), links.len())
}

/// `load ID DIR INPUT`, `export ID DIR INPUT FORMAT FILE`, `lookups ID DIR INPUT USERS COUNT`.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Outcome {
    let mut argument = || arguments.next().ok_or("too few arguments; this is for this program's own use");
    let (phase, id) = (argument()?, argument()?);
    let home = Home { dir: PathBuf::from(argument()?), input: PathBuf::from(argument()?) };
    let peer = PEERS.iter().find(|peer| peer.id == id).ok_or("no such peer")?;
    let Runner::Here { load, open } = peer.runner else { return Err("that is another program's".into()) };
    match phase.as_str() {
        "load" => {
            let load = load.ok_or("another line loads this")?;
            measured(|| load(&home))?;
            let bytes = if peer.is_store { (open)(&home)?.disk()? } else { Some(0) };
            println!("disk {}", bytes.map_or_else(|| disk(&home.dir), Ok)?);
            Ok(())
        }
        "export" => {
            let text = argument()?;
            let text = Text::ALL.into_iter().find(|t| t.name() == text).ok_or("no such format")?;
            let to = PathBuf::from(argument()?);
            let mut reader = open(&home)?;
            // Once unmeasured: what is mapped, and what the engine keeps in memory, is there.
            reader.export(text, &to)?;
            std::fs::remove_file(&to)?;
            measured(|| reader.export(text, &to))
        }
        "lookups" => lookups(open(&home)?, argument()?.parse()?, argument()?.parse()?),
        _ => Err("load, export or lookups".into()),
    }
}
