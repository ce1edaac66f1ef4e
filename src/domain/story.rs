//! A choice told in a few sentences, from what is stored of it and nothing else.

use std::fmt::Write;

use super::attempt::printable;
use super::candidate::{Candidate, Weighed};
use super::explanation::Explanation;

/// How many of those that lost are told of.
const RIVALS: usize = 2;

/// The sentences.
pub fn of(explanation: &Explanation) -> String {
    let mut text = String::new();
    for port in &explanation.granted {
        let choice = chosen(explanation, |candidate| candidate.port == *port);
        match choice {
            Some((winner, rivals)) => {
                let _ = write!(text, "Chose {}. ", sentence(winner));
                for rival in rivals.iter().rev().take(RIVALS) {
                    let _ = write!(text, "Rejected {}. ", sentence(rival));
                }
            }
            None => {
                let _ = write!(text, "Chose {port}: asked for by number. ");
            }
        }
    }
    let refused = explanation.tried.len() - explanation.granted.len();
    if explanation.granted.is_empty() {
        text.push_str("Nothing was granted. ");
    }
    if refused > 0 {
        let _ = write!(text, "{refused} tried before were refused. ");
    }
    for excluded in &explanation.excluded {
        let (ports, why) = (excluded.ports, excluded.reason.describe());
        let _ = write!(text, "{ports} of {} ports were {why}. ", explanation.ports);
    }
    if let Some(share) = explanation.random_would_meet {
        let percent = share * 100.0;
        let _ = write!(
            text,
            "A port drawn at random had been busy with {percent:.1} %. "
        );
    }
    for note in &explanation.notes {
        let _ = write!(text, "{}. ", printable(note));
    }
    text.trim_end().to_owned()
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
        1 => parts.push("1 good bind".to_owned()),
        good => parts.push(format!("{} good binds", thousands(good))),
    }
    match (totals.failed, totals.late) {
        (0, 0) => parts.push("no conflict".to_owned()),
        (failed, 0) => parts.push(format!("{} refused", thousands(failed))),
        (0, late) => parts.push(format!("{} late conflicts", thousands(late))),
        (failed, late) => parts.push(format!(
            "{} refused, {} late conflicts",
            thousands(failed),
            thousands(late)
        )),
    }
    let checks = thousands(totals.checks);
    let who = evidence.occupant.as_deref().map_or("somebody", |who| who);
    let who = printable(who);
    match (totals.checks, totals.busy) {
        (0, _) => parts.push("no checks yet".to_owned()),
        (_, 0) => parts.push(format!("never seen busy in {checks} checks")),
        _ => {
            let share = 100.0 * evidence.busy / evidence.checks.max(f64::MIN_POSITIVE);
            parts.push(format!(
                "{who} was on it in {share:.0} % of the last days' checks ({} of {checks})",
                thousands(totals.busy)
            ));
        }
    }
    if evidence.seen_now {
        parts.push("seen busy a moment ago".to_owned());
    }
    if cost.released > 0.0 {
        parts.push(format!("just released (+{:.2})", cost.released));
    }
    parts.join(", ")
}

/// `4,310`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::candidate::{Cost, Evidence, Penalty, PenaltyReason, Totals};
    use crate::domain::explanation::{Excluded, Reason};
    use crate::domain::port::{Port, Protocol};

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
             in 14 % of the last days' checks (603 of 4,310), assigned by IANA (+0.02). 3 of 10000 \
             ports were leased. A port drawn at random had been busy with 5.2 %."
        );
    }
}
