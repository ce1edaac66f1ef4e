//! Numbers that an operator reserves on every host of a fleet, each for one name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::claim::Number;
use super::port::{Port, Protocol};
use super::words::as_str;

/// Host of the claim on a number that is reserved on every host. No host can have this name.
pub const EVERYWHERE: &str = "*";

/// Host of a claim in words, as in "claimed by host build-2".
pub fn claimant(host: &str) -> String {
    if host == EVERYWHERE {
        return "an operator, for every host".to_owned();
    }
    format!("host {host}")
}

/// Answer of a host to a reservation.
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
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Stand {
    /// The host keeps the number for the name.
    Held,
    /// The host objects: something else has the number there.
    Busy,
    /// The session of the host has ended, or the host has not answered yet.
    Away,
}

as_str!(Stand);

/// A host with its answer to a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EverywhereHost {
    /// Name of the host.
    pub host: String,
    /// Answer of the host.
    pub state: Stand,
    /// Program that has the number there, or another reason for the objection. `None` without an objection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether the session of the host lives.
    pub live: bool,
    /// Whether it is this host.
    #[serde(default)]
    pub own: bool,
}

/// A number that is reserved on every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EverywhereNumber {
    /// Port.
    pub port: Port,
    /// Protocol of the port.
    pub protocol: Protocol,
    /// Name that it is kept for.
    pub name: String,
    /// Time of the reservation by the clock of the host that made it, in milliseconds since 1970.
    pub since_ms: i64,
    /// Hosts with their answers, by name.
    pub hosts: Vec<EverywhereHost>,
}

impl EverywhereNumber {
    /// Returns the number.
    pub const fn number(&self) -> Number {
        Number {
            protocol: self.protocol,
            port: self.port,
        }
    }

    /// Hosts that object.
    pub fn objectors(&self) -> impl Iterator<Item = &EverywhereHost> {
        self.hosts.iter().filter(|host| host.state == Stand::Busy)
    }

    /// Whether every host whose session lives has answered.
    pub fn is_answered(&self) -> bool {
        let has_answered = |host: &EverywhereHost| host.state != Stand::Away;
        self.hosts
            .iter()
            .all(|host| !host.live || has_answered(host))
    }
}

/// A reserved number on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Name that it is kept for.
    pub name: super::lease::Name,
    /// Reason for which this host does not have it. `None` if it has.
    pub busy: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fleet::HostName;

    fn host(state: Stand, live: bool) -> EverywhereHost {
        EverywhereHost {
            host: "a".into(),
            state,
            why: None,
            live,
            own: false,
        }
    }

    fn number(hosts: Vec<EverywhereHost>) -> EverywhereNumber {
        EverywhereNumber {
            port: Port::new(9100).unwrap(),
            protocol: Protocol::Tcp,
            name: "node-exporter".into(),
            since_ms: 0,
            hosts,
        }
    }

    #[test]
    fn reservation_is_answered_once_no_living_host_is_silent() {
        assert!(!number(vec![host(Stand::Held, true), host(Stand::Away, true)]).is_answered());
        let all = vec![host(Stand::Busy, true), host(Stand::Away, false)];
        let answered = number(all);
        assert!(answered.is_answered());
        assert_eq!(answered.objectors().count(), 1);
    }

    #[test]
    fn no_host_has_the_name_of_all_hosts() {
        assert!(EVERYWHERE.parse::<HostName>().is_err());
        assert_eq!(claimant("b"), "host b");
        assert!(claimant(EVERYWHERE).contains("every host"));
    }
}
