//! The order of precedence in an explanation: the step that yielded each granted port, and the ports
//! that came before it.

use crate::domain::attempt::printable;
use crate::domain::explanation::Explanation;
use crate::domain::port::{Port, PortSet, Protocol};
use crate::domain::precedence::{Skipped, Step};
use crate::domain::reason::Reason;
use crate::domain::words::grouped;

/// Maximum number of rows of ports passed over.
const PASSED: usize = 50;

/// Granted ports that the same step yielded, one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// The ports, as `8890-8892`.
    pub ports: String,
    /// Name of the step.
    pub words: &'static str,
    /// Its place in the order, from 1 to 5.
    pub number: u8,
}

/// Ports passed over, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedRow {
    /// The ports, as `8888` or `8889-8890`.
    pub ports: String,
    /// Page of the port; `None` for several, or where no protocol is on record.
    pub href: Option<String>,
    /// Kind of the reason.
    pub reason: &'static str,
    /// The lease, program, rule or range behind it; `None` if the kind says all.
    pub cause: Option<String>,
}

/// The steps of the granted ports, in the order granted. Empty for records of older versions.
pub fn steps(explanation: &Explanation) -> Vec<StepRow> {
    let mut rows: Vec<(Step, Vec<Port>)> = Vec::new();
    for (port, step) in explanation.granted.iter().zip(&explanation.steps) {
        match rows.last_mut() {
            Some((last, ports)) if last == step => ports.push(*port),
            _ => rows.push((*step, vec![*port])),
        }
    }
    rows.into_iter().map(StepRow::from).collect()
}

impl From<(Step, Vec<Port>)> for StepRow {
    fn from((step, ports): (Step, Vec<Port>)) -> Self {
        let (number, words) = match step {
            Step::Port => (1, "asked for by number"),
            Step::Preferred => (2, "the preferred port"),
            Step::Last => (3, "the port that the name had before"),
            Step::Upwards => (4, "upwards of the preferred port"),
            Step::Pool => (5, "the pool's choice"),
        };
        Self {
            ports: ports.into_iter().collect::<PortSet>().in_words(),
            words,
            number,
        }
    }
}

/// The ports passed over, in the order of precedence, and "50 of 256" where there are more than are
/// shown.
pub fn passed_over(explanation: &Explanation) -> (Vec<PassedRow>, Option<String>) {
    let all = &explanation.skipped;
    let protocol = protocol(explanation);
    let rows = all.iter().take(PASSED).map(|skipped| PassedRow {
        href: href(protocol, skipped),
        ports: skipped.ports.in_words(),
        reason: skipped.reason.describe(),
        cause: cause(skipped).map(|cause| printable(&cause)),
    });
    let cut = all.len() > PASSED;
    let cut = cut.then(|| format!("{PASSED} of {}", grouped(all.len())));
    (rows.collect(), cut)
}

/// The protocol that was asked for; the first of several.
fn protocol(explanation: &Explanation) -> Option<Protocol> {
    let mut candidates = explanation.choices.iter().flatten();
    let weighed = candidates.find_map(|candidate| candidate.weighed.first())?;
    Some(weighed.protocol)
}

fn href(protocol: Option<Protocol>, skipped: &Skipped) -> Option<String> {
    let single = skipped.ports.first().filter(|_| skipped.ports.len() == 1)?;
    Some(format!("/ports/{}/{single}", protocol?))
}

fn cause(skipped: &Skipped) -> Option<String> {
    let by = skipped.by.as_deref();
    match (skipped.reason, skipped.since) {
        (Reason::CoolingDown, Some(since)) => {
            let whom = by.unwrap_or("another program");
            Some(format!("{whom} was found there at {since:.0}"))
        }
        (Reason::NeedsPrivilege, _) => by.map(|start| {
            format!("all ports below {start} are (net.ipv4.ip_unprivileged_port_start)")
        }),
        _ => by.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn skipped(number: u16, reason: Reason, by: Option<&str>) -> Skipped {
        Skipped::new(port(number), reason, by.map(str::to_owned))
    }

    #[test]
    fn neighbours_of_one_step_share_a_row() {
        let explanation = Explanation {
            granted: [8890, 8891, 24_000].map(port).to_vec(),
            steps: vec![Step::Upwards, Step::Upwards, Step::Pool],
            ..Explanation::default()
        };
        let rows = steps(&explanation);
        let told: Vec<(&str, u8)> = rows.iter().map(|row| (&*row.ports, row.number)).collect();
        assert_eq!(told, [("8890-8891", 4), ("24000", 5)]);
        let old = Explanation {
            steps: Vec::new(),
            ..explanation
        };
        assert_eq!(steps(&old), []);
    }

    #[test]
    fn ports_passed_over_keep_their_order_and_cause() {
        let mut explanation = Explanation::default();
        explanation.skip(skipped(8888, Reason::InUse, Some("node\u{1b} (pid 7)")));
        explanation.skip(skipped(80, Reason::NeedsPrivilege, Some("1024")));
        let mut cooling = skipped(8889, Reason::CoolingDown, None);
        cooling.since = Some("2026-11-29T14:03:02.5Z".parse().unwrap());
        explanation.skip(cooling);
        let (rows, cut) = passed_over(&explanation);
        let told: Vec<(&str, &str)> = rows
            .iter()
            .map(|row| (&*row.ports, row.cause.as_deref().unwrap()))
            .collect();
        let low = "all ports below 1024 are (net.ipv4.ip_unprivileged_port_start)";
        let found = "another program was found there at 2026-11-29T14:03:02Z";
        assert_eq!(
            told,
            [
                ("8888", "node\u{fffd} (pid 7)"),
                ("80", low),
                ("8889", found)
            ]
        );
        assert_eq!((rows[0].reason, cut), ("in use", None));
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let mut explanation = Explanation::default();
        for number in 1..=60 {
            let holder = format!("lease {number}");
            explanation.skip(skipped(8000 + number, Reason::Leased, Some(&holder)));
        }
        let (rows, cut) = passed_over(&explanation);
        assert_eq!((rows.len(), cut.as_deref()), (50, Some("50 of 60")));
    }
}
