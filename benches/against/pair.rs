//! Two of a kind: of the earlier build and of today's.

use anyhow::Result;

/// A value of each build.
pub struct Pair<T> {
    /// Of the earlier build.
    pub old: T,
    /// Of today's build.
    pub new: T,
}

impl<T> Pair<T> {
    /// A value of each.
    pub fn map<U>(&self, mut each: impl FnMut(&T) -> U) -> Pair<U> {
        Pair {
            old: each(&self.old),
            new: each(&self.new),
        }
    }

    /// A value of each, or the first error.
    pub fn try_map<U>(&self, mut each: impl FnMut(&T) -> Result<U>) -> Result<Pair<U>> {
        Ok(Pair {
            old: each(&self.old)?,
            new: each(&self.new)?,
        })
    }

    /// Values of this pair and of another one, side by side.
    pub fn zip<U>(self, other: Pair<U>) -> Pair<(T, U)> {
        Pair {
            old: (self.old, other.old),
            new: (self.new, other.new),
        }
    }

    /// Both, in an order that changes with each round.
    pub fn turns(&mut self, round: usize) -> [&mut T; 2] {
        let mut turns = [&mut self.old, &mut self.new];
        turns.rotate_left(round % 2);
        turns
    }
}
