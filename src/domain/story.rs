//! Stories: an explanation as a few sentences, from its stored values alone.

use std::fmt::Write;

use super::attempt::printable;
use super::candidate::{Candidate, Evidence, Totals, Weighed};
use super::explanation::Explanation;
use super::port::Port;
use super::precedence::Step;
use super::words::{counted, grouped, were};

/// Maximum number of reasons for ports passed over.
const TOLD: usize = 16;

/// Maximum number of losing candidates that are mentioned.
const RIVALS: usize = 2;

/// Tells an explanation in sentences. `is_refused`: whether the request was.
pub fn of(explanation: &Explanation, is_refused: bool) -> String {
    let mut sentences = Vec::new();
    for (index, port) in explanation.granted.iter().enumerate() {
        choice(
            &mut sentences,
            explanation,
            *port,
            explanation.steps.get(index),
        );
    }
    sentences.extend(passed_over(explanation));
    if explanation.granted.is_empty() {
        let none = if is_refused {
            "Nothing was granted."
        } else {
            "No port was sought: the names kept the ones that they had."
        };
        sentences.push(none.to_owned());
    }
    let tried = explanation.tried.len();
    let refused = tried.saturating_sub(explanation.granted.len());
    if refused > 0 {
        sentences.push(format!("{refused} tried before {} refused.", were(refused)));
    }
    sentences.extend(excluded(explanation));
    if let Some(share) = explanation.random_would_meet {
        let percent = share * 100.0;
        sentences.push(format!(
            "A port drawn at random would have been busy {percent:.1} % of the time."
        ));
    }
    let notes = explanation.notes.iter();
    sentences.extend(notes.map(|note| format!("{}.", printable(note))));
    sentences.join(" ")
}

/// Adds the sentences about the choice of one granted port.
fn choice(sentences: &mut Vec<String>, explanation: &Explanation, port: Port, step: Option<&Step>) {
    match chosen(explanation, port) {
        Some((winner, rivals)) => {
            sentences.push(format!("Chose {}.", sentence(winner)));
            for rival in rivals.iter().rev().take(RIVALS) {
                let verdict = if rival.costs_the_same_as(winner) {
                    "As cheap, but weighed later, was"
                } else {
                    "Rejected"
                };
                sentences.push(format!("{verdict} {}.", sentence(rival)));
            }
        }
        // Records of older versions name no step.
        None if step.is_none_or(|step| *step == Step::Port) => {
            sentences.push(format!("Chose {port}: asked for by number."));
        }
        None => sentences.push(format!("Chose {port}.")),
    }
    let about_step = step.and_then(|step| step.describe());
    sentences.extend(about_step.map(str::to_owned));
}

/// The choice that a port won, and the candidates that lost it.
fn chosen(explanation: &Explanation, port: Port) -> Option<(&Candidate, &[Candidate])> {
    let choices = explanation.choices.iter();
    choices
        .filter_map(|weighed| weighed.split_first())
        .find(|(first, _)| first.port == port)
}

/// Tells which ports came before the granted ones in the order of precedence. `None` if none did.
fn passed_over(explanation: &Explanation) -> Option<String> {
    let all = &explanation.skipped;
    let told = all.iter().take(TOLD).map(ToString::to_string);
    let mut told: Vec<String> = told.collect();
    if all.len() > TOLD {
        told.push(format!("{} more such reasons", all.len() - TOLD));
    }
    (!told.is_empty()).then(|| format!("Passed over: {}.", told.join("; ")))
}

/// Tells which ports were excluded, one sentence a reason.
fn excluded(explanation: &Explanation) -> impl Iterator<Item = String> {
    let all = counted(explanation.ports, "port");
    explanation.excluded.iter().map(move |excluded| {
        let (ports, reason) = (excluded.ports, excluded.reason.describe());
        let numbers = excluded.named().map(|numbers| format!(": {numbers}"));
        let numbers = numbers.unwrap_or_default();
        format!("{ports} of {all} {} {reason}{numbers}.", were(ports))
    })
}

/// `24117: expected cost 0.004, 31 good binds, no conflict, never seen busy in 4,310 checks`.
pub fn sentence(candidate: &Candidate) -> String {
    let mut text = format!("{}: expected cost {:.3}", candidate.port, candidate.cost);
    for weighed in &candidate.weighed {
        let _ = write!(text, ", {}", known(weighed));
    }
    for penalty in &candidate.penalties {
        let (reason, cost) = (penalty.reason.describe(), penalty.cost);
        let _ = write!(text, ", {reason} (+{cost:.2})");
    }
    text
}

/// Tells the evidence about a port.
fn known(weighed: &Weighed) -> String {
    let (evidence, cost) = (&weighed.evidence, &weighed.cost);
    let totals = evidence.totals;
    let good = match totals.good {
        0 => "never bound yet".to_owned(),
        good => counted(good, "good bind"),
    };
    let mut parts = vec![good, conflicts(totals), checks(evidence)];
    if evidence.seen_now {
        parts.push("seen busy a moment ago".to_owned());
    }
    if cost.released > 0.0 {
        parts.push(format!("just released (+{:.2})", cost.released));
    }
    if totals.good == 0 {
        parts.extend(nearby(evidence));
    }
    parts.extend(elsewhere(evidence));
    parts.join(", ")
}

