//! Use of each pool, on all of its addresses and on each interface alone.
//!
//! Like the survey it is a pass over memory, but by whole sets of ports: a pool of any size costs
//! the same, and no port is looked at by itself.

use std::collections::HashMap;
use std::sync::Arc;

use crate::choice::bits::PortBits;
use crate::config::Pool;
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::lease::{Lease, State};
use crate::domain::port::Protocol;
use crate::domain::selector::{Selector, SelectorKind};
use crate::domain::sighting::Sighting;
use crate::engine::{
    engine::Engine, plan::allowed, refusal::Refusal, rules::Rules, survey, survey::exclusions,
};
use crate::host::interface::{Interface, Snapshot, resolve};

/// Maximum number of interfaces of a pool that are shown for comparison.
const INTERFACES: usize = 6;

/// Numbers of a pool's ports by their use. Each port counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    /// Leased, and the owner listens.
    pub leased: u32,
    /// Kept for an owner who does not listen now, or being granted.
    pub held: u32,
    /// Others were seen on them, or have taken them from a lease.
    pub others: u32,
    /// Ruled out.
    pub excluded: u32,
    /// Nothing speaks against them.
    pub free: u32,
}

/// A pool, or one interface of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The interface; empty for all of the pool's addresses together.
    pub interface: Arc<str>,
    /// The addresses.
    pub group: AddressGroup,
    /// Use of its ports there.
    pub shares: Shares,
}

/// Use of one pool.
#[derive(Debug, Clone)]
pub struct Capacity {
    /// Its name.
    pub pool: Arc<str>,
    /// On all of its addresses at once, as its requests need them; or why that is not to be told.
    pub whole: Result<Place, String>,
    /// On single interfaces, where that may differ.
    pub interfaces: Vec<Place>,
}

/// Use of one pool on one interface.
#[derive(Debug, Clone)]
pub struct OnInterface {
    /// The pool.
    pub pool: Arc<str>,
    /// The interface.
    pub place: Place,
}

/// A count of the pools' ports at one moment.
struct Count<'a> {
    engine: &'a Engine,
    rules: Arc<Rules>,
    taken: Taken,
}

/// Sets of ports by the addresses that they are on.
#[derive(Default)]
struct Taken {
    /// The ports of leases whose owner listens, and of lost ones.
    leases: HashMap<(AddressGroup, Protocol), [PortBits; 2]>,
    /// The ports of others; the sighting stands for all of its address.
    seen: Vec<(Sighting, PortBits)>,
}

impl Shares {
    /// All of them.
    pub const fn all(&self) -> u32 {
        self.leased + self.held + self.others + self.excluded + self.free
    }

    /// Number of ports that no rule excludes, in use or not.
    pub const fn grantable(&self) -> u32 {
        self.all() - self.excluded
    }
}

/// Returns the use of each pool, in the order of their names.
pub(super) fn capacities(engine: &Arc<Engine>) -> Result<Vec<Capacity>, Refusal> {
    let host = survey::host(engine)?;
    let count = Count::of(engine);
    let capacity = |pool: &Arc<Pool>| {
        let whole = resolve(&host, &pool.interfaces);
        let parts = whole
            .as_ref()
            .map(|group| few(parts(&host, group, is_usual)));
        let parts = parts.unwrap_or_default().into_iter();
        Capacity {
            pool: Arc::clone(&pool.name),
            interfaces: parts
                .map(|(name, group)| count.place(pool, name, group))
                .collect(),
            whole: whole
                .map(|group| count.place(pool, "".into(), group))
                .map_err(|error| error.to_string()),
        }
    };
    Ok(count.rules.settings.pools.values().map(capacity).collect())
}

/// Returns the use of each pool on each interface that it has addresses on, in the order of pool
/// names. Pools whose addresses are away are left out.
pub(super) fn capacities_by_interface(engine: &Arc<Engine>) -> Result<Vec<OnInterface>, Refusal> {
    let host = survey::host(engine)?;
    let count = Count::of(engine);
    let mut found = Vec::new();
    for pool in count.rules.settings.pools.values() {
        let Ok(group) = resolve(&host, &pool.interfaces) else {
            continue;
        };
        let parts = parts(&host, &group, |known| known.up).into_iter();
        found.extend(parts.map(|(name, group)| OnInterface {
            pool: Arc::clone(&pool.name),
            place: count.place(pool, name, group),
        }));
    }
    Ok(found)
}

impl<'a> Count<'a> {
    fn of(engine: &'a Engine) -> Self {
        let mut taken = Taken::by_leases(&engine.leases.all());
        taken.seen = engine.learning.seen_by_address();
        Self {
            engine,
            rules: engine.rules.now(),
            taken,
        }
    }

    fn place(&self, pool: &Pool, interface: Arc<str>, group: AddressGroup) -> Place {
        Place {
            shares: self.shares(pool, &group),
            interface,
            group,
        }
    }

