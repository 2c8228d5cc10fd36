//! A server of the real binary, what it says, and the end of it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "these functions are of tests, which clippy cannot see in a program of tests")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::Scratch;

/// `headcount serve ARGS`, until this is dropped.
pub struct Served {
    process: Child,
    /// Its first address.
    pub url: String,
    said: Arc<Mutex<String>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        self.process.wait().unwrap();
    }
}

impl Served {
    pub fn start(scratch: &Scratch, args: &[&str]) -> Self {
        let mut process =
            scratch.command(&[&["serve"], args].concat()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::<Mutex<String>>::default();
        let (stderr, lines) = (process.stderr.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let mut served = Self { process, url: String::new(), said };
        served.wait_for("serving ");
        let said = served.said();
        served.url = said.lines().find_map(|line| line.strip_prefix("serving ")).unwrap().to_owned();
        served
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it said on standard error until now.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said `text`.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.said().contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not in: {}", self.said());
            sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}
