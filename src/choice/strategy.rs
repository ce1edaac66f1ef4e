//! The order in which eligible ports are tried.

use super::bits::PortBits;
use crate::domain::pool::Strategy;
use crate::domain::port::Port;

/// Walks the eligible ports of one request in the order of its strategy.
#[derive(Debug, Clone)]
pub struct Order {
    strategy: Strategy,
    preferred: Option<Port>,
    cursor: Option<Port>,
}

impl Order {
    /// An order that starts at `preferred`, where there is one.
    pub const fn new(strategy: Strategy, preferred: Option<Port>) -> Self {
        Self {
            strategy,
            preferred,
            cursor: preferred,
        }
    }

    /// The next candidate among `eligible`, from which the caller takes those it has seen.
    ///
    /// `ordered` goes upwards from the preferred port and then starts over from the bottom;
    /// `random` tries the preferred port and then draws uniformly.
    pub fn next(&mut self, eligible: &PortBits, rng: &mut fastrand::Rng) -> Option<Port> {
        if let Some(first) = self.preferred.take()
            && eligible.contains(first)
        {
            return Some(first);
        }
        match self.strategy {
            Strategy::Ordered => {
                let from = self.cursor.or_else(|| Port::new(1))?;
                let found = eligible
                    .next_from(from)
                    .or_else(|| eligible.next_from(Port::new(1)?));
                self.cursor = found;
                found
            }
            Strategy::Random => {
                let count = eligible.len();
                (count > 0)
                    .then(|| eligible.nth(rng.u32(0..count)))
                    .flatten()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::port::PortSet;
    use proptest::prelude::{prop_assert_eq, proptest};

    fn walk(strategy: Strategy, preferred: Option<u16>, ports: &str, seed: u64) -> Vec<u16> {
        let mut left = PortBits::from(&ports.parse::<PortSet>().unwrap());
        let mut order = Order::new(strategy, preferred.and_then(Port::new));
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut walked = Vec::new();
        while let Some(port) = order.next(&left, &mut rng) {
            left.remove(port);
            walked.push(port.get());
        }
        walked
    }

    #[test]
    fn ordered_goes_up_from_the_preferred_port_and_then_around() {
        assert_eq!(
            walk(Strategy::Ordered, Some(12), "10-14", 0),
            [12, 13, 14, 10, 11]
        );
        assert_eq!(
            walk(Strategy::Ordered, None, "10-12,20", 0),
            [10, 11, 12, 20]
        );
        assert_eq!(
            walk(Strategy::Ordered, Some(15), "10-12,20", 0),
            [20, 10, 11, 12]
        );
        assert_eq!(
            walk(Strategy::Ordered, Some(65535), "65533-65535", 0),
            [65535, 65533, 65534]
        );
    }

    #[test]
    fn random_is_uniform_enough_to_start_anywhere() {
        let firsts: std::collections::BTreeSet<u16> = (0..200)
            .map(|seed| walk(Strategy::Random, None, "10-14", seed)[0])
            .collect();
        assert_eq!(firsts.len(), 5);
    }

    proptest! {
        #[test]
        fn every_order_visits_every_port_once(seed: u64, preferred in proptest::option::of(90u16..220)) {
            for strategy in [Strategy::Ordered, Strategy::Random] {
                let mut walked = walk(strategy, preferred, "100-149,200-210", seed);
                walked.sort_unstable();
                let all: Vec<u16> = (100..=149).chain(200..=210).collect();
                prop_assert_eq!(walked, all);
            }
        }
    }
}
