//! Ports that are not among the candidates of an explanation, with the reasons, so that every port of
//! the ranges is accounted for.

use crate::domain::candidate::Candidate;
use crate::domain::explanation::Explanation;
use crate::domain::pool::Strategy;
use crate::domain::port::PortSet;
use crate::domain::words::{counted, grouped};

/// Sentences about the ports left out. Empty if all ports of the ranges are candidates, or if the
/// candidates come from steps before the pool.
pub fn left_out(explanation: &Explanation) -> Vec<String> {
    let mut sentences = Vec::new();
    if !explanation.is_pool_searched() {
        return sentences;
    }
    let counts = counts(explanation);
    if !counts.is_empty() {
        // A count may have commas and a colon of its own.
        let counts = counts.join("; ");
        sentences.push(format!("Left out of this list: {counts}."));
    }
    sentences.extend(drawn(explanation));
    if explanation.choices.len() > 1 {
        sentences.push("A port that was tried is not weighed again.".to_owned());
    }
    sentences
}

/// The number of ports that each reason left out, with the ports if they are known.
fn counts(explanation: &Explanation) -> Vec<String> {
    let excluded = explanation.excluded.iter();
    let mut counts: Vec<String> = excluded
        .map(|excluded| {
            let why = excluded.reason.describe();
            told(excluded.ports, why, excluded.named())
        })
        .collect();
    if let Some(seen) = seen(explanation).filter(|seen| *seen > 0) {
        let why = "seen busy by the latest snapshot";
        counts.push(told(seen, why, seen_ports(explanation, seen)));
    }
    counts
}

fn told(ports: u32, why: &str, which: Option<String>) -> String {
    let which = which.map(|which| format!(": {which}"));
    format!(
        "{} {why}{}",
        counted(ports, "port"),
        which.unwrap_or_default()
    )
}

fn number(ports: u32) -> usize {
    usize::try_from(ports).unwrap_or(usize::MAX)
}

/// The candidates of the choice, if there was only one. A later choice is made among the ports that
/// earlier ones left, and the record does not tell their number.
fn only_choice(explanation: &Explanation) -> Option<&[Candidate]> {
    match &*explanation.choices {
        [only] if explanation.tried.len() <= 1 => Some(only),
        _ => None,
    }
}

/// The candidates of the only choice, if it was made among all eligible ports. A preferred port is
/// weighed alone, as is each port of `ordered` and `random`. Any other port weighed alone was the last
/// one left: all others were busy.
fn handful(explanation: &Explanation) -> Option<&[Candidate]> {
    let weighed = only_choice(explanation)?;
    let is_learned = explanation.strategy == Strategy::Learned.as_str();
    let is_whole = || match weighed {
        [only] => !is_seen(only) && busy(explanation) == others(explanation),
        _ => true,
    };
    (is_learned && is_whole()).then_some(weighed)
}

/// The number of eligible ports less one.
fn others(explanation: &Explanation) -> Option<u32> {
    explanation.eligible()?.checked_sub(1)
}

/// The number of eligible ports that the latest snapshot saw busy, from their share in the record.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the number of ports"
)]
fn busy(explanation: &Explanation) -> Option<u32> {
    let share = explanation.random_would_meet?.clamp(0.0, 1.0);
    Some((share * f64::from(explanation.eligible()?)).round() as u32)
}

/// Whether the latest snapshot saw a port busy, on either protocol.
fn is_seen(candidate: &Candidate) -> bool {
    let mut weighed = candidate.weighed.iter();
    weighed.any(|weighed| weighed.evidence.seen_now)
}

/// The number of ports left out because the latest snapshot saw them busy. Only `learned` leaves them
/// out, unless all ports are busy.
fn seen(explanation: &Explanation) -> Option<u32> {
    let weighed = handful(explanation)?;
    let listed = weighed.iter().filter(|weighed| is_seen(weighed)).count();
    busy(explanation)?.checked_sub(u32::try_from(listed).ok()?)
}

/// The ports that the latest snapshot saw busy. The record does not have their numbers: they are known
/// if exactly as many ports are neither candidates nor excluded by number.
fn seen_ports(explanation: &Explanation, seen: u32) -> Option<String> {
    let weighed = only_choice(explanation)?.iter();
    let ruled_out = explanation.excluded.iter().flat_map(|one| &one.which);
    let listed = weighed.map(|candidate| &candidate.port).chain(ruled_out);
    let ranges: PortSet = explanation.ranges.parse().ok()?;
    let missing = ranges.without(&listed.copied().collect());
    (missing.len() == number(seen)).then(|| missing.in_words())
}

