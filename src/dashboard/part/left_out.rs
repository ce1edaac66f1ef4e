//! What is not among the candidates of an explanation, and why: nobody should have to wonder where
//! the other ports of a range have gone.

use crate::domain::candidate::Candidate;
use crate::domain::explanation::Explanation;
use crate::domain::pool::Strategy;
use crate::domain::port::PortSet;
use crate::domain::words::{counted, grouped, listed};

/// What is not in the list, in sentences; nothing where all ports are in it.
pub fn left_out(explanation: &Explanation) -> Vec<String> {
    let mut sentences = Vec::new();
    let counts = counts(explanation);
    if !counts.is_empty() {
        let which = named(explanation).map(|ports| format!(": {ports}"));
        let (counts, which) = (listed(&counts), which.unwrap_or_default());
        sentences.push(format!("Left out of this list: {counts}{which}."));
    }
    sentences.extend(drawn(explanation));
    if explanation.choices.len() > 1 {
        sentences.push("A port that was tried is not weighed again.".to_owned());
    }
    sentences
}

/// How many ports each reason left out.
fn counts(explanation: &Explanation) -> Vec<String> {
    let excluded = explanation.excluded.iter();
    let mut counts: Vec<String> = excluded
        .map(|excluded| told(excluded.ports, excluded.reason.describe()))
        .collect();
    if let Some(seen) = seen(explanation).filter(|seen| *seen > 0) {
        counts.push(told(seen, "seen busy by the latest snapshot"));
    }
    counts
}

fn told(ports: u32, why: &str) -> String {
    format!("{} {why}", counted(ports, "port"))
}

fn number(ports: u32) -> usize {
    usize::try_from(ports).unwrap_or(usize::MAX)
}

/// The only choice, where its candidates are all that was weighed: a later one is made among what
/// the ones before left, and its record does not tell how much that was.
fn only_choice(explanation: &Explanation) -> Option<&[Candidate]> {
    match &*explanation.choices {
        [only] if explanation.tried.len() <= 1 => Some(only),
        _ => None,
    }
}

/// The same where it was made among all that could be chosen. A preferred port is weighed alone, and
/// so is each of `ordered` and of `random`, whatever else there was; what is weighed alone was the
/// only one left where all others were busy.
fn handful(explanation: &Explanation) -> Option<&[Candidate]> {
    let weighed = only_choice(explanation)?;
    let is_learned = explanation.strategy == Strategy::Learned.as_str();
    let is_whole = || match weighed {
        [only] => !is_seen(only) && busy(explanation) == others(explanation),
        _ => true,
    };
    (is_learned && is_whole()).then_some(weighed)
}

/// How many ports could be chosen.
fn eligible(explanation: &Explanation) -> Option<u32> {
    let excluded = explanation.excluded.iter().map(|excluded| excluded.ports);
    explanation.ports.checked_sub(excluded.sum())
}

/// How many could be chosen but for one.
fn others(explanation: &Explanation) -> Option<u32> {
    eligible(explanation)?.checked_sub(1)
}

/// How many of those a snapshot saw busy; the record has their share.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the number of ports"
)]
fn busy(explanation: &Explanation) -> Option<u32> {
    let share = explanation.random_would_meet?.clamp(0.0, 1.0);
    Some((share * f64::from(eligible(explanation)?)).round() as u32)
}

/// Whether a snapshot saw it busy, on either protocol.
fn is_seen(candidate: &Candidate) -> bool {
    let mut weighed = candidate.weighed.iter();
    weighed.any(|weighed| weighed.evidence.seen_now)
}

/// How many ports were left out because a snapshot saw them busy. Only `learned` does that, and not
/// where nothing else is left.
fn seen(explanation: &Explanation) -> Option<u32> {
    let weighed = handful(explanation)?;
    let listed = weighed.iter().filter(|weighed| is_seen(weighed)).count();
    busy(explanation)?.checked_sub(u32::try_from(listed).ok()?)
}

/// Which ports were left out. The record has their numbers nowhere; but where as many are missing
/// from the list as were left out, it is these.
fn named(explanation: &Explanation) -> Option<String> {
    let weighed = only_choice(explanation)?;
    let ranges: PortSet = explanation.ranges.parse().ok()?;
    let excluded = explanation.excluded.iter().map(|excluded| excluded.ports);
    let gone = excluded.sum::<u32>() + seen(explanation).unwrap_or(0);
    let mut missing = ranges;
    for candidate in weighed {
        missing = missing.without(&PortSet::single(candidate.port));
    }
    (missing.len() == number(gone)).then(|| missing.to_string().replace(',', ", "))
}

