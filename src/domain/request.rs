//! What a client may ask of an allocation.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::lease::{Handover, Name, Scope};
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
    /// The pool; the default one if absent.
    pub pool: Option<String>,
    /// One lease for each of these names.
    pub names: Vec<Name>,
    /// Within what the names are unique.
    pub scope: Scope,
    /// How many ports where no names are given; one if absent.
    pub count: Option<NonZeroU32>,
    /// So many ports in a row.
    pub block: Option<NonZeroU32>,
    /// Exactly this port, or none at all.
    pub port: Option<Port>,
    /// This port first; another if it is busy.
    pub prefer: Option<Port>,
    /// Number of ports above the preferred one that are tried before the pool; the pool's if absent.
    pub prefer_span: Option<u16>,
    /// Where candidates come from, in place of the pool's ranges; its other rules hold.
    pub ranges: Option<PortSet>,
    /// The protocols that each port must be free for.
    pub protocol: Option<Protocols>,
    /// Where to hold the ports; the pool's interfaces if empty.
    pub interfaces: Vec<Selector>,
    /// The order of candidates.
    pub strategy: Option<Strategy>,
    /// How many candidate ports may be tried.
    pub max_attempts: Option<NonZeroU32>,
    /// Time that the search may take; the pool's `attempt_timeout` if absent.
    pub timeout: Option<Duration>,
    /// How the port passes to its owner.
    pub handover: Option<Handover>,
    /// How long a lease without an owner waits for its first listener.
    pub claim_within: Option<Duration>,
    /// How long the lease lasts unless it is renewed.
    pub ttl: Option<Duration>,
    /// The process that will use the port.
    pub owner_pid: Option<u32>,
    /// Whether the owner owns until it is reaped and the port is free; see
    /// [`Owner::until_reaped`](super::lease::Owner).
    pub until_reaped: bool,
    /// Free words to filter by.
    pub labels: BTreeMap<String, String>,
    /// Refuse rather than move a name whose port was taken meanwhile.
    pub strict: bool,
    /// How long to wait for a port where none is left; not at all if absent.
    pub wait: Option<Duration>,
    /// Keep it for its names until their owners come: held, gate shut.
    pub reserve: bool,
    /// Find a port and say which, but grant nothing.
    pub dry_run: bool,
    /// By what the client asks again if the answer gets lost; of use where no names are given.
    pub retry_key: Option<RetryKey>,
}

impl Request {
    /// How many ports are asked for.
    pub fn port_count(&self) -> usize {
        match self.count.or(self.block) {
            Some(count) if self.names.is_empty() => count.get() as usize,
            _ => self.names.len().max(1),
        }
    }
}
