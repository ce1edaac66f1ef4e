//! Requests of `run` and `env`, and the variables of their programs.

use std::net::IpAddr;

use super::{Failure, note};
use crate::answers::document::{AllocationDocument, LeaseDocument, LeaseRequest};
use crate::config::Service;
use crate::domain::mapped::Mapped;
use crate::domain::port::Port;
use crate::domain::selector::{Class, Selector, SelectorKind};
use crate::domain::variables::{Group, Groups, Variables, Wishes};

/// One request, and the service of the project that it is for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub request: LeaseRequest,
    /// `None` if the request has names of its own, or none.
    pub service: Option<Service>,
    /// Whether it is made only because the variables of other services refer to it.
    pub only_referred_to: bool,
}

impl Asked {
    /// Request of the command itself.
    pub const fn own(request: LeaseRequest, service: Option<Service>) -> Self {
        Self {
            request,
            service,
            only_referred_to: false,
        }
    }

    fn names(&self) -> Vec<crate::domain::lease::Name> {
        let names = self.request.name.iter().chain(&self.request.names);
        names.cloned().collect()
    }

    fn wishes(&self) -> Wishes {
        let wishes = self.service.as_ref().map(|service| &service.wishes);
        wishes.cloned().unwrap_or_default()
    }

    /// Whether it is for ports that only the program knows. It has no variables.
    fn is_for_all(&self) -> bool {
        self.request.map == Some(Mapped::All)
    }

    /// Its groups with placeholders for the ports to come.
    fn to_come(&self) -> Vec<Group> {
        if self.is_for_all() {
            return Vec::new();
        }
        let count = self.request.count.or(self.request.block);
        let count = count.map_or(1, std::num::NonZeroU32::get);
        let ports = 1..=u16::try_from(count).unwrap_or(u16::MAX);
        let ports: Vec<Port> = ports.filter_map(Port::new).collect();
        self.groups(&ports, "", "")
    }

    /// Its groups with the granted ports.
    fn granted(&self, granted: &AllocationDocument) -> Vec<Group> {
        let mut ports: Vec<(Option<&str>, Port)> = Vec::new();
        for lease in &granted.leases {
            let name = lease.name.as_ref().map(crate::domain::lease::Name::as_str);
            // TCP and UDP on one number are one port.
            if !ports.contains(&(name, lease.port)) {
                ports.push((name, lease.port));
            }
        }
        let ports: Vec<Port> = ports.into_iter().map(|(_, port)| port).collect();
        let first = granted.leases.first().filter(|_| !self.is_for_all());
        let Some(lease) = first else {
            return Vec::new();
        };
        let client = self.wishes().host.unwrap_or_else(|| lease.host.clone());
        let bind = self.wildcard(lease).unwrap_or_else(|| client.clone());
        self.groups(&ports, &bind, &client)
    }

    fn groups(&self, ports: &[Port], bind_host: &str, client_host: &str) -> Vec<Group> {
        let names = self.names();
        let group = |name, ports: &[Port]| Group {
            name,
            ports: ports.to_vec(),
            in_a_row: self.request.block.is_some(),
            numbered: self.request.block.or(self.request.count).is_some(),
            bind_host: bind_host.to_owned(),
            client_host: client_host.to_owned(),
            wishes: self.wishes(),
            only_referred_to: self.only_referred_to,
        };
        match &names[..] {
            [] => vec![group(None, ports)],
            [only] => vec![group(Some(only.clone()), ports)],
            several => {
                let ports = ports.iter().copied().map(Some);
                let ports = ports.chain(std::iter::repeat(Port::new(1)));
                let each = several.iter().zip(ports);
                let each = each.map(|(name, port)| Group {
                    in_a_row: false,
                    numbered: false,
                    ..group(Some(name.clone()), &Vec::from_iter(port))
                });
                each.collect()
            }
        }
    }

    /// Wildcard address for the program to bind, if every interface was asked for by hand. A pool
    /// that holds every interface by default exposes no program.
    fn wildcard(&self, lease: &LeaseDocument) -> Option<String> {
        let selectors = &self.request.interfaces;
        let everything = |selector: &Selector| match selector.kind {
            SelectorKind::Any => true,
            // After an exclusion the wildcard would be more than was asked for.
            SelectorKind::Class(Class::All) => !selectors.iter().any(|other| other.negated),
            _ => false,
        };
        if !selectors.iter().any(|it| !it.negated && everything(it)) {
            return None;
        }
        let has_ipv4 = addresses(lease).any(|ip| ip.is_ipv4());
        Some(if has_ipv4 { "0.0.0.0" } else { "::" }.to_owned())
    }

