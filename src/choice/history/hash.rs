//! A fast hash for port numbers. There are too few of them for an attack by collisions, and one
//! multiplication spreads them.

use std::hash::{BuildHasherDefault, Hasher};

/// Hasher of maps by port or block.
pub(super) type ByNumber = BuildHasherDefault<Fibonacci>;

/// Fibonacci hashing: 2^64 divided by the golden ratio.
#[derive(Debug, Default)]
pub(super) struct Fibonacci(u64);

impl Hasher for Fibonacci {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u16(u16::from(*byte));
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
