//! An explanation on pages: the excluded ports, and the expected cost of each candidate.

use super::badge::{Badge, Tone};
use super::precedence::{StepRow, steps};
use crate::dashboard::chart::{self, Piece, Series, stacked};
use crate::dashboard::format::UNSET;
use crate::domain::candidate::{Candidate, PenaltyReason};
use crate::domain::explanation::Explanation;
use crate::domain::port::Port;
use crate::domain::precedence::{Skipped, Step};
use crate::domain::story;
use crate::domain::words::grouped;

/// Maximum number of choices on a page.
const CHOICES: usize = 20;

/// Maximum number of rows of ports passed over.
const PASSED: usize = 50;

/// The terms of a cost, in the order of the bars.
pub const TERMS: [Series; 6] = [
    Series::colour("term-busy", "busy", "probability that the port is in use"),
    Series::colour("term-seen", "seen", "in use at the latest snapshot"),
    Series::colour("term-late", "late", "outsiders came while it was leased"),
    Series::colour(
        "term-released",
        "released",
        "a lease on it ended a moment ago",
    ),
    Series::colour(
        "term-ephemeral",
        "ephemeral",
        "any outgoing connection may take it",
    ),
    Series::colour("term-iana", "IANA", "assigned to a service in wide use"),
];

/// An explanation with the words and bars of a page.
#[derive(Debug, Clone, Default)]
pub struct Why {
    pub record: Explanation,
    pub is_refused: bool,
}

/// A candidate with its cost.
#[derive(Debug, Clone)]
pub struct CandidateRow {
    pub port: Port,
    /// Protocol of the port's page.
    pub protocol: &'static str,
    pub verdict: Badge,
    pub cost: String,
    /// The terms as pieces of a bar; the dearest candidate of the choice fills it.
    pub bar: Vec<(Series, Piece)>,
    /// The terms as numbers.
    pub terms: Vec<(Series, String)>,
    /// The evidence in words.
    pub known: String,
}

impl Why {
    pub fn story(&self) -> String {
        story::of(&self.record, self.is_refused)
    }

    /// Whether the ranges were searched. An earlier step of the precedence may have decided.
    pub const fn is_searched(&self) -> bool {
        self.record.is_pool_searched()
    }

    pub fn steps(&self) -> Vec<StepRow> {
        steps(&self.record)
    }

    /// The ports passed over, in the order of precedence.
    pub fn passed_over(&self) -> &[Skipped] {
        let all = &self.record.skipped;
        &all[..all.len().min(PASSED)]
    }

    /// "50 of 256" if more ports were passed over than are shown.
    pub fn passed_cut(&self) -> Option<String> {
        let all = self.record.skipped.len();
        (all > PASSED).then(|| format!("{PASSED} of {}", grouped(all)))
    }

    /// Protocol of the request; the first of several.
    pub fn protocol(&self) -> &'static str {
        let mut candidates = self.record.choices.iter().flatten();
        candidates.next().map_or("tcp", protocol)
    }

    pub fn choices(&self) -> &[Vec<Candidate>] {
        let all = &self.record.choices;
        &all[..all.len().min(CHOICES)]
    }

    /// "20 of 64 choices" if there are more than are shown.
    pub fn cut(&self) -> Option<String> {
        let all = self.record.choices.len();
        (all > CHOICES).then(|| format!("{CHOICES} of {} choices", grouped(all)))
    }

    /// Sentences about the ports that are not among the candidates.
    pub fn left_out(&self) -> Vec<String> {
        super::left_out::left_out(&self.record)
    }

    /// Length of a bar for a number of ports, beside all ports of the ranges.
    pub fn share(&self, ports: u32) -> u32 {
        chart::length(f64::from(ports), f64::from(self.record.ports))
    }

    /// The order of the candidates in a few words. The cost decides within the pool only.
    pub fn order(&self) -> &'static str {
        let is_of_pool = |step: &Step| *step == Step::Pool;
        if !self.is_searched() {
            "in the order of precedence, regardless of the cost"
        } else if self.record.skipped.is_empty() && self.record.steps.iter().all(is_of_pool) {
            "the cheapest is tried first; of several that cost the same, the one weighed first"
        } else {
            "in the order of precedence; within the pool the cheapest is tried first"
        }
    }

    /// The candidates of one choice, the cheapest first.
    pub fn candidates(&self, choice: &[Candidate]) -> Vec<CandidateRow> {
        let costs = choice.iter().map(|candidate| candidate.cost);
        let dearest = costs.fold(0.0, f64::max);
        let row = |(index, candidate): (usize, &Candidate)| CandidateRow {
            verdict: match index {
                0 => self.verdict_of_first(candidate.port),
                _ => verdict_of_other(candidate, &choice[0]),
            },
            ..CandidateRow::of(candidate, dearest)
        };
        choice.iter().enumerate().map(row).collect()
    }

    /// The cheapest of a choice is tried, unless it is a name's last port and too dear.
    fn verdict_of_first(&self, port: Port) -> Badge {
        if self.record.granted.contains(&port) {
            Badge::new(Tone::Good, "chosen")
        } else if self.record.tried.contains(&port) {
            Badge::new(Tone::Bad, "refused")
        } else {
            Badge::new(Tone::Plain, "not tried")
        }
    }

    /// The number of refusals of a random order, beside those of this request. Each busy port comes
    /// before all free ones with a probability of 1 in (free + 1): the mean of a negative
    /// hypergeometric distribution.
    pub fn random(&self) -> Option<String> {
        let record = &self.record;
        let (share, all) = (record.random_would_meet?, record.eligible()?);
        let busy = share * f64::from(all);
        let free = f64::from(all) - busy;
        let met = record.tried.len().saturating_sub(record.granted.len());
        let expected = match busy / (free + 1.0) {
            _ if free < 0.5 => "only refusals".to_owned(),
            few if few > 0.0 && few < 0.01 => "fewer than 0.01 refusals on average".to_owned(),
            some => format!("{some:.2} refusals on average"),
        };
        Some(format!(
            "Ports drawn at random, none twice, would have met {expected}; this request met {met}."
        ))
    }
}

