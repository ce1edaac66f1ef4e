//! A choice told in a few sentences, from what is stored of it and nothing else.

use std::fmt::Write;

use super::attempt::printable;
use super::candidate::{Candidate, Evidence, Weighed};
use super::explanation::Explanation;
use super::precedence::Step;
use super::words::{counted, grouped, were};

/// Maximum number of reasons for ports passed over.
const TOLD: usize = 16;

/// How many of those that lost are told of.
const RIVALS: usize = 2;

/// The sentences.
pub fn of(explanation: &Explanation) -> String {
    let mut text = String::new();
    for (index, port) in explanation.granted.iter().enumerate() {
        let step = explanation.steps.get(index);
        let choice = chosen(explanation, |candidate| candidate.port == *port);
        match choice {
            Some((winner, rivals)) => {
                let _ = write!(text, "Chose {}. ", sentence(winner));
                for rival in rivals.iter().rev().take(RIVALS) {
                    let how = if rival.costs_the_same_as(winner) {
                        "As cheap, but weighed later, was"
                    } else {
                        "Rejected"
                    };
                    let _ = write!(text, "{how} {}. ", sentence(rival));
                }
            }
            // Records of older versions name no step.
            None if step.is_none_or(|step| *step == Step::Port) => {
                let _ = write!(text, "Chose {port}: asked for by number. ");
            }
            None => {
                let _ = write!(text, "Chose {port}. ");
            }
        }
        if let Some(said) = step.and_then(|step| step.describe()) {
            let _ = write!(text, "{said} ");
        }
    }
    text.push_str(&passed_over(explanation));
    let tried = explanation.tried.len();
    let refused = tried.saturating_sub(explanation.granted.len());
    let refused = u64::try_from(refused).unwrap_or(u64::MAX);
    if explanation.granted.is_empty() {
        text.push_str("Nothing was granted. ");
    }
    if refused > 0 {
        let _ = write!(text, "{refused} tried before {} refused. ", were(refused));
    }
    for excluded in &explanation.excluded {
        let (ports, why) = (excluded.ports, excluded.reason.describe());
        let (all, were) = (counted(explanation.ports, "port"), were(ports));
        let which = excluded.named().map(|which| format!(": {which}"));
        let which = which.unwrap_or_default();
        let _ = write!(text, "{ports} of {all} {were} {why}{which}. ");
    }
    if let Some(share) = explanation.random_would_meet {
        let percent = share * 100.0;
        let _ = write!(
            text,
            "A port drawn at random would have been busy {percent:.1} % of the time. "
        );
    }
    for note in &explanation.notes {
        let _ = write!(text, "{}. ", printable(note));
    }
    text.trim_end().to_owned()
}

/// The ports that came before the granted ones in the order of precedence, with their reasons.
fn passed_over(explanation: &Explanation) -> String {
    let all = &explanation.skipped;
    let told = all.iter().take(TOLD).map(ToString::to_string);
    let mut told: Vec<String> = told.collect();
    if all.len() > TOLD {
        told.push(format!("{} more such reasons", all.len() - TOLD));
    }
    if told.is_empty() {
        return String::new();
    }
    format!("Passed over: {}. ", told.join("; "))
}

/// The choice that a port won, and who lost against it.
fn chosen(
    explanation: &Explanation,
    is: impl Fn(&Candidate) -> bool,
) -> Option<(&Candidate, &[Candidate])> {
    let choices = explanation.choices.iter();
    choices
        .filter_map(|weighed| weighed.split_first())
        .find(|(first, _)| is(first))
}

/// `24117: expected cost 0.004, 31 good binds, no conflict, never seen busy in 4,310 checks`.
pub fn sentence(candidate: &Candidate) -> String {
    let mut text = format!("{}: expected cost {:.3}", candidate.port, candidate.cost);
    for weighed in &candidate.weighed {
        let _ = write!(text, ", {}", known(weighed));
    }
    for penalty in &candidate.penalties {
        let (why, cost) = (penalty.reason.describe(), penalty.cost);
        let _ = write!(text, ", {why} (+{cost:.2})");
    }
    text
}

