//! What each layer of the map shows: a level from 0 to 5 for a port and for a block of ports, with
//! its letter and its meaning.

use crate::domain::candidate::PenaltyReason;
use crate::domain::reason::Reason;
use crate::engine::survey::{PortView, Standing};

/// How many levels a layer has.
pub(super) const LEVELS: usize = 6;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What the map shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Layer {
    /// Who has it.
    #[default]
    State,
    /// What choosing it is expected to cost.
    Cost,
    /// How often somebody was in the way.
    Conflicts,
    /// When it was in use the last time.
    Used,
    /// What the rules say.
    Policy,
}

impl Layer {
    /// Every layer, in the order of the page.
    pub(super) const ALL: [Self; 5] = [
        Self::State,
        Self::Cost,
        Self::Conflicts,
        Self::Used,
        Self::Policy,
    ];

    /// The layer of this word.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.word() == word)
    }

    /// The word in the address.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Cost => "cost",
            Self::Conflicts => "conflicts",
            Self::Used => "used",
            Self::Policy => "policy",
        }
    }

    /// What it is called on the page.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::State => "State",
            Self::Cost => "Expected cost",
            Self::Conflicts => "Conflicts",
            Self::Used => "Last used",
            Self::Policy => "Policy",
        }
    }

    /// What a block shows of its ports.
    pub(super) const fn explains(self) -> &'static str {
        match self {
            Self::State => {
                "A block shows its most notable port: leased or taken before free. Leased is all that was granted, whether its owner listens or not. Who else is on a port is what the latest snapshot saw, on ports of pools alone."
            }
            Self::Cost => {
                "Refused binds to be expected if the port is tried; 0.1 where nothing is known. A block shows the mean of the ports that may be chosen."
            }
            Self::Conflicts => {
                "Refused binds and outsiders on leased ports, as counted. A block shows the sum."
            }
            Self::Used => {
                "The last news of a port: a bind, the end of a lease, others who came or went. A block shows its latest."
            }
            Self::Policy => {
                "What configuration, kernel and registries say. A block shows what most of its ports are."
            }
        }
    }

    /// The colours: a scale from little to much, or one for each kind.
    pub(super) const fn scale(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Policy => "policy",
            Self::Cost | Self::Conflicts | Self::Used => "heat",
        }
    }

    /// The letter of each level, so that none is told by its colour alone.
    pub(super) const fn letters(self) -> [&'static str; LEVELS] {
        match self {
            Self::State => ["", "·", "x", "T", "L", "!"],
            Self::Policy => ["", "·", "A", "E", "x", "K"],
            Self::Cost | Self::Conflicts | Self::Used => ["", "1", "2", "3", "4", "5"],
        }
    }

    /// What each level means.
    pub(super) const fn meanings(self) -> [&'static str; LEVELS] {
        match self {
            Self::State => [
                "outside every pool",
                "free",
                "excluded",
                "taken by others",
                "leased",
                "leased and taken",
            ],
            Self::Cost => [
                "not to be chosen",
                "under 0.05",
                "under 0.12",
                "under 0.3",
                "under 0.7",
                "0.7 or more",
            ],
            Self::Conflicts => ["none", "one", "2 to 4", "5 to 9", "10 to 49", "50 or more"],
            Self::Used => [
                "never",
                "over a week ago",
                "within a week",
                "within a day",
                "within an hour",
                "in use now",
            ],
            Self::Policy => [
                "outside every pool",
                "no rule",
                "assigned by IANA: dearer",
                "ephemeral: dearer",
                "ruled out",
                "kept by the kernel",
            ],
        }
    }

    /// The level of a port.
    pub(super) fn of_port(self, port: &PortView, now_ms: i64) -> usize {
        match self {
            Self::State => of_standing(port.standing),
            Self::Cost if !may_be_chosen(port) => 0,
            Self::Cost => of_cost(port.cost),
            Self::Conflicts => of_count(port.conflicts),
            Self::Used => of_use(port, now_ms),
            Self::Policy => of_policy(port),
        }
    }

    /// The level of a block.
    pub(super) fn of_block(self, ports: &[PortView], now_ms: i64) -> usize {
        let levels = ports.iter().map(|port| self.of_port(port, now_ms));
        match self {
            Self::State => most_notable(&counts(levels)),
            Self::Policy => most_frequent(&counts(levels)),
            Self::Used => levels.max().unwrap_or(0),
            Self::Conflicts => of_count(conflicts(ports)),
            Self::Cost => mean_cost(ports).map_or(0, of_cost),
        }
    }
}

