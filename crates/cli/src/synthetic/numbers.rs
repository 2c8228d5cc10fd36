//! Numbers for synthetic users: a random stream for each user, and bijections that give each user its own number.

/// Added between two outputs of SplitMix64 (Steele, Lea and Flood, 2014): 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output function: a bijection of 64-bit numbers, so different inputs never meet.
pub(super) const fn scramble(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A bijection of 64-bit numbers chosen by `seed`.
pub(super) const fn scatter(seed: u64, number: u64) -> u64 {
    scramble(number ^ scramble(seed.wrapping_add(GOLDEN)))
}

/// Scatters `number` over `0..modulus`, and the round it belongs to: pairs are different for different numbers.
///
/// `modulus` must have no prime factor but 2, 3 and 5, as powers of 10 and 36 do.
pub(super) fn spread(seed: u64, number: u64, modulus: u64) -> (u64, u64) {
    /// A prime above 5, so the multiplication below is a bijection for every such modulus.
    const STEP: u128 = 6_364_136_223_846_793_007;
    let (round, place) = (number / modulus, number % modulus);
    let start = u128::from(scramble(seed ^ modulus));
    let spread = (u128::from(place) * STEP + start) % u128::from(modulus);
    // Smaller than the modulus, which is a u64.
    (u64::try_from(spread).unwrap_or_default(), round)
}

/// The random numbers of one user: SplitMix64 from a place of its own.
#[derive(Debug)]
pub(super) struct Stream(u64);

impl Stream {
    pub(super) const fn new(seed: u64, index: u64) -> Self {
        Self(scatter(seed, index))
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        scramble(self.0)
    }

    /// A number below `bound`; the bias of the multiplication is far below what synthetic data could show.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// True in `percent` of all cases.
    pub(super) fn chance(&mut self, percent: f64) -> bool {
        /// Hundredths of a percent of a percent: fine enough for any mix.
        const PARTS: u32 = 1_000_000;
        let part = u32::try_from(self.below(u64::from(PARTS))).unwrap_or_default();
        f64::from(part) < percent / 100.0 * f64::from(PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn spread_meets_every_number_once() {
        for modulus in [1000, 1296] {
            let all: HashSet<_> = (0..3 * modulus).map(|n| spread(7, n, modulus)).collect();
            assert_eq!(all.len() as u64, 3 * modulus);
            assert!(all.iter().all(|&(place, round)| place < modulus && round < 3));
        }
    }

    #[test]
    fn the_step_of_spread_is_no_multiple_of_2_3_or_5() {
        let step = 6_364_136_223_846_793_007_u64;
        assert!([2, 3, 5].iter().all(|prime| !step.is_multiple_of(*prime)));
    }

    #[test]
    fn chances_are_what_they_say() {
        let mut random = Stream::new(1, 1);
        let hits = (0..100_000).filter(|_| random.chance(0.5)).count();
        assert!((400..600).contains(&hits), "{hits}");
        assert_eq!((0..1000).filter(|_| random.chance(0.0)).count(), 0);
        assert_eq!((0..1000).filter(|_| random.chance(100.0)).count(), 1000);
    }
}
