//! An explanation as pages tell it: what was ruled out, and what each candidate was expected to cost.

use super::badge::{Badge, Tone};
use super::bar::{self, Piece, stacked};
use super::left_out::left_out;
use super::precedence::{PassedRow, StepRow, passed_over, steps};
use crate::dashboard::format::UNSET;
use crate::domain::attempt::printable;
use crate::domain::candidate::{Candidate, PenaltyReason};
use crate::domain::explanation::Explanation;
use crate::domain::port::Port;
use crate::domain::precedence::Step;
use crate::domain::story;
use crate::domain::words::{counted, grouped};

/// So many choices are shown.
const CHOICES: usize = 20;

/// A term of a candidate's cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Its colour in the stylesheet.
    pub class: &'static str,
    /// What it is called.
    pub word: &'static str,
    /// What it means.
    pub means: &'static str,
}

/// The terms, in the order of the bars.
pub const TERMS: [Term; 6] = [
    Term {
        class: "term-busy",
        word: "busy",
        means: "how likely it is that somebody is there",
    },
    Term {
        class: "term-seen",
        word: "seen",
        means: "the latest look at the sockets saw somebody",
    },
    Term {
        class: "term-late",
        word: "late",
        means: "outsiders came while it was leased",
    },
    Term {
        class: "term-released",
        word: "released",
        means: "a lease on it ended a moment ago",
    },
    Term {
        class: "term-ephemeral",
        word: "ephemeral",
        means: "any outgoing connection may take it",
    },
    Term {
        class: "term-iana",
        word: "IANA",
        means: "assigned to a service in wide use",
    },
];

/// An explanation, ready for a template.
#[derive(Debug, Clone, Default)]
pub struct Why {
    /// In a few sentences.
    pub story: String,
    /// The order of candidates.
    pub strategy: String,
    /// The ranges that were searched.
    pub ranges: String,
    /// How many ports these have, such as "101 ports".
    pub ports: String,
    /// Whether they were searched at all: an earlier step of the precedence may have decided.
    pub is_searched: bool,
    /// The step that yielded each granted port.
    pub steps: Vec<StepRow>,
    /// The ports that came before the granted ones.
    pub passed_over: Vec<PassedRow>,
    /// "50 of 256", where more were passed over than are shown.
    pub passed_cut: Option<String>,
    /// The selectors that were asked for.
    pub interfaces: String,
    /// The bind addresses they meant.
    pub addresses: Vec<String>,
    /// What ruled ports out.
    pub excluded: Vec<ExcludedRow>,
    /// The candidates of each choice.
    pub choices: Vec<Choice>,
    /// The order in which candidates are tried, in a few words.
    pub order: &'static str,
    /// What is not among the candidates, in sentences.
    pub left_out: Vec<String>,
    /// "20 of 64 choices", where there are more than are shown.
    pub cut: Option<String>,
    /// What a port drawn at random would have met.
    pub random: Option<String>,
}

/// How many ports one reason ruled out.
#[derive(Debug, Clone)]
pub struct ExcludedRow {
    /// The reason.
    pub words: &'static str,
    /// How many.
    pub ports: String,
    /// Their part of all ports of the ranges.
    pub bar: u32,
}

/// The candidates of one choice, the cheapest first.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Which choice it was, counted from one.
    pub number: usize,
    /// The candidates.
    pub candidates: Vec<CandidateRow>,
}

/// A candidate with its cost.
#[derive(Debug, Clone)]
pub struct CandidateRow {
    /// The port.
    pub port: Port,
    /// For which protocol its page is asked.
    pub protocol: &'static str,
    /// What became of it.
    pub verdict: Badge,
    /// What choosing it was expected to cost.
    pub cost: String,
    /// The same as a bar, beside the dearest of the choice.
    pub bar: Vec<Segment>,
    /// Each term, in the order of [`TERMS`].
    pub terms: Vec<TermCell>,
    /// What was known of it, in words.
    pub known: String,
}

/// One term as a number.
#[derive(Debug, Clone)]
pub struct TermCell {
    /// What it is called.
    pub word: &'static str,
    /// Its number; a dash where it is nothing.
    pub value: String,
}

/// A piece of a candidate's bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its colour in the stylesheet.
    pub class: &'static str,
    /// Where it is.
    pub piece: Piece,
}