    /// Prints a note if the host is one of several that were asked for by hand.
    fn tell_host(&self, granted: &AllocationDocument) {
        let Some(lease) = granted.leases.first() else {
            return;
        };
        let chosen = self.wishes().host.is_some() || self.wildcard(lease).is_some();
        if self.request.interfaces.is_empty() || chosen || self.only_referred_to {
            return;
        }
        let all: Vec<String> = addresses(lease).map(|ip| ip.to_string()).collect();
        if all.len() > 1 {
            note(&format!(
                "HOST is {}, one of the addresses held ({}): PORTBOOK_ADDRESSES has all",
                lease.host,
                all.join(", ")
            ));
        }
    }

    /// Addresses to publish a container's port on.
    pub(super) fn publish_hosts(&self, granted: &AllocationDocument) -> Vec<String> {
        let Some(lease) = granted.leases.first() else {
            return Vec::new();
        };
        if let Some(wildcard) = self.wildcard(lease) {
            return vec![wildcard];
        }
        if self.request.interfaces.is_empty() {
            return vec![lease.host.clone()];
        }
        addresses(lease).map(|ip| ip.to_string()).collect()
    }
}

/// Bind addresses of a lease.
fn addresses(lease: &LeaseDocument) -> impl Iterator<Item = IpAddr> + '_ {
    let texts = lease.addresses.iter();
    texts.filter_map(|text| {
        let host = text.rsplit_once(':')?.0;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.split('%').next()?.parse().ok()
    })
}

/// Groups of all requests, with placeholders for the ports to come.
pub(super) fn to_come(asked: &[Asked]) -> Groups {
    Groups(asked.iter().flat_map(Asked::to_come).collect())
}

/// Groups of all requests, with the granted ports.
pub(super) fn granted(asked: &[Asked], granted: &[AllocationDocument]) -> Groups {
    let each = asked.iter().zip(granted);
    Groups(
        each.flat_map(|(asked, granted)| asked.granted(granted))
            .collect(),
    )
}

/// Variables of these groups, or the mistake in them.
pub(super) fn variables(groups: &Groups) -> Result<Variables, Failure> {
    groups
        .variables()
        .map_err(|wrong| Failure::usage(wrong.to_string()))
}

/// Prints a note on each variable that is left out, and on hosts that were chosen of several.
pub(super) fn tell(asked: &[Asked], granted: &[AllocationDocument], variables: &Variables) {
    let of_project = asked.iter().any(|asked| asked.service.is_some());
    for (variable, why) in &variables.left_out {
        let way_out = match variable.strip_suffix("_HOST") {
            Some(_) if of_project => {
                format!(": host_variable = \"{variable}\" in the project file sets it all the same")
            }
            None if of_project => {
                format!(": variable = \"{variable}\" in the project file sets it all the same")
            }
            _ => String::new(),
        };
        note(&format!("{variable} is not set, as {why}{way_out}"));
    }
    for (asked, granted) in asked.iter().zip(granted) {
        asked.tell_host(granted);
    }
}

/// Every bind address with its port, each once.
pub(super) fn all_addresses<'a>(leases: impl Iterator<Item = &'a LeaseDocument>) -> String {
    let mut all: Vec<&str> = Vec::new();
    for address in leases.flat_map(|lease| &lease.addresses) {
        if !all.contains(&&**address) {
            all.push(address);
        }
    }
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_listed_once() {
        let clock = crate::host::clock::Clock::manual();
        let lease = crate::domain::lease::tests_support::lease(8000);
        let document = LeaseDocument::of(&lease, &clock);
        let both = [document.clone(), document];
        assert_eq!(all_addresses(both.iter()), "0.0.0.0:8000");
        let ips: Vec<IpAddr> = addresses(&both[0]).collect();
        assert_eq!(ips, ["0.0.0.0".parse::<IpAddr>().unwrap()]);
    }
}
