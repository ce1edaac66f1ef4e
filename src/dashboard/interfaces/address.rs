//! The addresses of an interface, each with the selectors that mean it.

use std::net::IpAddr;

use crate::domain::attempt::printable;
use crate::domain::selector::{Class, Selector, SelectorKind, is_link_local};
use crate::host::interface::{Interface, Snapshot, resolve};

#[derive(Debug)]
pub(super) struct AddressRow {
    /// The address with its prefix length.
    pub(super) text: String,
    pub(super) primary: bool,
    /// The selectors that mean the address.
    pub(super) by: String,
    /// The reason why no class means the address.
    pub(super) but: Option<&'static str>,
}

/// The reason why the interface cannot be selected by its name.
pub(super) fn refusal(interface: &Interface, host: &Snapshot) -> Option<String> {
    let by_name = SelectorKind::Interface(interface.name.to_string());
    let refused = resolve(host, &[plain(by_name)]).err();
    refused.map(|why| printable(&why.to_string()))
}

/// The addresses of an interface.
pub(super) fn rows(interface: &Interface, host: &Snapshot) -> Vec<AddressRow> {
    let addresses = interface.addresses.iter();
    addresses
        .map(|address| AddressRow {
            text: format!(
                "{}{}/{}",
                address.ip,
                zone(interface, address.scope),
                address.prefix_len
            ),
            primary: address.primary,
            by: selected_by(interface, address.ip, host).join(", "),
            but: why_not(interface, address.ip),
        })
        .collect()
}

fn zone(interface: &Interface, scope: u32) -> String {
    match scope {
        0 => String::new(),
        _ => format!("%{}", printable(&interface.name)),
    }
}

const fn plain(kind: SelectorKind) -> Selector {
    Selector {
        negated: false,
        kind,
    }
}

/// The selectors that mean an address, as the resolver itself answers.
fn selected_by(interface: &Interface, ip: IpAddr, host: &Snapshot) -> Vec<String> {
    let words = [
        SelectorKind::Address(ip),
        SelectorKind::Interface(interface.name.to_string()),
        SelectorKind::Class(Class::All),
        SelectorKind::Class(Class::Loopback),
        SelectorKind::Class(Class::Private),
        SelectorKind::Class(Class::Public),
    ];
    let selects = |selector: &Selector| {
        let group = resolve(host, std::slice::from_ref(selector));
        group.is_ok_and(|group| {
            let mut addresses = group.addresses().iter();
            addresses.any(|on| on.ip == ip && on.interface == interface.name)
        })
    };
    let words = words.map(plain).into_iter().filter(selects);
    words
        .map(|selector| printable(&selector.to_string()))
        .collect()
}

fn why_not(interface: &Interface, ip: IpAddr) -> Option<&'static str> {
    if !interface.up {
        Some("the interface is down: only the address itself selects it, and no client reaches it")
    } else if is_link_local(ip) {
        Some("link-local: only the address itself selects it")
    } else if interface.is_virtual {
        Some("made by a container engine or tunnel: classes leave it out, so it must be named")
    } else if interface.loopback {
        Some("loopback: only this host can reach it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::Family;
    use crate::host::interface::InterfaceAddress;

    fn interface(name: &str, ips: &[&str]) -> Interface {
        let address = |ip: &&str| InterfaceAddress {
            ip: ip.parse().unwrap(),
            prefix_len: 24,
            scope: 0,
            primary: false,
        };
        Interface {
            name: name.into(),
            index: 1,
            up: true,
            loopback: name == "lo",
            is_virtual: name == "docker0",
            addresses: ips.iter().map(address).collect(),
        }
    }

    fn host() -> Snapshot {
        Snapshot {
            interfaces: vec![
                interface("lo", &["127.0.0.1"]),
                interface("eth0", &["10.0.0.7", "169.254.1.1"]),
                interface("docker0", &["172.17.0.1"]),
                Interface {
                    up: false,
                    ..interface("eth1", &["192.0.2.1"])
                },
            ],
            families: vec![Family::Ipv4],
        }
    }

    #[test]
    fn addresses_name_their_selectors() {
        let host = host();
        let rows = |index: usize| rows(&host.interfaces[index], &host);
        let words = |index| -> Vec<String> { rows(index).into_iter().map(|row| row.by).collect() };
        assert_eq!(words(0), ["127.0.0.1, lo, all, loopback"]);
        let of_eth0 = ["10.0.0.7, eth0, all, private", "169.254.1.1"];
        assert_eq!(words(1), of_eth0);
        assert_eq!(words(2), ["172.17.0.1, docker0"]);
        assert_eq!(words(3), ["192.0.2.1"]);
        assert!(rows(1)[1].but.unwrap().contains("link-local"));
        assert!(rows(2)[0].but.unwrap().contains("container"));
        assert!(rows(1)[0].but.is_none());
        let refusal = |index: usize| refusal(&host.interfaces[index], &host);
        assert!(refusal(3).unwrap().contains("down"));
        assert_eq!(refusal(1), None);
    }
}
