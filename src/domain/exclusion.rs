//! Ports that somebody excluded by hand, one protocol and port at a time.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempt::printable;
use super::port::{Port, PortSet, Protocol};

/// The longest reason, in characters.
pub const LONGEST_REASON: usize = 200;

/// One port that is not granted to anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exclusion {
    /// For which protocol.
    pub protocol: Protocol,
    /// Which port.
    pub port: Port,
    /// Why; anybody's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who excluded it.
    pub uid: u32,
    /// When.
    pub at: Timestamp,
}

/// As the end of "port 8888 is excluded by".
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
    /// The rule in few words, as the end of "is excluded by".
    pub fn by(&self) -> String {
        match &self.reason {
            Some(reason) => format!("hand ({})", printable(reason)),
            None => "hand".to_owned(),
        }
    }
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct Exclusions {
    tcp: OfProtocol,
    udp: OfProtocol,
}

/// Those of one protocol. Every request asks for the ports, so they are put together once a change.
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

    /// Adds these, each in place of an earlier one of the same port.
    pub fn add_all(&mut self, exclusions: impl IntoIterator<Item = Exclusion>) {
        for exclusion in exclusions {
            let all = self.of_mut(exclusion.protocol);
            all.by_port.insert(exclusion.port, exclusion);
        }
        self.put_together();
    }

    /// Takes these away.
    pub fn remove_all(&mut self, ports: &[(Protocol, Port)]) {
        for (protocol, port) in ports {
            self.of_mut(*protocol).by_port.remove(port);
        }
        self.put_together();
    }

    fn put_together(&mut self) {
        for all in [&mut self.tcp, &mut self.udp] {
            all.ports = all.by_port.keys().copied().collect();
        }
    }

    /// The one of a port.
    pub fn get(&self, protocol: Protocol, port: Port) -> Option<&Exclusion> {
        self.of(protocol).by_port.get(&port)
    }

    /// The first that speaks against a port which must be free for all of these.
    pub fn against(&self, protocols: &[Protocol], port: Port) -> Option<&Exclusion> {
        protocols
            .iter()
            .find_map(|protocol| self.get(*protocol, port))
    }

    /// The ports that are excluded for any of these.
    pub fn ports(&self, protocols: &[Protocol]) -> PortSet {
        let sets = protocols.iter().map(|each| &self.of(*each).ports);
        sets.fold(PortSet::EMPTY, |all, ports| all.union(ports))
    }

    /// Every one, TCP first.
    pub fn iter(&self) -> impl Iterator<Item = &Exclusion> {
        self.tcp.by_port.values().chain(self.udp.by_port.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_its_own() {
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