/// The number of ports drawn from those that were left, or that the candidate was the last one.
fn drawn(explanation: &Explanation) -> Option<String> {
    let weighed = handful(explanation)?.len();
    let left = explanation
        .eligible()?
        .checked_sub(seen(explanation).unwrap_or(0))?;
    match (weighed, number(left)) {
        (1, 1) => Some("It was the only port left.".to_owned()),
        (weighed, left) if weighed < left => {
            let left = grouped(left);
            Some(format!(
                "Of {left} ports that were left, {weighed} were drawn."
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::candidate::{Cost, Evidence, Weighed};
    use crate::domain::explanation::Excluded;
    use crate::domain::port::{Port, Protocol};
    use crate::domain::reason::Reason;

    fn candidate(number: u16) -> Candidate {
        Candidate {
            port: Port::new(number).unwrap(),
            cost: 0.1,
            weighed: vec![Weighed {
                protocol: Protocol::Tcp,
                evidence: Evidence::default(),
                cost: Cost::default(),
            }],
            penalties: Vec::new(),
        }
    }

    /// One choice among ports from 20410 to 20420, three of which are leased.
    fn explanation(weighed: &[u16]) -> Explanation {
        let weighed: Vec<Candidate> = weighed.iter().map(|number| candidate(*number)).collect();
        Explanation {
            strategy: "learned".to_owned(),
            ranges: "20410-20420".to_owned(),
            ports: 11,
            excluded: vec![Excluded {
                reason: Reason::Leased,
                ports: 3,
                which: [20_412, 20_416, 20_417]
                    .into_iter()
                    .filter_map(Port::new)
                    .collect(),
            }],
            tried: vec![weighed[0].port],
            choices: vec![weighed],
            ..Explanation::default()
        }
    }

    const SIX: [u16; 6] = [20_415, 20_410, 20_411, 20_413, 20_414, 20_420];

    #[test]
    fn excluded_ports_are_counted_and_named() {
        let drawn = "Of 8 ports that were left, 6 were drawn.";
        let mut some = explanation(&SIX);
        let said = "Left out of this list: 3 ports leased: 20412, 20416-20417.";
        assert_eq!(left_out(&some), [said, drawn]);
        some.excluded[0].which.clear();
        let said = "Left out of this list: 3 ports leased.";
        assert_eq!(left_out(&some), [said, drawn]);
    }

    #[test]
    fn ports_seen_busy_are_left_out() {
        let mut some = explanation(&SIX);
        some.random_would_meet = Some(2.0 / 8.0);
        let said = "Left out of this list: 3 ports leased: 20412, 20416-20417; 2 ports seen busy by \
                    the latest snapshot: 20418-20419.";
        assert_eq!(left_out(&some), [said]);
        // The two may be any of five ports.
        let leased = std::mem::take(&mut some.excluded[0].which);
        let said =
            "Left out of this list: 3 ports leased; 2 ports seen busy by the latest snapshot.";
        assert_eq!(left_out(&some), [said]);
        some.excluded[0].which = leased;
        // Busy ports are weighed if no other is left.
        some.choices[0][0].weighed[0].evidence.seen_now = true;
        some.choices[0][1].weighed[0].evidence.seen_now = true;
        assert_eq!(seen(&some), Some(0));
    }

    #[test]
    fn busy_ports_beside_the_last_one_are_named() {
        let mut last = explanation(&[20_412]);
        last.ranges = "20410-20413".to_owned();
        (last.ports, last.excluded[0].ports) = (4, 1);
        last.excluded[0].which = vec![Port::new(20_410).unwrap()];
        last.random_would_meet = Some(2.0 / 3.0);
        let said = "Left out of this list: 1 port leased: 20410; 2 ports seen busy by the latest \
                    snapshot: 20411, 20413.";
        assert_eq!(left_out(&last), [said, "It was the only port left."]);
        // If the candidate was preferred, another free port was not weighed and is not named.
        last.random_would_meet = Some(1.0 / 3.0);
        let said = "Left out of this list: 1 port leased: 20410.";
        assert_eq!(left_out(&last), [said]);
        // A preferred port that is itself busy was not the last one left.
        last.random_would_meet = Some(2.0 / 3.0);
        last.choices[0][0].weighed[0].evidence.seen_now = true;
        assert_eq!(left_out(&last), [said]);
    }

    #[test]
    fn several_choices_and_preferred_ports_name_no_busy_ports() {
        let said = "Left out of this list: 3 ports leased: 20412, 20416-20417.";
        let mut several = explanation(&SIX);
        several.choices.push(vec![candidate(20_418)]);
        several.tried.push(Port::new(20_418).unwrap());
        let again = "A port that was tried is not weighed again.";
        assert_eq!(left_out(&several), [said, again]);
        let mut preferred = explanation(&[20_410]);
        preferred.random_would_meet = Some(0.5);
        assert_eq!(left_out(&preferred), [said]);
    }

    #[test]
    fn unsearched_ranges_leave_out_no_port() {
        let upwards = Explanation {
            ports: 0,
            excluded: Vec::new(),
            choices: vec![vec![candidate(8888)], vec![candidate(8889)]],
            ..explanation(&SIX)
        };
        assert_eq!(left_out(&upwards), [""; 0]);
    }

    #[test]
    fn complete_list_has_no_sentence() {
        let mut all = explanation(&(20_410..=20_420).collect::<Vec<_>>());
        all.excluded.clear();
        assert_eq!(left_out(&all), [""; 0]);
    }
}
