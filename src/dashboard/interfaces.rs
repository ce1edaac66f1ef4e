//! `/interfaces`: the host's interfaces, what can be allocated on them and why not, and what
//! happened on them.

use std::collections::HashMap;
use std::net::IpAddr;

use actix_web::web::Data;
use askama::Template;
use wildmatch::WildMatch;

use super::errors::PageError;
use super::format::percent;
use super::frame::{Frame, Params};
use super::page::Page;
use super::part::badge::Badge;
use super::part::capacity::{Bar, KINDS, on_interface};
use super::part::event::EventRow;
use crate::access::Viewer;
use crate::api::document::InterfaceStats;
use crate::api::problem::Problem;
use crate::api::{AppState, stats};
use crate::domain::address::ANY_INTERFACE;
use crate::domain::attempt::printable;
use crate::domain::event::EventKind;
use crate::domain::lease::Lease;
use crate::domain::selector::{Class, Selector, SelectorKind, is_link_local};
use crate::domain::words::counted;
use crate::engine::capacity::OnInterface;
use crate::engine::refusal::Refusal;
use crate::host::interface::{Interface, Snapshot, resolve};

/// So many changes are told of.
const CHANGES: usize = 20;

/// More than the journal keeps.
const ALL_EVENTS: usize = 100_000;

/// The page.
#[derive(Debug, Template)]
#[template(path = "interfaces.html")]
pub(super) struct InterfacesPage {
    frame: Frame,
    /// The glob that names must match.
    glob: String,
    cards: Vec<Card>,
    /// How many interfaces there are.
    all: usize,
    /// The leases on wildcard addresses, which are on every interface.
    on_all: Used,
    changes: Vec<EventRow>,
}

/// One interface.
#[derive(Debug)]
struct Card {
    name: String,
    state: Badge,
    kind: &'static str,
    /// Why it cannot be asked for by its name.
    refused: Option<String>,
    addresses: Vec<AddressCard>,
    used: Used,
    /// How full each pool is on it.
    pools: Vec<Bar>,
    map: String,
}

/// One address of an interface.
#[derive(Debug)]
struct AddressCard {
    text: String,
    primary: bool,
    /// What selects it.
    by: String,
    /// Why other words do not.
    but: Option<&'static str>,
}

/// What is known of one interface, or of the wildcards.
#[derive(Debug, Default, PartialEq, Eq)]
struct Used {
    leases: String,
    leases_at: String,
    conflicts: Option<String>,
}

/// Shows the interfaces.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    params: Params,
) -> Result<Page<InterfacesPage>, PageError> {
    let service = &face.service;
    let host = service.interfaces().current().map_err(Refusal::from);
    let host = host.map_err(Problem::from)?;
    let stats = stats::of_interfaces(service, &viewer).await;
    let stats = stats.map_err(Problem::from)?;
    let leases = leases_by_interface(service.leases().iter().map(AsRef::as_ref));
    let capacities = service.capacities_by_interface().map_err(Problem::from)?;
    let glob = params.get("name").unwrap_or_default().to_owned();
    let wanted = |name: &str| glob.is_empty() || WildMatch::new(&glob).matches(name);
    let used = |name: &str| Used::of(name, leases.get(name).copied().unwrap_or(0), &stats);
    let listing = host.listing();
    let cards = listing.iter().filter(|known| wanted(&known.name));
    Ok(Page(InterfacesPage {
        frame,
        cards: cards
            .map(|interface| Card {
                pools: pools(&interface.name, &capacities),
                ..Card::of(interface, &host, used(&interface.name))
            })
            .collect(),
        glob,
        all: listing.len(),
        on_all: used(ANY_INTERFACE),
        changes: changes(&face),
    }))
}

/// The pools that have addresses on an interface.
fn pools(interface: &str, capacities: &[OnInterface]) -> Vec<Bar> {
    let here = capacities.iter();
    let here = here.filter(|known| &*known.place.interface == interface);
    here.map(|known| on_interface(&known.pool, &known.place))
        .collect()
}

fn changes(face: &AppState) -> Vec<EventRow> {
    let now = face.service.clock().now();
    let events = face.service.journal().latest(ALL_EVENTS);
    let changes = events
        .iter()
        .filter(|event| event.kind == EventKind::Interfaces);
    let changes = changes.take(CHANGES);
    changes.map(|event| EventRow::of(event, now)).collect()
}

