//! Each rule of resolving, on a host written down here.

use super::*;
use crate::host::interface::{InterfaceAddress, is_virtual_name};

fn nic(index: u32, name: &str, up: bool, addresses: &[&str]) -> Interface {
    let addresses = addresses.iter().map(|text| {
        let net: IpNet = text.parse().unwrap();
        let zoned = net.addr().is_ipv6() && is_link_local(net.addr());
        InterfaceAddress {
            ip: net.addr(),
            prefix_len: net.prefix_len(),
            scope: if zoned { index } else { 0 },
            primary: false,
        }
    });
    Interface {
        name: name.into(),
        index,
        up,
        loopback: name == "lo",
        is_virtual: is_virtual_name(name),
        addresses: addresses.collect(),
    }
}

fn host() -> Snapshot {
    Snapshot {
        families: vec![Family::Ipv4, Family::Ipv6],
        interfaces: vec![
            nic(1, "lo", true, &["127.0.0.1/8", "::1/128"]),
            nic(
                2,
                "lan0",
                true,
                &["10.77.0.2/24", "fd77::2/64", "fe80::2/64"],
            ),
            nic(
                3,
                "lan1",
                true,
                &["10.77.1.2/24", "10.77.1.3/24", "fe80::2/64"],
            ),
            nic(4, "wan0", true, &["198.51.100.7/24", "2001:db8::7/64"]),
            nic(5, "off0", false, &["10.77.9.2/24"]),
            nic(6, "bare0", true, &["fe80::6/64", "169.254.7.7/16"]),
            nic(7, "docker0", true, &["172.17.0.1/16"]),
        ],
    }
}

fn ipv4_only_host() -> Snapshot {
    let mut host = host();
    host.families.retain(|family| *family == Family::Ipv4);
    for nic in &mut host.interfaces {
        nic.addresses.retain(|address| address.ip.is_ipv4());
    }
    host
}

fn resolved(host: &Snapshot, words: &[&str]) -> Result<Vec<String>, SelectError> {
    let selectors: Vec<Selector> = words.iter().map(|word| word.parse().unwrap()).collect();
    let group = resolve(host, &selectors)?;
    Ok(group.addresses().iter().map(ToString::to_string).collect())
}

fn got(words: &[&str]) -> Vec<String> {
    resolved(&host(), words).unwrap()
}

fn refused(words: &[&str]) -> SelectError {
    resolved(&host(), words).unwrap_err()
}

#[test]
fn any_is_the_wildcard_of_each_family_that_the_host_has() {
    assert_eq!(got(&["any"]), ["0.0.0.0", "::"]);
    assert_eq!(got(&["any", "ipv4"]), ["0.0.0.0"]);
    assert_eq!(got(&["any", "!ipv4"]), ["::"]);
    assert_eq!(resolved(&ipv4_only_host(), &["any"]).unwrap(), ["0.0.0.0"]);
    assert_eq!(
        resolved(&ipv4_only_host(), &["any", "ipv6"]),
        Err(SelectError::NothingLeft("any, ipv6".into()))
    );
}

#[test]
fn a_class_means_the_real_interfaces_that_are_up() {
    assert_eq!(
        got(&["all"]),
        [
            "10.77.0.2",
            "10.77.1.2",
            "10.77.1.3",
            "127.0.0.1",
            "198.51.100.7",
            "::1",
            "2001:db8::7",
            "fd77::2"
        ]
    );
    assert_eq!(got(&["loopback"]), ["127.0.0.1", "::1"]);
    assert_eq!(got(&["public"]), ["198.51.100.7", "2001:db8::7"]);
    assert_eq!(
        got(&["private"]),
        ["10.77.0.2", "10.77.1.2", "10.77.1.3", "fd77::2"]
    );
}

