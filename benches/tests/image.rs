//! Power cuts of a real file system: an ext4 image on a loop device is copied while the hammer writes to it, and the copy
//! is mounted, which replays its journal, and opened. What was acknowledged before the copy has to be there.
//!
//! Between the copy's beginning and its end the hammer is stopped, for a disk loses power at one moment: what the kernel
//! has not written by then is not in the copy. Needs root and loop devices; says so where it has to be left out.
//! `IMAGE_ROUNDS` is the number of copies, `CRASH_SEED` decides when.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use headcount_benches::crash::{Acks, Checker, Settings};
use support::{Hammer, Random, env, hammer, in_time, look, scratch, seed};

/// Bytes of the image; most of it stays a hole.
const SIZE: u64 = 512 << 20;
/// Copies of one image before the next one is begun.
const COPIES: u64 = 8;

fn command(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {}: {}", args.join(" "), text.trim())) }
}

/// An image that is mounted for as long as this lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, on: &Path) -> Result<Self, String> {
        fs::create_dir_all(on).unwrap();
        command("mount", &["-t", "ext4", "-o", "loop", image.to_str().unwrap(), on.to_str().unwrap()])?;
        Ok(Self(on.to_path_buf()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = self.0.to_str().unwrap();
        if command("umount", &[path]).is_err() {
            // Somebody is still at it: then it goes with the last one.
            println!("{path} was busy");
            let _ = command("umount", &["-l", path]);
        }
    }
}

/// A new image, mounted; or why that is not possible here.
fn image(dir: &Path) -> Result<(PathBuf, Mounted), String> {
    if fs::metadata("/proc/self").map(|m| m.uid()).ok() != Some(0) {
        return Err("only root can mount".to_owned());
    }
    let image = dir.join("image");
    let _ = fs::remove_file(&image);
    fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
    command("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()])?;
    let mounted = Mounted::new(&image, &dir.join("disk"))?;
    Ok((image, mounted))
}

/// Sends a signal, and waits until all threads are stopped (`T`) or none is.
fn signal(pid: u32, name: &str, stopped: bool) -> Result<(), String> {
    command("kill", &[&format!("-{name}"), &pid.to_string()])?;
    let end = Instant::now() + Duration::from_secs(20);
    let state = |path: PathBuf| fs::read_to_string(path).ok()?.rsplit_once(") ")?.1.chars().next();
    loop {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let states: String = tasks.filter_map(|task| state(task.ok()?.path().join("stat"))).collect();
        if states.chars().all(|state| (state == 'T') == stopped) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("the hammer does not heed SIG{name}: its threads are in the states {states:?}"));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Copies the image at one moment: two copies in a row are the same, so that the kernel wrote nothing in between.
fn snapshot(image: &Path, to: &Path) -> Result<(), String> {
    let again = to.with_extension("again");
    let copy = |to: &Path| command("cp", &["--sparse=always", image.to_str().unwrap(), to.to_str().unwrap()]);
    for _ in 0..20 {
        copy(to)?;
        copy(&again)?;
        if command("cmp", &[to.to_str().unwrap(), again.to_str().unwrap()]).is_ok() {
            return Ok(());
        }
    }
    Err("the image never stands still".to_owned())
}

/// Cuts one store's power `copies` times; returns steps that were acknowledged before the last one, or `Err(None)` where
/// nothing can be mounted.
fn store(random: &mut Random, copies: u64) -> Result<u64, Option<String>> {
    let dir = scratch();
    let (image, mounted) = image(dir.path()).map_err(|why| {
        println!("#### SKIPPED: {why}: power cuts of an ext4 image were NOT tried ####");
        eprintln!("#### SKIPPED: {why}: power cuts of an ext4 image were NOT tried ####");
        None
    })?;
    let delta = [5, 50, 500][random.below(3) as usize];
    let words = format!("seed={} largest=6 delta={delta} maintenance=1 from=0,0", random.below(1 << 32));
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let parsed = Settings::parse(words.iter().cloned().chain(["dir=x".to_owned()])).unwrap();
    let mut checker = Checker::new(parsed.seed, 2, parsed.largest, parsed.options);
    let running = Hammer::start(hammer(&mounted.0.join("store"), &words));
    let mut acks = Acks::default();
    let mut outcome = Ok(());
    for number in 0..copies {
        let lines = running.lines_for(Duration::from_millis(1 + random.below(250)));
        let stopped = signal(running.child.id(), "STOP", true);
        let rest = running.lines_for(Duration::from_millis(30));
        acks = acks.lines(lines.iter().chain(&rest).map(String::as_str));
        // A name of its own: the last one may still be in use where it could only be unmounted lazily.
        let copy = dir.path().join(format!("copy-{number}"));
        let copied = stopped.and_then(|()| snapshot(&image, &copy));
        let continued = signal(running.child.id(), "CONT", false);
        outcome = copied.and(continued).and_then(|()| {
            let cut = Mounted::new(&copy, &dir.path().join(format!("cut-{number}")))?;
            let (given, path, asked) = (checker.clone(), cut.0.join("store"), acks.clone());
            checker = in_time(move || look(given, &path, &asked, number % 3 == 0))?.0;
            if acks.failures.is_empty() { Ok(()) } else { Err(format!("the hammer said {:?}", acks.failures)) }
        });
        if let Err(error) = &mut outcome {
            let kept = copy.with_extension("again");
            let steps = acks.total();
            let about = format!("{}, {} after {steps} acknowledged steps", words.join(" "), kept.display());
            *error = format!("{about}: {error}; the hammer said {:?}", acks.failures);
            break;
        }
        fs::remove_file(&copy).and_then(|()| fs::remove_file(copy.with_extension("again"))).unwrap();
    }
    running.kill();
    drop(mounted);
    if outcome.is_err() {
        // The copy as it was before it was mounted.
        let _ = dir.keep();
    }
    outcome.map(|()| acks.total()).map_err(Some)
}

#[test]
fn every_acknowledged_step_is_in_a_copy_of_the_disk() {
    let seed = seed();
    let rounds = env("IMAGE_ROUNDS", 6);
    let (mut done, mut acknowledged) = (0, 0);
    for number in 0.. {
        if done >= rounds {
            break;
        }
        let copies = COPIES.min(rounds - done);
        match store(&mut Random(seed.wrapping_add(number)), copies) {
            Ok(steps) => acknowledged += steps,
            Err(None) => return,
            Err(Some(error)) => panic!("CRASH_SEED={seed} IMAGE_ROUNDS={rounds}, image {number}: {error}"),
        }
        done += copies;
    }
    println!("{done} copies, {acknowledged} acknowledged steps");
    assert!(acknowledged > rounds, "hardly anything was acknowledged: nothing was tested");
}
