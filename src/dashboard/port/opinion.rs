//! The cost of a port for one pool, term by term.

use std::fmt::Write;

use crate::engine::survey::Opinion;

/// One term of a cost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) means: &'static str,
    pub(super) cost: String,
    /// The evidence that the term is computed from.
    pub(super) from: String,
}

pub(super) fn in_digits(cost: f64) -> String {
    format!("{cost:.3}")
}

/// The terms of a cost: the probability that the port is in use, and all others above zero.
pub(super) fn terms(opinion: &Opinion) -> Vec<Term> {
    let mut terms = Vec::new();
    for weighed in &opinion.candidate.weighed {
        let (known, cost) = (&weighed.evidence, &weighed.cost);
        let mut from = format!(
            "{:.1} binds worked and {:.1} were refused, {:.1} of {:.1} snapshots saw an occupant; in its block of 64 \
             ports {:.1} binds worked and {:.1} were refused; the older, the less each counts",
            known.good,
            known.failed,
            known.busy,
            known.checks,
            known.block_good,
            known.block_failed
        );
        if known.fleet_hosts > 0 {
            let (busy, hosts) = (known.fleet_busy, known.fleet_hosts);
            let _ = write!(
                from,
                "; it was busy on {busy} of the {hosts} hosts of the fleet looked at"
            );
        }
        terms.push(term("probability that it is in use", cost.p_busy, from));
        let seen = "the latest snapshot saw an occupant".to_owned();
        let late = format!("{:.1} outsiders while it was leased", known.late);
        let released = "a lease on it ended a moment ago".to_owned();
        let rare = [
            term("seen", cost.seen, seen),
            term("late conflicts", cost.late, late),
            term("just released", cost.released, released),
        ];
        let rare = rare.into_iter().zip([cost.seen, cost.late, cost.released]);
        let rare = rare.filter(|(_, cost)| *cost > 0.0);
        terms.extend(rare.map(|(term, _)| term));
    }
    let penalties = opinion.candidate.penalties.iter();
    terms.extend(penalties.map(|penalty| {
        let rule = penalty.reason.describe().to_owned();
        term("a rule", penalty.cost, rule)
    }));
    terms
}

fn term(means: &'static str, cost: f64, from: String) -> Term {
    Term {
        means,
        cost: in_digits(cost),
        from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::{AddressGroup, BindAddress, Family};
    use crate::domain::candidate::{Candidate, Cost, Evidence, Penalty, PenaltyReason, Weighed};
    use crate::domain::port::{Port, Protocol};

    #[test]
    fn terms_of_zero_are_left_out_after_the_first() {
        let weighed = Weighed {
            protocol: Protocol::Tcp,
            evidence: Evidence::default(),
            cost: Cost {
                p_busy: 0.1,
                seen: 0.5,
                ..Cost::default()
            },
        };
        let opinion = Opinion {
            pool: "default".into(),
            group: AddressGroup::new([BindAddress::wildcard(Family::Ipv4)]),
            excluded: None,
            candidate: Candidate {
                port: Port::new(40_000).unwrap(),
                cost: 0.65,
                weighed: vec![weighed],
                penalties: vec![Penalty {
                    reason: PenaltyReason::EphemeralRange,
                    cost: 0.05,
                }],
            },
        };
        let terms = terms(&opinion);
        let told: Vec<(&str, &str)> = terms.iter().map(|term| (term.means, &*term.cost)).collect();
        let probability = ("probability that it is in use", "0.100");
        let expected = [probability, ("seen", "0.500"), ("a rule", "0.050")];
        assert_eq!(told, expected);
    }
}
