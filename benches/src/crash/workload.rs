//! The workload: which step comes next, and what the users are after it. The same for the same seed and thread.

use std::collections::BTreeMap;

use headcount_block::{Identity, Status, User};
use headcount_store::{Batch, Compaction, Precondition};

/// Steps after which the kinds repeat.
const PERIOD: u64 = 16;
/// Bytes of a providerUID that makes a batch too long for one value of the log.
const LONG: usize = 2_500;
const PROVIDERS: [&str; 5] = ["facebook", "googleplus", "site", "saml-corp", "line"];

/// One thing that is acknowledged, or not.
#[derive(Debug, Clone)]
pub enum Step {
    /// Operations that are made together. Always changes at least one user, and is never refused.
    Commit(Batch),
    /// Users that are loaded together.
    Load(Vec<User>),
    /// A compaction.
    Compact(Compaction),
    /// UIDs that are erased.
    Erase(Vec<String>),
}

impl Step {
    /// A word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Commit(_) => "commit",
            Self::Load(_) => "load",
            Self::Compact(Compaction::Tiered) => "compact",
            Self::Compact(Compaction::Full) => "compact-full",
            Self::Erase(_) => "erase",
        }
    }
}

/// One thread's steps, and its users after those that were taken so far. Threads have UIDs and identities of their own.
#[derive(Debug, Clone)]
pub struct Workload {
    thread: u64,
    random: u64,
    largest: usize,
    taken: u64,
    next_user: u64,
    next_identity: u64,
    users: BTreeMap<String, User>,
    /// Identities that nobody has any more.
    freed: Vec<Identity>,
    /// UIDs with the number of the step that erased them.
    erased: Vec<(u64, String)>,
}

/// Whether a UID is of a thread.
fn prefix(thread: u64) -> String {
    format!("t{thread}-")
}

impl Workload {
    /// The workload of a thread before its first step. `largest`: most operations of a batch, at least 1.
    #[must_use]
    pub fn new(seed: u64, thread: u64, largest: usize) -> Self {
        Self {
            thread,
            random: seed ^ (thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            largest: largest.max(1),
            taken: 0,
            next_user: 0,
            next_identity: 0,
            users: BTreeMap::new(),
            freed: Vec::new(),
            erased: Vec::new(),
        }
    }

    /// Steps taken so far.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// The users after the steps taken so far.
    #[must_use]
    pub const fn users(&self) -> &BTreeMap<String, User> {
        &self.users
    }

    /// UIDs that were erased, with the number of the step.
    #[must_use]
    pub fn erased(&self) -> &[(u64, String)] {
        &self.erased
    }

    /// Whether a user belongs to this workload's thread.
    #[must_use]
    pub fn owns(&self, uid: &str) -> bool {
        uid.starts_with(&prefix(self.thread))
    }

    /// Takes steps until `taken` of them are.
    pub fn skip_to(&mut self, taken: u64) {
        while self.taken < taken {
            let _ = self.step();
        }
    }

    /// Takes the next step: [`users`](Self::users) are then as it leaves them.
    pub fn step(&mut self) -> Step {
        let step = match (self.thread, self.taken % PERIOD) {
            (0, 5) => self.load(),
            (0, 9) => Step::Compact(Compaction::Tiered),
            (0, 12) => self.erase(),
            (0, 15) => Step::Compact(Compaction::Full),
            (0, 3) => self.long(),
            (1.., n) if n % 4 == 3 => self.long(),
            _ => self.commit(),
        };
        self.taken += 1;
        step
    }

    fn below(&mut self, bound: usize) -> usize {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % (bound.max(1) as u64)).unwrap_or_default()
    }

    fn fresh_uid(&mut self) -> String {
        self.next_user += 1;
        let place = self.below(1 << 16);
        format!("{}{place:04x}-{:07}", prefix(self.thread), self.next_user)
    }

    fn fresh_identity(&mut self) -> Identity {
        self.next_identity += 1;
        let provider = PROVIDERS.get(self.below(PROVIDERS.len())).copied().unwrap_or("site");
        Identity::new(provider, format!("{}{}", prefix(self.thread), self.next_identity))
    }

    /// Now and then one that somebody else had.
    fn some_identity(&mut self) -> Identity {
        if self.below(3) == 0
            && let Some(identity) = self.freed.pop()
        {
            return identity;
        }
        self.fresh_identity()
    }

