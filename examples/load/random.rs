//! A small random number generator, so that a seed fixes every request of a run.

/// SplitMix64 (Steele, Lea and Flood 2014): one word of state, good enough to pick requests.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream number `stream` of a seed; streams of one seed do not overlap in practice.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        // Mixing the seed first keeps stream 1 of seed 0 apart from stream 0 of seed 1.
        let mixed = Random(seed).word();
        Random(Random(mixed ^ stream).word())
    }

    /// The next 64 random bits.
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `limit`, which is not 0; the bias is under one in 2^32 for the limits here.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(limit)) >> 64) as u64
    }
}
