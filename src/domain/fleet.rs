//! A fleet: hosts whose portbooks tell each other who is there, and which name is served where.
//!
//! Plain values. Texts of other hosts are checked where they are read (`src/fleet/value.rs`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::claim::FleetClaim;
use super::everywhere::EverywhereNumber;
use super::lease::{BootTime, Name};
use super::port::{Port, Protocol};
use super::text::{as_text, from_text};
use super::words::{UnknownWord, Written, as_str};

/// Maximum length of a host name (RFC 1035, 2.3.4).
const LONGEST_HOST: usize = 253;

/// Name of a host in the fleet: labels of letters, digits, `-` and `_` with dots between them, in lower
/// case.
///
/// ```
/// use portbook::domain::fleet::HostName;
/// assert_eq!("Build-1.lan".parse::<HostName>().unwrap().to_string(), "build-1.lan");
/// assert!("a/b".parse::<HostName>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// A text that is no name of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a host: write one such as build-1 or build-1.example.com")]
pub struct HostNameError(String);

impl HostName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| {
            (1..=63).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(plain)
        };
        if text.len() <= LONGEST_HOST && text.split('.').all(is_label) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(HostNameError(text.chars().take(LONGEST_HOST).collect()))
    }
}

as_text!(HostName);
from_text!(HostName);

/// Leases of this host that other hosts may find.
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
#[strum(serialize_all = "lowercase")]
#[strum(parse_err_ty = UnknownWord, parse_err_fn = UnknownWord::of::<Publish>)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Leases with a name.
    Named,
    /// Every lease; one without a name is published under its id.
    All,
    /// No lease.
    Nothing,
}

impl Written for Publish {
    const KIND: &'static str = "a choice of leases";
}

/// Relation of this host to its fleet.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum FleetState {
    /// No fleet is configured, or the host has left it.
    #[default]
    Off,
    /// The first session is not open yet.
    Joining,
    /// The session lives.
    Joined,
    /// Etcd does not answer, or opens no session for this host. Local work goes on.
    Alone,
    /// Etcd has lost changes, as after a restore: this host writes its own entries again.
    Quarantined,
}

as_str!(Publish, FleetState);

/// This host in its fleet, as the session loop last saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetStatus {
    /// Relation to the fleet.
    pub state: FleetState,
    /// Reason for the state, in words. Empty while all is well.
    pub why: String,
    /// Name of this host. `None` while the fleet is off.
    pub host: Option<HostName>,
    /// Addresses of the engine.
    pub engine: Vec<String>,
    /// Session of this host. `None` before the first one.
    pub session: Option<String>,
    /// Addresses of this host that others are told.
    pub addresses: Vec<IpAddr>,
    /// Time of the last change of `state` on `CLOCK_BOOTTIME`, in milliseconds.
    pub since_boot_ms: u64,
    /// Time at which the last successful renewal was sent, on the same clock.
    pub renewed_boot_ms: Option<u64>,
    /// Number of names of this host that the engine has.
    pub published: usize,
    /// Number of changed names that are not sent yet.
    pub pending: usize,
    /// Number of sent commits by outcome.
    pub commits: Commits,
    /// Whether the kernel guards unique numbers. `None` if no pool asks for it.
    pub has_fence: Option<bool>,
    /// Reason for which the kernel does not, or shuts numbers soon. Empty while all is well.
    pub fence_warning: String,
}

/// Numbers of this host as its kernel has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FenceSummary {
    /// Time at which the kernel shuts the first number unless the session is renewed. `None` if none is open.
    pub first_end: Option<BootTime>,
    /// Number of claimed numbers that the kernel shuts.
    pub shut: usize,
    /// Time since which the first of them is shut. `None` if none is.
    pub shut_since: Option<BootTime>,
}

/// Commits of this host since its start, by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Commits {
    /// Taken by the engine.
    pub done: u64,
    /// Refused, as the session had ended.
    pub refused: u64,
    /// Denied by the engine: for a lack of rights or of room.
    pub denied: u64,
    /// Without an answer, or with another error.
    pub failed: u64,
}

/// A host of the fleet, by its own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetHost {
    /// Name of the host.
    pub host: String,
    /// Its session. It ends within seconds of the last renewal.
    pub session: String,
    /// Its version of portbook.
    pub version: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Start of the session by the clock of that host, in milliseconds since 1970.
    pub since_ms: i64,
    /// Whether it is this host.
    #[serde(default)]
    pub own: bool,
}

/// A published lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetName {
    /// Name of the lease.
    pub name: String,
    /// Host that serves it.
    pub host: String,
    /// Id of the lease on that host.
    pub lease: String,
    /// Protocol of the port.
    pub protocol: Protocol,
    /// Port, the same on all addresses.
    pub port: Port,
    /// Addresses that other hosts may reach it on. Empty if it listens on loopback alone.
    pub addresses: Vec<String>,
    /// State of the lease, as on its host: `active` if its program listens.
    pub state: String,
    /// Labels of the lease.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Time of the grant by the clock of that host, in milliseconds since 1970.
    pub since_ms: i64,
    /// Whether the session that published it lives.
    pub live: bool,
    /// Whether it is a lease of this host.
    #[serde(default)]
    pub own: bool,
}

/// A question about the fleet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// Every host with a session.
    Hosts,
    /// Published leases, of one name or of all.
    Names(Option<Name>),
    /// Every claimed number.
    Claims,
    /// Every number that is reserved on all hosts, with their answers.
    Everywhere,
}

/// The fleet as it was read from the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetView {
    /// Hosts, if they were asked for.
    pub hosts: Vec<FleetHost>,
    /// Published leases, if they were asked for.
    pub names: Vec<FleetName>,
    /// Claimed numbers, if they were asked for.
    pub claims: Vec<FleetClaim>,
    /// Numbers that are reserved on all hosts, if they were asked for.
    pub everywhere: Vec<EverywhereNumber>,
    /// Revision of the engine at which it was read.
    pub revision: u64,
    /// Whether there were more entries than one answer has.
    pub more: bool,
}

/// An answer to a question about the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The fleet.
    pub view: Arc<FleetView>,
    /// Whether the engine said so just now. `false` for the last known answer.
    pub is_fresh: bool,
    /// Time since it was read.
    pub age: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_have_nothing_that_could_leave_a_key() {
        for good in ["a", "build-1", "A.b_c.d", "10.0.0.1"] {
            assert!(good.parse::<HostName>().is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", ".", "a/b", "a..b", "-a", "a b", "ä", "a\n", &long] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn words_are_parsed_as_written() {
        assert_eq!("named".parse(), Ok(Publish::Named));
        let wrong = "some".parse::<Publish>().unwrap_err().to_string();
        assert!(wrong.contains("named, all or nothing"), "{wrong}");
        assert_eq!(FleetState::Quarantined.as_str(), "quarantined");
    }
}
