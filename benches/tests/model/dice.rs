//! Where choices come from: a seed, or the bytes of a fuzzer.

/// A source of choices that gives the same ones again.
#[derive(Debug)]
pub(crate) enum Dice<'a> {
    /// The state of a splitmix64 generator.
    Seed(u64),
    /// Bytes, used up from the front; afterwards every choice is the first one.
    Bytes(&'a [u8]),
}

impl Dice<'_> {
    /// Whether there are choices left.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Bytes([]))
    }

    fn next(&mut self, wide: bool) -> u64 {
        match self {
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (z ^ (z >> 31)) >> 16
            }
            Self::Bytes(bytes) => {
                let mut take = || {
                    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
                    *bytes = rest;
                    u64::from(*first)
                };
                if wide { take() << 8 | take() } else { take() }
            }
        }
    }

    /// A number below `n`, which is at least 1.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next(n > 256) % n as u64).unwrap()
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of `choices`.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// The number of one of `weights`, each as likely as it is large.
    pub(crate) fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut rest = self.below(weights.iter().sum());
        weights.iter().position(|w| rest.checked_sub(*w).map(|left| rest = left).is_none()).unwrap()
    }
}
