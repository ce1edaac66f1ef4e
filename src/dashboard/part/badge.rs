//! Badges: a state as a word, a shape and a colour, so that none of them has to do alone.

use crate::domain::event::EventKind;
use crate::domain::health::Condition;
use crate::domain::lease::State;

/// Meaning of a state; the stylesheet has a shape and a colour for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    /// Waits for its owner or for time to pass.
    Waiting,
    Warning,
    Bad,
    /// Neither good nor bad.
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Badge {
    pub tone: Tone,
    pub word: &'static str,
}

impl Badge {
    pub const fn new(tone: Tone, word: &'static str) -> Self {
        Self { tone, word }
    }

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

    pub fn event(kind: EventKind) -> Self {
        let tone = match kind {
            EventKind::Granted | EventKind::Active | EventKind::Claimed | EventKind::Healed => {
                Tone::Good
            }
            EventKind::Refused | EventKind::LateConflict | EventKind::FleetClaimLost => Tone::Bad,
            EventKind::Degraded | EventKind::Repaired | EventKind::Hint => Tone::Warning,
            EventKind::Reserved
            | EventKind::Renewed
            | EventKind::Noted
            | EventKind::Ended
            | EventKind::Reloaded
            | EventKind::Interfaces
            | EventKind::Excluded
            | EventKind::Included
            | EventKind::Inherited
            | EventKind::Mapped
            | EventKind::Fleet => Tone::Plain,
        };
        let word = match kind {
            EventKind::LateConflict => "late conflict",
            EventKind::FleetClaimLost => "number lost",
            _ => kind.as_str(),
        };
        Self { tone, word }
    }

    /// The outcome of an attempt, by its word in the record.
    pub fn outcome(word: &str) -> Self {
        let (tone, word) = match word {
            "bound" => (Tone::Good, "bound"),
            "lingering" => (Tone::Good, "re-taken"),
            "in_use" => (Tone::Bad, "in use"),
            "redirected" => (Tone::Bad, "redirected"),
            "claimed" => (Tone::Bad, "claimed"),
            "not_permitted" => (Tone::Warning, "not permitted"),
            "address_not_available" => (Tone::Warning, "no such address"),
            _ => (Tone::Warning, "failed"),
        };
        Self { tone, word }
    }

    pub const fn health(condition: Condition) -> Self {
        match condition {
            Condition::Ok => Self::new(Tone::Good, "ok"),
            Condition::Warn => Self::new(Tone::Warning, "warning"),
            Condition::Fail => Self::new(Tone::Bad, "problem"),
        }
    }

    pub const fn interface(up: bool) -> Self {
        if up {
            Self::new(Tone::Good, "up")
        } else {
            Self::new(Tone::Plain, "down")
        }
    }
}
