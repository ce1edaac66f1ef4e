//! Ports that users excluded by hand, one protocol and port at a time.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempt::printable;
use super::port::{Port, PortSet, Protocol};

/// Maximum length of a reason, in characters.
pub const LONGEST_REASON: usize = 200;

/// One port that is never granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exclusion {
    /// Protocol that it is excluded for.
    pub protocol: Protocol,
    /// Excluded port.
    pub port: Port,
    /// The user's reason: text from outside. `None` if none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// User that excluded it.
    pub uid: u32,
    /// Time at which it was excluded.
    pub at: Timestamp,
}

/// End of a sentence that begins with "port 8888 is excluded by".
impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.by())?;
        let Self { protocol, port, .. } = self;
        write!(
            f,
            ": `portbook include {port} --protocol {protocol}` takes that back"
        )
    }
}

impl Exclusion {
    /// Short end of a sentence that begins with "is excluded by".
    pub fn by(&self) -> String {
        match &self.reason {
            Some(reason) => format!("hand ({})", printable(reason)),
            None => "hand".to_owned(),
        }
    }
}

/// All exclusions.
#[derive(Debug, Clone, Default)]
pub struct Exclusions {
    tcp: OfProtocol,
    udp: OfProtocol,
}

/// Exclusions of one protocol. Every request asks for the ports, so their set is made at each change.
#[derive(Debug, Clone, Default)]
struct OfProtocol {
    by_port: BTreeMap<Port, Exclusion>,
    ports: PortSet,
}

impl Exclusions {
    const fn of(&self, protocol: Protocol) -> &OfProtocol {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
        }
    }

    const fn of_mut(&mut self, protocol: Protocol) -> &mut OfProtocol {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }

    /// Adds exclusions, each in place of an earlier one of its port.
    pub fn add_all(&mut self, exclusions: impl IntoIterator<Item = Exclusion>) {
        for exclusion in exclusions {
            let all = self.of_mut(exclusion.protocol);
            all.by_port.insert(exclusion.port, exclusion);
        }
        self.update_ports();
    }

    /// Removes the exclusions of these ports.
    pub fn remove_all(&mut self, ports: &[(Protocol, Port)]) {
        for (protocol, port) in ports {
            self.of_mut(*protocol).by_port.remove(port);
        }
        self.update_ports();
    }

    fn update_ports(&mut self) {
        for all in [&mut self.tcp, &mut self.udp] {
            all.ports = all.by_port.keys().copied().collect();
        }
    }

    /// Exclusion of a port.
    pub fn get(&self, protocol: Protocol, port: Port) -> Option<&Exclusion> {
        self.of(protocol).by_port.get(&port)
    }

    /// First exclusion of a port for any of these protocols.
    pub fn against(&self, protocols: &[Protocol], port: Port) -> Option<&Exclusion> {
        protocols
            .iter()
            .find_map(|protocol| self.get(*protocol, port))
    }

    /// Ports that are excluded for any of these protocols.
    pub fn ports(&self, protocols: &[Protocol]) -> PortSet {
        let sets = protocols.iter().map(|each| &self.of(*each).ports);
        sets.fold(PortSet::EMPTY, |all, ports| all.union(ports))
    }

    /// Every exclusion, TCP first.
    pub fn iter(&self) -> impl Iterator<Item = &Exclusion> {
        self.tcp.by_port.values().chain(self.udp.by_port.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusions_are_kept_per_protocol() {
        let port = Port::new(8888).unwrap();
        let mut all = Exclusions::default();
        all.add_all([Exclusion {
            protocol: Protocol::Tcp,
            port,
            reason: Some("the \u{1b}[31mprinter".into()),
            uid: 7,
            at: Timestamp::UNIX_EPOCH,
        }]);
        let both = [Protocol::Tcp, Protocol::Udp];
        assert_eq!(all.ports(&both), PortSet::single(port));
        assert!(all.ports(&[Protocol::Udp]).is_empty());
        let text = all.against(&both, port).unwrap().to_string();
        assert_eq!(
            text,
            "hand (the \u{fffd}[31mprinter): `portbook include 8888 --protocol tcp` takes that back"
        );
        all.remove_all(&[(Protocol::Udp, port)]);
        assert_eq!(all.iter().count(), 1);
        assert_eq!(all.ports(&both), PortSet::single(port));
        all.remove_all(&[(Protocol::Tcp, port)]);
        assert!(all.ports(&both).is_empty());
        assert!(all.against(&both, port).is_none());
    }
}
