//! Selectors turned into bind addresses: a pure function of a snapshot.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use wildmatch::WildMatch;

use super::{Interface, Snapshot};
use crate::domain::address::{AddressGroup, BindAddress, Family};
use crate::domain::selector::{Class, Selector, SelectorKind, is_link_local};

/// Maximum edit distance of a name that is offered in place of an unknown one.
const NEAR_ENOUGH: usize = 2;

/// A reason for selectors to name no bind address on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// An address named outright that the host does not have.
    #[error("{0} is no address of this host: name one that an interface has")]
    AddressNotAvailable(IpAddr),
    /// A name that no interface has.
    #[error("there is no interface {name}{}; this host has {}", did_you_mean(nearest.as_ref()), known.join(", "))]
    NoSuchInterface {
        name: String,
        /// Known name that looks most like it.
        nearest: Option<Arc<str>>,
        /// All names of interfaces.
        known: Vec<Arc<str>>,
    },
    /// An interface that is down, so that its addresses cannot be reached.
    #[error("interface {0} is down: bring it up, or name its address outright")]
    InterfaceDown(String),
    /// An interface without an address, but for link-local ones.
    #[error(
        "interface {0} has no address to bind: give it one, or name its link-local address outright"
    )]
    NoUsableAddress(String),
    /// A network, class, family or glob that matches nothing now.
    #[error("\"{0}\" matches no address of an interface that is up")]
    NothingMatches(Selector),
    /// A restriction that would need a hole in a wildcard.
    #[error(
        "\"{0}\" cannot be taken from a wildcard, which is one socket for every interface: write \"all\" in place of \"any\""
    )]
    WithinWildcard(Selector),
    /// Restrictions that leave no address.
    #[error("\"{0}\" leaves no address: take out one of the restrictions")]
    NothingLeft(String),
}

fn did_you_mean(nearest: Option<&Arc<str>>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

/// Resolves selectors to the bind addresses of this host.
///
/// They are read in order: a plain one adds addresses, one with `!` removes them. If none adds, the
/// class `all` is the start. A family beside other selectors keeps only its own addresses, wherever
/// it stands; alone it adds them. It is no error to remove a missing address, so that one
/// configuration serves hosts with and without docker0.
pub fn resolve(snapshot: &Snapshot, selectors: &[Selector]) -> Result<AddressGroup, SelectError> {
    let host = Host(snapshot);
    let kept = kept_families(selectors);
    let mut chosen = Vec::new();
    if selectors.iter().all(|selector| selector.negated) {
        chosen = host.class(Class::All);
    }
    for selector in selectors {
        if selector.negated {
            take_away(&mut chosen, selector)?;
        } else if kept.is_empty() || !is_family(selector) {
            chosen.extend(host.matching(selector)?);
        }
    }
    chosen.retain(|address| kept.is_empty() || kept.contains(&address.family()));
    if chosen.is_empty() {
        let words: Vec<String> = selectors.iter().map(ToString::to_string).collect();
        return Err(SelectError::NothingLeft(words.join(", ")));
    }
    Ok(AddressGroup::new(chosen))
}

const fn is_family(selector: &Selector) -> bool {
    matches!(selector.kind, SelectorKind::Family(_))
}

/// Families that filter the addresses of other selectors; none if families are all that is added.
fn kept_families(selectors: &[Selector]) -> Vec<Family> {
    let adding = || selectors.iter().filter(|selector| !selector.negated);
    if adding().all(is_family) {
        return Vec::new();
    }
    adding()
        .filter_map(|selector| match selector.kind {
            SelectorKind::Family(family) => Some(family),
            _ => None,
        })
        .collect()
}

/// The snapshot in the eyes of selectors that add.
struct Host<'a>(&'a Snapshot);

