//! The work: users with one or two identities, the same for every engine.

use headcount_benches::{Mix, Synth};
use headcount_block::User;

const MIX: Mix = Mix { pending: 2, bare: 0, awkward: 0 };

/// User number `n`: its UID, and thereby its place in every tree, is scattered.
pub(crate) fn user(n: u64) -> User {
    let mut user = Synth::new(1, MIX).user(n);
    user.identities.truncate(2);
    user
}

/// `count` batches of `size` users each, from number `next` on, which moves behind them.
pub(crate) fn batches(next: &mut u64, count: usize, size: usize) -> Vec<Vec<User>> {
    let mut one = || {
        *next += 1;
        user(*next - 1)
    };
    (0..count).map(|_| (0..size).map(|_| one()).collect()).collect()
}

/// Scatters numbers: one to one, and without an order.
pub(crate) const fn scattered(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The numbers below `count`, in another order for every round: none always comes after the same one, and pays for what
/// that left behind.
pub(crate) fn turns(count: usize, round: usize) -> Vec<usize> {
    let mut turns: Vec<usize> = (0..count).collect();
    turns.sort_by_key(|number| scattered((round * count + number) as u64));
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_and_nobody_the_same_one() {
        let rounds: Vec<Vec<usize>> = (0..100).map(|round| turns(6, round)).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
        }
        for place in 0..6 {
            let here = rounds.iter().filter(|round| round[place] == 0).count();
            assert!((5..=30).contains(&here), "number 0 at place {place}: {here} of 100 times");
        }
    }

    #[test]
    fn users_have_one_or_two_identities_and_batches_share_none() {
        let mut next = 7;
        let users: Vec<User> = batches(&mut next, 20, 50).concat();
        assert_eq!((next, users.len()), (1007, 1000));
        assert!(users.iter().all(|user| (1..=2).contains(&user.identities.len())));
        let uids: std::collections::HashSet<&str> = users.iter().map(|user| user.uid.as_str()).collect();
        assert_eq!(uids.len(), users.len());
    }
}
