//! The program that is killed, cut off and refused by its disk: works on a store and says what was acknowledged.
//!
//! Its output is one line a `writev`, which the store itself never calls: faults that are injected into the store's
//! system calls do not reach it. `created` or `opened SEQ`; `begin THREAD STEP KIND`; `ack THREAD STEP SEQ` when that
//! step and all before it of the thread are durable, `seen …` when they are only visible; `error …`, and then what a
//! later commit (`after …`) and a read (`read …`) get; `closed`.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use headcount_block::{Progress, UidRange, User};
use headcount_store::{Backend, Batch, Compaction, Durability, Error, Options, Store};

use super::acks::LATER;
use super::workload::{Step, Workload};

/// Commits between two calls of `sync` where commits are buffered.
const SYNC_EVERY: u64 = 7;

/// What the hammer is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The store; created when there is none.
    pub dir: PathBuf,
    /// Seed of the workload.
    pub seed: u64,
    /// Steps of each thread that the store holds already; its length is the number of threads.
    pub from: Vec<u64>,
    /// Steps that each thread takes before the store is closed.
    pub steps: u64,
    /// Most operations of a batch.
    pub largest: usize,
    /// Whether the store is closed at the end; otherwise the process ends as if it had been killed just then.
    pub close: bool,
    /// How the store is opened.
    pub options: Options,
}

impl Settings {
    /// Settings from `NAME=VALUE` words.
    ///
    /// # Errors
    /// The word that is not understood.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let options = Options { maintenance: false, ..Options::default() };
        let (seed, from, steps) = (0, vec![0], u64::MAX);
        let mut all = Self { dir: PathBuf::new(), seed, from, steps, largest: 6, close: true, options };
        for word in words {
            let bad = || format!("{word:?} is not a setting");
            let (name, value) = word.split_once('=').ok_or_else(bad)?;
            let number = || value.parse::<u64>().map_err(|_| bad());
            let size = || value.parse::<usize>().map_err(|_| bad());
            match name {
                "dir" => all.dir = value.into(),
                "seed" => all.seed = number()?,
                "from" => {
                    all.from = value.split(',').map(|v| v.parse().map_err(|_| bad())).collect::<Result<_, _>>()?
                }
                "steps" => all.steps = number()?,
                "largest" => all.largest = size()?,
                "close" => all.close = number()? != 0,
                "delta" => all.options.delta_changes = size()?,
                "maintenance" => all.options.maintenance = number()? != 0,
                "pread" => all.options.backend = if number()? != 0 { Backend::Pread } else { Backend::default() },
                "buffered" => {
                    all.options.durability = Durability::Buffered { flush_within: Duration::from_millis(number()?) };
                }
                _ => return Err(bad()),
            }
        }
        if all.dir.as_os_str().is_empty() { Err("dir=STORE is missing".to_owned()) } else { Ok(all) }
    }
}

/// Works until all steps are taken or something fails; the exit code is 0, or 3 after an error of the store.
///
/// # Panics
/// When the output is closed.
pub fn run(settings: &Settings, out: &File) -> u8 {
    report_panics(out);
    let say = |line: String| say(out, &line);
    let opened = if settings.dir.join("MANIFEST").exists() {
        Store::open(&settings.dir, &settings.options).inspect(|s| say(format!("opened {}", seq(s))))
    } else {
        Store::create(&settings.dir, &settings.options).inspect(|_| say("created".to_owned()))
    };
    let store = match opened {
        Ok(store) => store,
        Err(error) => {
            say(format!("error open {}", describe(&error)));
            return 3;
        }
    };
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for (number, from) in (0..).zip(settings.from.iter().copied()) {
            let (store, failed, say) = (&store, &failed, &say);
            scope.spawn(move || work(settings, store, number, from, failed, say));
        }
    });
    if failed.load(Relaxed) {
        say(format!("read {}", read(&store)));
    }
    if !settings.close {
        std::mem::forget(store);
        return 0;
    }
    match store.close() {
        Ok(()) => say("closed".to_owned()),
        Err(error) => {
            say(format!("error close {}", describe(&error)));
            failed.store(true, Relaxed);
        }
    }
    if failed.load(Relaxed) { 3 } else { 0 }
}

/// Has every panic of any thread said, with its place: those of the store's own code are faults.
fn report_panics(out: &File) {
    let Ok(out) = out.try_clone() else { return };
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        say(&out, &format!("panic {} at {place}", thread::current().name().unwrap_or("unnamed")));
        before(info);
    }));
}

fn seq(store: &Store) -> u64 {
    store.stats().origin.seq
}

/// One line, in one call that only this program makes.
#[expect(clippy::expect_used, reason = "documented: without its output the program is of no use")]
fn say(mut out: &File, line: &str) {
    let text = format!("{line}\n");
    let written = out.write_vectored(&[IoSlice::new(text.as_bytes())]).expect("the output is open");
    assert_eq!(written, text.len(), "the output takes whole lines");
}

/// Variant and message of an error, in one line.
fn describe(error: &Error) -> String {
    let debug = format!("{error:?}");
    let variant = debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    format!("{variant}: {error}").replace('\n', " ")
}

fn work(
    settings: &Settings,
    store: &Store,
    thread: u64,
    from: u64,
    failed: &AtomicBool,
    say: &(dyn Fn(String) + Sync),
) {
    let mut workload = Workload::new(settings.seed, thread, settings.largest);
    workload.skip_to(from);
    while workload.taken() < from.saturating_add(settings.steps) && !failed.load(Relaxed) {
        let number = workload.taken();
        let step = workload.step();
        say(format!("begin {thread} {number} {}", step.name()));
        match carry_out(settings, store, number, step) {
            Ok((durable, seq)) => {
                let word = if durable { "ack" } else { "seen" };
                say(format!("{word} {thread} {number} {seq}"));
            }
            Err(error) => {
                failed.store(true, Relaxed);
                say(format!("error {thread} {number} {}", describe(&error)));
                let mut later = Batch::new();
                later.put(User::new(LATER));
                let answer = store.commit(later);
                say(format!("after {}", answer.map_or_else(|e| describe(&e), |_| "Committed".to_owned())));
            }
        }
    }
}

/// Carries a step out; whether it is durable, and the seq then.
fn carry_out(settings: &Settings, store: &Store, number: u64, step: Step) -> Result<(bool, u64), Error> {
    let progress = Progress::default();
    match step {
        Step::Commit(batch) => {
            let done = store.commit(batch)?;
            if settings.options.durability == Durability::Sync {
                return Ok((true, done.seq));
            }
            if number.is_multiple_of(SYNC_EVERY) {
                store.sync()?;
                return Ok((true, done.seq));
            }
            Ok((false, done.seq))
        }
        Step::Load(users) => Ok((true, store.load(users)?.seq)),
        // A tiered one leaves the delta where it is. Neither says a seq of its own.
        Step::Compact(how) => {
            let durable = settings.options.durability == Durability::Sync || how == Compaction::Full;
            store.compact(how, &progress).map(|_| (durable, 0))
        }
        Step::Erase(uids) => {
            let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
            store.erase(&uids, Duration::from_secs(20), &progress).map(|_| (true, 0))
        }
    }
}

fn read(store: &Store) -> String {
    let users = store.snapshot().users(UidRange::all()).collect::<Result<Vec<User>, Error>>();
    users.map_or_else(|e| describe(&e), |users| format!("{} users", users.len()))
}
