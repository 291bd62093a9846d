//! [`Tags`]: a byte of the hash of each entry of a slot, beside its length.
//!
//! Who looks for a key looks at these first, eight at a time, and then mostly at that one entry
//! only: at one line of memory, and not at all those that the entries of a slot take.

/// How many entries have a tag. With the mark of what a slot holds they take three words.
pub(super) const TAGGED: usize = 23;
/// Where the words of eight begin that are compared at once. The last two share a tag.
const WORDS: [usize; 3] = [0, 8, TAGGED - 8];
/// In each byte the lowest bit; the highest one.
const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// The tags of the first [`TAGGED`] entries; those behind the last entry mean nothing. More entries
/// than that are in one slot only if their hashes are the same, and so are their tags then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tags([u8; TAGGED]);

/// The tag of a hash. Multiplied, since the keys of a slot share the first bits of their hashes,
/// and hashers that do not mix well give them the same last ones.
#[inline(always)]
fn tag(hash: u64) -> u8 {
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Tags {
    /// Those of no entry.
    pub(super) const NONE: Self = Self([0; TAGGED]);

    /// Those of entries with these hashes.
    pub(super) fn of(hashes: impl Iterator<Item = u64>) -> Self {
        let mut tags = Self::NONE;
        tags.0.iter_mut().zip(hashes).for_each(|(own, hash)| *own = tag(hash));
        tags
    }

    /// With the tags of `count` more entries behind the first `len`.
    pub(super) fn and(mut self, len: usize, more: Self, count: usize) -> Self {
        let (_, room) = self.0.split_at_mut(len.min(TAGGED));
        room.iter_mut().zip(more.0).take(count).for_each(|(own, other)| *own = other);
        self
    }

    /// With one more entry at `at`.
    pub(super) fn with(mut self, at: usize, hash: u64) -> Self {
        if at < TAGGED {
            self.0.copy_within(at..TAGGED - 1, at + 1);
            self.0[at] = tag(hash);
        }
        self
    }

    /// Without the entry at `at`.
    pub(super) fn without(mut self, at: usize) -> Self {
        if at < TAGGED {
            self.0.copy_within(at + 1.., at);
        }
        self
    }

    /// An entry that `is_it` says yes to, of `len`. It is asked for those that a hash could belong
    /// to, and for some that there are not.
    #[inline(always)]
    pub(super) fn find(
        &self,
        len: usize,
        hash: u64,
        mut is_it: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let wanted = LOW * u64::from(tag(hash));
        // The highest bit of each byte that is wanted, and of some behind it that differ by one.
        let found = |first: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&self.0[first..first + 8]);
            let other = u64::from_le_bytes(word) ^ wanted;
            other.wrapping_sub(LOW) & !other & HIGH
        };
        // A bit for each word in each byte.
        let mut found = found(WORDS[0]) >> 7 | found(WORDS[1]) >> 6 | found(WORDS[2]) >> 5;
        while found != 0 {
            let bit = found.trailing_zeros() as usize;
            let at = WORDS[bit % 8] + bit / 8;
            if is_it(at) {
                return Some(at);
            }
            found &= found - 1;
        }
        if len > TAGGED { (TAGGED..len).find(|at| is_it(*at)) } else { None }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// The places that are asked for, of those that there are.
    fn asked(tags: &Tags, len: usize, hash: u64) -> Vec<usize> {
        let mut asked = Vec::new();
        let found = tags.find(len, hash, |at| {
            asked.push(at);
            false
        });
        assert_eq!(found, None);
        asked.retain(|at| *at < len);
        asked
    }

    #[test]
    fn tags_follow_their_entries() {
        let (mut tags, mut hashes) = (Tags::NONE, Vec::new());
        for n in 0_u64..4_000 {
            let hash = n.wrapping_mul(0x2545_f491_4f6c_dd1d);
            let at = hash as usize % (hashes.len() + 1);
            if hashes.len() < TAGGED && !n.is_multiple_of(3) {
                tags = tags.with(at, hash);
                hashes.insert(at, hash);
            } else if at < hashes.len() {
                tags = tags.without(at);
                hashes.remove(at);
            }
            let half = hashes.len() / 2;
            let (left, right) = hashes.split_at(half);
            let of = |some: &[u64]| Tags::of(some.iter().copied());
            for tags in [tags, of(&hashes), of(left).and(half, of(right), right.len())] {
                for (at, hash) in hashes.iter().enumerate() {
                    let all = asked(&tags, hashes.len(), *hash);
                    assert!(all.contains(&at), "{at} of {hashes:?}");
                    assert_eq!(tags.find(hashes.len(), *hash, |n| n == at), Some(at));
                }
            }
        }
    }

    #[test]
    fn few_are_asked_for_in_vain() {
        let tags = Tags::of((0..TAGGED as u64).map(|n| n << 40));
        let asked: usize = (100..1_100).map(|n| asked(&tags, TAGGED, n << 40).len()).sum();
        // One in 256, and one in as many for the tag that is compared twice.
        assert!(asked < 1_000 * (TAGGED + 1) / 128, "{asked}");
    }

    #[test]
    fn of_more_than_have_tags_all_are_asked_for() {
        let mut tags = Tags::of([7; 40].into_iter());
        for len in (0..40).rev() {
            let all = asked(&tags, len, 7);
            assert!((0..len).all(|at| all.contains(&at)), "{all:?} of {len}");
            tags = tags.without(len / 2);
        }
    }
}