/// How many leases are on each interface; one on two interfaces counts for both.
fn leases_by_interface<'a>(leases: impl Iterator<Item = &'a Lease>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for lease in leases {
        let addresses = lease.addresses.addresses().iter();
        let mut names: Vec<&str> = addresses.map(|address| &*address.interface).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

impl Used {
    fn of(name: &str, leases: usize, stats: &[InterfaceStats]) -> Self {
        let known = stats.iter().find(|known| known.interface == name);
        let query = Params::default().with("interface", name).query();
        Self {
            leases: counted(leases, "lease"),
            leases_at: format!("/leases{query}"),
            conflicts: known.map(|known| {
                let attempts = known.outcomes.attempts;
                let met = percent(known.outcomes.in_use, attempts);
                format!("{met} of {}", counted(attempts, "attempt"))
            }),
        }
    }
}

impl Card {
    fn of(interface: &Interface, host: &Snapshot, used: Used) -> Self {
        let by_name = SelectorKind::Interface(interface.name.to_string());
        let refused = resolve(host, &[plain(by_name)]).err();
        let query = Params::default().with("interface", &interface.name).query();
        Self {
            name: printable(&interface.name),
            state: Badge::interface(interface.up),
            kind: match (interface.loopback, interface.is_virtual) {
                (true, _) => "loopback",
                (_, true) => "container or tunnel",
                _ => "network",
            },
            refused: refused.map(|why| printable(&why.to_string())),
            addresses: addresses(interface, host),
            used,
            pools: Vec::new(),
            map: format!("/map{query}"),
        }
    }
}

fn addresses(interface: &Interface, host: &Snapshot) -> Vec<AddressCard> {
    let addresses = interface.addresses.iter();
    addresses
        .map(|address| AddressCard {
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

/// The words that select an address, as the resolver itself answers.
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

/// Why a class does not select an address, where none does.
fn why_not(interface: &Interface, ip: IpAddr) -> Option<&'static str> {
    if !interface.up {
        Some("the interface is down: only the address itself selects it, and it reaches nobody")
    } else if is_link_local(ip) {
        Some("link-local: only the address itself selects it")
    } else if interface.is_virtual {
        Some("made by a container engine or tunnel: classes leave it out, so it must be named")
    } else if interface.loopback {
        Some("loopback: reached from this host alone")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::document::OutcomesDocument;
    use crate::domain::address::{AddressGroup, BindAddress, Family};
    use crate::domain::lease::tests_support::lease;
    use crate::engine::capacity::{Place, Shares};
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

    fn card(index: usize) -> Card {
        let host = host();
        Card::of(&host.interfaces[index], &host, Used::default())
    }

    #[test]
    fn each_address_tells_what_selects_it_and_why_not() {
        let words = |card: &Card| -> Vec<String> {
            card.addresses.iter().map(|one| one.by.clone()).collect()
        };
        assert_eq!(words(&card(0)), ["127.0.0.1, lo, all, loopback"]);
        assert_eq!(
            words(&card(1)),
            ["10.0.0.7, eth0, all, private", "169.254.1.1"]
        );
        assert_eq!(words(&card(2)), ["172.17.0.1, docker0"]);
        assert_eq!(words(&card(3)), ["192.0.2.1"]);
        assert!(card(1).addresses[1].but.unwrap().contains("link-local"));
        assert!(card(2).addresses[0].but.unwrap().contains("container"));
        assert!(card(3).refused.unwrap().contains("down"));
        assert!(card(1).addresses[0].but.is_none() && card(1).refused.is_none());
    }

    #[test]
    fn leases_count_once_on_each_interface() {
        let mut both = lease(1);
        both.addresses = AddressGroup::new([Family::Ipv4, Family::Ipv6].map(BindAddress::wildcard));
        let leases = [both, lease(2)];
        let counts = leases_by_interface(leases.iter());
        assert_eq!(counts.get(ANY_INTERFACE), Some(&2));
        assert_eq!(counts.len(), 1);
    }

    #[test]
    fn the_rate_is_of_attempts_that_met_somebody() {
        let mut outcomes = OutcomesDocument::default();
        outcomes.add(&OutcomesDocument {
            bound: 3,
            in_use: 1,
            ..OutcomesDocument::default()
        });
        let stats = [InterfaceStats {
            interface: "eth0".into(),
            outcomes,
        }];
        let used = Used::of("eth0", 1, &stats);
        assert_eq!(used.conflicts.as_deref(), Some("25 % of 4 attempts"));
        assert_eq!(
            (&*used.leases, &*used.leases_at),
            ("1 lease", "/leases?interface=eth0")
        );
        assert_eq!(Used::of("lo", 0, &stats).conflicts, None);
    }

    #[test]
    fn each_pool_on_an_interface_has_its_bar() {
        let on = |pool: &str, interface: &str| OnInterface {
            pool: pool.into(),
            place: Place {
                interface: interface.into(),
                group: AddressGroup::new([BindAddress::wildcard(Family::Ipv4)]),
                shares: Shares {
                    leased: 1,
                    excluded: 3,
                    free: 1_996,
                    ..Shares::default()
                },
            },
        };
        let bars = pools(
            "eth0",
            &[on("web", "lo"), on("web", "eth0"), on("ci", "eth0")],
        );
        let names: Vec<&str> = bars.iter().map(|bar| &*bar.on).collect();
        assert_eq!(names, ["web", "ci"]);
        assert_eq!(bars[0].says, "1 active, 3 excluded, 1,996 free");
        assert_eq!(
            bars[0].title,
            "Pool web on eth0: 1 active, 3 excluded, 1,996 free"
        );
        assert_eq!(bars[0].href.as_deref(), Some("/leases?pool=web"));
    }
}
