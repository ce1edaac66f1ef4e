//! The order of precedence in an explanation: the step that yielded each granted port, and the ports
//! that came before it.

use crate::domain::attempt::printable;
use crate::domain::explanation::Explanation;
use crate::domain::port::{Port, PortSet};
use crate::domain::precedence::{Skipped, Step};
use crate::domain::reason::Reason;

/// Granted ports that the same step yielded, one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// The ports, as `8890-8892`.
    pub ports: String,
    /// Name of the step.
    pub words: &'static str,
    /// Place of the step in the order, from 1 to 5.
    pub number: u8,
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

/// The port passed over, if it is a single one.
pub fn single(skipped: &Skipped) -> Option<Port> {
    skipped.ports.first().filter(|_| skipped.ports.len() == 1)
}

/// The lease, program, rule or range behind a reason. `None` if the reason says all.
pub fn cause(skipped: &Skipped) -> Option<String> {
    let by = skipped.by.as_deref();
    let cause = match (skipped.reason, skipped.since) {
        (Reason::CoolingDown, Some(since)) => {
            let occupant = by.unwrap_or("another program");
            format!("{occupant} was found there at {since:.0}")
        }
        (Reason::NeedsPrivilege, _) => {
            format!(
                "all ports below {} are (net.ipv4.ip_unprivileged_port_start)",
                by?
            )
        }
        _ => by?.to_owned(),
    };
    Some(printable(&cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
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
    fn causes_name_the_program_or_the_rule() {
        let cause_of = |reason, by: Option<&str>, since: Option<&str>| {
            let mut skipped = Skipped::new(port(8888), reason, by.map(str::to_owned));
            skipped.since = since.map(|at| at.parse().unwrap());
            assert_eq!(single(&skipped), Some(port(8888)));
            cause(&skipped)
        };
        let node = cause_of(Reason::InUse, Some("node\u{1b} (pid 7)"), None);
        assert_eq!(node.as_deref(), Some("node\u{fffd} (pid 7)"));
        let low = "all ports below 1024 are (net.ipv4.ip_unprivileged_port_start)";
        let privileged = cause_of(Reason::NeedsPrivilege, Some("1024"), None);
        assert_eq!(privileged.as_deref(), Some(low));
        let found = "another program was found there at 2026-11-29T14:03:02Z";
        let cooling = cause_of(Reason::CoolingDown, None, Some("2026-11-29T14:03:02.5Z"));
        assert_eq!(cooling.as_deref(), Some(found));
        assert_eq!(cause_of(Reason::Listed, None, None), None);
    }
}
