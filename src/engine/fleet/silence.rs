//! Reasons for which the fleet does not answer, in words.

use crate::domain::claim::Number;
use crate::domain::fleet::HostName;
use crate::domain::lease::Name;
use crate::domain::words::counted;

/// A reason for no answer.
#[cfg_attr(
    not(feature = "fleet"),
    expect(dead_code, reason = "this build asks nothing of a fleet")
)]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetSilence {
    /// The service has no fleet, or no service runs.
    #[error("this host is in no fleet: `portbook fleet join` enters one, and a service has to run")]
    Off,
    /// Leases have unique numbers, so that this host does not leave.
    #[error(
        "{} unique in the fleet: release what has it first (`portbook fleet claims` and `portbook list --state lost` tell which), as others could have numbers that are in use here",
        unique(*.0)
    )]
    Claimed(u64),
    /// Unique numbers are released, and etcd has yet to take them back.
    #[error(
        "{} released and not given back to the fleet yet: wait until etcd has answered, and `portbook fleet status` lists none to be given back",
        unique(*.0)
    )]
    Releasing(u64),
    /// A host that is to be evicted renews its session.
    #[error(
        "the session of {0} lives: release its numbers there, or stop the machine and wait until `portbook fleet hosts` lists it no more"
    )]
    Lives(HostName),
    /// A host that is to be evicted has nothing.
    #[error("{0} has no unique number; `portbook fleet claims` lists the hosts that have some")]
    HasNone(HostName),
    /// A number that is to be reserved on every host has a host, or another name.
    #[error("{0} is {1}")]
    Taken(Number, String),
    /// A number that is to be reserved on every host is one of a pool of this host with a fence.
    #[error(
        "{0} is in the range of pool {1} of this host, whose fence shuts numbers without a claim of the host's own: choose a number outside of it"
    )]
    Fenced(Number, String),
    /// A name that a number is to be reserved for has another one.
    #[error("{0} has {1} on every host: release that first, or choose another name")]
    NameTaken(Name, Number),
    /// The fleet has as many reservations as it may.
    #[error("{0} numbers are reserved on every host, which is the most: release one first")]
    TooMany(usize),
    /// No reservation of this number is there.
    #[error("{0} is not reserved on every host; `portbook fleet everywhere` lists what is")]
    NotReserved(Number),
    /// The rights of this host in the engine are not those of an operator.
    #[error(
        "this host may not reserve numbers on every host: `portbook fleet role {0} --operator` prints the rights that it needs"
    )]
    Denied(HostName),
    /// The engine is away, and never answered this question.
    #[error("the fleet does not answer: {0}")]
    Away(String),
}

fn unique(count: u64) -> String {
    let verb = if count == 1 { "is" } else { "are" };
    format!("{} of this host {verb}", counted(count, "number"))
}

/// Result of a reservation.
#[cfg_attr(
    not(feature = "fleet"),
    expect(dead_code, reason = "this build asks nothing of a fleet")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// The number is reserved from now on.
    New,
    /// It was reserved for this name before.
    Again,
}
