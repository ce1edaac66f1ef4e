//! The console's own address, and the reason if it is not the preferred one.

use std::sync::Arc;

use crate::access::Viewer;
use crate::api::AppState;
use crate::dashboard::part::moved::MoveNote;
use crate::domain::lease::Lease;
use crate::domain::words::listed;

/// Maximum number of ports in a sentence.
const NAMED: usize = 4;

#[derive(Debug, Clone, Default)]
pub(super) struct Landing {
    /// `None` if the console is switched off and the page came over the API socket.
    pub(super) url: Option<String>,
    /// A sentence about the port that the console stands in for.
    pub(super) moved: Option<String>,
}

impl Landing {
    /// Hides from the viewer the names of other users' programs.
    pub(super) fn of(face: &AppState, viewer: &Viewer, living: &[Arc<Lease>]) -> Self {
        let Some(url) = face.console.get().cloned() else {
            return Self::default();
        };
        let console = living.iter().find(|lease| lease.is_console());
        Self {
            url: Some(url),
            moved: console.and_then(|lease| moved(lease, viewer)),
        }
    }
}

fn moved(lease: &Lease, viewer: &Viewer) -> Option<String> {
    let mut moved = lease.moved.clone()?;
    if !viewer.sees(lease.uid) {
        moved.by = None;
    }
    let note = MoveNote::of(&moved);
    note.is_displaced.then(|| {
        let (why, port) = (moved.reason_in_words(), lease.port);
        format!("{why}, so the console is on {port}.")
    })
}

/// The ports in words: the first ones by number, and the number of the others.
pub(super) fn named(ports: &[u16]) -> String {
    let rest = ports.len().saturating_sub(NAMED);
    let mut words: Vec<String> = ports.iter().take(NAMED).map(u16::to_string).collect();
    if rest > 0 {
        words.push(format!("{rest} more"));
    }
    listed(&words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support::lease;
    use crate::domain::port::Port;
    use crate::domain::precedence::Moved;
    use crate::domain::reason::Reason;

    fn told(reason: Reason, by: &str, viewer: &Viewer) -> Option<String> {
        let mut console = lease(8889);
        console.moved = Some(Moved {
            from: Port::new(8888).unwrap(),
            to: console.port,
            reason,
            by: Some(by.to_owned()),
            since: None,
            whose: None,
        });
        moved(&console, viewer)
    }

    const OWN: Viewer = Viewer::Reader { of: 1000 };

    #[test]
    fn occupant_of_the_preferred_port_is_named() {
        let said = told(Reason::InUse, "node (pid 77)", &OWN).unwrap();
        let node = "8888 is in use by node (pid 77), so the console is on 8889.";
        assert_eq!(said, node);
        let said = told(Reason::Leased, "web", &OWN).unwrap();
        assert_eq!(said, "8888 is leased to web, so the console is on 8889.");
    }

    #[test]
    fn other_users_see_no_names() {
        let said = told(Reason::InUse, "node (pid 77)", &Viewer::Reader { of: 7 });
        assert_eq!(said.unwrap(), "8888 is in use, so the console is on 8889.");
    }

    #[test]
    fn console_on_its_port_has_no_sentence() {
        assert_eq!(moved(&lease(8888), &OWN), None);
        assert_eq!(told(Reason::Preferred, "", &OWN), None);
        assert_eq!(told(Reason::AskedOtherwise, "port 8889", &OWN), None);
    }

    #[test]
    fn many_ports_end_with_their_number() {
        assert_eq!(named(&[1, 2, 3, 4, 5, 6]), "1, 2, 3, 4 and 2 more");
    }
}