impl Host<'_> {
    fn matching(&self, selector: &Selector) -> Result<Vec<BindAddress>, SelectError> {
        let found = match &selector.kind {
            SelectorKind::Any => self.wildcards(),
            SelectorKind::Class(class) => self.class(*class),
            SelectorKind::Family(family) => {
                let mut all = self.class(Class::All);
                all.retain(|address| address.family() == *family);
                all
            }
            SelectorKind::Address(ip) => return self.address(*ip),
            SelectorKind::Network(network) => self.network(network),
            SelectorKind::Interface(name) if is_glob(name) => self.glob(name),
            SelectorKind::Interface(name) => return self.named(name),
        };
        if found.is_empty() {
            return Err(SelectError::NothingMatches(selector.clone()));
        }
        Ok(found)
    }

    fn wildcards(&self) -> Vec<BindAddress> {
        let families = self.0.families.iter();
        families.copied().map(BindAddress::wildcard).collect()
    }

    fn class(&self, class: Class) -> Vec<BindAddress> {
        let real = self.up().filter(|interface| !interface.is_virtual);
        select(real, |ip| class.matches(ip))
    }

    /// Finds an address, or fails. It may be link-local, and its interface virtual or down: a user
    /// that names it means it, and the kernel lets IPv4 addresses of a downed interface be bound.
    fn address(&self, ip: IpAddr) -> Result<Vec<BindAddress>, SelectError> {
        if !self.0.families.contains(&Family::of(ip)) {
            return Err(SelectError::AddressNotAvailable(ip));
        }
        if ip.is_unspecified() {
            return Ok(vec![BindAddress::wildcard(Family::of(ip))]);
        }
        let mut found = select(self.0.interfaces.iter(), |known| known == ip);
        if found.is_empty() {
            let loopback = self.0.interfaces.iter().find(|known| known.makes_local(ip));
            found.extend(loopback.map(|loopback| BindAddress {
                interface: Arc::clone(&loopback.name),
                ip,
                scope: 0,
            }));
        }
        if found.is_empty() {
            return Err(SelectError::AddressNotAvailable(ip));
        }
        Ok(found)
    }

    /// Finds the addresses of a network; link-local ones only if the network lies within theirs.
    fn network(&self, network: &IpNet) -> Vec<BindAddress> {
        let link_local = is_link_local(network.network()) && is_link_local(network.broadcast());
        select(self.up(), |ip| {
            network.contains(&ip) && (link_local || !is_link_local(ip))
        })
    }

    fn glob(&self, pattern: &str) -> Vec<BindAddress> {
        let pattern = WildMatch::new(pattern);
        let matching = self.up().filter(|known| pattern.matches(&known.name));
        select(matching, |ip| !is_link_local(ip))
    }

    fn named(&self, name: &str) -> Result<Vec<BindAddress>, SelectError> {
        let Some(interface) = self.0.interface(name) else {
            return Err(self.no_such_interface(name));
        };
        if !interface.up {
            return Err(SelectError::InterfaceDown(name.to_owned()));
        }
        let found = select(std::iter::once(interface), |ip| !is_link_local(ip));
        if found.is_empty() {
            return Err(SelectError::NoUsableAddress(name.to_owned()));
        }
        Ok(found)
    }

    fn no_such_interface(&self, name: &str) -> SelectError {
        let known: Vec<Arc<str>> = self.0.interfaces.iter().map(|k| k.name.clone()).collect();
        let nearest = known
            .iter()
            .map(|known| (strsim::osa_distance(known, name), known))
            .filter(|(distance, _)| *distance <= NEAR_ENOUGH)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| Arc::clone(known));
        SelectError::NoSuchInterface {
            name: name.to_owned(),
            nearest,
            known,
        }
    }

    fn up(&self) -> impl Iterator<Item = &Interface> {
        self.0.interfaces.iter().filter(|known| known.up)
    }
}

fn is_glob(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Addresses of these interfaces that fulfil a condition.
fn select<'a>(
    interfaces: impl Iterator<Item = &'a Interface>,
    rule: impl Fn(IpAddr) -> bool,
) -> Vec<BindAddress> {
    let mut found = Vec::new();
    for interface in interfaces {
        let matching = interface.addresses.iter().filter(|on| rule(on.ip));
        found.extend(matching.map(|on| interface.bind_address(on)));
    }
    found
}

fn take_away(chosen: &mut Vec<BindAddress>, selector: &Selector) -> Result<(), SelectError> {
    let within = |address: &BindAddress| address.is_wildcard() && reaches_into(selector, address);
    if chosen.iter().any(within) {
        return Err(SelectError::WithinWildcard(selector.clone()));
    }
    chosen.retain(|address| !is_meant(&selector.kind, address));
    Ok(())
}

/// Whether removing a selector would need a hole in this wildcard.
const fn reaches_into(selector: &Selector, wildcard: &BindAddress) -> bool {
    match &selector.kind {
        SelectorKind::Any | SelectorKind::Family(_) => false,
        SelectorKind::Address(ip) => ip.is_ipv4() == wildcard.ip.is_ipv4() && !ip.is_unspecified(),
        SelectorKind::Network(IpNet::V4(_)) => wildcard.ip.is_ipv4(),
        SelectorKind::Network(IpNet::V6(_)) => wildcard.ip.is_ipv6(),
        SelectorKind::Class(_) | SelectorKind::Interface(_) => true,
    }
}

/// Whether a selector that removes means this address.
fn is_meant(kind: &SelectorKind, address: &BindAddress) -> bool {
    match kind {
        SelectorKind::Any => address.is_wildcard(),
        SelectorKind::Class(class) => class.matches(address.ip),
        SelectorKind::Family(family) => address.family() == *family,
        SelectorKind::Address(ip) => address.ip == *ip,
        SelectorKind::Network(network) => network.contains(&address.ip),
        SelectorKind::Interface(name) if is_glob(name) => {
            WildMatch::new(name).matches(&address.interface)
        }
        SelectorKind::Interface(name) => *name == *address.interface,
    }
}

#[cfg(test)]
mod tests;
