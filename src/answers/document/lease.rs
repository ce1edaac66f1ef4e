//! A lease and its owner.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::process::ProcessDocument;
use crate::domain::address::{http_url, with_port};
use crate::domain::lease::{
    AllocationId, Guard, Handover, Lease, LeaseId, Name, Owner, Scope, State,
};
use crate::domain::port::{Port, Protocol};
use crate::domain::precedence::Moved;
use crate::host::clock::Clock;
use crate::host::process;

/// The process that uses a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerDocument {
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// Its user.
    pub uid: u32,
    /// Its name; anybody's text.
    pub command: String,
    /// What else is known of it; told where one port is asked about.
    #[serde(flatten)]
    pub process: ProcessDocument,
}

impl From<&Owner> for OwnerDocument {
    fn from(owner: &Owner) -> Self {
        Self {
            pid: owner.pid,
            started_at: owner.started_at,
            uid: owner.uid,
            command: owner.command.clone(),
            process: ProcessDocument::default(),
        }
    }
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseDocument {
    /// Its id.
    pub id: LeaseId,
    /// The allocation that granted it.
    pub allocation: AllocationId,
    /// Its name.
    pub name: Option<Name>,
    /// The directory tree that the name belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Its pool.
    pub pool: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: Port,
    /// The host that a client is told to use.
    pub host: String,
    /// The same as a URL, as a browser takes it.
    pub url: String,
    /// Every bind address with the port.
    pub addresses: Vec<String>,
    /// The interfaces of the bind addresses.
    pub interfaces: Vec<String>,
    /// What enforces it in the kernel.
    pub guard: Guard,
    /// Where it is in its life.
    pub state: State,
    /// How it passes to its owner.
    pub handover: Handover,
    /// The user it belongs to.
    pub uid: u32,
    /// The process that uses it.
    pub owner: Option<OwnerDocument>,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// When it ends by itself, unless renewed.
    pub expires_at: Option<Timestamp>,
    /// Until when a first listener must come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_by: Option<Timestamp>,
    /// Since when its owner has been away. `None` while somebody uses it, or may come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_since: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The way to its port from the one that was preferred or that its name had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The trace of its allocation, when that was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The allocation's span there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
}

impl LeaseDocument {
    /// A lease as its user sees it, with its owner's name as it is now.
    pub fn of(lease: &Lease, clock: &Clock) -> Self {
        let mut document = Self::as_recorded(lease, clock);
        let living = lease.owner.as_ref().filter(|_| lease.ended_at.is_none());
        let command = living.and_then(process::command_of);
        if let Some((owner, command)) = document.owner.as_mut().zip(command) {
            owner.command = command;
        }
        document
    }

    /// A lease with its owner's name as it was last recorded, such as a moment ago.
    pub fn as_recorded(lease: &Lease, clock: &Clock) -> Self {
        let host = lease.addresses.advertised_host();
        let addresses = lease.addresses.addresses();
        let mut interfaces: Vec<String> = addresses
            .iter()
            .map(|address| address.interface.to_string())
            .collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        Self {
            id: lease.id,
            allocation: lease.allocation,
            name: lease.name.clone(),
            directory: match &lease.scope {
                Scope::User => None,
                Scope::Dir(dir) => Some(dir.clone()),
            },
            pool: lease.pool.to_string(),
            protocol: lease.protocol,
            port: lease.port,
            url: http_url(&host, lease.port),
            host,
            addresses: addresses
                .iter()
                .map(|address| with_port(address, lease.port))
                .collect(),
            interfaces,
            guard: lease.guard,
            state: lease.state,
            handover: lease.handover,
            uid: lease.uid,
            owner: lease.owner.as_ref().map(OwnerDocument::from),
            granted_at: lease.granted_at,
            expires_at: lease.expires.map(|at| clock.wall_time_of(at)),
            claim_by: lease.claim_by.map(|at| clock.wall_time_of(at)),
            idle_since: lease.idle_since,
            ended_at: lease.ended_at,
            moved: lease.moved.clone(),
            labels: lease.labels.clone(),
            trace_id: lease.trace_id.clone(),
            span_id: lease.span_id.clone(),
        }
    }

    /// Whether its owner was seen to listen.
    pub fn is_listened_on(&self) -> bool {
        matches!(self.state, State::Active)
    }

    /// Whether its program may listen: not while it is away, nor where another has the port.
    pub fn may_be_listened_on(&self) -> bool {
        !self.state.is_ended() && !matches!(self.state, State::Reserved | State::Lost)
    }

    /// A lease as others see it: where it is and whose, and nothing that its user wrote.
    #[must_use]
    pub fn seen_by_others(mut self) -> Self {
        self.name = None;
        self.directory = None;
        self.owner = None;
        self.moved = None;
        self.idle_since = None;
        self.labels.clear();
        self.trace_id = None;
        self.span_id = None;
        self
    }
}
