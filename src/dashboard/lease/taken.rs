//! A lost lease: the program that has its port, and the ways to get the port back.

use jiff::Timestamp;

use super::story::Story;
use crate::answers::document::LeaseDocument;
use crate::domain::attempt::printable;
use crate::domain::lease::State;

/// The program that has the port of a lost lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// The program as far as the viewer may know it; printable.
    pub(super) who: String,
    /// Time at which it was found. `None` if that is not known any more.
    pub(super) since: Option<Timestamp>,
    pub(super) ways: Vec<Way>,
}

/// One way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) says: String,
    /// A command that does it; it holds no text from outside.
    pub(super) command: Option<String>,
}

impl Taken {
    /// The program on the port of a lease that the viewer may see. `None` if the lease is not lost.
    pub(super) fn of(lease: &LeaseDocument, story: &Story) -> Option<Self> {
        if lease.state != State::Lost {
            return None;
        }
        let now = lease.outsiders.first();
        let told = story.last_conflict();
        let who = now.map(ToString::to_string);
        let who = who.or_else(|| told.map(|event| event.detail.clone()));
        Some(Self {
            who: printable(&who.unwrap_or_else(|| "a program that is not known".to_owned())),
            since: told.map(|event| event.at),
            ways: ways(lease, now.and_then(|outsider| outsider.occupant.pid)),
        })
    }
}

fn ways(lease: &LeaseDocument, pid: Option<u32>) -> Vec<Way> {
    let port = lease.port;
    let stop = Way {
        says: format!(
            "Stop the other program. portbook has {port} back within seconds, and the lease goes on."
        ),
        command: pid.map(|pid| format!("kill {pid}")),
    };
    let move_on = match &lease.name {
        Some(name) => Way {
            says: format!("Or start {name} again: the name gets another port."),
            command: None,
        },
        None => Way {
            says: "Or ask for another port, and release this lease.".to_owned(),
            command: None,
        },
    };
    let release = Way {
        says: format!(
            "Or release the lease, if {port} may stay with the other program: nothing is stopped."
        ),
        command: Some(format!("portbook release {}", lease.id)),
    };
    vec![stop, move_on, release]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::Occupant;
    use crate::domain::lease::tests_support::lease;
    use crate::domain::outsider::Outsider;
    use crate::host::clock::Clock;

    fn lost(outsider: Option<Occupant>) -> LeaseDocument {
        let mut lease = lease(20_000);
        lease.state = State::Lost;
        let mut document = LeaseDocument::of(&lease, &Clock::manual());
        let found = outsider.map(|occupant| Outsider::from(occupant).into());
        document.outsiders.extend(found);
        document
    }

    #[test]
    fn known_program_can_be_stopped_by_its_pid() {
        let occupant = Occupant {
            pid: Some(7),
            command: Some("nc\u{1b}".into()),
            ..Occupant::default()
        };
        let taken = Taken::of(&lost(Some(occupant)), &Story::default()).unwrap();
        assert!(taken.who.starts_with("nc\u{fffd} (pid 7)"), "{}", taken.who);
        assert_eq!(taken.ways[0].command.as_deref(), Some("kill 7"));
    }

    #[test]
    fn hidden_program_has_no_pid() {
        let occupant = Occupant {
            uid: Some(7),
            ..Occupant::default()
        };
        let taken = Taken::of(&lost(Some(occupant)), &Story::default()).unwrap();
        assert_eq!(taken.ways[0].command, None);
        assert_eq!(taken.ways.len(), 3);
    }

    #[test]
    fn kept_leases_are_not_taken() {
        let document = LeaseDocument::of(&lease(20_000), &Clock::manual());
        assert_eq!(Taken::of(&document, &Story::default()), None);
    }
}
