//! Life of a lease: its state, its guard in the kernel, and its hand-over to the owner.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::domain::port::Protocol;
use crate::domain::words::{UnknownWord, Written, as_str};

/// Way in which a port passes from portbook to its owner.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
#[strum(parse_err_ty = UnknownWord, parse_err_fn = UnknownWord::of::<Handover>)]
#[serde(rename_all = "snake_case")]
pub enum Handover {
    /// The hold stays and lets owners in that set SO_REUSEADDR.
    #[default]
    Gate,
    /// The owner is given listening sockets that portbook bound for it; the hold stays shut beneath.
    Fd,
    /// The hold is closed just before the owner starts; the books keep the port.
    Release,
    /// The hold stays, and a guard in the kernel lets the owner alone in. For programs that `portbook run`
    /// starts, by a privileged service; else it falls back to `gate`.
    Bind,
}

impl Handover {
    /// Whether the gate of the hold is open while the owner may bind.
    pub const fn opens_gate(self) -> bool {
        matches!(self, Self::Gate | Self::Bind)
    }

    /// Hand-over that takes place for a protocol. Few programs for UDP set SO_REUSEADDR or SO_REUSEPORT, so
    /// `gate` means `release` for UDP unless `gate_for_udp`.
    #[must_use]
    pub const fn for_protocol(self, protocol: Protocol, gate_for_udp: bool) -> Self {
        match (self, protocol) {
            (Self::Gate, Protocol::Udp) if !gate_for_udp => Self::Release,
            (handover, _) => handover,
        }
    }
}

impl Written for Handover {
    const KIND: &'static str = "a hand-over";
}

/// Socket that keeps other programs off the port of a lease.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// A socket that portbook has bound.
    Hold,
    /// The owner's own socket.
    Owner,
    /// No socket: the books alone keep the port.
    None,
}

/// Stage in the life of a lease. The last four end it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
#[strum(parse_err_ty = UnknownWord, parse_err_fn = UnknownWord::of::<State>)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Held with the gate shut: a name whose owner is away.
    Reserved,
    /// Gate open or hold released; no program listens yet.
    Handed,
    /// The owner listens.
    Active,
    /// One of its addresses has gone from the host.
    Degraded,
    /// An outsider has the port.
    Lost,
    /// Given back.
    Released,
    /// Its lifetime ran out.
    Expired,
    /// No listener came within the time to claim it.
    Unclaimed,
    /// Its owner is gone.
    OwnerGone,
}

impl State {
    /// Meaning as the end of a sentence: "its owner is away, and the name keeps the port". An
    /// owner is `away` while its lease lives, and `gone` only where that ended the lease.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Reserved => "its owner is away, and the name keeps the port",
            Self::Handed => "its owner may come, but no program listens yet",
            Self::Active => "its owner listens",
            Self::Degraded => "an address has gone from the host",
            Self::Lost => "another program has the port",
            Self::Released => "it was given back",
            Self::Expired => "its time was up",
            Self::Unclaimed => "no program came to listen",
            Self::OwnerGone => "its owner is gone, and no name kept the port",
        }
    }

    /// Whether the lease is over.
    pub const fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Released | Self::Expired | Self::Unclaimed | Self::OwnerGone
        )
    }
}

impl Written for State {
    const KIND: &'static str = "a lease state";
}

as_str!(Handover, Guard, State);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_words_match_their_json() {
        for state in State::VARIANTS {
            assert_eq!(state.as_str().parse(), Ok(*state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn unknown_words_are_refused_with_the_known_ones() {
        let wrong = "door".parse::<Handover>().unwrap_err();
        let said = "\"door\" is not a hand-over: use gate, fd, release or bind";
        assert_eq!(wrong.to_string(), said);
    }
}
