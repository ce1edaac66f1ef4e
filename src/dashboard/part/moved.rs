//! Notes on leases that are not on the port that was wanted: that port, the reason, and the way back.

use crate::domain::attempt::printable;
use crate::domain::lease::State;
use crate::domain::port::Port;
use crate::domain::precedence::Moved;
use crate::domain::reason::Reason;

/// The move of a lease from one port to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveNote {
    /// The port that was preferred, or that the name had before.
    pub from: Port,
    /// The reason, which follows after that port and a colon: `in use by node (pid 7)`.
    pub why: String,
    /// Whether the lease stands in for that port. `false` if it is back on the preferred port, or on one
    /// that a later request asked for.
    pub is_displaced: bool,
    /// The way back in a sentence. `None` if there is none.
    pub advice: Option<String>,
}

impl MoveNote {
    /// The note of a move, which the caller has reduced to what the viewer may see.
    pub fn of(moved: &Moved) -> Self {
        Self {
            from: moved.from,
            why: why(moved),
            is_displaced: !matches!(moved.reason, Reason::Preferred | Reason::AskedOtherwise),
            advice: None,
        }
    }

    /// Adds the way back, if a lease in this state has one.
    pub fn of_lease(moved: &Moved, is_named: bool, state: State) -> Self {
        let note = Self::of(moved);
        let has_way = note.is_displaced && !state.is_ended();
        Self {
            advice: has_way.then(|| advice(moved, is_named)).flatten(),
            ..note
        }
    }
}

fn why(moved: &Moved) -> String {
    let why = match (moved.reason, &moved.by) {
        (Reason::Preferred, _) => format!("{} is preferred and was free", moved.to),
        (Reason::KeepsPort, Some(by)) => by.clone(),
        (reason, by) => {
            let sentence = reason.of_ports(false, by.as_deref(), moved.since);
            sentence.trim_start_matches("is ").to_owned()
        }
    };
    printable(&why)
}

/// The way back to the port that was wanted. The next request can prefer another port, so that is a
/// condition.
fn advice(moved: &Moved, is_named: bool) -> Option<String> {
    let from = moved.from;
    let once = match moved.reason {
        Reason::BrowserBlocked | Reason::NeedsPrivilege | Reason::OutsideRange => return None,
        Reason::Configured | Reason::ByHand => "no longer excluded",
        _ => "free",
    };
    Some(if is_named {
        format!("It goes back at its next start, when {from} is {once} and still preferred.")
    } else {
        format!("A new request that prefers {from} gets it when it is {once}.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(reason: Reason, by: Option<&str>) -> Moved {
        Moved {
            from: Port::new(3000).unwrap(),
            to: Port::new(3001).unwrap(),
            reason,
            by: by.map(str::to_owned),
            since: None,
            whose: None,
        }
    }

    fn advice_of(reason: Reason, is_named: bool) -> Option<String> {
        MoveNote::of_lease(&moved(reason, None), is_named, State::Active).advice
    }

    #[test]
    fn reason_follows_the_port() {
        let why = |reason, by| MoveNote::of(&moved(reason, by)).why;
        let node = Some("node (pid 7)");
        assert_eq!(why(Reason::InUse, node), "in use by node (pid 7)");
        assert_eq!(why(Reason::Reserved, Some("web")), "reserved for web");
        let keeps = "web keeps 3001 while node (pid 7) runs";
        assert_eq!(why(Reason::KeepsPort, Some(keeps)), keeps);
        assert_eq!(
            why(Reason::Preferred, None),
            "3001 is preferred and was free"
        );
    }

    #[test]
    fn hostile_names_lose_their_control_characters() {
        let note = MoveNote::of(&moved(Reason::InUse, Some("\u{1b}[31m\u{202e}")));
        assert!(!note.why.contains(['\u{1b}', '\u{202e}']), "{}", note.why);
    }

    #[test]
    fn way_back_depends_on_the_reason() {
        let free = "It goes back at its next start, when 3000 is free and still preferred.";
        assert_eq!(advice_of(Reason::InUse, true).unwrap(), free);
        let nameless = "A new request that prefers 3000 gets it when it is free.";
        assert_eq!(advice_of(Reason::InUse, false).unwrap(), nameless);
        let excluded = advice_of(Reason::ByHand, true).unwrap();
        assert!(excluded.contains("no longer excluded"), "{excluded}");
        assert_eq!(advice_of(Reason::NeedsPrivilege, true), None);
    }

    #[test]
    fn ended_and_returned_leases_have_no_way_back() {
        let back = MoveNote::of_lease(&moved(Reason::Preferred, None), true, State::Active);
        assert!(!back.is_displaced && back.advice.is_none());
        let ended = MoveNote::of_lease(&moved(Reason::InUse, None), true, State::Released);
        assert!(ended.is_displaced && ended.advice.is_none());
    }
}
