//! Reasons for which ports are passed over, as a word for programs and a sentence for people.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{FromRepr, IntoStaticStr};

use super::words::as_str;

/// Reason for which a port was passed over. The record stores the number of a variant, so new ones come
/// at the end.
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
    IntoStaticStr,
    FromRepr,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The pool's `exclude`, or an interface's.
    Configured,
    /// A user excluded it by hand.
    ByHand,
    /// `net.ipv4.ip_local_reserved_ports`: set aside by the administrator. An explicit request
    /// is honoured all the same (`ip-sysctl`).
    KernelReserved,
    /// A lease of portbook's is on it.
    Leased,
    /// A bind on it was refused a moment ago.
    CoolingDown,
    /// The socket tables list it as occupied. They are asked only after many busy candidates.
    Listed,
    /// It lies in the ephemeral range, of which portbook holds as much as it may.
    EphemeralBudget,
    /// Browsers refuse to open it, and the pool serves browsers.
    BrowserBlocked,
    /// The pool keeps it for requests by number.
    StaticBand,
    /// A bind on it was refused just now: another program has it.
    InUse,
    /// It is kept for a name whose program is away.
    Reserved,
    /// Another request has it and is being answered.
    BeingGranted,
    /// It is below `net.ipv4.ip_unprivileged_port_start`, and the caller lacks the privilege.
    NeedsPrivilege,
    /// It is outside the ranges that the request, or the pool for it, allows.
    OutsideRange,
    /// History expects it to be busy more often than not.
    TooCostly,
    /// The name's program is at work on its present port.
    KeepsPort,
    /// The preferred port is free again, and the name goes back to it.
    Preferred,
    /// The ports that follow it are not free as a block needs them.
    BrokenRow,
    /// The request asks for another protocol, other interfaces or another port than the name had.
    AskedOtherwise,
    /// A packet filter sends its packets elsewhere, such as to a container.
    Redirected,
    /// Another host of the fleet has claimed it, or a claim of this host on it is not settled.
    Claimed,
}

impl Reason {
    /// End of a sentence that begins with "12 ports were".
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Configured => "excluded by configuration",
            Self::ByHand => "excluded by hand",
            Self::KernelReserved => "reserved by the kernel (ip_local_reserved_ports)",
            Self::Leased => "leased",
            Self::CoolingDown => "cooling down after a refused bind",
            Self::Listed => "occupied according to the socket tables",
            Self::EphemeralBudget => "beyond what may be held of the ephemeral range",
            Self::BrowserBlocked => "refused by browsers",
            Self::StaticBand => "kept for requests by number (static_band)",
            Self::InUse => "in use",
            Self::Reserved => "reserved for names whose programs are away",
            Self::BeingGranted => "being granted to another request",
            Self::NeedsPrivilege => "too low for a user without privilege",
            Self::OutsideRange => "outside the range",
            Self::TooCostly => "expected to be busy",
            Self::KeepsPort => "not the port that the name's program has",
            Self::Preferred => "preferred",
            Self::BrokenRow => "no start of a free row",
            Self::AskedOtherwise => "not asked for any more",
            Self::Redirected => "redirected by a packet filter, such as to a container",
            Self::Claimed => "claimed in the fleet",
        }
    }

    /// End of a sentence about one port, or about `several`, with the cause if it is known: "is in use
    /// by node (pid 7)".
    pub fn of_ports(self, several: bool, by: Option<&str>, since: Option<Timestamp>) -> String {
        let verb = if several { "are" } else { "is" };
        let with = |word: &str| by.map_or_else(String::new, |by| format!(" {word} {by}"));
        match self {
            Self::InUse | Self::Listed => format!("{verb} in use{}", with("by")),
            Self::Configured | Self::ByHand => format!("{verb} excluded{}", with("by")),
            Self::Leased => format!("{verb} leased{}", with("to")),
            Self::Reserved => format!("{verb} reserved{}", with("for")),
            Self::Claimed => format!("{verb} claimed{}", with("by")),
            Self::OutsideRange => format!("{verb} outside {}", by.unwrap_or("the range")),
            Self::CoolingDown => {
                let at = since.map_or_else(String::new, |at| format!(" at {}", seconds(at)));
                let by = by.unwrap_or("another program");
                format!("{verb} cooling down: {by} was found there{at}")
            }
            Self::NeedsPrivilege => {
                let below = by.map_or_else(String::new, |start| format!(" below {start}"));
                format!(
                    "{verb} for the administrator alone, as all ports{below} are (net.ipv4.ip_unprivileged_port_start)"
                )
            }
            Self::KeepsPort => {
                format!(
                    "{verb} not taken: {}",
                    by.unwrap_or("the name keeps its port")
                )
            }
            Self::BrokenRow => {
                let cause = by.map_or_else(String::new, |by| format!(": {by}"));
                format!("{verb} no start of a free row{cause}")
            }
            Self::AskedOtherwise => format!("{verb} given up for {}", by.unwrap_or("another port")),
            Self::TooCostly => {
                let cost = by.map_or_else(String::new, |cost| format!(" ({cost})"));
                format!("{verb} expected to be busy{cost}")
            }
            other => format!("{verb} {}", other.describe()),
        }
    }
}

as_str!(Reason);

/// Rounds a time down to whole seconds, for people.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
