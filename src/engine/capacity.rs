//! How full each pool is, on all of its addresses and on each interface alone.
//!
//! Like the survey it is a pass over memory, but by whole sets of ports: a pool of any size costs
//! the same, and no port is looked at by itself.

use std::collections::HashMap;
use std::sync::Arc;

use super::allocator::KernelRules;
use super::plan::allowed;
use super::refusal::Refusal;
use super::service::{Service, lock};
use super::survey::exclusions;
use crate::choice::bits::PortBits;
use crate::config::Settings;
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::lease::{Lease, State};
use crate::domain::pool::Pool;
use crate::domain::port::Protocol;
use crate::domain::selector::{Selector, SelectorKind};
use crate::domain::sighting::Sighting;
use crate::host::interface::{Snapshot, resolve};

/// More interfaces than anybody compares at a glance.
const INTERFACES: usize = 6;

/// What became of the ports of a pool; each port counts once.
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
    /// What became of its ports there.
    pub shares: Shares,
}

/// How full a pool is.
#[derive(Debug, Clone)]
pub struct Capacity {
    /// Its name.
    pub pool: Arc<str>,
    /// On all of its addresses at once, as its requests need them; or why that is not to be told.
    pub whole: Result<Place, String>,
    /// On single interfaces, where that may differ.
    pub interfaces: Vec<Place>,
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

    /// Those that a rule leaves to be granted, whoever has them now.
    pub const fn grantable(&self) -> u32 {
        self.all() - self.excluded
    }
}

impl Service {
    /// How full the pools are, in the order of their names.
    pub fn capacities(&self) -> Result<Vec<Capacity>, Refusal> {
        let host = self.host()?;
        let settings = self.settings();
        let kernel = self.kernel_rules();
        let mut taken = Taken::by_leases(&self.leases());
        taken.seen = lock(&self.pending).looks.by_address();
        let capacity = |pool: &Arc<Pool>| {
            let place = |interface: Arc<str>, group: AddressGroup| Place {
                shares: self.shares(pool, &group, &settings, &kernel, &taken),
                interface,
                group,
            };
            let whole = resolve(&host, &pool.interfaces);
            let parts = whole.as_ref().map(|group| parts(&host, group));
            Capacity {
                pool: Arc::clone(&pool.name),
                interfaces: parts
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(name, group)| place(name, group))
                    .collect(),
                whole: whole
                    .map(|group| place("".into(), group))
                    .map_err(|error| error.to_string()),
            }
        };
        Ok(settings.pools.values().map(capacity).collect())
    }

    fn shares(
        &self,
        pool: &Pool,
        group: &AddressGroup,
        settings: &Settings,
        kernel: &KernelRules,
        taken: &Taken,
    ) -> Shares {
        let (ranges, exclude) = allowed(pool, group, settings);
        let [mut kept, mut cooling, mut seen] = [(); 3].map(|()| PortBits::default());
        let [mut active, mut lost] = [(); 2].map(|()| PortBits::default());
        // One number, free for every protocol of the pool.
        for protocol in pool.protocol.each() {
            let (by_books, after_refusal) = self.kept(*protocol, group);
            kept.add(&by_books);
            cooling.add(&after_refusal);
            taken.add_to([&mut active, &mut lost, &mut seen], group, *protocol);
        }
        let mut left = PortBits::from(&ranges);
        let of_lost = left.subtract(&lost);
        let mut shares = Shares {
            leased: left.subtract(&active),
            held: left.subtract(&kept),
            others: of_lost + left.subtract(&seen),
            ..Shares::default()
        };
        let by_hand = self.exclusions().ports(pool.protocol.each());
        for (_, ports) in exclusions(pool, [&exclude, &by_hand], kernel, &cooling) {
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

/// The interfaces that a group is made of, or those that its wildcards cover; none where there is
/// only one.
fn parts(host: &Snapshot, group: &AddressGroup) -> Vec<(Arc<str>, AddressGroup)> {
    let addresses = group.addresses();
    let mut parts: Vec<(Arc<str>, AddressGroup)> = Vec::new();
    if addresses.iter().any(BindAddress::is_wildcard) {
        let usual = host.interfaces.iter();
        let usual = usual.filter(|known| known.up && !known.is_virtual);
        let named = usual.filter_map(|known| {
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
        assert!(parts(&host, &lo).is_empty());
        let both = AddressGroup::new([address("lo", "127.0.0.1"), address("eth0", "10.0.0.2")]);
        let parts = parts(&host, &both);
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
