//! A service of a project: the settings that `[services.NAME]` has.

use std::num::NonZeroU32;

use super::finding::Problem;
use super::reader::Section;
use super::rule::{not_empty, not_zero};
use super::table::{Explained, settings};
use super::wishes;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{Handover, Name};
use crate::domain::mapped::Mapped;
use crate::domain::pool::Strategy;
use crate::domain::port::{Port, PortSet, Protocols};
use crate::domain::selector::Selector;
use crate::domain::variables::{Group, Wishes};

/// Maximum number of ports of one service, as in one request.
const MAX_PORTS: u32 = 256;

settings! {
    /// One service of a project. Its pool decides all that it leaves open.
    pub struct Service(name: Name, wishes: Wishes) {
        /// Exactly this port.
        port: Option<Port> = None;
        /// Pool to take from.
        pool: Option<String> = None;
        /// This port if it is free.
        prefer: Option<Port> = None;
        /// Ports to choose from, in place of the pool's ranges.
        range: Option<PortSet> = None, rule not_empty;
        /// Number of ports. `None` means one.
        count: Option<NonZeroU32> = None, rule within_limit;
        /// Number of ports in a row.
        block: Option<NonZeroU32> = None, rule within_limit;
        /// Port inside its container, for `env --format compose`; of a block, the first.
        target: Option<Port> = None;
        /// Protocols that the port must be free for.
        protocol: Option<Protocols> = None;
        /// Addresses to hold it on; the pool's interfaces if empty.
        interfaces: Vec<Selector> = Vec::new();
        /// Order of candidates.
        strategy: Option<Strategy> = None;
        /// Way in which the port passes to its program: "gate", "fd", "release" or "bind".
        handover: Option<Handover> = None;
        /// Port that its program asks for of its own choice, for `run`: the kernel gives it the leased one. "all" means
        /// each port that the program comes to ask for, beside that of the service.
        map: Option<Mapped> = None;
        /// Lifetime of the lease unless it is renewed.
        ttl: Option<HumanDuration> = None, rule lasting;
    }
}

/// Pairs of settings that exclude each other.
const EXCLUSIVE: [(&str, &str); 8] = [
    ("port", "prefer"),
    ("port", "range"),
    ("port", "count"),
    ("port", "block"),
    ("count", "block"),
    ("map", "count"),
    ("map", "block"),
    ("map", "handover"),
];

impl Service {
    /// Names of all settings of a service.
    pub(super) fn settings() -> impl Iterator<Item = &'static str> {
        let entries = Self::ENTRIES.iter().map(|entry| entry.name);
        entries.chain(wishes::SETTINGS)
    }

    /// Reads the table of a service. `None` if it has no usable name.
    pub(super) fn of(mut section: Section<'_, '_>, name: &str) -> Option<Self> {
        let name = match name.parse::<Name>() {
            Ok(name) => name,
            Err(error) => {
                section.fail_here(Problem::from_message(&error.to_string()));
                return None;
            }
        };
        if name.instance().is_some() {
            let hint = format!("call it {}, and ask for it with --instance", name.service());
            section.fail_here(Problem::new(format!("{name} is an instance"), hint));
            return None;
        }
        for (one, other) in EXCLUSIVE {
            exclude(&mut section, one, other);
        }
        let wishes = wishes::wishes(&mut section);
        Some(Self::read(&mut section, name, wishes))
    }

    /// Ports in place of those that the service will have, to check its variables before a grant.
    pub fn to_come(&self) -> Group {
        let count = self.count.or(self.block).map_or(1, NonZeroU32::get);
        Group {
            name: Some(self.name.clone()),
            ports: (1..=u16::try_from(count).unwrap_or(u16::MAX))
                .filter_map(Port::new)
                .collect(),
            in_a_row: self.block.is_some(),
            numbered: self.count.or(self.block).is_some(),
            bind_host: String::new(),
            client_host: String::new(),
            wishes: self.wishes.clone(),
            only_referred_to: false,
        }
    }
}

fn lasting(length: &HumanDuration) -> Result<(), Problem> {
    not_zero(&length.0)
}

fn exclude(section: &mut Section<'_, '_>, one: &str, other: &str) {
    if section.is_given(one) && section.is_given(other) {
        let problem = Problem::new(
            format!("there is a {one} already"),
            format!("write one of {one} and {other}"),
        );
        section.fail(other, problem);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape of a rule")]
fn within_limit(count: &NonZeroU32) -> Result<(), Problem> {
    if count.get() > MAX_PORTS {
        return Err(Problem::new(
            format!("{count} ports are too many"),
            format!("ask for at most {MAX_PORTS}"),
        ));
    }
    Ok(())
}
