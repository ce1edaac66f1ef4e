//! Pools: named sets of ports with the rules for choosing among them, and the built-in ones.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::rule::{not_empty, not_zero};
use super::table::settings;
use crate::domain::claim::{Reach, Reclaim};
use crate::domain::lease::Handover;
use crate::domain::pool::{CONSOLE_POOL, DEFAULT_POOL, PORTSERVER_POOL, Strategy};
use crate::domain::port::{Port, PortSet, Protocols};
use crate::domain::precedence::PREFER_SPAN;
use crate::domain::selector::{Selector, SelectorKind};

settings! {
    /// A pool is a named set of ports with its rules. A pool of your own needs ranges, the rest falls
    /// back to the defaults below. Names: small letters, digits and _. Times are texts such as "1h30m",
    /// or numbers of seconds.
    pub struct Pool(name: Arc<str>) {
        /// Ports that may be granted: ports and ranges with commas between, or a list.
        ranges: PortSet = built_in(&name).ranges, rule not_empty;
        /// Ports of these that are never granted, not even to requests by number.
        exclude: PortSet = PortSet::EMPTY;
        /// Port that "ordered" starts at; the lowest unless set.
        prefer: Option<Port> = built_in(&name)
            .prefer
            .filter(|port| ranges.contains(*port) && !exclude.contains(*port)),
            example "20080";
        /// Number of ports above a preferred one that a request tries before it turns to the ranges.
        prefer_span: u16 = PREFER_SPAN;
        /// Order of candidates. "learned": the least likely to be taken, by all that was tried and seen.
        /// "ordered": the preferred port first, then upwards; the default of pools that prefer a port.
        /// "random": any.
        strategy: Strategy = Strategy::of_pool(prefer);
        /// Ports of the ranges that only requests by number get.
        static_band: PortSet = PortSet::EMPTY;
        /// Whether to leave out ports that browsers refuse to open, such as 6000.
        browser_safe: bool = false;
        /// Maximum number of ports that one request may try; all of the pool unless set.
        max_attempts: Option<NonZeroU32> = None, example "16";
        /// Time that one request may spend on attempts.
        attempt_timeout: Duration = Duration::from_secs(5), rule not_zero;
        /// Time that a port is left alone after it was found busy.
        cool_down: Duration = Duration::from_secs(10);
        /// Time that a port is a little dearer to "learned" after a lease on it has ended.
        release_cool_down: Duration = Duration::from_mins(1);
        /// Protocols that a port must be free for: "tcp", "udp", or "both" on one number.
        protocol: Protocols = built_in(&name).protocol;
        /// Addresses that a port is held on: "any" (the wildcard addresses, whichever way the program
        /// binds), or those that exist of NICs ("eth0", "en*"), addresses ("10.0.0.7", "10.0.0.0/8"),
        /// classes ("all", "loopback", "private", "public") and families ("ipv4", "ipv6"); "!" takes away.
        interfaces: Vec<Selector> = vec![built_in(&name).interfaces];
        /// Way in which a port passes to its program: "gate" (held all the time; for programs that set
        /// SO_REUSEADDR, as most do), "fd" (the program is given listening sockets, as from systemd),
        /// "release" (let go just before) or "bind" (the kernel lets those of `portbook run` alone in;
        /// "gate" where the service lacks the privilege).
        handover: Handover = built_in(&name).handover;
        /// Time that a lease waits for the first program that listens on it.
        claim_within: Duration = Duration::from_mins(10), rule not_zero;
        /// Time after which an unused name of another user gives way in a full pool. The caller's own
        /// names give way at once, the longest unused first. Names kept by `alloc --reserve` never do.
        names_idle: Duration = Duration::from_hours(24), example "\"1d\"";
        /// Time that the folder of a name (portbook.toml's) must be gone until its lease ends. Only a
        /// folder that was seen on this host counts, and never one that is unreadable or not mounted.
        gone_after: Duration = Duration::from_hours(1), rule not_zero;
        /// Lifetime of a lease unless it is renewed; no end of its own unless set.
        ttl: Option<Duration> = None, rule not_zero, example "\"8h\"";
        /// Longest lifetime that a request may ask for. Leases of requests without one have it too.
        max_ttl: Option<Duration> = None, rule not_zero, example "\"24h\"";
        /// Maximum number of leases at once; any number unless set.
        max_leases: Option<NonZeroU32> = None, example "1000";
        /// Maximum number of leases of one user at once. Unless set, users other than root and the
        /// service's own may have 1000.
        max_leases_per_user: Option<NonZeroU32> = None, example "100";
        /// Extent in which a number of the pool is granted once: "local" (on this host), or "unique" (in
        /// the whole fleet: each grant claims its number there first; see docs/fleet.md).
        fleet: Reach = Reach::Local;
        /// Way in which the fleet gets a number back from a host that is gone: "manual", by an operator, or
        /// by itself after a time, where the kernel has a fence that shuts the number after half of it: 30d at
        /// most, and twenty times fleet.session (10m) at least. A pool with fleet = "unique" must say so.
        reclaim: Option<Reclaim> = None, example "\"24h\"";
    }
}

impl Pool {
    /// Whether its numbers are unique in the fleet.
    pub fn is_unique(&self) -> bool {
        self.fleet == Reach::Unique
    }

    /// Whether its numbers are to have a fence in the kernel.
    pub fn is_fenced(&self) -> bool {
        self.is_unique() && self.reclaim.is_some_and(|reclaim| reclaim.time().is_some())
    }
}

/// Pools that exist without being written down.
pub(super) const BUILT_IN_POOLS: [&str; 2] = [DEFAULT_POOL, CONSOLE_POOL];

/// Defaults that differ from pool to pool.
struct BuiltIn {
    ranges: PortSet,
    prefer: Option<Port>,
    protocol: Protocols,
    interfaces: Selector,
    handover: Handover,
}

/// Whether a pool has ports unless the user gives it some.
pub(super) fn has_ports(name: &str) -> bool {
    !built_in(name).ranges.is_empty()
}

fn built_in(name: &str) -> BuiltIn {
    let selecting = |kind| Selector {
        negated: false,
        kind,
    };
    let plain = BuiltIn {
        ranges: PortSet::EMPTY,
        prefer: None,
        protocol: Protocols::default(),
        interfaces: selecting(SelectorKind::Any),
        handover: Handover::default(),
    };
    match name {
        DEFAULT_POOL => BuiltIn {
            ranges: ports(20_000, 29_999),
            ..plain
        },
        CONSOLE_POOL => BuiltIn {
            ranges: ports(8888, 8988),
            prefer: Port::new(8888),
            interfaces: selecting(SelectorKind::Address(Ipv4Addr::LOCALHOST.into())),
            ..plain
        },
        // The range of the reference program. Its clients bind the port themselves, for either
        // protocol, often without SO_REUSEADDR.
        PORTSERVER_POOL => BuiltIn {
            ranges: ports(15_000, 24_999),
            protocol: Protocols::Both,
            handover: Handover::Release,
            ..plain
        },
        _ => plain,
    }
}

fn ports(first: u16, last: u16) -> PortSet {
    match (Port::new(first), Port::new(last)) {
        (Some(first), Some(last)) => PortSet::range(first, last),
        _ => PortSet::EMPTY,
    }
}
