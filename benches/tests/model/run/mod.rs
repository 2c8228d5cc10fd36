//! One life of a store beside its model: what is done, and what has to come of it.

mod choices;
mod life;
mod loads;

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use headcount_block::{Identity, Progress};
use headcount_store::{Backend, Compaction, Durability, Error, Options, Precondition, RefuseReason, Snapshot, Store};

use super::check;
use super::dice::Dice;
use super::state::{Op, State, Undo, Why, batch_of};
use choices::uid_of;
use loads::Begun;

/// Seqs that a new incarnation leaves out.
const GAP: u64 = 1 << 32;
/// Longer than any test: fsyncs come when they are asked for.
const LATER: Durability = Durability::Buffered { flush_within: Duration::from_secs(100_000) };
/// The maintenance thread does it, at some time.
const SOON: Durability = Durability::Buffered { flush_within: Duration::from_millis(1) };

/// Properties of a life.
#[derive(Debug)]
struct Config {
    options: Options,
    /// Durabilities that commits choose from.
    durabilities: Vec<Durability>,
    /// Deletions are forgotten by the first compaction that can.
    forgetful: bool,
    uids: usize,
    identities: usize,
    /// Names of providers, beside those that are awkward.
    providers: usize,
}

impl Config {
    fn any(dice: &mut Dice<'_>) -> Self {
        let forgetful = dice.one_in(4);
        let durabilities = match dice.below(4) {
            0 | 1 => vec![Durability::Sync],
            2 => vec![Durability::Sync, LATER, SOON],
            _ => vec![LATER],
        };
        let options = Options {
            backend: dice.pick(&[Backend::Auto, Backend::Mmap, Backend::Pread]),
            durability: durabilities[0],
            maintenance: !forgetful && !dice.one_in(3),
            delta_changes: dice.pick(&[20, 200, 60, 6, 2000]),
            delta_bytes: dice.pick(&[1 << 20, 20_000]),
            tombstone_retention: if forgetful { Duration::ZERO } else { Options::default().tombstone_retention },
        };
        let uids = dice.pick(&[40, 12, 150]);
        let (identities, providers) = (uids * 2, dice.pick(&[3, 700]));
        Self { options, durabilities, forgetful, uids, identities, providers }
    }
}

/// A snapshot that is kept, and what it has to show for as long as it is.
struct Kept {
    snapshot: Snapshot,
    state: State,
}

/// A store and its model.
pub(crate) struct Run<'d> {
    dice: Dice<'d>,
    config: Config,
    dir: tempfile::TempDir,
    path: PathBuf,
    store: Option<Store>,
    state: State,
    kept: Vec<Kept>,
    loading: Option<Begun>,
    /// Commits were made since the store was opened that did not wait for the disk.
    unsynced: bool,
    /// Commits since the last moment at which all were on disk.
    undurable: Vec<Undo>,
    /// Users whose deletion may have been forgotten or not.
    hazy: BTreeSet<String>,
    /// Users whose erasure has still to be completed, by the next one or the next open.
    erasing: Vec<String>,
    time_ms: u64,
    steps: usize,
    trace: VecDeque<String>,
}

/// Says what led to a failure.
impl Drop for Run<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let trace: Vec<&str> = self.trace.iter().map(String::as_str).collect();
            eprintln!("step {} of {:?}; the last ones:\n{}", self.steps, self.config, trace.join("\n"));
        }
    }
}

/// The beginning of a text. Long values are long because of one character that repeats: it is shown four times.
#[derive(Default)]
struct Shown {
    text: String,
    last: char,
    times: usize,
}

impl std::fmt::Write for Shown {
    fn write_char(&mut self, c: char) -> std::fmt::Result {
        self.times = if c == self.last { self.times + 1 } else { 1 };
        self.last = c;
        if self.times <= 4 || c.is_ascii_digit() && c != '0' {
            self.text.push(c);
        }
        if self.text.len() < 1500 { Ok(()) } else { Err(std::fmt::Error) }
    }

    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        text.chars().try_for_each(|c| self.write_char(c))
    }
}

