//! The prior of a fleet: ports that were busy on other hosts, as evidence before this host has any of its own.
//!
//! A host reports ports that are not always free, and reads the reports of some others. Each of them counts
//! once for a port, however busy it was there, so that one host that lies is one among many.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::address::{AddressGroup, BindAddress, Family};
use super::port::{Port, Protocol};
use super::words::{UnknownWord, Written, as_str};

/// Maximum number of reports that count.
pub const MOST_HOSTS: usize = 50;

/// Maximum number of names of programs in a report.
pub const MOST_COMMANDS: usize = 64;

/// A port counts as busy on a host if more than one in so many of its snapshots saw an occupant.
const BUSY_ONE_IN: u64 = 20;

/// Knowledge of ports that hosts of a fleet share.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
#[strum(parse_err_ty = UnknownWord, parse_err_fn = UnknownWord::of::<PriorSharing>)]
#[serde(rename_all = "lowercase")]
pub enum PriorSharing {
    /// Busy ports, and the names of the commonest programs on them.
    Commands,
    /// Busy ports.
    Ports,
    /// Nothing is told, and nothing is read.
    Nothing,
}

impl Written for PriorSharing {
    const KIND: &'static str = "a choice of what the hosts share";
}

as_str!(PriorSharing);

/// Kind of an address, in words that mean the same on every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressKind {
    /// Every IPv4 address of the host.
    Any4,
    /// Every IPv6 address of the host.
    Any6,
    /// A loopback address, IPv4.
    Loopback4,
    /// The loopback address, IPv6.
    Loopback6,
    /// An address of a network card, IPv4.
    Own4,
    /// An address of a network card, IPv6.
    Own6,
}

impl AddressKind {
    fn of(address: &BindAddress) -> Self {
        let kinds = match address.family() {
            Family::Ipv4 => [Self::Any4, Self::Loopback4, Self::Own4],
            Family::Ipv6 => [Self::Any6, Self::Loopback6, Self::Own6],
        };
        match address.ip {
            _ if address.is_wildcard() => kinds[0],
            ip if ip.is_loopback() => kinds[1],
            _ => kinds[2],
        }
    }
}

/// Kinds of the addresses of a group.
pub type Kinds = BTreeSet<AddressKind>;

/// Returns the kinds of the addresses of a group.
pub fn kinds_of(group: &AddressGroup) -> Kinds {
    group.addresses().iter().map(AddressKind::of).collect()
}

/// One port that is not always free: its number, refused binds, snapshots that saw an occupant, and outsiders
/// found on it while it was leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport(pub Port, pub u32, pub u32, pub u32);

impl PortReport {
    /// Whether the port was busy, on a host that took this number of snapshots.
    pub fn is_busy(self, snapshots: u32) -> bool {
        let Self(_, refused, busy, _) = self;
        refused > 0 || u64::from(busy) * BUSY_ONE_IN > u64::from(snapshots)
    }
}

/// What a host has learned about ports on addresses of some kinds, for one protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Kinds of the addresses.
    pub on: Kinds,
    /// Protocol.
    pub protocol: Protocol,
    /// Number of snapshots looked at.
    pub snapshots: u32,
    /// Ports that are not always free.
    pub ports: Vec<PortReport>,
}

impl GroupReport {
    /// Keeps this number of ports at most: those that were refused, and the busiest ones.
    pub fn shorten(&mut self, most: usize) {
        self.ports
            .sort_unstable_by_key(|PortReport(port, refused, busy, _)| {
                (Reverse((*refused > 0, *busy)), *port)
            });
        self.ports.truncate(most);
        self.ports.sort_unstable_by_key(|report| report.0);
    }
}

/// What a host tells the others about its ports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// What it knows for each kind of addresses and protocol.
    pub groups: Vec<GroupReport>,
    /// Names of the commonest programs on its ports, the commonest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

impl Report {
    /// Whether nothing was learned yet.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// Returns the commonest names, [`MOST_COMMANDS`] at most, the commonest first.
pub fn commonest<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut all: Vec<(&str, usize)> = counts.into_iter().collect();
    all.sort_by_key(|(_, count)| Reverse(*count));
    all.truncate(MOST_COMMANDS);
    all.into_iter().map(|(name, _)| name.to_owned()).collect()
}

/// Addresses and protocol that a table is about.
pub type TableKey = (Kinds, Protocol);

