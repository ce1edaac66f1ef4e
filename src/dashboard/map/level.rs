//! The layers of the map: each gives a port and a block of ports a level from 0 to 5, with a letter
//! and a meaning.

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::domain::candidate::PenaltyReason;
use crate::domain::reason::Reason;
use crate::engine::survey::{PortView, Standing};

/// Number of levels of a layer.
pub(super) const LEVELS: usize = 6;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A value that the map shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Layer {
    /// Free, leased, or taken by other programs.
    #[default]
    State,
    /// Expected cost of choosing the port.
    Cost,
    /// Number of refused binds and outsiders.
    Conflicts,
    /// Age of the last use.
    Used,
    /// Rules for the port.
    Policy,
}

impl Layer {
    /// The word in the address.
    pub(super) fn word(self) -> &'static str {
        self.into()
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::State => "State",
            Self::Cost => "Expected cost",
            Self::Conflicts => "Conflicts",
            Self::Used => "Last used",
            Self::Policy => "Policy",
        }
    }

    /// The meaning of the layer, and how the value of a block follows from those of its ports.
    pub(super) const fn explains(self) -> &'static str {
        match self {
            Self::State => {
                "A block shows its most notable port: leased or taken before free. Leased are all granted ports, whether the owner listens or not. Other programs are those that the latest snapshot saw on ports of pools."
            }
            Self::Cost => {
                "Expected number of refused binds if the port is tried; 0.1 without history. A block shows the mean of the ports that can be chosen."
            }
            Self::Conflicts => {
                "Number of refused binds and of outsiders on leased ports. A block shows the sum."
            }
            Self::Used => {
                "Age of the last news of a port: a bind, the end of a lease, another program that came or went. A block shows its latest news."
            }
            Self::Policy => {
                "Rules of the configuration, the kernel and IANA. A block shows the rule that most of its ports have."
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

    /// The letter of each level, so that no level differs by its colour only.
    pub(super) const fn letters(self) -> [&'static str; LEVELS] {
        match self {
            Self::State => ["", "·", "x", "T", "L", "!"],
            Self::Policy => ["", "·", "A", "E", "x", "K"],
            Self::Cost | Self::Conflicts | Self::Used => ["", "1", "2", "3", "4", "5"],
        }
    }

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
                "cannot be chosen",
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

/// Counts the levels.
pub(super) fn counts(levels: impl Iterator<Item = usize>) -> [usize; LEVELS] {
    let mut counts = [0; LEVELS];
    for level in levels {
        if let Some(count) = counts.get_mut(level) {
            *count += 1;
        }
    }
    counts
}

pub(super) fn conflicts(ports: &[PortView]) -> u64 {
    ports.iter().map(|port| port.conflicts).sum()
}

/// Mean cost of the ports that can be chosen. `None` if there are none.
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
    // Sums of hundredths are a little too high or too low in binary.
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
        // A cool-down passes by itself, so it is not a rule.
        Some(reason) if reason != Reason::CoolingDown => 4,
        _ if is(PenaltyReason::EphemeralRange) => 3,
        _ if is(PenaltyReason::IanaAssigned) => 2,
        _ => 1,
    }
}

/// The level of the most notable port: leased or taken before free, free before excluded.
fn most_notable(counts: &[usize; LEVELS]) -> usize {
    let order = [5, 4, 3, 1, 2];
    let found = order.into_iter().find(|level| counts[*level] > 0);
    found.unwrap_or(0)
}

/// The most frequent level; of two that are equally frequent the higher.
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
    fn block_shows_its_most_notable_port() {
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
    fn mean_cost_leaves_out_excluded_ports() {
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
    fn use_levels_follow_the_age() {
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
    fn cool_downs_are_not_policy() {
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
    fn letters_and_meanings_are_unique() {
        for layer in Layer::VARIANTS {
            for texts in [layer.letters(), layer.meanings()] {
                let mut unique = texts.to_vec();
                unique.sort_unstable();
                unique.dedup();
                assert_eq!(unique.len(), LEVELS, "{}", layer.word());
            }
            assert_eq!(layer.word().parse(), Ok(*layer));
        }
    }
}