fn protocol(candidate: &Candidate) -> &'static str {
    let weighed = candidate.weighed.first();
    weighed.map_or("tcp", |weighed| weighed.protocol.as_str())
}

/// A candidate with the cost of the first is not dearer, it was weighed later. The page shows four
/// digits of a cost, so a difference may be invisible.
fn verdict_of_other(candidate: &Candidate, first: &Candidate) -> Badge {
    let word = if candidate.costs_the_same_as(first) {
        "equal cost"
    } else if in_digits(candidate.cost) == in_digits(first.cost) {
        "slightly dearer"
    } else {
        "dearer"
    };
    Badge::new(Tone::Plain, word)
}

fn in_digits(cost: f64) -> String {
    format!("{cost:.4}")
}

impl CandidateRow {
    fn of(candidate: &Candidate, dearest: f64) -> Self {
        let terms = terms(candidate);
        let bar = TERMS.into_iter().zip(stacked(&terms, dearest));
        let number = |cost: f64| match cost {
            ..0.000_05 => UNSET.to_owned(),
            _ => in_digits(cost),
        };
        // Port and cost have columns of their own.
        let sentence = story::sentence(candidate);
        let known = sentence.split_once(", ").map(|(_, known)| known.to_owned());
        Self {
            port: candidate.port,
            protocol: protocol(candidate),
            verdict: Badge::new(Tone::Plain, ""),
            cost: in_digits(candidate.cost),
            bar: bar.filter(|(_, piece)| piece.width > 0).collect(),
            terms: TERMS.into_iter().zip(terms.map(number)).collect(),
            known: known.unwrap_or_default(),
        }
    }
}

