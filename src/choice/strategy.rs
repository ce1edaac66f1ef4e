//! The order in which eligible ports are tried.

use super::bits::PortBits;
use super::ranks::Ranks;
use super::weigh::Weigher;
use crate::domain::candidate::Candidate;
use crate::domain::pool::Strategy;
use crate::domain::port::Port;

/// Number of candidates that `learned` weighs against each other. One more costs a fraction of a
/// microsecond; beyond a dozen the best of them hardly gets better.
const CANDIDATES: usize = 12;

/// Number of random numbers tried for one candidate before the eligible ports are counted.
const THROWS: u32 = 40;

/// Number of draws with a refused winner after which `learned` walks the rest one by one: history does
/// not fit this host just now.
const DRAWS: u32 = 64;

/// Cost above which a name's own last port is not tried first: it would be refused more often than
/// not.
pub const TOO_DEAR: f64 = 0.5;

/// The next port to try.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// Port number.
    pub port: Port,
    /// Weighed candidates, cheapest first: the port itself, and those that lost against it.
    pub weighed: Vec<Candidate>,
}

/// Walk over the eligible ports of one request, in the order of its strategy.
#[derive(Debug, Clone)]
pub struct Order {
    strategy: Strategy,
    preferred: Option<Port>,
    cursor: Option<Port>,
    draws: u32,
}

impl Order {
    /// Order that starts at `preferred` if it is given.
    pub const fn new(strategy: Strategy, preferred: Option<Port>) -> Self {
        Self {
            strategy,
            preferred,
            cursor: preferred,
            draws: 0,
        }
    }

    /// The next candidate among `eligible`, from which the caller takes those it has seen.
    ///
    /// The preferred port comes first. `ordered` goes upwards from it and then starts over from the
    /// bottom; `random` draws uniformly; `learned` draws a handful and takes the cheapest.
    pub fn next(
        &mut self,
        eligible: &PortBits,
        weigher: &Weigher<'_>,
        rng: &mut fastrand::Rng,
    ) -> Option<Next> {
        let preferred = self.preferred.take();
        if let Some(first) = preferred.filter(|first| eligible.contains(*first)) {
            return Some(only(first, weigher));
        }
        let port = match self.strategy {
            Strategy::Learned if self.draws < DRAWS => {
                self.draws += 1;
                return cheapest(eligible, weigher, rng);
            }
            Strategy::Ordered | Strategy::Learned => {
                let from = self.cursor.or_else(|| Port::new(1))?;
                let found = eligible
                    .next_from(from)
                    .or_else(|| eligible.next_from(Port::new(1)?));
                self.cursor = found;
                found
            }
            Strategy::Random => Ranks::of(eligible).draw(rng),
        };
        port.map(|port| only(port, weigher))
    }
}

fn only(port: Port, weigher: &Weigher<'_>) -> Next {
    Next {
        port,
        weighed: vec![weigher.weigh(port)],
    }
}

/// Chooses the cheapest of a handful. Ports that the latest snapshot saw busy are drawn only if no other
/// is left: they would lose anyway, and among a thousand of them the one free port must be drawn.
fn cheapest(eligible: &PortBits, weigher: &Weigher<'_>, rng: &mut fastrand::Rng) -> Option<Next> {
    let mut drawn: Vec<Candidate> = Vec::with_capacity(CANDIDATES);
    for _ in 0..CANDIDATES {
        let Some(port) = throw(eligible, weigher, rng) else {
            draw_by_rank(&mut drawn, eligible, weigher, rng);
            break;
        };
        add(&mut drawn, port, weigher);
    }
    drawn.sort_by(|one, other| one.cost.total_cmp(&other.cost));
    let port = drawn.first()?.port;
    Some(Next {
        port,
        weighed: drawn,
    })
}

/// Draws random numbers until one is an eligible port that was not seen busy. That takes nanoseconds if
/// there are many, and gives up if there are few.
fn throw(eligible: &PortBits, weigher: &Weigher<'_>, rng: &mut fastrand::Rng) -> Option<Port> {
    let fits = |port: &Port| eligible.contains(*port) && !weigher.is_seen(*port);
    (0..THROWS)
        .filter_map(|_| Port::new(rng.u16(..)))
        .find(fits)
}

/// Draws the rest of a handful by rank.
fn draw_by_rank(
    drawn: &mut Vec<Candidate>,
    eligible: &PortBits,
    weigher: &Weigher<'_>,
    rng: &mut fastrand::Rng,
) {
    let mut unseen = eligible.clone();
    weigher.leave_out_seen(&mut unseen);
    let mut ranks = Ranks::of(&unseen);
    if ranks.is_empty() {
        ranks = Ranks::of(eligible);
    }
    let few = ranks.len() as usize <= CANDIDATES;
    for rank in 0..CANDIDATES {
        // If no more than a handful is left, all of it is weighed.
        let port = if few {
            u32::try_from(rank).ok().and_then(|rank| ranks.nth(rank))
        } else {
            ranks.draw(rng)
        };
        if let Some(port) = port.filter(|_| few || drawn.len() < CANDIDATES) {
            add(drawn, port, weigher);
        }
    }
}

