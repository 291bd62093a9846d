//! Chance: xorshift from a seed, so that all backends do the same work.

/// A stream of numbers that look random.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of one thread.
    pub(crate) fn of_thread(thread: usize) -> Self {
        Self::seeded(thread as u64 + 1)
    }

    /// The stream of a seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        // Not zero, which xorshift would never leave.
        let mut stream = Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..8 {
            stream.next();
        }
        stream
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below another one.
    #[inline]
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The upper half, multiplied: quicker than a division, and even enough.
        (((self.next() >> 32) * end as u64) >> 32) as usize
    }
}
