//! Precedence: the order in which a request's ports are tried, and the record of those passed over.
//!
//! Five steps, the first that yields a port wins:
//!
//! 1. [`Step::Port`]: the port asked for by number (`port`); no other step follows it.
//! 2. [`Step::Preferred`]: the preferred port (`prefer`), always tried by a bind.
//! 3. [`Step::Last`]: the port that the name had before.
//! 4. [`Step::Upwards`]: the `prefer_span` numbers above the preferred port, ascending; numbers that
//!    history expects to be busy come after the others.
//! 5. [`Step::Pool`]: the pool's ranges by its strategy.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::FromRepr;

use super::attempt::printable;
use super::port::{Port, PortSet};
use super::reason::Reason;

/// Number of ports above a preferred one that are tried unless the pool or the request says
/// otherwise: with 8888 preferred, up to 8988.
pub const PREFER_SPAN: u16 = 100;

/// One step of the precedence, in the order of this enumeration. The record stores the number of a
/// variant, so it never changes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    FromRepr,
)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Asked for by number.
    Port,
    /// The preferred port.
    Preferred,
    /// The port that the name had before.
    Last,
    /// A number above the preferred port.
    Upwards,
    /// The pool's choice by its strategy.
    Pool,
}

impl Step {
    /// Sentence about a port that this step yielded. `None` if the choice explains itself.
    pub const fn describe(self) -> Option<&'static str> {
        match self {
            Self::Port | Self::Pool => None,
            Self::Preferred => Some("It is the preferred port."),
            Self::Last => Some("It is the port that the name had before."),
            Self::Upwards => {
                Some("It is the first port above the preferred one that could be had.")
            }
        }
    }
}

/// Ports from `first` up to `span` above it, at most 65535.
///
/// ```
/// use portbook::domain::{port::Port, precedence::upwards};
/// let first = Port::new(8888).unwrap();
/// assert_eq!(upwards(first, 100).to_string(), "8888-8988");
/// assert_eq!(upwards(Port::new(65535).unwrap(), 7).to_string(), "65535");
/// ```
pub fn upwards(first: Port, span: u16) -> PortSet {
    let last = first.get().saturating_add(span);
    Port::new(last).map_or(PortSet::EMPTY, |last| PortSet::range(first, last))
}

/// Ports that came before the granted one in the precedence, and the reason why they were passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// One port, or several in a row that share a reason.
    pub ports: PortSet,
    /// Kind of the reason.
    pub reason: Reason,
    /// The lease, program, rule or range behind it, in words; `None` if the kind says all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Time at which a port that cools down was found busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// User of the lease or program that `by` names, to hide it from other viewers. Not recorded.
    #[serde(skip)]
    pub whose: Option<u32>,
}

impl Skipped {
    /// One port with its reason.
    pub fn new(port: Port, reason: Reason, by: Option<String>) -> Self {
        Self {
            ports: PortSet::single(port),
            reason,
            by,
            since: None,
            whose: None,
        }
    }

    /// Hides the lease or program of a user that the viewer does not see.
    pub fn veil(&mut self, sees: impl Fn(u32) -> bool) {
        veil(&mut self.by, self.whose, sees);
    }

    /// Whether `other` has this reason too, so that its ports belong to this entry.
    pub fn is_continued_by(&self, other: &Self) -> bool {
        (self.reason, &self.by, self.since, self.whose)
            == (other.reason, &other.by, other.since, other.whose)
    }

    /// The ports and the rest of a sentence about them: `8888 is in use by node (pid 7)`.
    fn sentence(&self) -> String {
        let several = self.ports.len() > 1;
        self.reason
            .of_ports(several, self.by.as_deref(), self.since)
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.sentence();
        write!(f, "{} {}", self.ports.in_words(), printable(&said))
    }
}

/// Move from the port that was wanted, or that a name had, to the port that was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moved {
    /// The preferred port, or the port that the name had before.
    pub from: Port,
    /// The granted port.
    pub to: Port,
    /// Kind of the reason.
    pub reason: Reason,
    /// The lease, program, rule or range behind it, in words; `None` if the kind says all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Time at which a port that cools down was found busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// User of the lease or program that `by` names, to hide it from other viewers. Not recorded.
    #[serde(skip)]
    pub whose: Option<u32>,
}

