//! Drawing by rank: one pass counts a set, and then each port is found by its rank in a few steps.

use super::bits::{PortBits, WORDS};
use crate::domain::port::Port;

/// Words counted together.
const CHUNK: usize = 16;

/// A set of ports that has been counted.
#[derive(Debug)]
pub struct Ranks<'a> {
    bits: &'a PortBits,
    /// Number of ports in each chunk.
    chunks: [u32; WORDS / CHUNK],
    len: u32,
}

impl<'a> Ranks<'a> {
    /// Counts a set.
    pub fn of(bits: &'a PortBits) -> Self {
        let mut chunks = [0; WORDS / CHUNK];
        for (chunk, words) in chunks.iter_mut().zip(bits.words().chunks_exact(CHUNK)) {
            *chunk = words.iter().map(|word| word.count_ones()).sum();
        }
        Self {
            bits,
            len: chunks.iter().sum(),
            chunks,
        }
    }

    /// Number of ports.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether the set has no port.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Port of a rank, counted from 0 upwards.
    pub fn nth(&self, rank: u32) -> Option<Port> {
        let mut left = rank;
        for (index, count) in self.chunks.iter().enumerate() {
            if left < *count {
                return self.bits.nth_from(index * CHUNK, left);
            }
            left -= count;
        }
        None
    }

    /// Draws a port, each with equal probability.
    pub fn draw(&self, rng: &mut fastrand::Rng) -> Option<Port> {
        (self.len > 0)
            .then(|| self.nth(rng.u32(0..self.len)))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn ranks_are_those_of_the_set(
            numbers in proptest::collection::btree_set(1u16..=u16::MAX, 0..300),
        ) {
            let mut bits = PortBits::default();
            for port in numbers.iter().copied().filter_map(Port::new) {
                bits.insert(port);
            }
            let ranks = Ranks::of(&bits);
            prop_assert_eq!(ranks.len() as usize, numbers.len());
            for (rank, number) in (0..).zip(&numbers) {
                prop_assert_eq!(ranks.nth(rank).map(Port::get), Some(*number));
            }
            prop_assert_eq!(ranks.nth(ranks.len()), None);
        }
    }
}