/// The terms of a candidate. A refusal on either protocol is a refusal, so those of both add up.
fn terms(candidate: &Candidate) -> [f64; 6] {
    let mut terms = [0.0; 6];
    for weighed in &candidate.weighed {
        let cost = &weighed.cost;
        let of_evidence = [cost.p_busy, cost.seen, cost.late, cost.released];
        for (term, part) in terms.iter_mut().zip(of_evidence) {
            *term += part;
        }
    }
    for penalty in &candidate.penalties {
        match penalty.reason {
            PenaltyReason::EphemeralRange => terms[4] += penalty.cost,
            PenaltyReason::IanaAssigned => terms[5] += penalty.cost,
        }
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::candidate::{Cost, Evidence, Penalty, Weighed};
    use crate::domain::explanation::Excluded;
    use crate::domain::port::Protocol;
    use crate::domain::reason::Reason;

    fn candidate(number: u16, protocols: &[Protocol]) -> Candidate {
        let cost = Cost {
            prior_free: 0.9,
            p_busy: 0.2,
            seen: 0.0,
            late: 0.05,
            released: 0.0,
        };
        let weighed = protocols.iter().map(|protocol| Weighed {
            protocol: *protocol,
            evidence: Evidence::default(),
            cost,
        });
        let weighed: Vec<Weighed> = weighed.collect();
        let penalties = vec![Penalty {
            reason: PenaltyReason::IanaAssigned,
            cost: 0.25,
        }];
        let of_evidence: f64 = weighed.iter().map(|weighed| weighed.cost.total()).sum();
        Candidate {
            port: Port::new(number).unwrap(),
            cost: of_evidence + 0.25,
            weighed,
            penalties,
        }
    }

    fn why(record: Explanation) -> Why {
        Why {
            record,
            is_refused: false,
        }
    }

    #[test]
    fn terms_add_up_to_the_cost() {
        for protocols in [&[Protocol::Tcp][..], &[Protocol::Tcp, Protocol::Udp]] {
            let candidate = candidate(24_000, protocols);
            let sum: f64 = terms(&candidate).iter().sum();
            assert!((sum - candidate.cost).abs() < 1e-9, "{sum}");
        }
    }

    #[test]
    fn dearest_candidate_fills_its_bar() {
        let weighed = [
            candidate(1, &[Protocol::Tcp]),
            candidate(2, &[Protocol::Tcp, Protocol::Udp]),
        ];
        let why = why(Explanation {
            granted: vec![weighed[0].port],
            ..Explanation::default()
        });
        let rows = why.candidates(&weighed);
        let end = |row: &CandidateRow| {
            let (_, last) = row.bar.last().unwrap();
            last.x + last.width
        };
        assert_eq!(end(&rows[1]), chart::LENGTH);
        assert_eq!(end(&rows[0]), 667);
        assert_eq!(rows[0].verdict.word, "chosen");
        assert_eq!(rows[1].verdict.word, "dearer");
        assert_eq!(rows[0].terms[1].1, "–");
        assert_eq!(rows[0].bar.last().unwrap().0.class, "term-iana");
    }

    #[test]
    fn equal_cost_is_not_called_dearer() {
        let costing = |cost| Candidate {
            cost,
            ..candidate(1, &[Protocol::Tcp])
        };
        let weighed = [0.098_4, 0.098_4, 0.098_41, 0.2].map(costing);
        let why = why(Explanation {
            tried: vec![weighed[0].port],
            ..Explanation::default()
        });
        let rows = why.candidates(&weighed);
        let words: Vec<&str> = rows.iter().map(|row| row.verdict.word).collect();
        let expected = ["refused", "equal cost", "slightly dearer", "dearer"];
        assert_eq!(words, expected);
    }

    #[test]
    fn untried_candidate_is_not_called_refused() {
        let weighed = [candidate(1, &[Protocol::Tcp])];
        let rows = Why::default().candidates(&weighed);
        assert_eq!(rows[0].verdict.word, "not tried");
    }

    #[test]
    fn cost_decides_within_the_pool_only() {
        let of_step = |step, ports| {
            let why = why(Explanation {
                ports,
                steps: vec![step],
                ..Explanation::default()
            });
            why.order()
        };
        assert!(of_step(Step::Preferred, 0).ends_with("regardless of the cost"));
        assert!(of_step(Step::Pool, 9).starts_with("the cheapest"));
        assert!(of_step(Step::Upwards, 9).contains("within the pool"));
    }

    #[test]
    fn random_order_is_compared_with_the_refusals() {
        let port = |number| Port::new(number).unwrap();
        let why = why(Explanation {
            ports: 11,
            excluded: vec![Excluded {
                reason: Reason::Leased,
                ports: 8,
                which: Vec::new(),
            }],
            random_would_meet: Some(2.0 / 3.0),
            tried: vec![port(1), port(2)],
            granted: vec![port(2)],
            ..Explanation::default()
        });
        let told = why.random().unwrap();
        assert_eq!(
            told,
            "Ports drawn at random, none twice, would have met 1.00 refusals on average; this request met 1."
        );
        assert_eq!(Why::default().random(), None);
    }

    #[test]
    fn long_lists_of_ports_passed_over_are_cut() {
        let mut record = Explanation::default();
        for number in 1..=60 {
            let port = Port::new(8000 + number).unwrap();
            let lease = Some(format!("lease {number}"));
            record.skip(Skipped::new(port, Reason::Leased, lease));
        }
        let why = why(record);
        assert_eq!(why.passed_over().len(), 50);
        assert_eq!(why.passed_cut().as_deref(), Some("50 of 60"));
    }
}
