//! When the requests were that are forgotten: with the clock there again, they cannot be told from new ones.

use crate::method::nonce::WINDOW;
use crate::method::nonce::memory::Time;

/// Ranges that are kept; of more than these, two become one.
const MOST: usize = 64;

/// Second of the latest timestamp.
const fn last(time: Time) -> u64 {
    time.until.saturating_sub(WINDOW)
}

/// What it costs to refuse the times between two ranges, by which pairs are compared.
///
/// What is past costs least: only a clock that is set back comes there again. It costs the less the longer it is ago, and not
/// what lies between them alone: where the clock is ahead now, the time that it left out is longer than all that was since,
/// and is to come again when the clock is put right. Among so many ranges there are always two with less between them
/// than was since.
///
/// A pair with the present between it goes last, however close it is: every request from now on would be refused.
fn cost(below: Time, above: Time, now: u64) -> (u8, u128) {
    let gap = u128::from(above.first.saturating_sub(last(below)));
    let soon = now.saturating_add(WINDOW);
    match now.checked_sub(above.first) {
        Some(ago) if ago >= WINDOW => (0, (gap << 32) / u128::from(ago)),
        _ if last(below) <= soon && soon < above.first => (2, gap),
        _ => (1, gap),
    }
}

/// A few ranges of time. One range would not do: a request that passed while the clock was a day ahead would take all
/// times of that day with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// In order, with a second or more between two of them.
    ranges: Vec<Time>,
}

impl Forgotten {
    /// Takes in a time; with too many of them, those become one of which that costs the least in second `now`.
    pub(crate) fn add(&mut self, time: Time, now: u64) {
        let mut all = Time { first: time.first.min(last(time)), until: time.until };
        let end = last(all).saturating_add(1);
        let from = self.ranges.partition_point(|range| last(*range).saturating_add(1) < all.first);
        let met = self.ranges.iter().skip(from).take_while(|range| range.first <= end).count();
        for range in self.ranges.drain(from..from + met) {
            all = Time { first: all.first.min(range.first), until: all.until.max(range.until) };
        }
        self.ranges.insert(from, all);
        if self.ranges.len() > MOST {
            self.join_two(now);
        }
    }

    fn join_two(&mut self, now: u64) {
        let pairs = self.ranges.iter().zip(self.ranges.iter().skip(1)).enumerate();
        let Some((at, _)) = pairs.min_by_key(|(_, (below, above))| cost(**below, **above, now)) else {
            return;
        };
        let above = self.ranges.remove(at + 1);
        if let Some(range) = self.ranges.get_mut(at) {
            range.until = above.until;
        }
    }

    /// Whether a request of `time` may be one of these.
    pub(crate) fn holds(&self, time: Time) -> bool {
        let at = self.ranges.partition_point(|range| last(*range) < time.first);
        self.ranges.get(at).is_some_and(|range| range.first <= last(time))
    }

    /// Takes in all of these.
    pub(crate) fn extend(&mut self, times: impl IntoIterator<Item = Time>, now: u64) {
        times.into_iter().for_each(|time| self.add(time, now));
    }

    /// All of them, in order.
    pub(crate) fn ranges(&self) -> &[Time] {
        &self.ranges
    }

    /// Second after which none of these can pass, 0 with nothing.
    pub(crate) fn until(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(first: u64, last: u64) -> Time {
        Time { first, until: last + WINDOW }
    }

    #[test]
    fn times_are_joined_where_they_meet() {
        let mut forgotten = Forgotten::default();
        assert!(!forgotten.holds(at(1000, 1000)));
        assert_eq!(forgotten.until(), 0);
        forgotten.extend([at(1000, 1000), at(1010, 1012), at(5000, 5000), at(990, 991)], 9000);
        assert_eq!(forgotten.ranges(), [at(990, 991), at(1000, 1000), at(1010, 1012), at(5000, 5000)]);
        forgotten.add(at(1001, 1009), 9000);
        assert_eq!(forgotten.ranges(), [at(990, 991), at(1000, 1012), at(5000, 5000)]);
        for (second, holds) in [(989, false), (990, true), (995, false), (1006, true), (1013, false), (5000, true)] {
            assert_eq!(forgotten.holds(at(second, second)), holds, "{second}");
        }
        assert!(forgotten.holds(at(999, 1000)) && !forgotten.holds(at(992, 999)));
        forgotten.add(at(0, 9000), 9000);
        assert_eq!(forgotten.ranges(), [at(0, 9000)]);
        assert_eq!(forgotten.until(), 9120);
    }

    #[test]
    fn the_oldest_become_one_when_there_are_too_many() {
        let mut forgotten = Forgotten::default();
        forgotten.add(at(10_000_000, 10_000_000), 1000);
        let seconds: Vec<u64> = (0..1000).map(|i| 1000 + i * 1000 + i * i % 7).collect();
        for second in &seconds {
            forgotten.add(at(*second, *second), *second + WINDOW + 1);
            assert!(forgotten.ranges().len() <= MOST);
        }
        for second in &seconds {
            assert!(forgotten.holds(at(*second, *second)), "{second}");
        }
        let newest = forgotten.ranges().iter().rev().skip(1).take(8).copied();
        assert!(newest.eq(seconds.iter().rev().take(8).map(|second| at(*second, *second))), "{forgotten:?}");
        assert!(forgotten.holds(at(10_000_000, 10_000_000)) && !forgotten.holds(at(1_500_000, 9_000_000)));
    }

    #[test]
    fn none_reaches_over_the_present() {
        // All of them to come, a day apart, the first in an hour.
        let (mut forgotten, now) = (Forgotten::default(), 1_000_000);
        let ahead: Vec<Time> = (0..64).map(|day| now + 3600 + day * 86_400).map(|second| at(second, second)).collect();
        forgotten.extend(ahead.iter().copied(), now);
        for second in (now..now + 3600).step_by(300) {
            let time = at(second, second);
            assert!(!forgotten.holds(time), "{second}");
            forgotten.add(time, second + WINDOW + 1);
            assert!(forgotten.holds(time) && forgotten.ranges().len() <= MOST);
        }
        assert!(ahead.iter().all(|time| forgotten.holds(*time)));
    }

    #[test]
    fn any_times_are_taken() {
        let mut forgotten = Forgotten::default();
        let odd = [(0, 0), (u64::MAX, u64::MAX), (u64::MAX, 0), (0, 1), (7, 7)];
        forgotten.extend(odd.map(|(first, until)| Time { first, until }), 7);
        for (second, now) in (0..200).zip([0, u64::MAX, 1000].into_iter().cycle()) {
            forgotten.add(at(second * 1000, second * 1000), now);
        }
        assert!(forgotten.holds(at(0, 0)));
    }
}