impl From<&Explanation> for Why {
    fn from(explanation: &Explanation) -> Self {
        let choices = explanation.choices.iter().take(CHOICES).enumerate();
        let all = explanation.choices.len();
        let (passed_over, passed_cut) = passed_over(explanation);
        Self {
            is_searched: explanation.is_pool_searched(),
            steps: steps(explanation),
            passed_over,
            passed_cut,
            order: order(explanation),
            story: story::of(explanation),
            strategy: printable(&explanation.strategy),
            ranges: explanation.ranges.clone(),
            ports: counted(explanation.ports, "port"),
            interfaces: printable(&explanation.interfaces.join(", ")),
            addresses: explanation.addresses.iter().map(|a| printable(a)).collect(),
            excluded: excluded(explanation),
            choices: choices
                .map(|(index, weighed)| Choice {
                    number: index + 1,
                    candidates: candidates(weighed, explanation),
                })
                .collect(),
            left_out: left_out(explanation),
            cut: (all > CHOICES).then(|| format!("{CHOICES} of {} choices", grouped(all))),
            random: random(explanation),
        }
    }
}

fn excluded(explanation: &Explanation) -> Vec<ExcludedRow> {
    let rows = explanation.excluded.iter().map(|excluded| ExcludedRow {
        words: excluded.reason.describe(),
        ports: grouped(excluded.ports),
        bar: bar::length(f64::from(excluded.ports), f64::from(explanation.ports)),
    });
    rows.collect()
}

/// The cost decides within the pool alone.
fn order(explanation: &Explanation) -> &'static str {
    let is_of_pool = |step: &Step| *step == Step::Pool;
    if !explanation.is_pool_searched() {
        "in the order of precedence, whatever the cost"
    } else if explanation.skipped.is_empty() && explanation.steps.iter().all(is_of_pool) {
        "the cheapest is tried first; of several that cost the same, the one weighed first"
    } else {
        "in the order of precedence; within the pool the cheapest is tried first"
    }
}

fn candidates(weighed: &[Candidate], explanation: &Explanation) -> Vec<CandidateRow> {
    let costs = weighed.iter().map(|candidate| candidate.cost);
    let dearest = costs.fold(0.0, f64::max);
    let row = |(index, candidate): (usize, &Candidate)| {
        let terms = terms(candidate);
        CandidateRow {
            port: candidate.port,
            protocol: candidate
                .weighed
                .first()
                .map_or("tcp", |weighed| weighed.protocol.as_str()),
            verdict: match index {
                0 => of_first(candidate.port, explanation),
                _ => of_other(candidate, &weighed[0]),
            },
            cost: in_digits(candidate.cost),
            bar: segments(&terms, dearest),
            terms: cells(&terms),
            known: known(candidate),
        }
    };
    weighed.iter().enumerate().map(row).collect()
}

/// The cheapest of a choice is the one tried, unless it is a name's last port and too dear.
fn of_first(port: Port, explanation: &Explanation) -> Badge {
    let (tone, word) = if explanation.granted.contains(&port) {
        (Tone::Good, "chosen")
    } else if explanation.tried.contains(&port) {
        (Tone::Bad, "refused")
    } else {
        (Tone::Plain, "not tried")
    };
    Badge { tone, word }
}

/// Those that cost the same as the first are no dearer: they were only weighed later. Of the digits
/// on record the page shows four.
fn of_other(candidate: &Candidate, first: &Candidate) -> Badge {
    let word = if candidate.costs_the_same_as(first) {
        "equal cost"
    } else if in_digits(candidate.cost) == in_digits(first.cost) {
        "slightly dearer"
    } else {
        "dearer"
    };
    Badge {
        tone: Tone::Plain,
        word,
    }
}

fn in_digits(cost: f64) -> String {
    format!("{cost:.4}")
}

/// Refused on either protocol is refused, so the terms of both add up.
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

fn segments(terms: &[f64; 6], dearest: f64) -> Vec<Segment> {
    let pieces = TERMS.iter().zip(stacked(terms, dearest));
    pieces
        .map(|(term, piece)| Segment {
            class: term.class,
            piece,
        })
        .filter(|segment| segment.piece.width > 0)
        .collect()
}

fn cells(terms: &[f64; 6]) -> Vec<TermCell> {
    let cell = |(term, cost): (&Term, &f64)| TermCell {
        word: term.word,
        value: if *cost < 0.000_05 {
            UNSET.to_owned()
        } else {
            format!("{cost:.4}")
        },
    };
    TERMS.iter().zip(terms).map(cell).collect()
}