fn quiet() -> Progress {
    Progress::default()
}

impl<'d> Run<'d> {
    /// A new store below the system's temporary directory.
    pub(crate) fn new(mut dice: Dice<'d>) -> Self {
        let config = Config::any(&mut dice);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = Store::create(&path, &config.options).unwrap();
        let time_ms = store.stats().origin.time_ms;
        Self {
            dice,
            config,
            dir,
            path,
            store: Some(store),
            state: State::default(),
            kept: Vec::new(),
            loading: None,
            unsynced: false,
            undurable: Vec::new(),
            hazy: BTreeSet::new(),
            erasing: Vec::new(),
            time_ms,
            steps: 0,
            trace: VecDeque::new(),
        }
    }

    /// Takes up to `steps` steps, as long as there are choices, and looks at everything at the end.
    pub(crate) fn go(mut self, steps: usize) {
        while self.steps < steps && !self.dice.is_over() {
            self.steps += 1;
            self.step();
        }
        self.abandon();
        while !self.kept.is_empty() {
            self.release();
        }
        self.look();
        self.reopen(true);
        self.look();
        self.store.take().unwrap().close().unwrap();
    }

    fn note(&mut self, what: impl std::fmt::Display) {
        let mut shown = Shown::default();
        // Breaks off when it is long enough.
        let _ = write!(shown, "{what}");
        self.trace.push_back(format!("  {}: {}", self.steps, shown.text));
        if self.trace.len() > 30 {
            self.trace.pop_front();
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn step(&mut self) {
        match self.dice.weighted(&[700, 40, 30, 30, 40, 20, 12, 15, 10, 10, 12, 4, 8, 8, 5, 20, 8]) {
            0 => self.commit(),
            1 => self.keep(),
            2 => self.release(),
            3 => self.look_back(),
            4 => self.look(),
            5 => self.load(),
            6 => self.begin_load(),
            7 => self.flush(),
            8 => self.compact(Compaction::Tiered),
            9 => self.compact(Compaction::Full),
            10 => self.erase(),
            11 => self.backup(),
            12 => self.reopen(true),
            13 => self.reopen(false),
            14 => self.copy(),
            15 => self.sync(),
            _ => self.finish_load(),
        }
    }

    fn durability(&mut self) -> Durability {
        let n = self.dice.below(self.config.durabilities.len());
        self.config.durabilities[n]
    }

    fn commit(&mut self) {
        let count = self.dice.pick(&[1, 1, 1, 2, 3, 5, 12]);
        let mut ops: Vec<Op> = (0..count).map(|_| self.op()).collect();
        // Large users take most of the time there is: they do not stay.
        if self.dice.one_in(4) {
            let large = self.state.users.values().filter(|u| u.identities.len() > 100);
            ops.extend(large.map(|u| Op::Delete(u.uid.clone())));
        }
        // Where a deletion may have been forgotten, only what is the same either way is asked.
        for op in &mut ops {
            if let Op::Require(uid, Precondition::UnchangedSince(since)) = op
                && self.hazy.contains(uid)
                && !self.state.seqs.contains_key(uid)
            {
                *since = self.state.floor.max(*since);
            }
        }
        let durability = self.durability();
        self.note(format_args!("commit {durability:?} {ops:?}"));
        let outcome = self.store().commit_with(batch_of(&ops), durability);
        match (self.state.apply(&ops), outcome) {
            (Ok(changes), Ok(commit)) => {
                assert_eq!(commit.changed, changes.len() as u64, "users that a batch changed");
                if !changes.is_empty() {
                    let undo = self.state.commit(changes);
                    if durability == Durability::Sync {
                        self.undurable.clear();
                    } else {
                        self.undurable.push(undo);
                        self.unsynced = true;
                    }
                }
                assert_eq!(commit.seq, self.state.seq, "seq of a commit");
                assert!(commit.time_ms >= self.time_ms, "times go on");
                self.time_ms = commit.time_ms;
            }
            (Err((number, why)), Err(Error::Refused(refusal))) => {
                let found = match refusal.reason {
                    RefuseReason::IdentityTaken { provider, provider_uid, owner } => {
                        Why::Taken { identity: Identity { provider, provider_uid }, owner }
                    }
                    RefuseReason::NoSuchUser => Why::NoSuchUser,
                    RefuseReason::UidTaken => Why::UidTaken,
                    RefuseReason::Changed { since, found } => Why::Changed { since, found },
                    _ => Why::Limit,
                };
                assert_eq!((refusal.operation, found), (number, why));
            }
            (expected, found) => panic!("expected {expected:?}, found {found:?}"),
        }
        self.glance();
    }

    /// A few cheap questions after each commit.
    fn glance(&mut self) {
        let (uid, identity) = (self.uid(), self.identity());
        let snapshot = self.store().snapshot();
        assert_eq!(snapshot.seq(), self.state.seq);
        assert_eq!(snapshot.get_user(&uid).unwrap().as_ref(), self.state.users.get(&uid), "get {uid:?}");
        let owner = self.state.owners.get(&identity).and_then(|uid| self.state.users.get(uid));
        let found = snapshot.find_user(&identity.provider, &identity.provider_uid).unwrap();
        assert_eq!(found.as_ref(), owner, "find {identity:?}");
    }

    fn keep(&mut self) {
        if self.kept.len() < 6 {
            self.note("keep");
            let snapshot = self.store().snapshot();
            self.kept.push(Kept { snapshot, state: self.state.clone() });
        }
    }

    fn compare(&mut self, kept: &Kept) {
        let uids: Vec<String> = (0..self.config.uids).map(uid_of).collect();
        check::everything(&kept.snapshot, &kept.state, &uids, &mut self.dice);
        for _ in 0..5 {
            let identity = self.identity();
            check::nobody_has(&kept.snapshot, &kept.state, &identity);
        }
    }

    fn look(&mut self) {
        self.note("look");
        let kept = Kept { snapshot: self.store().snapshot(), state: self.state.clone() };
        self.compare(&kept);
        drop(kept);
        if self.dice.one_in(6) {
            let report = self.store().verify(&quiet(), &mut |damage| panic!("{damage}")).unwrap();
            assert_eq!(report.damages, 0);
        }
    }

    fn look_back(&mut self) {
        if !self.kept.is_empty() {
            self.note("look back");
            let n = self.dice.below(self.kept.len());
            let kept = self.kept.swap_remove(n);
            self.compare(&kept);
            self.kept.push(kept);
        }
    }

    fn release(&mut self) {
        if !self.kept.is_empty() {
            self.note("release");
            let n = self.dice.below(self.kept.len());
            let kept = self.kept.swap_remove(n);
            self.compare(&kept);
        }
    }

    fn flush(&mut self) {
        self.note("flush");
        self.store().flush().unwrap();
        self.undurable.clear();
    }

    fn sync(&mut self) {
        self.note("sync");
        self.store().sync().unwrap();
        self.undurable.clear();
    }

    fn compact(&mut self, how: Compaction) {
        self.note(format_args!("compact {how:?}"));
        if self.config.forgetful {
            // What was deleted is older than this moment.
            std::thread::sleep(Duration::from_millis(2));
        }
        let report = self.store().compact(how, &quiet()).unwrap();
        let floor = self.store().stats().changes_floor;
        if how == Compaction::Full {
            self.undurable.clear();
            assert!(report.segments_after <= 1, "{report:?}");
        }
        if !self.config.forgetful {
            return;
        }
        assert!((self.state.floor..=self.state.seq).contains(&floor), "{floor}");
        let last = if how == Compaction::Full { u64::MAX } else { floor };
        let deleted = self.state.seqs.iter().filter(|(uid, seq)| **seq <= last && !self.state.users.contains_key(*uid));
        let deleted: Vec<String> = deleted.map(|(uid, _)| uid.clone()).collect();
        deleted.iter().for_each(|uid| self.state.erase(uid));
        if how == Compaction::Full {
            self.hazy.clear();
        } else {
            self.hazy.extend(deleted);
            self.state.floor = self.state.floor.max(floor);
        }
    }
}