/// How many of those that could be chosen are in the list.
fn drawn(explanation: &Explanation) -> Option<String> {
    let weighed = handful(explanation)?.len();
    let left = eligible(explanation)?.checked_sub(seen(explanation).unwrap_or(0))?;
    (weighed < number(left)).then(|| {
        let left = grouped(left);
        format!("Of {left} ports that were left, {weighed} were drawn.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::candidate::{Cost, Evidence, Weighed};
    use crate::domain::explanation::{Excluded, Reason};
    use crate::domain::port::{Port, Protocol};

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

    /// One choice among these of 20410 to 20420, of which three are leased.
    fn explanation(weighed: &[u16]) -> Explanation {
        let weighed: Vec<Candidate> = weighed.iter().map(|number| candidate(*number)).collect();
        Explanation {
            strategy: "learned".to_owned(),
            ranges: "20410-20420".to_owned(),
            ports: 11,
            excluded: vec![Excluded {
                reason: Reason::Leased,
                ports: 3,
            }],
            tried: vec![weighed[0].port],
            choices: vec![weighed],
            ..Explanation::default()
        }
    }

    const SIX: [u16; 6] = [20_415, 20_410, 20_411, 20_413, 20_414, 20_420];

    #[test]
    fn what_is_missing_is_counted_and_named() {
        let mut all = explanation(&[
            20_415, 20_410, 20_411, 20_413, 20_414, 20_418, 20_419, 20_420,
        ]);
        let said = "Left out of this list: 3 ports leased: 20412, 20416-20417.";
        assert_eq!(left_out(&all), [said]);
        all.excluded.clear();
        assert!(
            named(&all).is_none(),
            "three are missing for no reason on record"
        );
    }

    #[test]
    fn what_a_snapshot_saw_is_left_out_too() {
        let mut some = explanation(&SIX);
        some.random_would_meet = Some(2.0 / 8.0);
        let said = "Left out of this list: 3 ports leased and 2 ports seen busy by the latest \
                    snapshot: 20412, 20416-20419.";
        assert_eq!(left_out(&some), [said]);
        // Where nothing else is left they are weighed.
        some.choices[0][0].weighed[0].evidence.seen_now = true;
        some.choices[0][1].weighed[0].evidence.seen_now = true;
        assert_eq!(seen(&some), Some(0));
    }

    #[test]
    fn the_busy_ports_beside_the_last_one_are_named() {
        let mut last = explanation(&[20_412]);
        last.ranges = "20410-20413".to_owned();
        (last.ports, last.excluded[0].ports) = (4, 1);
        last.random_would_meet = Some(2.0 / 3.0);
        let said = "Left out of this list: 1 port leased and 2 ports seen busy by the latest \
                    snapshot: 20410-20411, 20413.";
        assert_eq!(left_out(&last), [said]);
        // Was it preferred, then another that is free was not looked at, and is not named.
        last.random_would_meet = Some(1.0 / 3.0);
        let said = "Left out of this list: 1 port leased.";
        assert_eq!(left_out(&last), [said]);
        // Nor is there a last one where the preferred one is itself among the busy.
        last.random_would_meet = Some(2.0 / 3.0);
        last.choices[0][0].weighed[0].evidence.seen_now = true;
        assert_eq!(left_out(&last), [said]);
    }

    #[test]
    fn nothing_is_named_that_the_record_does_not_tell() {
        let some = explanation(&SIX);
        let said = [
            "Left out of this list: 3 ports leased.",
            "Of 8 ports that were left, 6 were drawn.",
        ];
        assert_eq!(left_out(&some), said);
        let mut several = explanation(&SIX);
        several.choices.push(vec![candidate(20_418)]);
        several.tried.push(Port::new(20_418).unwrap());
        let said = [
            "Left out of this list: 3 ports leased.",
            "A port that was tried is not weighed again.",
        ];
        assert_eq!(left_out(&several), said);
        let mut preferred = explanation(&[20_410]);
        preferred.random_would_meet = Some(0.5);
        assert_eq!(
            left_out(&preferred),
            ["Left out of this list: 3 ports leased."]
        );
    }

    #[test]
    fn a_list_of_all_ports_needs_no_word() {
        let mut all = explanation(&(20_410..=20_420).collect::<Vec<_>>());
        all.excluded.clear();
        assert_eq!(left_out(&all), [""; 0]);
    }
}