/// How many there are of each level.
pub(super) fn counts(levels: impl Iterator<Item = usize>) -> [usize; LEVELS] {
    let mut counts = [0; LEVELS];
    for level in levels {
        if let Some(count) = counts.get_mut(level) {
            *count += 1;
        }
    }
    counts
}

/// The conflicts of several ports.
pub(super) fn conflicts(ports: &[PortView]) -> u64 {
    ports.iter().map(|port| port.conflicts).sum()
}

/// What a port that may be chosen costs on average; none where there is none.
pub(super) fn mean_cost(ports: &[PortView]) -> Option<f64> {
    let (mut number, mut sum) = (0_u32, 0.0);
    for port in ports.iter().filter(|port| may_be_chosen(port)) {
        number += 1;
        sum += port.cost;
    }
    (number > 0).then(|| sum / f64::from(number))
}

const fn may_be_chosen(port: &PortView) -> bool {
    port.in_pool && port.excluded.is_none()
}

const fn of_standing(standing: Standing) -> usize {
    match standing {
        Standing::Outside => 0,
        Standing::Free => 1,
        Standing::Excluded => 2,
        Standing::Others => 3,
        Standing::Leased => 4,
        Standing::Contested => 5,
    }
}

fn of_cost(cost: f64) -> usize {
    let limits = [0.05, 0.12, 0.3, 0.7];
    // Sums of hundredths come out a little high or low.
    1 + limits.iter().filter(|limit| cost >= **limit - 1e-9).count()
}

const fn of_count(count: u64) -> usize {
    match count {
        0 => 0,
        1 => 1,
        2..5 => 2,
        5..10 => 3,
        10..50 => 4,
        _ => 5,
    }
}

fn of_use(port: &PortView, now_ms: i64) -> usize {
    if of_standing(port.standing) >= 3 {
        return 5;
    }
    match port.news_ms.map(|at_ms| now_ms - at_ms) {
        None => 0,
        Some(..HOUR_MS) => 4,
        Some(..DAY_MS) => 3,
        Some(ago) if ago < 7 * DAY_MS => 2,
        Some(_) => 1,
    }
}

fn of_policy(port: &PortView) -> usize {
    let is = |reason| port.penalties.contains(&reason);
    match port.excluded {
        _ if !port.in_pool => 0,
        Some(Reason::KernelReserved) => 5,
        // A cool-down passes; it is no rule about the port.
        Some(reason) if reason != Reason::CoolingDown => 4,
        _ if is(PenaltyReason::EphemeralRange) => 3,
        _ if is(PenaltyReason::IanaAssigned) => 2,
        _ => 1,
    }
}

/// Leased or taken before free, free before excluded, and that before nothing.
fn most_notable(counts: &[usize; LEVELS]) -> usize {
    let order = [5, 4, 3, 1, 2];
    let found = order.into_iter().find(|level| counts[*level] > 0);
    found.unwrap_or(0)
}

