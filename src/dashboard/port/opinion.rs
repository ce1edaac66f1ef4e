//! What the chooser thinks of a port for one pool, term by term.

use crate::domain::reason::Reason;
use crate::engine::survey::Opinion;

/// One pool's view of a port.
#[derive(Debug)]
pub(super) struct OpinionRow {
    /// The pool.
    pub(super) pool: String,
    /// Its addresses.
    pub(super) addresses: String,
    /// What rules the port out.
    pub(super) excluded: Option<&'static str>,
    /// What it costs.
    pub(super) cost: String,
    /// What the cost is made of.
    pub(super) terms: Vec<Term>,
}

/// One term of a cost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// What it is for.
    pub(super) means: String,
    /// How much it is.
    pub(super) cost: String,
    /// What it was computed from.
    pub(super) from: String,
}

impl OpinionRow {
    /// The row of an opinion.
    pub(super) fn of(opinion: &Opinion) -> Self {
        let addresses = opinion.group.addresses().iter();
        let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
        Self {
            pool: opinion.pool.to_string(),
            addresses: addresses.join(", "),
            excluded: opinion.excluded.map(Reason::describe),
            cost: format!("{:.3}", opinion.candidate.cost),
            terms: terms(opinion),
        }
    }
}

fn terms(opinion: &Opinion) -> Vec<Term> {
    let mut terms = Vec::new();
    for weighed in &opinion.candidate.weighed {
        let (known, cost) = (&weighed.evidence, &weighed.cost);
        let from = format!(
            "{:.1} binds worked and {:.1} were refused, {:.1} of {:.1} snapshots saw somebody; in its block of 64 \
             ports {:.1} binds worked and {:.1} were refused; the older, the less each counts",
            known.good,
            known.failed,
            known.busy,
            known.checks,
            known.block_good,
            known.block_failed
        );
        terms.push(term("how likely somebody is there", cost.p_busy, &from));
        let rare = [
            (
                "seen",
                cost.seen,
                "the latest snapshot saw somebody".to_owned(),
            ),
            (
                "late conflicts",
                cost.late,
                format!("{:.1} outsiders while it was leased", known.late),
            ),
            (
                "just released",
                cost.released,
                "a lease on it ended a moment ago".to_owned(),
            ),
        ];
        let rare = rare.iter().filter(|(_, cost, _)| *cost > 0.0);
        terms.extend(rare.map(|(means, cost, from)| term(means, *cost, from)));
    }
    let penalties = opinion.candidate.penalties.iter();
    terms.extend(penalties.map(|penalty| term("a rule", penalty.cost, penalty.reason.describe())));
    terms
}

fn term(means: &str, cost: f64, from: &str) -> Term {
    Term {
        means: means.to_owned(),
        cost: format!("{cost:.3}"),
        from: from.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::{AddressGroup, BindAddress, Family};
    use crate::domain::candidate::{Candidate, Cost, Evidence, Penalty, PenaltyReason, Weighed};
    use crate::domain::port::{Port, Protocol};

    #[test]
    fn only_the_terms_that_cost_something_are_told_after_the_first() {
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
        let row = OpinionRow::of(&opinion);
        let told: Vec<(&str, &str)> = row
            .terms
            .iter()
            .map(|term| (&*term.means, &*term.cost))
            .collect();
        assert_eq!(row.cost, "0.650");
        assert_eq!(
            told,
            [
                ("how likely somebody is there", "0.100"),
                ("seen", "0.500"),
                ("a rule", "0.050")
            ]
        );
    }
}