#[test]
fn a_name_means_all_its_addresses_but_the_link_local() {
    assert_eq!(got(&["lan0"]), ["10.77.0.2", "fd77::2"]);
    assert_eq!(got(&["lan1"]), ["10.77.1.2", "10.77.1.3"]);
    assert_eq!(got(&["docker0"]), ["172.17.0.1"]);
    assert_eq!(
        refused(&["off0"]),
        SelectError::InterfaceDown("off0".into())
    );
    assert_eq!(
        refused(&["bare0"]),
        SelectError::NoUsableAddress("bare0".into())
    );
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest_one() {
    let error = refused(&["lan7"]);
    assert!(
        matches!(&error, SelectError::NoSuchInterface { nearest: Some(near), .. } if &**near == "lan0")
    );
    assert_eq!(
        error.to_string(),
        "there is no interface lan7 (did you mean lan0?); this host has lo, lan0, lan1, wan0, off0, bare0, docker0"
    );
    let error = refused(&["infiniband0"]);
    assert!(matches!(
        error,
        SelectError::NoSuchInterface { nearest: None, .. }
    ));
}

#[test]
fn a_glob_means_every_interface_that_is_up() {
    assert_eq!(
        got(&["lan*"]),
        ["10.77.0.2", "10.77.1.2", "10.77.1.3", "fd77::2"]
    );
    assert_eq!(got(&["dock*"]), ["172.17.0.1"]);
    assert_eq!(got(&["lan?", "!lan1"]), ["10.77.0.2", "fd77::2"]);
    for word in ["off*", "eth*", "bare?"] {
        assert_eq!(
            refused(&[word]),
            SelectError::NothingMatches(word.parse().unwrap())
        );
    }
}

#[test]
fn a_network_means_what_is_in_it_and_up() {
    assert_eq!(
        got(&["10.0.0.0/8"]),
        ["10.77.0.2", "10.77.1.2", "10.77.1.3"]
    );
    assert_eq!(got(&["172.16.0.0/12"]), ["172.17.0.1"]);
    assert_eq!(
        refused(&["10.77.9.0/24"]),
        SelectError::NothingMatches("10.77.9.0/24".parse().unwrap())
    );
}

#[test]
fn link_local_addresses_must_be_asked_for() {
    assert!(got(&["::/0"]).iter().all(|ip| !ip.starts_with("fe80")));
    assert_eq!(got(&["fe80::6"]), ["fe80::6%bare0"]);
    assert_eq!(
        got(&["fe80::/64"]),
        ["fe80::2%lan0", "fe80::2%lan1", "fe80::6%bare0"]
    );
    assert_eq!(got(&["169.254.0.0/16"]), ["169.254.7.7"]);
}

#[test]
fn an_address_named_outright_must_be_there() {
    assert_eq!(got(&["10.77.0.2"]), ["10.77.0.2"]);
    assert_eq!(got(&["172.17.0.1"]), ["172.17.0.1"]);
    assert_eq!(got(&["10.77.9.2"]), ["10.77.9.2"], "down, but bindable");
    assert_eq!(got(&["0.0.0.0"]), ["0.0.0.0"]);
    let missing = "10.77.0.3".parse().unwrap();
    assert_eq!(
        refused(&["any", "10.77.0.3"]),
        SelectError::AddressNotAvailable(missing)
    );
    let wildcard = "::".parse().unwrap();
    assert_eq!(
        resolved(&ipv4_only_host(), &["::"]),
        Err(SelectError::AddressNotAvailable(wildcard))
    );
}

#[test]
fn every_127_address_is_there_while_the_loopback_is_up() {
    let selectors = ["127.8.8.8".parse().unwrap()];
    let group = resolve(&host(), &selectors).unwrap();
    assert_eq!(&*group.addresses()[0].interface, "lo");
    let mut host = host();
    host.interfaces[0].up = false;
    assert_eq!(
        resolve(&host, &selectors),
        Err(SelectError::AddressNotAvailable(
            "127.8.8.8".parse().unwrap()
        ))
    );
}

#[test]
fn a_family_adds_alone_and_filters_in_company() {
    assert_eq!(got(&["ipv6"]), ["::1", "2001:db8::7", "fd77::2"]);
    assert_eq!(got(&["lan0", "ipv6"]), ["fd77::2"]);
    assert_eq!(got(&["ipv6", "lan0"]), ["fd77::2"]);
    assert_eq!(got(&["ipv4", "ipv6"]), got(&["all"]));
    assert_eq!(got(&["lan0", "ipv4", "ipv6"]), got(&["lan0"]));
    assert_eq!(got(&["ipv4", "!loopback", "!wan0"]), got(&["10.0.0.0/8"]));
    assert_eq!(
        resolved(&ipv4_only_host(), &["ipv6"]),
        Err(SelectError::NothingMatches("ipv6".parse().unwrap()))
    );
}

#[test]
fn restrictions_alone_start_from_all() {
    assert_eq!(got(&["!ipv6", "!loopback", "!wan0"]), got(&["10.0.0.0/8"]));
    assert_eq!(got(&["!nosuch0"]), got(&["all"]));
    assert_eq!(
        got(&["!10.77.1.3", "!198.51.100.0/24", "!ipv6", "!lan0"]),
        ["10.77.1.2", "127.0.0.1"]
    );
}

#[test]
fn selectors_are_read_in_order() {
    assert_eq!(got(&["lan*", "!private", "lan0"]), got(&["lan0"]));
    assert_eq!(
        refused(&["lan0", "!private"]),
        SelectError::NothingLeft("lan0, !private".into())
    );
}

#[test]
fn a_wildcard_has_no_holes() {
    for hole in ["!lan0", "!10.77.0.2", "!10.0.0.0/8", "!private", "!dock*"] {
        assert_eq!(
            refused(&["any", hole]),
            SelectError::WithinWildcard(hole.parse().unwrap())
        );
    }
    assert_eq!(got(&["any", "!::"]), ["0.0.0.0"]);
    assert_eq!(got(&["0.0.0.0", "!fd77::2"]), ["0.0.0.0"]);
}

#[test]
fn every_address_knows_its_interface() {
    let words = ["lan0", "127.0.0.1", "fe80::6"];
    let selectors: Vec<Selector> = words.iter().map(|word| word.parse().unwrap()).collect();
    let group = resolve(&host(), &selectors).unwrap();
    let names: Vec<&str> = group.addresses().iter().map(|on| &*on.interface).collect();
    assert_eq!(names, ["lan0", "lo", "lan0", "bare0"]);
    let any = resolve(&host(), &["any".parse().unwrap()]).unwrap();
    assert!(any.addresses().iter().all(|on| &*on.interface == "any"));
}
