//! The small marks that tell a state: a word, a shape and a colour, so that none has to do alone.

use crate::domain::event::EventKind;
use crate::domain::lease::State;

/// How a state is to be taken; the stylesheet has a shape and a colour for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// On its way, or waiting for somebody.
    Waiting,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
    /// Neither good nor bad.
    Plain,
}

/// One mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Badge {
    /// How to take it.
    pub tone: Tone,
    /// What it says.
    pub word: &'static str,
}

impl Badge {
    /// The class in the stylesheet.
    pub const fn class(&self) -> &'static str {
        match self.tone {
            Tone::Good => "good",
            Tone::Waiting => "waiting",
            Tone::Warning => "warning",
            Tone::Bad => "bad",
            Tone::Plain => "plain",
        }
    }

    /// A lease's state.
    pub fn lease(state: State) -> Self {
        let tone = match state {
            State::Active => Tone::Good,
            State::Handed => Tone::Waiting,
            State::Degraded => Tone::Warning,
            State::Lost => Tone::Bad,
            State::Reserved
            | State::Released
            | State::Expired
            | State::Unclaimed
            | State::OwnerGone => Tone::Plain,
        };
        let word = match state {
            State::OwnerGone => "owner gone",
            _ => state.as_str(),
        };
        Self { tone, word }
    }

    /// A kind of event.
    pub fn event(kind: EventKind) -> Self {
        let tone = match kind {
            EventKind::Granted | EventKind::Active | EventKind::Claimed | EventKind::Healed => {
                Tone::Good
            }
            EventKind::Refused | EventKind::LateConflict => Tone::Bad,
            EventKind::Degraded | EventKind::Repaired => Tone::Warning,
            EventKind::Reserved
            | EventKind::Renewed
            | EventKind::Ended
            | EventKind::Reloaded
            | EventKind::Interfaces
            | EventKind::Excluded
            | EventKind::Included => Tone::Plain,
        };
        let word = match kind {
            EventKind::LateConflict => "late conflict",
            _ => kind.as_str(),
        };
        Self { tone, word }
    }

    /// An attempt's outcome, by its word in the record.
    pub fn outcome(word: &str) -> Self {
        let (tone, word) = match word {
            "bound" => (Tone::Good, "bound"),
            "lingering" => (Tone::Good, "re-taken"),
            "in_use" => (Tone::Bad, "in use"),
            "not_permitted" => (Tone::Warning, "not permitted"),
            "address_not_available" => (Tone::Warning, "no such address"),
            _ => (Tone::Warning, "failed"),
        };
        Self { tone, word }
    }

    /// Whether an interface is up.
    pub const fn interface(up: bool) -> Self {
        if up {
            Self {
                tone: Tone::Good,
                word: "up",
            }
        } else {
            Self {
                tone: Tone::Plain,
                word: "down",
            }
        }
    }
}