    fn shares(&self, pool: &Pool, group: &AddressGroup) -> Shares {
        let (ranges, exclude) = allowed(pool, group, &self.rules.settings);
        let [mut kept, mut cooling, mut seen] = [(); 3].map(|()| PortBits::default());
        let [mut active, mut lost] = [(); 2].map(|()| PortBits::default());
        // One number, free for every protocol of the pool.
        for protocol in pool.protocol.each() {
            let (by_books, after_refusal) = self.engine.leases.kept_from(group, *protocol);
            kept.add(&by_books);
            cooling.add(&after_refusal);
            let sets = [&mut active, &mut lost, &mut seen];
            self.taken.add_to(sets, group, *protocol);
        }
        let mut left = PortBits::from(&ranges);
        let of_lost = left.subtract(&lost);
        let mut shares = Shares {
            leased: left.subtract(&active),
            held: left.subtract(&kept),
            others: of_lost + left.subtract(&seen),
            ..Shares::default()
        };
        let by_hand = self.rules.exclusions.ports(pool.protocol.each());
        for (_, ports) in exclusions(pool, [&exclude, &by_hand], &self.rules.kernel, &cooling) {
            shares.excluded += left.subtract(&ports);
        }
        shares.free = left.len();
        shares
    }
}

impl Taken {
    fn by_leases(leases: &[Arc<Lease>]) -> Self {
        let mut taken = Self::default();
        for lease in leases {
            let which = match lease.state {
                State::Active | State::Degraded => 0,
                State::Lost => 1,
                _ => continue,
            };
            let key = (lease.addresses.clone(), lease.protocol);
            taken.leases.entry(key).or_default()[which].insert(lease.port);
        }
        taken
    }

    fn add_to(&self, sets: [&mut PortBits; 3], group: &AddressGroup, protocol: Protocol) {
        let [active, lost, seen] = sets;
        for ((on, of), ports) in &self.leases {
            if *of == protocol && on.overlaps(group) {
                active.add(&ports[0]);
                lost.add(&ports[1]);
            }
        }
        for (sighting, ports) in &self.seen {
            let mut addresses = group.addresses().iter();
            let in_the_way = addresses.any(|address| sighting.overlaps(address));
            if sighting.protocol == protocol && in_the_way {
                seen.add(ports);
            }
        }
    }
}

/// Whether people compare an interface with others: those of containers come and go.
const fn is_usual(interface: &Interface) -> bool {
    interface.up && !interface.is_virtual
}

/// The interfaces that a group is made of, or such that its wildcards cover.
fn parts(
    host: &Snapshot,
    group: &AddressGroup,
    is_told: fn(&Interface) -> bool,
) -> Vec<(Arc<str>, AddressGroup)> {
    let addresses = group.addresses();
    let mut parts: Vec<(Arc<str>, AddressGroup)> = Vec::new();
    if addresses.iter().any(BindAddress::is_wildcard) {
        let told = host.interfaces.iter().filter(|known| is_told(known));
        let named = told.filter_map(|known| {
            let selector = Selector {
                negated: false,
                kind: SelectorKind::Interface(known.name.to_string()),
            };
            let group = resolve(host, &[selector]).ok()?;
            Some((Arc::clone(&known.name), group))
        });
        parts.extend(named);
    } else {
        for address in addresses {
            let name = &address.interface;
            if parts.iter().all(|(known, _)| known != name) {
                let own = addresses.iter().filter(|own| own.interface == *name);
                parts.push((Arc::clone(name), AddressGroup::new(own.cloned())));
            }
        }
    }
    parts
}

/// Cuts a list to the maximum. Empty if there is only one interface, since the pool's own bar shows
/// it.
fn few<T>(mut parts: Vec<T>) -> Vec<T> {
    if parts.len() == 1 {
        parts.clear();
    }
    parts.truncate(INTERFACES);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support::lease;

    fn leased(port: u16, state: State) -> Arc<Lease> {
        let mut lease = lease(port);
        lease.state = state;
        Arc::new(lease)
    }

    #[test]
    fn only_listening_owners_and_lost_leases_are_told_apart() {
        let leases = [
            leased(20_000, State::Active),
            leased(20_001, State::Lost),
            leased(20_002, State::Reserved),
        ];
        let taken = Taken::by_leases(&leases);
        let [mut active, mut lost, mut seen] = [(); 3].map(|()| PortBits::default());
        let group = &leases[0].addresses;
        taken.add_to([&mut active, &mut lost, &mut seen], group, Protocol::Tcp);
        assert_eq!((active.len(), lost.len(), seen.len()), (1, 1, 0));
        assert!(active.contains(leases[0].port) && lost.contains(leases[1].port));
        taken.add_to([&mut active, &mut lost, &mut seen], group, Protocol::Udp);
        assert_eq!(active.len(), 1, "the other protocol's are its own");
    }

    #[test]
    fn an_interface_alone_is_no_part() {
        let address = |name: &str, ip: &str| BindAddress {
            interface: name.into(),
            ip: ip.parse().unwrap(),
            scope: 0,
        };
        let host = Snapshot {
            interfaces: Vec::new(),
            families: Vec::new(),
        };
        let lo = AddressGroup::new([address("lo", "127.0.0.1"), address("lo", "::1")]);
        let parts = |group| parts(&host, group, is_usual);
        assert_eq!(parts(&lo).len(), 1);
        assert!(few(parts(&lo)).is_empty());
        let both = AddressGroup::new([address("lo", "127.0.0.1"), address("eth0", "10.0.0.2")]);
        let parts = parts(&both);
        let names: Vec<&str> = parts.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["eth0", "lo"]);
    }

    #[test]
    fn what_is_ruled_out_cannot_be_granted() {
        let shares = Shares {
            leased: 1,
            held: 2,
            others: 3,
            excluded: 4,
            free: 5,
        };
        assert_eq!((shares.all(), shares.grantable()), (15, 11));
    }
}