/// What is known of a port in words.
fn known(weighed: &Weighed) -> String {
    let (evidence, cost) = (&weighed.evidence, &weighed.cost);
    let totals = evidence.totals;
    let mut parts = Vec::new();
    match totals.good {
        0 => parts.push("never bound yet".to_owned()),
        good => parts.push(counted(good, "good bind")),
    }
    match (totals.failed, totals.late) {
        (0, 0) => parts.push("no conflict".to_owned()),
        (failed, 0) => parts.push(format!("{} refused", counted(failed, "bind"))),
        (0, late) => parts.push(counted(late, "late conflict")),
        (failed, late) => parts.push(format!(
            "{} refused, {}",
            counted(failed, "bind"),
            counted(late, "late conflict")
        )),
    }
    let who = evidence.occupant.as_deref().map_or("somebody", |who| who);
    let who = printable(who);
    match (totals.checks, totals.busy) {
        (0, _) => parts.push("no checks yet".to_owned()),
        (_, 0) => parts.push(format!(
            "never seen busy in {}",
            counted(totals.checks, "check")
        )),
        _ => {
            let checks = grouped(totals.checks);
            let share = 100.0 * evidence.busy / evidence.checks.max(f64::MIN_POSITIVE);
            parts.push(format!(
                "{who} was on it in {share:.0} % of the last days' checks ({} of {checks})",
                grouped(totals.busy)
            ));
        }
    }
    if evidence.seen_now {
        parts.push("seen busy a moment ago".to_owned());
    }
    if cost.released > 0.0 {
        parts.push(format!("just released (+{:.2})", cost.released));
    }
    if totals.good == 0 {
        parts.extend(nearby(evidence));
    }
    parts.join(", ")
}

