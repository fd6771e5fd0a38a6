//! Randomness from a seed (splitmix64): the same seed makes the same traffic and the same faults.
//!
//! Of our own, so that no release of a library changes what a seed that is written down means.

/// A stream of numbers.
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A stream of its own for the `n`-th thing of a kind, whatever the others draw.
    pub(crate) fn from_parts(seed: u64, kind: &str, n: u64) -> Random {
        let mut random = Random(seed);
        for byte in kind.bytes() {
            random.0 ^= u64::from(byte);
            random.next();
        }
        random.0 ^= n;
        Random(random.next())
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        // The constants are splitmix64's own (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is above 0. Hardly uneven: `n` is small here.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).expect("64 bits are enough");
        usize::try_from(self.next() % n).expect("it is below a usize")
    }

    /// True in `percent` of all cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub(crate) fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    /// Puts them into another order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

#[test]
fn seed_gives_a_fixed_sequence() {
    // The first numbers of the reference implementation for the seed 1234567.
    let mut random = Random::new(1_234_567);
    assert_eq!(random.next(), 6_457_827_717_110_365_317);
    assert_eq!(random.next(), 3_203_168_211_198_807_973);
}
