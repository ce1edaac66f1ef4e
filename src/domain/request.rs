//! Requests for ports.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::lease::{Handover, Name, Scope};
use super::mapped::Map;
use super::pool::Strategy;
use super::port::{Port, PortSet, Protocols};
use super::retry::RetryKey;
use super::selector::Selector;

/// One request for ports. Every field left empty falls back to the pool's rule.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a wish of its own; they go together in any way"
)]
pub struct Request {
    /// Pool to take from. `None` means the default pool.
    pub pool: Option<String>,
    /// Names, each of which gets a lease.
    pub names: Vec<Name>,
    /// Space in which the names are unique.
    pub scope: Scope,
    /// Number of ports if no names are given. `None` means one.
    pub count: Option<NonZeroU32>,
    /// Number of ports in a row.
    pub block: Option<NonZeroU32>,
    /// Exact port: another is never granted.
    pub port: Option<Port>,
    /// Preferred port: it is tried first, and another is granted if it is busy.
    pub prefer: Option<Port>,
    /// Number of ports above the preferred one that are tried before the pool. `None` means the pool's.
    pub prefer_span: Option<u16>,
    /// Ports to choose from, in place of the pool's ranges. Its other rules hold.
    pub ranges: Option<PortSet>,
    /// Protocols that each port must be free for. `None` means the pool's.
    pub protocol: Option<Protocols>,
    /// Addresses to hold the ports on; the pool's interfaces if empty.
    pub interfaces: Vec<Selector>,
    /// Order of candidates. `None` means the pool's.
    pub strategy: Option<Strategy>,
    /// Maximum number of ports tried. `None` means the pool's.
    pub max_attempts: Option<NonZeroU32>,
    /// Time that the search may take. `None` means the pool's `attempt_timeout`.
    pub timeout: Option<Duration>,
    /// Way in which the port passes to its owner. `None` means the pool's.
    pub handover: Option<Handover>,
    /// Time that a lease without an owner waits for its first listener. `None` means the pool's.
    pub claim_within: Option<Duration>,
    /// Lifetime unless it is renewed. `None` means the pool's.
    pub ttl: Option<Duration>,
    /// Process that will use the port. `None` if the first listener becomes the owner.
    pub owner_pid: Option<u32>,
    /// Ports that the owner asks for of its own choice, and for which the kernel gives it leased ones.
    pub map: Option<Map>,
    /// Whether the owner owns until it is reaped and the port is free; see
    /// [`Owner::until_reaped`](super::lease::Owner).
    pub until_reaped: bool,
    /// Free words of the client, to filter by.
    pub labels: BTreeMap<String, String>,
    /// Whether to refuse rather than move a name whose port was taken meanwhile.
    pub strict: bool,
    /// Time to wait for a port if none is left. `None` means no wait.
    pub wait: Option<Duration>,
    /// Whether to keep the ports for their names until the owners come: held, gate shut.
    pub reserve: bool,
    /// Whether to find ports without granting them.
    pub dry_run: bool,
    /// Key of the request, for clients that ask again after a lost answer. Names make it needless.
    pub retry_key: Option<RetryKey>,
}

impl Request {
    /// Whether it is for a program all of whose ports are mapped.
    pub fn maps_all(&self) -> bool {
        matches!(self.map, Some(Map::All | Map::More(_)))
    }

    /// Number of ports asked for.
    pub fn port_count(&self) -> usize {
        match self.count.or(self.block) {
            Some(count) if self.names.is_empty() => count.get() as usize,
            _ => self.names.len().max(1),
        }
    }
}
