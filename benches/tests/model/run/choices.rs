//! What a history consists of: UIDs, identities, users, operations.

use headcount_block::{Identity, Status, User, limits};
use headcount_store::Precondition;

use super::Run;
use crate::model::state::Op;

/// UIDs of all kinds, none of which is part of another.
pub(super) fn uid_of(n: usize) -> String {
    match n % 14 {
        3 => format!("L{n:03}~{:x<1$}", "", limits::UID_MAX - 5),
        4 => format!("q{n:03}~\"\\,\n"),
        5 => format!("\u{e9}{n:03}~\u{1}"),
        6 => format!("u{n:03}~{:y<123}", ""),
        _ => format!("u{n:03}~"),
    }
}

impl Run<'_> {
    pub(super) fn uid(&mut self) -> String {
        uid_of(self.dice.below(self.config.uids))
    }

    /// A UID, more often than not of a user that is there.
    pub(super) fn known_uid(&mut self) -> String {
        if self.state.users.is_empty() || self.dice.one_in(4) {
            return self.uid();
        }
        let n = self.dice.below(self.state.users.len());
        self.state.users.keys().nth(n).cloned().unwrap()
    }

    pub(super) fn identity(&mut self) -> Identity {
        let n = self.dice.below(self.config.identities);
        let provider = match n % 11 {
            0 => "a,b".to_owned(),
            1 => "\"q\"".to_owned(),
            2 => "\u{fc}ber".repeat(25),
            _ => format!("p{}", n % self.config.providers),
        };
        let provider_uid = match n % 13 {
            0 => format!("\\{n}\n"),
            1 => format!("{n}{}", "z".repeat(400)),
            2 => format!("{n}{}", "\u{1f600}".repeat(1000)),
            3 => format!("{n},\"\u{7}"),
            _ => format!("{n}"),
        };
        Identity { provider, provider_uid }
    }

    /// An identity, more often than not one that nobody has.
    pub(super) fn free_identity(&mut self) -> Identity {
        let mut identity = self.identity();
        for _ in 0..4 {
            if !self.state.owners.contains_key(&identity) {
                break;
            }
            identity = self.identity();
        }
        identity
    }

    pub(super) fn status(&mut self) -> Status {
        if self.dice.one_in(3) { Status::Pending } else { Status::Registered }
    }

    pub(super) fn user(&mut self, uid: String) -> User {
        let mut user = User::new(uid).with_status(self.status());
        for _ in 0..self.dice.pick(&[0, 1, 1, 2, 3, 9]) {
            let identity = if self.dice.one_in(8) { self.identity() } else { self.free_identity() };
            // Its own are free to it.
            user.identities.push(identity);
        }
        user
    }

    pub(super) fn op(&mut self) -> Op {
        let uid = self.known_uid();
        match self.dice.weighted(&[30, 18, 10, 8, 12, 12, 8, 1]) {
            0 => {
                let uid = if self.dice.one_in(2) { self.uid() } else { uid };
                Op::Put(self.user(uid))
            }
            1 => Op::Link(uid, self.free_identity()),
            2 => {
                let own = self.state.users.get(&uid).and_then(|u| u.identities.first()).cloned();
                Op::Unlink(uid, own.unwrap_or_else(|| self.identity()))
            }
            3 => Op::Status(uid, self.status()),
            4 => Op::Rename(uid, self.uid()),
            5 => Op::Delete(uid),
            6 => Op::Require(uid, self.precondition()),
            _ => self.outside(uid),
        }
    }

    pub(super) fn precondition(&mut self) -> Precondition {
        match self.dice.below(4) {
            0 => Precondition::Exists,
            1 => Precondition::Absent,
            2 => Precondition::UnchangedSince(self.state.seq.saturating_sub(self.dice.below(30) as u64)),
            _ => Precondition::UnchangedSince((self.state.floor + self.dice.below(5) as u64).saturating_sub(2)),
        }
    }

    /// An operation at or past a limit.
    pub(super) fn outside(&mut self, uid: String) -> Op {
        if self.dice.one_in(8) {
            return self.large(uid);
        }
        match self.dice.below(7) {
            0 => Op::Put(User::new("")),
            1 => Op::Put(User::new("a\0b")),
            2 => Op::Put(User::new("w".repeat(limits::UID_MAX + 1))),
            3 => Op::Rename(uid, "w".repeat(limits::UID_MAX + 1)),
            4 => Op::Link(uid, Identity::new("p".repeat(limits::PROVIDER_MAX + 1), "1")),
            5 => Op::Link(uid, Identity::new("p", "1".repeat(limits::PROVIDER_UID_MAX + 1))),
            _ => Op::Link(uid, Identity::new("p", "")),
        }
    }

    /// A user at or past a limit.
    pub(super) fn large(&mut self, uid: String) -> Op {
        let identities = if self.dice.one_in(2) {
            let count = limits::IDENTITIES_MAX + self.dice.below(2);
            (0..count).map(|n| Identity::new("many", n.to_string())).collect()
        } else {
            let count = limits::USER_MAX / (limits::PROVIDER_UID_MAX + 7) + self.dice.below(2);
            (0..count).map(|n| Identity::new("long", format!("{n:0>0$}", limits::PROVIDER_UID_MAX))).collect()
        };
        Op::Put(User { identities, ..User::new(uid) })
    }
}
