//! A set of ports as 65,536 bits, so that finding the next free port takes a few words, however full
//! the sets are.

use std::cell::RefCell;
use std::ops::Range;

use crate::domain::port::{Port, PortSet};

pub(super) const WORDS: usize = 1 << 10;

/// Number of words that a thread keeps for its next sets. One choice needs fewer.
const SPARE: usize = 8;

thread_local! {
    /// Words without bits. A choice makes a few sets and drops them; the allocator would look for such large
    /// pieces for longer than the choice takes.
    static SPARES: RefCell<Vec<Box<[u64]>>> = const { RefCell::new(Vec::new()) };
}

/// A set of ports with constant-time insertion and look-up, 8 KiB in size.
pub struct PortBits {
    /// Those outside the span have no bits.
    words: Box<[u64]>,
    /// Words that may have bits: the others are passed over. It never shrinks.
    span: Range<usize>,
}

impl Default for PortBits {
    fn default() -> Self {
        let spare = SPARES.try_with(|spares| spares.borrow_mut().pop());
        let words = spare.ok().flatten();
        Self {
            words: words.unwrap_or_else(|| Box::new([0; WORDS])),
            span: 0..0,
        }
    }
}

impl Clone for PortBits {
    fn clone(&self) -> Self {
        let mut clone = Self::default();
        clone.span.clone_from(&self.span);
        clone.words[self.span.clone()].copy_from_slice(self.used());
        clone
    }
}

impl Drop for PortBits {
    fn drop(&mut self) {
        // At the end of a thread its spares are gone.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                self.words[self.span.clone()].fill(0);
                spares.push(std::mem::take(&mut self.words));
            }
        });
    }
}

impl PartialEq for PortBits {
    fn eq(&self, other: &Self) -> bool {
        // Two equal sets may have come to different spans.
        self.words == other.words
    }
}

impl Eq for PortBits {}

impl std::fmt::Debug for PortBits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl From<&PortSet> for PortBits {
    fn from(set: &PortSet) -> Self {
        let mut bits = Self::default();
        for range in set.ranges() {
            bits.widen(usize::from(*range.start()) / 64..usize::from(*range.end()) / 64 + 1);
            let (first, last) = (usize::from(*range.start()), usize::from(*range.end()));
            for word in first / 64..=last / 64 {
                let low = first.max(word * 64) % 64;
                let high = last.min(word * 64 + 63) % 64;
                bits.words[word] |= (u64::MAX >> (63 - high)) & (u64::MAX << low);
            }
        }
        bits
    }
}

const fn place(port: Port) -> (usize, u64) {
    let number = port.get() as usize;
    (number / 64, 1 << (number % 64))
}

impl PortBits {
    fn widen(&mut self, by: Range<usize>) {
        self.span = if self.span.is_empty() {
            by
        } else {
            self.span.start.min(by.start)..self.span.end.max(by.end)
        };
    }

    fn used(&self) -> &[u64] {
        &self.words[self.span.clone()]
    }