/// Of two that are as frequent, the higher.
fn most_frequent(counts: &[usize; LEVELS]) -> usize {
    let levels = 0..LEVELS;
    levels.max_by_key(|level| counts[*level]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(standing: Standing) -> PortView {
        PortView {
            standing,
            in_pool: standing != Standing::Outside,
            cost: 0.1,
            ..PortView::default()
        }
    }

    #[test]
    fn a_block_shows_its_most_notable_port() {
        use Standing::{Contested, Excluded, Free, Leased, Others, Outside};
        let level = |standings: &[Standing]| {
            let ports: Vec<PortView> = standings.iter().copied().map(port).collect();
            Layer::State.of_block(&ports, 0)
        };
        assert_eq!(level(&[]), 0);
        assert_eq!(level(&[Outside, Excluded]), 2);
        assert_eq!(level(&[Outside, Excluded, Free]), 1);
        assert_eq!(level(&[Free, Others, Free]), 3);
        assert_eq!(level(&[Others, Leased, Free]), 4);
        assert_eq!(level(&[Contested, Leased, Free]), 5);
    }

    #[test]
    fn costs_fall_into_their_levels() {
        let level = |cost: f64| of_cost(cost);
        assert_eq!([level(0.049), level(0.05), level(0.1)], [1, 2, 2]);
        assert_eq!([level(0.1 + 0.02), level(0.15), level(0.5)], [3, 3, 4]);
        assert_eq!([level(0.7), level(9.0)], [5, 5]);
    }

    #[test]
    fn the_mean_cost_leaves_out_what_is_not_chosen() {
        let mut ports = vec![port(Standing::Free), port(Standing::Outside)];
        ports[0].cost = 0.4;
        ports.push(PortView {
            excluded: Some(Reason::Configured),
            cost: 9.0,
            ..port(Standing::Excluded)
        });
        assert_eq!(Layer::Cost.of_block(&ports, 0), 4);
        assert_eq!(Layer::Cost.of_block(&ports[1..], 0), 0);
    }

    #[test]
    fn conflicts_add_up_in_a_block() {
        let mut ports = vec![port(Standing::Free); 5];
        for port in &mut ports {
            port.conflicts = 1;
        }
        assert_eq!(Layer::Conflicts.of_port(&ports[0], 0), 1);
        assert_eq!(Layer::Conflicts.of_block(&ports, 0), 3);
    }

    #[test]
    fn use_is_told_by_its_age() {
        let now_ms = 100 * DAY_MS;
        let level = |ago_ms: Option<i64>| {
            let port = PortView {
                news_ms: ago_ms.map(|ago| now_ms - ago),
                ..port(Standing::Free)
            };
            Layer::Used.of_port(&port, now_ms)
        };
        assert_eq!([level(None), level(Some(0))], [0, 4]);
        assert_eq!([level(Some(HOUR_MS)), level(Some(DAY_MS))], [3, 2]);
        assert_eq!(level(Some(7 * DAY_MS)), 1);
        assert_eq!(Layer::Used.of_port(&port(Standing::Leased), now_ms), 5);
    }

    #[test]
    fn policy_is_told_apart_from_what_passes() {
        let mut one = port(Standing::Excluded);
        let level = |port: &PortView| Layer::Policy.of_port(port, 0);
        one.excluded = Some(Reason::CoolingDown);
        assert_eq!(level(&one), 1);
        one.penalties = vec![PenaltyReason::IanaAssigned];
        assert_eq!(level(&one), 2);
        one.penalties.push(PenaltyReason::EphemeralRange);
        assert_eq!(level(&one), 3);
        one.excluded = Some(Reason::StaticBand);
        assert_eq!(level(&one), 4);
        one.excluded = Some(Reason::KernelReserved);
        assert_eq!(level(&one), 5);
        let ports = [port(Standing::Free), port(Standing::Free), one];
        assert_eq!(Layer::Policy.of_block(&ports, 0), 1);
    }

    #[test]
    fn every_level_has_a_letter_and_a_meaning_of_its_own() {
        for layer in Layer::ALL {
            for texts in [layer.letters(), layer.meanings()] {
                let mut unique = texts.to_vec();
                unique.sort_unstable();
                unique.dedup();
                assert_eq!(unique.len(), LEVELS, "{}", layer.word());
            }
            assert_eq!(Layer::parse(layer.word()), Some(layer));
        }
    }
}