/// What makes one port dearer than another of which as little is known: the binds in its block.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of binds, never below nothing"
)]
fn nearby(evidence: &Evidence) -> Option<String> {
    let counts = [evidence.block_good, evidence.block_failed];
    let [good, failed] = counts.map(|count| count.round() as u64);
    if good + failed == 0 {
        return None;
    }
    let good = counted(good, "good bind");
    Some(format!("near it {good} and {failed} refused"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::candidate::{Cost, Evidence, Penalty, PenaltyReason, Totals};
    use crate::domain::explanation::Excluded;
    use crate::domain::port::{Port, Protocol};
    use crate::domain::precedence::Skipped;
    use crate::domain::reason::Reason;

    fn candidate(number: u16, cost: f64, evidence: Evidence) -> Candidate {
        Candidate {
            port: Port::new(number).unwrap(),
            cost,
            weighed: vec![Weighed {
                protocol: Protocol::Tcp,
                evidence,
                cost: Cost::default(),
            }],
            penalties: Vec::new(),
        }
    }

    #[test]
    fn of_a_port_never_bound_its_neighbours_are_told() {
        let near = |block_good, block_failed| {
            sentence(&candidate(
                24_500,
                0.1,
                Evidence {
                    block_good,
                    block_failed,
                    ..Evidence::default()
                },
            ))
        };
        assert!(!near(0.4, 0.4).contains("near it"));
        let said = near(1.0, 0.0);
        assert!(
            said.ends_with("no checks yet, near it 1 good bind and 0 refused"),
            "{said}"
        );
        let bound = Evidence {
            block_good: 9.0,
            totals: Totals {
                good: 1,
                ..Totals::default()
            },
            ..Evidence::default()
        };
        assert!(!sentence(&candidate(24_500, 0.1, bound)).contains("near it"));
    }

    #[test]
    fn its_own_refusals_are_told_apart_from_its_neighbours() {
        let refused = Evidence {
            block_good: 3.0,
            block_failed: 2.0,
            totals: Totals {
                failed: 1,
                checks: 2,
                ..Totals::default()
            },
            ..Evidence::default()
        };
        let said = sentence(&candidate(24_500, 0.39, refused));
        assert_eq!(
            said,
            "24500: expected cost 0.390, never bound yet, 1 bind refused, never seen busy in 2 \
             checks, near it 3 good binds and 2 refused"
        );
    }

    #[test]
    fn a_choice_is_told_with_its_reasons() {
        let good = Evidence {
            totals: Totals {
                good: 31,
                checks: 4310,
                ..Totals::default()
            },
            ..Evidence::default()
        };
        let busy = Evidence {
            busy: 14.0,
            checks: 100.0,
            occupant: Some("node".into()),
            totals: Totals {
                busy: 603,
                checks: 4310,
                ..Totals::default()
            },
            ..Evidence::default()
        };
        let mut rival = candidate(24500, 0.31, busy);
        rival.penalties.push(Penalty {
            reason: PenaltyReason::IanaAssigned,
            cost: 0.02,
        });
        let explanation = Explanation {
            ports: 10_000,
            choices: vec![vec![candidate(24117, 0.004, good), rival]],
            excluded: vec![Excluded {
                reason: Reason::Leased,
                ports: 3,
                which: [24118, 24120, 24121]
                    .into_iter()
                    .filter_map(Port::new)
                    .collect(),
            }],
            tried: vec![Port::new(24117).unwrap()],
            granted: vec![Port::new(24117).unwrap()],
            random_would_meet: Some(0.052),
            ..Explanation::default()
        };
        assert_eq!(
            of(&explanation),
            "Chose 24117: expected cost 0.004, 31 good binds, no conflict, never seen busy in 4,310 \
             checks. Rejected 24500: expected cost 0.310, never bound yet, no conflict, node was on it \
             in 14 % of the last days' checks (603 of 4,310), assigned by IANA (+0.02). 3 of 10,000 \
             ports were leased: 24118, 24120-24121. A port drawn at random would have been busy 5.2 % of the time."
        );
    }

    #[test]
    fn a_record_with_more_granted_than_tried_has_no_refused_tries() {
        let explanation = Explanation {
            granted: vec![Port::new(8888).unwrap()],
            ..Explanation::default()
        };
        let told = of(&explanation);
        assert!(!told.contains("refused"), "{told}");
    }

    #[test]
    fn a_rival_of_equal_cost_was_not_rejected_for_it() {
        let of_cost = |number| candidate(number, 0.1, Evidence::default());
        let port = Port::new(1).unwrap();
        let explanation = Explanation {
            choices: vec![vec![of_cost(1), of_cost(2)]],
            tried: vec![port],
            granted: vec![port],
            ..Explanation::default()
        };
        let told = of(&explanation);
        assert!(
            told.contains("As cheap, but weighed later, was 2: expected cost 0.100"),
            "{told}"
        );
        assert!(!told.contains("Rejected"), "{told}");
    }

    #[test]
    fn ports_passed_over_are_told_with_their_reasons() {
        let [wanted, got] = [8888, 8889].map(|number| Port::new(number).unwrap());
        let mut explanation = Explanation {
            tried: vec![wanted, got],
            granted: vec![got],
            steps: vec![Step::Upwards],
            ..Explanation::default()
        };
        let by = Some("node (pid 7)".to_owned());
        explanation.skip(Skipped::new(wanted, Reason::InUse, by));
        assert_eq!(
            of(&explanation),
            "Chose 8889. It is the first port above the preferred one that could be had. Passed over: \
             8888 is in use by node (pid 7). 1 tried before was refused."
        );
    }

    #[test]
    fn one_is_told_as_one() {
        let once = Evidence {
            totals: Totals {
                good: 1,
                late: 1,
                checks: 1,
                ..Totals::default()
            },
            ..Evidence::default()
        };
        let (first, second) = (Port::new(1).unwrap(), Port::new(2).unwrap());
        let explanation = Explanation {
            ports: 101,
            choices: vec![vec![candidate(2, 0.1, once)]],
            excluded: vec![Excluded {
                reason: Reason::Leased,
                ports: 1,
                which: Vec::new(),
            }],
            tried: vec![first, second],
            granted: vec![second],
            ..Explanation::default()
        };
        assert_eq!(
            of(&explanation),
            "Chose 2: expected cost 0.100, 1 good bind, 1 late conflict, never seen busy in 1 check. \
             1 tried before was refused. 1 of 101 ports was leased."
        );
    }
}