    /// Words in which both sets may have bits, with the number of the first.
    fn pairs<'a>(&'a self, other: &'a Self) -> (usize, impl Iterator<Item = (u64, u64)>) {
        let span = self.shared(other);
        let (mine, theirs) = (&self.words[span.clone()], &other.words[span.clone()]);
        (span.start, mine.iter().copied().zip(theirs.iter().copied()))
    }

    fn shared(&self, other: &Self) -> Range<usize> {
        let start = self.span.start.max(other.span.start);
        start..self.span.end.min(other.span.end).max(start)
    }

    /// Adds a port. Returns whether it was new.
    pub fn insert(&mut self, port: Port) -> bool {
        let (word, bit) = place(port);
        self.widen(word..word + 1);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Removes a port. Returns whether it was there.
    pub fn remove(&mut self, port: Port) -> bool {
        let (word, bit) = place(port);
        let there = self.words[word] & bit != 0;
        self.words[word] &= !bit;
        there
    }

    /// Whether a port is in the set.
    pub fn contains(&self, port: Port) -> bool {
        let (word, bit) = place(port);
        self.words[word] & bit != 0
    }

    /// Number of ports.
    pub fn len(&self) -> u32 {
        self.used().iter().map(|word| word.count_ones()).sum()
    }

    /// Whether the set has no port.
    pub fn is_empty(&self) -> bool {
        self.used().iter().all(|word| *word == 0)
    }

    /// Removes every port of `other`. Returns the number of ports removed.
    pub fn subtract(&mut self, other: &Self) -> u32 {
        let span = self.shared(other);
        let mut gone = 0;
        for (mine, theirs) in self.words[span.clone()].iter_mut().zip(&other.words[span]) {
            gone += (*mine & theirs).count_ones();
            *mine &= !theirs;
        }
        gone
    }

    /// Adds every port of `other`.
    pub fn add(&mut self, other: &Self) {
        if other.span.is_empty() {
            return;
        }
        self.widen(other.span.clone());
        let span = other.span.clone();
        for (mine, theirs) in self.words[span.clone()].iter_mut().zip(&other.words[span]) {
            *mine |= theirs;
        }
    }

    /// Number of ports that both sets have.
    pub fn count_common(&self, other: &Self) -> u32 {
        let (_, pairs) = self.pairs(other);
        pairs
            .map(|(mine, theirs)| (mine & theirs).count_ones())
            .sum()
    }

    /// Ports that both sets have, ascending.
    pub fn common<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Port> + 'a {
        let (first, pairs) = self.pairs(other);
        pairs.enumerate().flat_map(move |(index, (mine, theirs))| {
            let mut left = mine & theirs;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.checked_sub(1)?;
                port_at(first + index, bit)
            })
        })
    }

    /// Ports from which `length` ports in a row are in the set.
    #[must_use]
    pub fn run_starts(&self, length: u16) -> Self {
        let mut starts = Self::default();
        self.each_run(|first, last| {
            // `last - first` has at most 65,534 steps, so this never wraps.
            let starts_there = (u32::from(last - first) + 1).saturating_sub(u32::from(length) - 1);
            for port in (first..=last)
                .take(starts_there as usize)
                .filter_map(Port::new)
            {
                starts.insert(port);
            }
        });
        starts
    }

    /// Length of the longest row of ports.
    pub fn longest_run(&self) -> u32 {
        let mut longest = 0;
        self.each_run(|first, last| longest = longest.max(u32::from(last - first) + 1));
        longest
    }

    fn each_run(&self, mut each: impl FnMut(u16, u16)) {
        let mut run: Option<(u16, u16)> = None;
        for number in self.iter().map(Port::get) {
            run = match run {
                Some((first, last)) if last + 1 == number => Some((first, number)),
                Some((first, last)) => {
                    each(first, last);
                    Some((number, number))
                }
                None => Some((number, number)),
            };
        }
        if let Some((first, last)) = run {
            each(first, last);
        }
    }

    /// Every port, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Port> + '_ {
        let mut next = Port::new(1);
        std::iter::from_fn(move || {
            let found = self.next_from(next?);
            next = found
                .and_then(|port| port.get().checked_add(1))
                .and_then(Port::new);
            found
        })
    }

    /// Lowest port that is at least `from`.
    pub fn next_from(&self, from: Port) -> Option<Port> {
        let (first, bit) = place(from);
        let masked = self.words[first] & !(bit - 1);
        let behind = self.span.start.max(first + 1)..self.span.end.max(first + 1);
        let rest = behind.clone().zip(&self.words[behind]);
        std::iter::once((first, &masked))
            .chain(rest)
            .find(|(_, word)| **word != 0)
            .and_then(|(index, word)| port_at(index, word.trailing_zeros()))
    }

    /// Port of a rank in the set, counted from 0 upwards. To draw several, count the set first with
    /// [`super::ranks::Ranks`].
    pub fn nth(&self, rank: u32) -> Option<Port> {
        self.nth_from(self.span.start, rank)
    }

    pub(super) const fn words(&self) -> &[u64] {
        &self.words
    }

    /// Port of a rank among those from a word on.
    pub(super) fn nth_from(&self, word: usize, rank: u32) -> Option<Port> {
        let mut left = rank;
        for index in word..self.span.end {
            let mut rest = self.words[index];
            if left < rest.count_ones() {
                for _ in 0..left {
                    rest &= rest - 1;
                }
                return port_at(index, rest.trailing_zeros());
            }
            left -= rest.count_ones();
        }
        None
    }
}

