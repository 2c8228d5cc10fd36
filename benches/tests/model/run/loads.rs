//! Bulk loads: at once, and with other steps beside them.

use std::sync::Arc;

use headcount_block::{Identity, RowBuf, User};
use headcount_store::{
    BulkLoad, Error, Existing, LoadOptions, LoadReport, OnConflict, OnDuplicate, Place, RejectReason, RowKind, Shard,
};

use super::{Run, quiet};
use crate::model::state::{Load, LoadRefused, Loaded, State, distinct};

/// A load that has begun.
pub(super) struct Begun {
    load: BulkLoad,
    shards: Vec<Shard>,
    plan: Load,
    pub(super) base: State,
}

impl Run<'_> {
    pub(super) fn plan(&mut self) -> Load {
        let mut users: Vec<User> = Vec::new();
        for _ in 0..self.dice.pick(&[1, 3, 10, 40]) {
            let uid = self.uid();
            if self.dice.one_in(12) || users.iter().all(|u| u.uid != uid) {
                let same = self.state.users.get(&uid).cloned().filter(|_| self.dice.one_in(4));
                let user = same.unwrap_or_else(|| self.user(uid));
                users.push(distinct(user));
            }
        }
        // Mostly without identities that records take from each other: such a load is refused.
        if !self.dice.one_in(4) {
            let mut seen = std::collections::HashSet::new();
            for user in &mut users {
                let free = |i: &Identity| self.state.owners.get(i).is_none_or(|owner| *owner == user.uid);
                user.identities.retain(|i| seen.insert(i.clone()) && free(i));
            }
        }
        Load {
            users,
            existing: self.dice.pick(&[Existing::Replace, Existing::Replace, Existing::Merge, Existing::Error]),
            on_duplicate: self.dice.pick(&[OnDuplicate::Merge, OnDuplicate::Last, OnDuplicate::Error]),
            on_conflict: self.dice.pick(&[OnConflict::Error, OnConflict::Ignore]),
        }
    }

    pub(super) fn begin(&mut self, plan: Load, skip_rejected: bool) -> Begun {
        let threads = 1 + self.dice.below(2);
        let options = LoadOptions {
            memory: 1 << 20,
            threads,
            on_duplicate: plan.on_duplicate,
            on_conflict: plan.on_conflict,
            existing: plan.existing,
            skip_rejected,
            dry_run: false,
        };
        let load = self.store().bulk_load(options, &Arc::new(quiet())).unwrap();
        let mut shards: Vec<Shard> = (0..threads).map(|_| load.shard()).collect();
        let mut row = RowBuf::new();
        for (i, user) in plan.users.iter().enumerate() {
            let at = Place { file: 0, line: i as u64 + 1, offset: i as u64 };
            shards[i % threads].push(row.encode(user).unwrap(), at, RowKind::User).unwrap();
        }
        Begun { load, shards, plan, base: self.state.clone() }
    }

    pub(super) fn load(&mut self) {
        self.abandon();
        let plan = self.plan();
        let skip = self.dice.one_in(3);
        self.note(format_args!("load {plan:?} skip_rejected {skip}"));
        let Begun { load, shards, mut plan, .. } = self.begin(plan, skip);
        let mut rejected = Vec::new();
        let outcome = load.finish(shards, &mut |rejection| {
            rejected.push((rejection.user.uid.clone(), rejection.at.line, rejection.reason.clone()));
            Ok(())
        });
        let expected = self.state.load(&plan);
        if skip {
            assert_eq!(rejected.is_empty(), expected.is_ok(), "{rejected:?} {expected:?}");
            let all = plan.users.clone();
            let mut line = 0;
            plan.users.retain(|user| {
                line += 1;
                // The user that several became is at the place of the first.
                let is_first = |at: u64| all.iter().position(|u| u.uid == user.uid).map(|n| n as u64 + 1) == Some(at);
                rejected.iter().all(|(uid, at, reason)| {
                    let alone = match reason {
                        RejectReason::DuplicateUid { .. } => true,
                        RejectReason::Limit(_) => plan.on_duplicate == OnDuplicate::Merge && !is_first(*at),
                        _ => false,
                    };
                    *uid != user.uid || (alone && *at != line)
                })
            });
            let report = outcome.unwrap();
            assert_eq!(report.rejected, rejected.len() as u64);
            let expected = self.state.load(&plan).expect("what is left after the rejections can be loaded");
            self.loaded(&report, expected);
            return;
        }
        match (expected, outcome) {
            (Ok(expected), Ok(report)) => {
                assert_eq!(report.identities_ignored, expected.ignored);
                self.loaded(&report, expected);
            }
            (Err(why), Err(Error::Rejected(rejection))) => {
                let uid = rejection.user.uid;
                let found = match rejection.reason {
                    RejectReason::DuplicateUid { .. } => LoadRefused::Duplicate(uid),
                    RejectReason::AlreadyExists => LoadRefused::Exists(uid),
                    RejectReason::Limit(_) => LoadRefused::TooLarge(uid),
                    RejectReason::IdentityTaken { provider, provider_uid, owner, .. } => {
                        LoadRefused::Taken { uid, identity: Identity { provider, provider_uid }, owner }
                    }
                    other => panic!("{other:?}"),
                };
                assert_eq!(found, why, "why the load is refused");
            }
            (expected, found) => panic!("expected {expected:?}, found {found:?}"),
        }
    }

    pub(super) fn loaded(&mut self, report: &LoadReport, expected: Loaded) {
        assert_eq!(report.users, expected.written.len() as u64, "users written by a load");
        assert_eq!((report.replaced, report.unchanged), (expected.replaced, expected.unchanged), "{report:?}");
        if !expected.written.is_empty() {
            self.state.commit(expected.written);
            self.undurable.clear();
        }
        assert_eq!(report.seq, self.state.seq, "seq of a load");
    }

    /// Begins a load that other steps run beside.
    pub(super) fn begin_load(&mut self) {
        if self.loading.is_none() {
            let plan = Load { on_conflict: OnConflict::Error, on_duplicate: OnDuplicate::Last, ..self.plan() };
            let plan = Load { existing: self.dice.pick(&[Existing::Replace, Existing::Merge]), ..plan };
            self.note(format_args!("begin load {plan:?}"));
            let begun = self.begin(plan, false);
            assert!(matches!(self.store().bulk_load(LoadOptions::default(), &Arc::new(quiet())), Err(Error::Busy)));
            self.loading = Some(begun);
        }
    }

    pub(super) fn abandon(&mut self) {
        if let Some(begun) = self.loading.take() {
            self.note("abandon load");
            drop(begun);
        }
    }

    /// Ends it: the outcome is that of a load at this moment, but for a conflict that was there when it began.
    pub(super) fn finish_load(&mut self) {
        let Some(Begun { load, shards, plan, base }) = self.loading.take() else { return };
        self.note(format_args!("finish load begun at {}", base.seq));
        let outcome = load.finish(shards, &mut |_| Ok(()));
        match (base.load(&plan), self.state.load(&plan)) {
            (Ok(_), Ok(mut now)) => {
                let report = outcome.unwrap();
                // What commits since made of a user may be just what is loaded: written again or not, both are right.
                let sources = plan.users.iter().filter(|u| self.state.seqs.get(&u.uid) > base.seqs.get(&u.uid));
                let again = sources.filter(|u| !now.written.contains_key(&u.uid)).map(|u| u.uid.clone());
                let again: Vec<String> = again.collect();
                let snapshot = self.store().snapshot();
                for uid in again {
                    let seq = snapshot.get(&uid).unwrap().unwrap().seq().unwrap();
                    if seq == self.state.seq + 1 {
                        now.written.insert(uid.clone(), self.state.users.get(&uid).cloned());
                        now.replaced += 1;
                        now.unchanged -= 1;
                    }
                }
                now.written.retain(|_, user| user.is_some());
                if report.replaced + report.unchanged != now.replaced + now.unchanged {
                    // Counted against what the load began with.
                    (now.replaced, now.unchanged) = (report.replaced, report.unchanged);
                }
                self.loaded(&LoadReport { replaced: now.replaced, unchanged: now.unchanged, ..report }, now);
            }
            (_, _) => assert!(matches!(outcome, Err(Error::Rejected(_))), "{outcome:?}"),
        }
    }
}