    fn some_uid(&mut self) -> Option<String> {
        let from = format!("{}{:04x}", prefix(self.thread), self.below(1 << 16));
        let found = self.users.range(from..).next().or_else(|| self.users.first_key_value());
        found.map(|(uid, _)| uid.clone())
    }

    /// A user that nothing was like before: writing it changes something.
    fn fresh_user(&mut self, uid: String) -> User {
        let mut user = User::new(uid);
        if self.below(5) == 0 {
            user.status = Status::Pending;
        }
        user.identities.push(self.fresh_identity());
        for _ in 0..self.below(3) {
            user.identities.push(self.some_identity());
        }
        user
    }

    fn set(&mut self, user: User) {
        if let Some(gone) = self.users.insert(user.uid.clone(), user.clone()) {
            self.freed.extend(gone.identities.into_iter().filter(|i| !user.identities.contains(i)));
        }
    }

    fn commit(&mut self) -> Step {
        let mut batch = Batch::new();
        // The first one is never undone by those behind it, but it may be changed.
        let uid = if self.below(2) == 0 { self.some_uid() } else { None };
        let uid = uid.unwrap_or_else(|| self.fresh_uid());
        let user = self.fresh_user(uid.clone());
        batch.put(user.clone());
        self.set(user);
        for _ in 0..self.below(self.largest) {
            self.operation(&mut batch, &uid);
        }
        Step::Commit(batch)
    }

    fn operation(&mut self, batch: &mut Batch, keep: &str) {
        let Some(uid) = self.some_uid().filter(|uid| uid != keep) else { return };
        match self.below(7) {
            0 => {
                let identity = self.some_identity();
                batch.link(uid.clone(), identity.clone());
                self.users.entry(uid).and_modify(|u| u.identities.push(identity));
            }
            1 => {
                let last = self.users.get_mut(&uid).and_then(|u| u.identities.pop());
                if let Some(identity) = last {
                    batch.unlink(uid, identity.clone());
                    self.freed.push(identity);
                }
            }
            2 => {
                let status = if self.below(2) == 0 { Status::Pending } else { Status::Registered };
                batch.set_status(uid.clone(), status);
                self.users.entry(uid).and_modify(|u| u.status = status);
            }
            3 => {
                let new = self.fresh_uid();
                batch.rename(uid.clone(), new.clone());
                if let Some(mut user) = self.users.remove(&uid) {
                    user.uid.clone_from(&new);
                    self.users.insert(new, user);
                }
            }
            4 => {
                batch.require(uid.clone(), Precondition::Exists).delete(uid.clone());
                if let Some(user) = self.users.remove(&uid) {
                    self.freed.extend(user.identities);
                }
            }
            _ => {
                let uid = self.fresh_uid();
                let user = self.fresh_user(uid);
                batch.put(user.clone());
                self.set(user);
            }
        }
    }

    /// A batch that takes several values of the log.
    fn long(&mut self) -> Step {
        let uid = self.fresh_uid();
        let mut user = self.fresh_user(uid);
        for _ in 0..30 {
            let mut identity = self.fresh_identity();
            identity.provider_uid.extend(std::iter::repeat_n('l', LONG));
            user.identities.push(identity);
        }
        let mut batch = Batch::new();
        batch.put(user.clone());
        self.set(user);
        Step::Commit(batch)
    }

    fn load(&mut self) -> Step {
        let mut users: BTreeMap<String, User> = BTreeMap::new();
        for _ in 0..self.largest + 4 {
            let known = if self.below(3) == 0 { self.some_uid() } else { None };
            let uid = known.unwrap_or_else(|| self.fresh_uid());
            // Identities of a load's own: one that was freed may be another user's of the same load.
            let mut user = User::new(uid.clone());
            user.identities.push(self.fresh_identity());
            users.insert(uid, user);
        }
        for user in users.values() {
            self.set(user.clone());
        }
        Step::Load(users.into_values().collect())
    }

    fn erase(&mut self) -> Step {
        let mut uids = Vec::new();
        for _ in 0..2 {
            if let Some(user) = self.some_uid().and_then(|uid| self.users.remove(&uid)) {
                self.freed.extend(user.identities);
                self.erased.push((self.taken, user.uid.clone()));
                uids.push(user.uid);
            }
        }
        Step::Erase(uids)
    }
}
