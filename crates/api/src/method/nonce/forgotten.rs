//! When the requests were that are forgotten: with the clock there again, they cannot be told from new ones.

use crate::method::nonce::WINDOW;
use crate::method::nonce::memory::Time;

/// Ranges that are kept; of more than these, the two with the least between them become one.
const MOST: usize = 64;

/// Second of the latest timestamp.
const fn last(time: Time) -> u64 {
    time.until.saturating_sub(WINDOW)
}

/// A few ranges of time. One range would not do: a request that passed while the clock was a day ahead would take all
/// times of that day with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// In order, with a second or more between two of them.
    ranges: Vec<Time>,
}

impl Forgotten {
    pub(crate) fn add(&mut self, time: Time) {
        let mut all = Time { first: time.first.min(last(time)), until: time.until };
        let end = last(all).saturating_add(1);
        let from = self.ranges.partition_point(|range| last(*range).saturating_add(1) < all.first);
        let met = self.ranges.iter().skip(from).take_while(|range| range.first <= end).count();
        for range in self.ranges.drain(from..from + met) {
            all = Time { first: all.first.min(range.first), until: all.until.max(range.until) };
        }
        self.ranges.insert(from, all);
        if self.ranges.len() > MOST {
            self.join_closest();
        }
    }

    fn join_closest(&mut self) {
        let pairs = self.ranges.iter().zip(self.ranges.iter().skip(1)).enumerate();
        let Some((at, _)) = pairs.min_by_key(|(_, (below, above))| above.first.saturating_sub(last(**below))) else {
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

    /// All of them, in order.
    pub(crate) fn ranges(&self) -> &[Time] {
        &self.ranges
    }

    /// Second after which none of these can pass, 0 with nothing.
    pub(crate) fn until(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.until)
    }
}

impl Extend<Time> for Forgotten {
    fn extend<I: IntoIterator<Item = Time>>(&mut self, times: I) {
        times.into_iter().for_each(|time| self.add(time));
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
        forgotten.extend([at(1000, 1000), at(1010, 1012), at(5000, 5000), at(990, 991)]);
        assert_eq!(forgotten.ranges(), [at(990, 991), at(1000, 1000), at(1010, 1012), at(5000, 5000)]);
        forgotten.add(at(1001, 1009));
        assert_eq!(forgotten.ranges(), [at(990, 991), at(1000, 1012), at(5000, 5000)]);
        for (second, holds) in [(989, false), (990, true), (995, false), (1006, true), (1013, false), (5000, true)] {
            assert_eq!(forgotten.holds(at(second, second)), holds, "{second}");
        }
        assert!(forgotten.holds(at(999, 1000)) && !forgotten.holds(at(992, 999)));
        forgotten.add(at(0, 9000));
        assert_eq!(forgotten.ranges(), [at(0, 9000)]);
        assert_eq!(forgotten.until(), 9120);
    }

    #[test]
    fn the_closest_become_one_when_there_are_too_many() {
        let mut forgotten = Forgotten::default();
        forgotten.add(at(1_000_000, 1_000_000));
        let seconds: Vec<u64> = (0..1000).map(|i| i * 100 + i * i % 7).collect();
        for second in &seconds {
            forgotten.add(at(*second, *second));
            assert!(forgotten.ranges().len() <= MOST);
        }
        for second in seconds {
            assert!(forgotten.holds(at(second, second)), "{second}");
        }
        assert!(forgotten.holds(at(1_000_000, 1_000_000)) && !forgotten.holds(at(500_000, 500_000)));
    }

    #[test]
    fn any_times_are_taken() {
        let mut forgotten = Forgotten::default();
        let odd = [(0, 0), (u64::MAX, u64::MAX), (u64::MAX, 0), (0, 1), (7, 7)];
        forgotten.extend(odd.map(|(first, until)| Time { first, until }));
        assert!(forgotten.holds(at(0, 0)));
    }
}
