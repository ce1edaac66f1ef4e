//! Rules that exclude ports of a pool, and rules that make a port dearer without excluding it.

use super::assigned::assigned;
use super::bits::PortBits;
use crate::domain::candidate::{Penalty, PenaltyReason};
use crate::domain::explanation::Excluded;
use crate::domain::port::{Port, PortSet};
use crate::domain::reason::Reason;

/// Cost of a port that any outgoing connection may take.
const EPHEMERAL_RANGE: f64 = 0.05;

/// Cost of a port that a service in wide use expects to be its own.
const IANA_ASSIGNED: f64 = 0.02;

/// Ports left for a request, with the number that each rule took away.
#[derive(Debug, Clone)]
pub struct Eligible {
    /// Ports that may be tried.
    pub ports: PortBits,
    /// Number of ports before any rule.
    pub pool_size: u32,
    /// Ports taken away, rule by rule. A port counts for the first rule that names it.
    pub excluded: Vec<Excluded>,
}

impl Eligible {
    /// All ports of `ranges`.
    pub fn all_of(ranges: &PortSet) -> Self {
        let ports = PortBits::from(ranges);
        Self {
            pool_size: ports.len(),
            ports,
            excluded: Vec::new(),
        }
    }

    /// Takes `ports` away for `reason`, and counts those that were still there. Only few are listed one
    /// by one, since every choice comes through here.
    pub fn exclude(&mut self, reason: Reason, ports: &PortBits) {
        let gone = self.ports.count_common(ports);
        if gone == 0 {
            return;
        }
        let which = if gone <= Excluded::NAMED {
            self.ports.common(ports).collect()
        } else {
            Vec::new()
        };
        self.ports.subtract(ports);
        let mut known = self.excluded.iter_mut();
        match known.find(|known| known.reason == reason) {
            Some(known) => known.add(gone, which),
            None => self.excluded.push(Excluded {
                reason,
                ports: gone,
                which,
            }),
        }
    }
}

/// Rules that make ports dearer.
#[derive(Debug, Clone, Copy)]
pub struct Penalties<'a> {
    /// Ports that the kernel gives to outgoing connections.
    pub ephemeral: &'a PortSet,
    /// Time for which a port is dearer after a lease on it has ended.
    pub rests_ms: u64,
}

impl Penalties<'_> {
    /// Penalties of a port.
    pub fn of(&self, port: Port) -> Vec<Penalty> {
        let mut penalties = Vec::new();
        if self.ephemeral.contains(port) {
            penalties.push(Penalty {
                reason: PenaltyReason::EphemeralRange,
                cost: EPHEMERAL_RANGE,
            });
        }
        if assigned().contains(port) {
            penalties.push(Penalty {
                reason: PenaltyReason::IanaAssigned,
                cost: IANA_ASSIGNED,
            });
        }
        penalties
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_penalty_names_its_reason() {
        let ephemeral = "32768-60999".parse().unwrap();
        let penalties = Penalties {
            ephemeral: &ephemeral,
            rests_ms: 0,
        };
        let reasons = |number| -> Vec<PenaltyReason> {
            let found = penalties.of(Port::new(number).unwrap());
            found.iter().map(|penalty| penalty.reason).collect()
        };
        assert_eq!(reasons(24117), []);
        assert_eq!(reasons(40000), [PenaltyReason::EphemeralRange]);
        assert_eq!(reasons(5432), [PenaltyReason::IanaAssigned]);
        assert_eq!(
            reasons(35357),
            [PenaltyReason::EphemeralRange, PenaltyReason::IanaAssigned]
        );
    }

    #[test]
    fn a_port_counts_for_the_first_rule_that_names_it() {
        let bits = |text: &str| PortBits::from(&text.parse::<PortSet>().unwrap());
        let mut eligible = Eligible::all_of(&"100-199".parse().unwrap());
        eligible.exclude(Reason::Configured, &bits("150-160"));
        eligible.exclude(Reason::Leased, &bits("155-170,9000"));
        eligible.exclude(Reason::CoolingDown, &bits("1"));
        let counts: Vec<_> = eligible
            .excluded
            .iter()
            .map(|e| (e.reason, e.ports))
            .collect();
        assert_eq!(counts, [(Reason::Configured, 11), (Reason::Leased, 10)]);
        assert_eq!((eligible.pool_size, eligible.ports.len()), (100, 79));
        let named: Vec<_> = eligible.excluded.iter().map(Excluded::named).collect();
        let [configured, leased] = ["150-160", "161-170"].map(|ports| Some(ports.to_owned()));
        assert_eq!(named, [configured, leased]);
    }
}