/// The sentence of a candidate without the port and the cost, which have columns of their own.
fn known(candidate: &Candidate) -> String {
    let sentence = story::sentence(candidate);
    let known = sentence.split_once(", ").map(|(_, known)| known.to_owned());
    known.unwrap_or_default()
}

/// How drawing at random would have fared, beside what was met. Each busy port comes before all of the
/// free ones with a chance of one in so many as these and itself (negative hypergeometric mean).
fn random(explanation: &Explanation) -> Option<String> {
    let (share, all) = (explanation.random_would_meet?, explanation.eligible()?);
    let busy = share * f64::from(all);
    let free = f64::from(all) - busy;
    let met = explanation
        .tried
        .len()
        .saturating_sub(explanation.granted.len());
    let expected = match busy / (free + 1.0) {
        _ if free < 0.5 => "nothing but refusals".to_owned(),
        few if few > 0.0 && few < 0.01 => "fewer than 0.01 refusals on average".to_owned(),
        some => format!("{some:.2} refusals on average"),
    };
    Some(format!(
        "Ports drawn at random, none twice, would have met {expected}; this request met {met}."
    ))
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

    #[test]
    fn the_terms_are_the_cost() {
        for protocols in [&[Protocol::Tcp][..], &[Protocol::Tcp, Protocol::Udp]] {
            let candidate = candidate(24_000, protocols);
            let sum: f64 = terms(&candidate).iter().sum();
            assert!((sum - candidate.cost).abs() < 1e-9, "{sum}");
        }
    }

    #[test]
    fn the_dearest_fills_its_bar_and_others_are_shorter() {
        let weighed = [
            candidate(1, &[Protocol::Tcp]),
            candidate(2, &[Protocol::Tcp, Protocol::Udp]),
        ];
        let explanation = Explanation {
            granted: vec![weighed[0].port],
            ..Explanation::default()
        };
        let rows = candidates(&weighed, &explanation);
        let end = |row: &CandidateRow| {
            let last = row.bar.last().unwrap().piece;
            last.x + last.width
        };
        assert_eq!(end(&rows[1]), bar::LENGTH);
        assert_eq!(end(&rows[0]), 667);
        assert_eq!(rows[0].verdict.word, "chosen");
        assert_eq!(rows[1].verdict.word, "dearer");
        assert_eq!(rows[0].terms[1].value, "–");
        assert_eq!(rows[0].bar.last().unwrap().class, "term-iana");
    }

    #[test]
    fn those_that_cost_the_same_are_not_called_dearer() {
        let costing = |cost| Candidate {
            cost,
            ..candidate(1, &[Protocol::Tcp])
        };
        let weighed = [0.098_4, 0.098_4, 0.098_41, 0.2].map(costing);
        let explanation = Explanation {
            tried: vec![weighed[0].port],
            ..Explanation::default()
        };
        let rows = candidates(&weighed, &explanation);
        let words: Vec<&str> = rows.iter().map(|row| row.verdict.word).collect();
        let expected = ["refused", "equal cost", "slightly dearer", "dearer"];
        assert_eq!(words, expected);
    }

    #[test]
    fn a_candidate_that_was_passed_over_was_not_refused() {
        let weighed = [candidate(1, &[Protocol::Tcp])];
        let rows = candidates(&weighed, &Explanation::default());
        assert_eq!(rows[0].verdict.word, "not tried");
    }

    #[test]
    fn the_cost_decides_within_the_pool_alone() {
        let of_step = |step, ports| {
            let explanation = Explanation {
                ports,
                steps: vec![step],
                ..Explanation::default()
            };
            order(&explanation)
        };
        assert!(of_step(Step::Preferred, 0).ends_with("whatever the cost"));
        assert!(of_step(Step::Pool, 9).starts_with("the cheapest"));
        assert!(of_step(Step::Upwards, 9).contains("within the pool"));
    }

    #[test]
    fn random_is_told_beside_what_was_met() {
        let port = |number| Port::new(number).unwrap();
        let explanation = Explanation {
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
        };
        let told = random(&explanation).unwrap();
        assert_eq!(
            told,
            "Ports drawn at random, none twice, would have met 1.00 refusals on average; this request met 1."
        );
        assert_eq!(random(&Explanation::default()), None);
    }
}