impl Moved {
    /// Move to `to` from a port that was skipped.
    pub fn past(skipped: &Skipped, from: Port, to: Port) -> Self {
        Self {
            from,
            to,
            reason: skipped.reason,
            by: skipped.by.clone(),
            since: skipped.since,
            whose: skipped.whose,
        }
    }

    /// Hides the lease or program of a user that the viewer does not see.
    pub fn veil(&mut self, sees: impl Fn(u32) -> bool) {
        veil(&mut self.by, self.whose, sees);
    }

    /// The reason alone: `8888 is in use by node (pid 7)`.
    pub fn reason_in_words(&self) -> String {
        let said = self.reason.of_ports(false, self.by.as_deref(), self.since);
        format!("{} {}", self.from, printable(&said))
    }
}

/// `8888 is in use by node (pid 7), so it is 8890`.
impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, .. } = self;
        if self.reason == Reason::Preferred {
            return write!(f, "{to} is preferred and free, so it is no longer {from}");
        }
        write!(f, "{}, so it is {to}", self.reason_in_words())
    }
}

fn veil(by: &mut Option<String>, whose: Option<u32>, sees: impl Fn(u32) -> bool) {
    if let Some(uid) = whose.filter(|uid| !sees(*uid)) {
        *by = Some(another_user(uid));
    }
}

/// Words for a user that the viewer does not see.
pub fn another_user(uid: u32) -> String {
    format!("another user (uid {uid})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn skipped(ports: &str, reason: Reason, by: Option<&str>) -> Skipped {
        Skipped {
            ports: ports.parse().unwrap(),
            reason,
            by: by.map(str::to_owned),
            since: None,
            whose: None,
        }
    }

    #[test]
    fn each_reason_makes_a_sentence() {
        let said = |reason, by| skipped("8888", reason, by).to_string();
        let node = Some("node (pid 7)");
        assert_eq!(said(Reason::InUse, node), "8888 is in use by node (pid 7)");
        assert_eq!(said(Reason::InUse, None), "8888 is in use");
        assert_eq!(said(Reason::Leased, Some("web")), "8888 is leased to web");
        assert_eq!(
            said(Reason::Reserved, Some("web")),
            "8888 is reserved for web"
        );
        let some = skipped("8889-8890", Reason::BrowserBlocked, None);
        assert_eq!(some.to_string(), "8889-8890 are refused by browsers");
    }

    #[test]
    fn hostile_names_cannot_steer_a_terminal() {
        let said = skipped("1", Reason::InUse, Some("\u{1b}[31m")).to_string();
        assert_eq!(said, "1 is in use by \u{fffd}[31m");
    }

    #[test]
    fn cooling_port_names_time_and_program() {
        let cooling = Skipped {
            since: Some("2026-11-29T14:03:02.5Z".parse().unwrap()),
            ..skipped("8889", Reason::CoolingDown, Some("node (pid 7)"))
        };
        let said = "8889 is cooling down: node (pid 7) was found there at 2026-11-29T14:03:02Z";
        assert_eq!(cooling.to_string(), said);
    }

    #[test]
    fn program_of_another_user_is_hidden() {
        let mut of_seven = skipped("1", Reason::InUse, Some("node (pid 7)"));
        of_seven.whose = Some(7);
        of_seven.veil(|uid| uid == 7);
        assert_eq!(of_seven.to_string(), "1 is in use by node (pid 7)");
        let mut moved = Moved::past(&of_seven, port(1), port(2));
        moved.veil(|uid| uid == 8);
        assert_eq!(
            moved.reason_in_words(),
            "1 is in use by another user (uid 7)"
        );
    }

    #[test]
    fn moves_and_returns_have_sentences() {
        let moved = Moved::past(&skipped("80", Reason::InUse, None), port(80), port(81));
        assert_eq!(moved.to_string(), "80 is in use, so it is 81");
        let back = Moved {
            from: port(81),
            to: port(80),
            reason: Reason::Preferred,
            by: None,
            since: None,
            whose: None,
        };
        let said = "80 is preferred and free, so it is no longer 81";
        assert_eq!(back.to_string(), said);
    }
}