fn conflicts(totals: Totals) -> String {
    let refused = || format!("{} refused", counted(totals.failed, "bind"));
    let late = || counted(totals.late, "late conflict");
    match (totals.failed, totals.late) {
        (0, 0) => "no conflict".to_owned(),
        (_, 0) => refused(),
        (0, _) => late(),
        _ => format!("{}, {}", refused(), late()),
    }
}

fn checks(evidence: &Evidence) -> String {
    let totals = evidence.totals;
    if totals.checks == 0 {
        return "no checks yet".to_owned();
    }
    if totals.busy == 0 {
        return format!("never seen busy in {}", counted(totals.checks, "check"));
    }
    let occupant = evidence.occupant.as_deref().unwrap_or("another program");
    let share = 100.0 * evidence.busy / evidence.checks.max(f64::MIN_POSITIVE);
    format!(
        "{} was on it in {share:.0} % of the last days' checks ({} of {})",
        printable(occupant),
        grouped(totals.busy),
        grouped(totals.checks)
    )
}

/// Tells the binds in the block of a port, by which ports without evidence of their own differ.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of binds are never negative and fit in u64"
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

/// Tells on how many hosts of the fleet the port was busy. `None` if none was looked at.
fn elsewhere(evidence: &Evidence) -> Option<String> {
    let hosts = u64::from(evidence.fleet_hosts);
    let busy = match evidence.fleet_busy {
        0 => "none".to_owned(),
        busy => busy.to_string(),
    };
    (hosts > 0).then(|| format!("busy on {busy} of {} looked at", counted(hosts, "host")))
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
    fn request_without_a_new_port_says_whether_it_was_refused() {
        let explanation = Explanation::default();
        assert_eq!(of(&explanation, true), "Nothing was granted.");
        assert_eq!(
            of(&explanation, false),
            "No port was sought: the names kept the ones that they had."
        );
    }

    #[test]
    fn port_never_bound_tells_of_its_neighbours() {
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
    fn hosts_of_the_fleet_are_told_if_some_were_looked_at() {
        let told = |fleet_hosts, fleet_busy| {
            let evidence = Evidence {
                fleet_hosts,
                fleet_busy,
                ..Evidence::default()
            };
            sentence(&candidate(24_500, 0.1, evidence))
        };
        let said = told(50, 17);
        assert!(said.ends_with("busy on 17 of 50 hosts looked at"), "{said}");
        assert!(told(1, 0).ends_with("busy on none of 1 host looked at"));
        assert!(!told(0, 0).contains("looked at"));
    }

    #[test]
    fn refusals_of_a_port_and_its_neighbours_are_apart() {
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
    fn choice_has_its_reasons() {
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
            of(&explanation, false),
            "Chose 24117: expected cost 0.004, 31 good binds, no conflict, never seen busy in 4,310 \
             checks. Rejected 24500: expected cost 0.310, never bound yet, no conflict, node was on it \
             in 14 % of the last days' checks (603 of 4,310), assigned by IANA (+0.02). 3 of 10,000 \
             ports were leased: 24118, 24120-24121. A port drawn at random would have been busy 5.2 % of the time."
        );
    }

    #[test]
    fn record_with_fewer_tries_than_ports_has_no_refusals() {
        let explanation = Explanation {
            granted: vec![Port::new(8888).unwrap()],
            ..Explanation::default()
        };
        let told = of(&explanation, false);
        assert!(!told.contains("refused"), "{told}");
    }

    #[test]
    fn rival_of_equal_cost_is_not_called_rejected() {
        let of_cost = |number| candidate(number, 0.1, Evidence::default());
        let port = Port::new(1).unwrap();
        let explanation = Explanation {
            choices: vec![vec![of_cost(1), of_cost(2)]],
            tried: vec![port],
            granted: vec![port],
            ..Explanation::default()
        };
        let told = of(&explanation, false);
        assert!(
            told.contains("As cheap, but weighed later, was 2: expected cost 0.100"),
            "{told}"
        );
        assert!(!told.contains("Rejected"), "{told}");
    }

    #[test]
    fn ports_passed_over_have_their_reasons() {
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
            of(&explanation, false),
            "Chose 8889. It is the first port above the preferred one that could be had. Passed over: \
             8888 is in use by node (pid 7). 1 tried before was refused."
        );
    }

    #[test]
    fn singular_is_used_for_one() {
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
            of(&explanation, false),
            "Chose 2: expected cost 0.100, 1 good bind, 1 late conflict, never seen busy in 1 check. \
             1 tried before was refused. 1 of 101 ports was leased."
        );
    }
}