fn add(drawn: &mut Vec<Candidate>, port: Port, weigher: &Weigher<'_>) {
    if drawn.iter().all(|candidate| candidate.port != port) {
        drawn.push(weigher.weigh(port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::history::{HALF_LIFE, History};
    use crate::choice::policy::Penalties;
    use crate::domain::address::{AddressGroup, BindAddress, Family};
    use crate::domain::port::{PortSet, Protocol};
    use crate::domain::sighting::Sighting;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn any() -> AddressGroup {
        AddressGroup::new([BindAddress::wildcard(Family::Ipv4)])
    }

    fn bits(ports: &str) -> PortBits {
        PortBits::from(&ports.parse::<PortSet>().unwrap())
    }

    fn with<T>(history: &History, act: impl FnOnce(&Weigher<'_>) -> T) -> T {
        let penalties = Penalties {
            ephemeral: &PortSet::EMPTY,
            rests_ms: 60_000,
        };
        let weigher = Weigher::new(history, &any(), &[Protocol::Tcp], penalties, 1);
        act(&weigher)
    }

    fn busy(history: &mut History, ports: &str) {
        history.open(&any(), Protocol::Tcp, 0);
        let seen = |port| Sighting {
            protocol: Protocol::Tcp,
            port,
            local: "127.0.0.1".parse().unwrap(),
            scope: 0,
            dual: false,
        };
        let set: PortSet = ports.parse().unwrap();
        history.snapshot(&set.iter().map(seen).collect::<Vec<_>>(), 0);
    }

    fn walk(strategy: Strategy, preferred: Option<u16>, ports: &str, seed: u64) -> Vec<u16> {
        let mut left = bits(ports);
        let mut order = Order::new(strategy, preferred.and_then(Port::new));
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut walked = Vec::new();
        with(&History::new(HALF_LIFE), |weigher| {
            while let Some(next) = order.next(&left, weigher, &mut rng) {
                left.remove(next.port);
                walked.push(next.port.get());
            }
        });
        walked
    }

    #[test]
    fn the_one_port_that_no_snapshot_saw_is_found_at_once() {
        let mut history = History::new(HALF_LIFE);
        busy(&mut history, "1000-31122,31124-60999");
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut order = Order::new(Strategy::Learned, None);
            let next = with(&history, |w| order.next(&bits("1000-60999"), w, &mut rng));
            assert_eq!(next.map(|next| next.port.get()), Some(31123));
        }
    }

    #[test]
    fn where_all_are_seen_busy_they_are_tried_all_the_same() {
        let mut history = History::new(HALF_LIFE);
        busy(&mut history, "1000-1009");
        let mut rng = fastrand::Rng::with_seed(1);
        let mut order = Order::new(Strategy::Learned, None);
        let next = with(&history, |w| order.next(&bits("1000-1009"), w, &mut rng));
        assert!(next.unwrap().weighed[0].weighed[0].evidence.seen_now);
    }

    #[test]
    fn the_cheapest_of_those_drawn_wins_and_the_others_are_told() {
        let mut history = History::new(HALF_LIFE);
        let address = BindAddress::wildcard(Family::Ipv4);
        history.open(&any(), Protocol::Tcp, 0);
        for number in (1000..1010).filter(|number| *number != 1007) {
            let port = Port::new(number).unwrap();
            history.refused(&address, Protocol::Tcp, port, None, 0);
        }
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut order = Order::new(Strategy::Learned, None);
            let next = with(&history, |w| order.next(&bits("1000-1009"), w, &mut rng)).unwrap();
            assert!(next.weighed.is_sorted_by(|one, two| one.cost <= two.cost));
            assert_eq!(next.weighed[0].port, next.port);
            assert_eq!(next.port.get(), 1007);
            assert_eq!(next.weighed.len(), 10, "a handful is weighed whole");
        }
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
            for strategy in [Strategy::Learned, Strategy::Ordered, Strategy::Random] {
                let mut walked = walk(strategy, preferred, "100-149,200-210", seed);
                walked.sort_unstable();
                let all: Vec<u16> = (100..=149).chain(200..=210).collect();
                prop_assert_eq!(walked, all);
            }
        }

        #[test]
        fn no_order_leaves_the_eligible(
            seed: u64, taken in proptest::collection::btree_set(100u16..150, 0..49),
            seen in proptest::collection::btree_set(100u16..150, 1..49),
        ) {
            let mut eligible = bits("100-149");
            for port in taken.iter().copied().filter_map(Port::new) {
                eligible.remove(port);
            }
            let mut history = History::new(HALF_LIFE);
            let seen: Vec<String> = seen.iter().map(ToString::to_string).collect();
            busy(&mut history, &seen.join(","));
            for strategy in [Strategy::Learned, Strategy::Ordered, Strategy::Random] {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut order = Order::new(strategy, None);
                let next = with(&history, |w| order.next(&eligible, w, &mut rng)).unwrap();
                prop_assert!(eligible.contains(next.port));
                prop_assert!(next.weighed.iter().all(|c| eligible.contains(c.port)));
            }
        }
    }
}
