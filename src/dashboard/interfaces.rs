//! `/interfaces`: the host's interfaces, the ports that can be allocated on them, and their changes.

mod address;

use std::collections::HashMap;

use actix_web::web::Data;
use askama::Template;
use jiff::Timestamp;
use wildmatch::WildMatch;

use self::address::AddressRow;
use super::chart::capacity::{Bar, KINDS, on_interface};
use super::errors::PageError;
use super::filters;
use super::format::percent;
use super::frame::{Frame, Params};
use super::page::Page;
use super::part::interface::kind_of;
use crate::access::Viewer;
use crate::answers::document::InterfaceStats;
use crate::answers::stats;
use crate::api::AppState;
use crate::api::problem::{Code, Problem};
use crate::domain::address::ANY_INTERFACE;
use crate::domain::attempt::printable;
use crate::domain::event::{Event, EventKind};
use crate::domain::lease::Lease;
use crate::domain::words::counted;
use crate::engine::capacity::OnInterface;
use crate::host::interface::{Interface, Snapshot};

/// Maximum number of changes on the page.
const CHANGES: usize = 20;

/// More than the journal keeps.
const ALL_EVENTS: usize = 100_000;

#[derive(Debug, Template)]
#[template(path = "interfaces.html")]
pub(super) struct InterfacesPage {
    frame: Frame,
    now: Timestamp,
    /// Glob for the names of the interfaces shown; empty for all of them.
    glob: String,
    cards: Vec<Card>,
    /// Number of interfaces of the host.
    all: usize,
    /// Usage of the wildcard addresses, which are on every interface.
    on_all: Used,
    changes: Vec<Event>,
}

/// One interface.
#[derive(Debug)]
struct Card {
    name: String,
    up: bool,
    kind: &'static str,
    /// The reason why no port can be had on it by its name.
    refused: Option<String>,
    addresses: Vec<AddressRow>,
    used: Used,
    /// Usage of each pool on it.
    pools: Vec<Bar>,
    map: String,
}

/// Usage of an interface, or of the wildcards.
#[derive(Debug, Default, PartialEq, Eq)]
struct Used {
    leases: usize,
    leases_at: String,
    /// Share of the week's attempts that found the port in use. `None` without attempts.
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
    let host = service.interfaces().current();
    let host =
        host.map_err(|error| Problem::new(Code::StoreUnavailable, printable(&error.to_string())))?;
    let stats = stats::of_interfaces(service, &viewer).await;
    let stats = stats.map_err(Problem::from)?;
    let leases = leases_by_interface(service.leases().iter().map(AsRef::as_ref));
    let capacities = service.capacities_by_interface().map_err(Problem::from)?;
    let glob = params.get("name").unwrap_or_default().to_owned();
    let wanted = |name: &str| glob.is_empty() || WildMatch::new(&glob).matches(name);
    let used = |name: &str| Used::of(name, leases.get(name).copied().unwrap_or(0), &stats);
    let listing = host.listing();
    let cards = listing.iter().filter(|known| wanted(&known.name));
    let settings = service.settings();
    let ports_of = |pool: &str| settings.pools.get(pool).map(|pool| pool.ranges.len());
    let card = |interface: &Interface| Card {
        pools: pools(&interface.name, &capacities, ports_of),
        used: used(&interface.name),
        ..Card::of(interface, &host)
    };
    Ok(Page(InterfacesPage {
        cards: cards.map(card).collect(),
        all: listing.len(),
        on_all: used(ANY_INTERFACE),
        changes: changes(&face),
        now: service.clock().now(),
        glob,
        frame,
    }))
}

/// The pools that have addresses on an interface. `ports_of` is the number of ports of a pool; an
/// interface with another number has ranges of its own.
fn pools(
    interface: &str,
    capacities: &[OnInterface],
    ports_of: impl Fn(&str) -> Option<usize>,
) -> Vec<Bar> {
    let here = capacities.iter();
    let here = here.filter(|known| &*known.place.interface == interface);
    let bar = |known: &OnInterface| {
        let bar = on_interface(&known.pool, &known.place);
        let is_own = |ports: usize| u32::try_from(ports) != Ok(bar.all);
        if !ports_of(&known.pool).is_some_and(is_own) {
            return bar;
        }
        Bar {
            says: format!("{}, of ranges of the interface's own", bar.says),
            ..bar
        }
    };
    here.map(bar).collect()
}

fn changes(face: &AppState) -> Vec<Event> {
    let mut events = face.service.journal().latest(ALL_EVENTS);
    events.retain(|event| event.kind == EventKind::Interfaces);
    events.truncate(CHANGES);
    events
}

/// Number of leases on each interface. A lease on two interfaces counts for both.
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
        Self {
            leases,
            leases_at: Params::default().with("interface", name).link("/leases"),
            conflicts: known.map(|known| {
                let attempts = known.outcomes.attempts;
                let in_use = percent(known.outcomes.in_use, attempts);
                format!("{in_use} of {}", counted(attempts, "attempt"))
            }),
        }
    }
}

impl Card {
    /// An interface without its usage.
    fn of(interface: &Interface, host: &Snapshot) -> Self {
        let of_interface = Params::default().with("interface", &interface.name);
        Self {
            name: printable(&interface.name),
            up: interface.up,
            kind: kind_of(interface.loopback, interface.is_virtual),
            refused: address::refusal(interface, host),
            addresses: address::rows(interface, host),
            used: Used::default(),
            pools: Vec::new(),
            map: of_interface.link("/map"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::document::OutcomesDocument;
    use crate::domain::address::{AddressGroup, BindAddress, Family};
    use crate::domain::lease::tests_support::lease;
    use crate::engine::capacity::{Place, Shares};

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
    fn conflicts_are_a_share_of_attempts() {
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
        let list = "/leases?interface=eth0";
        assert_eq!((used.leases, &*used.leases_at), (1, list));
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
            |pool| Some(if pool == "web" { 2000 } else { 8 }),
        );
        let names: Vec<&str> = bars.iter().map(|bar| &*bar.on).collect();
        assert_eq!(names, ["web", "ci"]);
        assert_eq!(bars[0].says, "1 active, 3 excluded, 1,996 free");
        assert_eq!(
            bars[0].title,
            "Pool web on eth0: 1 active, 3 excluded, 1,996 free"
        );
        let own = "1,996 free, of ranges of the interface's own";
        assert!(bars[1].says.ends_with(own), "{}", bars[1].says);
        assert_eq!(bars[0].href.as_deref(), Some("/leases?pool=web"));
    }
}