/// Number of hosts that told of one kind of addresses, and of those on which each port was busy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Number of hosts.
    pub hosts: u32,
    /// Number of them on which the port was busy. Other ports were busy on none.
    pub busy: BTreeMap<Port, u32>,
}

/// Reports of several hosts, added up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prior {
    /// A table for each kind of addresses and protocol.
    pub tables: BTreeMap<TableKey, Table>,
}

impl Prior {
    /// Adds up the reports of hosts, [`MOST_HOSTS`] at most.
    pub fn of<'r>(reports: impl IntoIterator<Item = &'r Report>) -> Self {
        let mut prior = Self::default();
        for report in reports.into_iter().take(MOST_HOSTS) {
            prior.add(report);
        }
        prior
    }

    fn add(&mut self, report: &Report) {
        let mut busy: BTreeMap<TableKey, BTreeSet<Port>> = BTreeMap::new();
        for group in &report.groups {
            let known = busy.entry((group.on.clone(), group.protocol)).or_default();
            let ports = group.ports.iter();
            let ports = ports.filter(|port| port.is_busy(group.snapshots));
            known.extend(ports.map(|port| port.0));
        }
        for (key, ports) in busy {
            let table = self.tables.entry(key).or_default();
            table.hosts += 1;
            for port in ports {
                *table.busy.entry(port).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn report(snapshots: u32, ports: &[(u16, u32, u32)]) -> Report {
        let ports = ports.iter();
        let ports =
            ports.map(|(number, refused, busy)| PortReport(port(*number), *refused, *busy, 0));
        let group = GroupReport {
            on: Kinds::from([AddressKind::Any4]),
            protocol: Protocol::Tcp,
            snapshots,
            ports: ports.collect(),
        };
        Report {
            groups: vec![group],
            commands: Vec::new(),
        }
    }

    fn only(prior: &Prior) -> &Table {
        assert_eq!(prior.tables.len(), 1);
        prior.tables.values().next().unwrap()
    }

    #[test]
    fn host_counts_once_for_a_port_that_was_busy_or_refused_there() {
        let one = report(100, &[(80, 0, 5), (81, 0, 6), (82, 1, 0)]);
        let mut twice = report(100, &[(81, 900, 100)]);
        twice.groups.push(twice.groups[0].clone());
        let prior = Prior::of([&one, &twice, &report(100, &[])]);
        let table = only(&prior);
        assert_eq!(table.hosts, 3);
        assert_eq!(table.busy, BTreeMap::from([(port(81), 2), (port(82), 1)]));
    }

    #[test]
    fn shortened_reports_keep_the_busiest_ports_in_order() {
        let ports = [(80, 0, 3), (81, 0, 9), (82, 1, 0), (83, 0, 1), (84, 0, 8)];
        let mut group = report(100, &ports).groups.remove(0);
        group.shorten(3);
        let left: Vec<u16> = group.ports.iter().map(|one| one.0.get()).collect();
        assert_eq!(left, [81, 82, 84]);
    }

    #[test]
    fn commonest_names_come_first_and_are_few() {
        let many: Vec<String> = (0..100).map(|number| format!("n{number}")).collect();
        let names = many.iter().map(String::as_str);
        let found = commonest(names.chain(["node", "nginx", "node"]));
        assert_eq!(
            (found.len(), &*found[0], &*found[1]),
            (MOST_COMMANDS, "node", "n0")
        );
    }

    #[test]
    fn reports_beyond_the_maximum_do_not_count() {
        let all: Vec<Report> = (0..60).map(|_| report(100, &[(80, 1, 0)])).collect();
        let prior = Prior::of(&all);
        assert_eq!((only(&prior).hosts, only(&prior).busy[&port(80)]), (50, 50));
    }

    #[test]
    fn groups_of_different_hosts_are_of_one_kind() {
        let on = |ips: &[&str]| {
            let addresses = ips.iter().map(|ip| BindAddress {
                interface: "lan0".into(),
                ip: ip.parse().unwrap(),
                scope: 0,
            });
            kinds_of(&AddressGroup::new(addresses))
        };
        assert_eq!(on(&["192.0.2.1"]), on(&["192.0.2.2", "198.51.100.7"]));
        assert_eq!(on(&["127.0.0.2", "::1"]), on(&["::1", "127.0.0.1"]));
        assert_ne!(on(&["0.0.0.0"]), on(&["::"]));
        assert_ne!(on(&["0.0.0.0"]), on(&["127.0.0.1"]));
    }
}