fn port_at(word: usize, bit: u32) -> Option<Port> {
    u32::try_from(word)
        .ok()
        .and_then(|word| u16::try_from(word * 64 + bit).ok())
        .and_then(Port::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    #[test]
    fn memory_of_a_dropped_set_is_used_again_without_its_ports() {
        let mut first = PortBits::default();
        for number in [1, 24_117, 65_535] {
            first.insert(Port::new(number).unwrap());
        }
        let memory = first.words.as_ptr();
        drop(first);
        let next = PortBits::default();
        assert_eq!(next.words.as_ptr(), memory);
        assert!(next.words.iter().all(|word| *word == 0));
    }

    #[test]
    fn clone_has_the_same_ports() {
        let set = PortBits::from(&"80,20000-24999,65535".parse().unwrap());
        // Memory that had other ports before.
        drop(PortBits::from(&"1-65535".parse().unwrap()));
        let clone = set.clone();
        assert!(clone == set && clone.len() == 5002);
    }

    #[test]
    fn both_ends_of_the_number_space() {
        let all = PortBits::from(&"1-65535".parse().unwrap());
        assert_eq!(all.len(), 65535);
        assert_eq!(all.next_from(port(65535)), Some(port(65535)));
        assert_eq!(all.nth(0), Some(port(1)));
        assert_eq!(all.nth(65534), Some(port(65535)));
        assert_eq!(all.nth(65535), None);
        let mut none = all.clone();
        assert_eq!(none.subtract(&all), 65535);
        assert!(none.is_empty() && none.next_from(port(1)).is_none());
    }

    #[test]
    fn runs_are_found_at_both_ends() {
        let bits = PortBits::from(&"1-4,10,65530-65535".parse().unwrap());
        let starts = |length| {
            bits.run_starts(length)
                .iter()
                .map(Port::get)
                .collect::<Vec<_>>()
        };
        assert_eq!(starts(4), [1, 65530, 65531, 65532]);
        assert_eq!(starts(6), [65530]);
        assert!(starts(7).is_empty());
        assert_eq!(starts(1).len(), 11);
        assert_eq!(
            (bits.longest_run(), PortBits::default().longest_run()),
            (6, 0)
        );
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_set(
            numbers in proptest::collection::btree_set(1u16..=u16::MAX, 0..200),
            mut taken in proptest::collection::btree_set(1u16..=u16::MAX, 0..200),
            from in 1u16..=u16::MAX,
        ) {
            let mut bits = PortBits::default();
            for number in &numbers {
                prop_assert!(bits.insert(port(*number)));
            }
            // Two random sets would hardly ever share a port.
            taken.extend(numbers.iter().step_by(3));
            let mut others = PortBits::default();
            for number in &taken {
                others.insert(port(*number));
            }
            prop_assert_eq!(bits.len() as usize, numbers.len());
            let next = numbers.range(from..).next().map(|number| port(*number));
            prop_assert_eq!(bits.next_from(port(from)), next);
            for (rank, number) in (0u32..).zip(&numbers) {
                prop_assert_eq!(bits.nth(rank), Some(port(*number)));
            }
            let common: Vec<u16> = bits.common(&others).map(Port::get).collect();
            prop_assert_eq!(common, numbers.intersection(&taken).copied().collect::<Vec<u16>>());
            bits.subtract(&others);
            let left: BTreeSet<u16> = bits.iter().map(Port::get).collect();
            prop_assert_eq!(left, numbers.difference(&taken).copied().collect::<BTreeSet<u16>>());
            prop_assert_eq!(bits.len() as usize, numbers.difference(&taken).count());
            bits.add(&others);
            let all: BTreeSet<u16> = bits.iter().map(Port::get).collect();
            prop_assert_eq!(all, numbers.union(&taken).copied().collect::<BTreeSet<u16>>());
            // Equal sets that came to different spans.
            let mut narrow = others.clone();
            others.insert(port(1));
            others.insert(port(u16::MAX));
            narrow.add(&others);
            prop_assert!(narrow == others);
        }

        #[test]
        fn ranges_become_the_same_ports(first in 1u16..=u16::MAX, length in 0u16..300) {
            let last = first.saturating_add(length);
            let set = PortSet::range(port(first), port(last));
            let bits = PortBits::from(&set);
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), set.iter().collect::<Vec<_>>());
        }
    }
}
