//! A lease and its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::process::ProcessDocument;
use crate::domain::address::{http_url, with_port};
use crate::domain::attempt::Occupant;
use crate::domain::claim::{KERNEL_FENCE, guard};
use crate::domain::hint::Hint;
use crate::domain::lease::{AllocationId, Guard, Handover, Lease, LeaseId, Name, Owner, State};
use crate::domain::outsider::Outsider;
use crate::domain::port::{Port, Protocol};
use crate::domain::precedence::Moved;
use crate::host::clock::Clock;
use crate::host::process;

/// The process that uses a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerDocument {
    /// Process id.
    pub pid: u32,
    /// Start of the process.
    pub started_at: Timestamp,
    /// User that the process runs as.
    pub uid: u32,
    /// Name of the process: text of its own choice.
    pub command: String,
    /// Whether it listens for a container engine. The engine keeps the lease when this process ends,
    /// and its next one may listen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub engine: bool,
    /// Details of the process, in answers about one port.
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
            engine: owner.engine,
            process: ProcessDocument::default(),
        }
    }
}

/// A program that listens on the port of a lease and is not its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutsiderDocument {
    /// The process according to the kernel's tables.
    #[serde(flatten)]
    pub occupant: Occupant,
    /// Local addresses of its sockets, with the port.
    pub addresses: Vec<String>,
    /// Name of the container for which it listens, as far as its engine told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

impl From<Outsider> for OutsiderDocument {
    fn from(outsider: Outsider) -> Self {
        Self {
            occupant: outsider.occupant,
            addresses: outsider.addresses,
            container_name: None,
        }
    }
}

impl fmt::Display for OutsiderDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.occupant.fmt(f)?;
        if let Some(name) = &self.container_name {
            write!(f, " for container {name}")?;
        }
        write!(f, " on {}", self.addresses.join(" "))
    }
}

/// Fencing token of a lease. `None` as well until the fleet tells it again after a crash.
fn fence_token(lease: &Lease) -> Option<u64> {
    let claim = lease.claim.filter(|claim| !claim.is_lost)?;
    Some(claim.token).filter(|token| *token > 0)
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseDocument {
    /// Id of the lease.
    pub id: LeaseId,
    /// Allocation that granted it.
    pub allocation: AllocationId,
    /// Name. `None` if the lease has no name, or if it is hidden from this viewer.
    pub name: Option<Name>,
    /// Directory tree that the name belongs to. `None` if the name belongs to the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Pool of the port.
    pub pool: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Port number.
    pub port: Port,
    /// Host that a client should use.
    pub host: String,
    /// URL of host and port, for a browser.
    pub url: String,
    /// Bind addresses with the port.
    pub addresses: Vec<String>,
    /// Interfaces of the bind addresses.
    pub interfaces: Vec<String>,
    /// Guard that enforces the lease in the kernel.
    pub guard: Guard,
    /// State of the lease.
    pub state: State,
    /// Hand-over of the port to its owner.
    pub handover: Handover,
    /// Port that the owner asks for of its own choice, and for which the kernel gives it this one. `None` if
    /// there is no such port, or if it is hidden from this viewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped_from: Option<Port>,
    /// Whether it is a spare of a program each of whose ports is mapped: the kernel gives it in place of one that
    /// the program comes to ask for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spare: bool,
    /// User that the lease belongs to.
    pub uid: u32,
    /// Process that uses the port. `None` if there is none, or if it is hidden from this viewer.
    pub owner: Option<OwnerDocument>,
    /// Time of the grant.
    pub granted_at: Timestamp,
    /// Time at which the lease ends unless it is renewed. `None` if it has no such time.
    pub expires_at: Option<Timestamp>,
    /// Time by which a first listener must come. `None` once there is an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_by: Option<Timestamp>,
    /// Time since which the owner is away. `None` while the port is in use, or may come into use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_since: Option<Timestamp>,
    /// Time of the end. `None` while the lease lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Move to this port from the preferred one, or from the last port of the name. `None` if there was
    /// no move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// Programs that listen on the port beside the owner, or in its place, at the latest look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outsiders: Vec<OutsiderDocument>,
    /// Advice on the program, if it does not do with the port what the lease is for. `None` if the viewer
    /// may not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
    /// Fencing token of its number, which is unique in the fleet: greater than that of each earlier lease
    /// of the number on any host. `None` if the number is not unique, or is another host's now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence_token: Option<u64>,
    /// Guard that cuts its program off before the number is another host's: `kernel`, or `none` if no
    /// rule of the kernel does so. `None` if the number is not unique in the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<String>,
    /// Labels: free words of the user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Trace of its allocation. `None` if that was not sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Span of its allocation in that trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
}

impl LeaseDocument {
    /// Returns a lease as its user sees it, with the present name of its owner.
    pub fn of(lease: &Lease, clock: &Clock) -> Self {
        let mut document = Self::as_recorded(lease, clock);
        let living = lease.owner.as_ref().filter(|_| lease.ended_at.is_none());
        let command = living.and_then(process::command_of);
        if let Some((owner, command)) = document.owner.as_mut().zip(command) {
            owner.command = command;
        }
        document
    }

    /// Returns a lease with the recorded name of its owner, for a lease that was granted a moment ago.
    pub fn as_recorded(lease: &Lease, clock: &Clock) -> Self {
        let host = lease.addresses.advertised_host();
        let addresses = lease.addresses.addresses();
        let interfaces: BTreeSet<&str> = addresses.iter().map(|one| &*one.interface).collect();
        Self {
            id: lease.id,
            allocation: lease.allocation,
            name: lease.name.clone(),
            directory: lease.scope.folder().map(Path::to_owned),
            pool: lease.pool.to_string(),
            protocol: lease.protocol,
            port: lease.port,
            url: http_url(&host, lease.port),
            host,
            addresses: addresses
                .iter()
                .map(|address| with_port(address, lease.port))
                .collect(),
            interfaces: interfaces.into_iter().map(str::to_owned).collect(),
            guard: lease.guard,
            state: lease.state,
            handover: lease.handover,
            mapped_from: lease.mapped_from(),
            spare: lease.is_spare(),
            uid: lease.uid,
            owner: lease.owner.as_ref().map(OwnerDocument::from),
            granted_at: lease.granted_at,
            expires_at: lease.expires.map(|at| clock.wall_time_of(at)),
            claim_by: lease.claim_by.map(|at| clock.wall_time_of(at)),
            idle_since: lease.idle_since,
            ended_at: lease.ended_at,
            moved: lease.moved.clone(),
            outsiders: Vec::new(),
            hint: None,
            fence_token: fence_token(lease),
            fence: lease.claim.map(|claim| guard(claim.is_fenced).to_owned()),
            labels: lease.labels.clone(),
            trace_id: lease.trace_id.clone(),
            span_id: lease.span_id.clone(),
        }
    }

    /// Whether the kernel shuts its number before another host of the fleet can have it.
    pub fn is_fenced(&self) -> bool {
        self.fence.as_deref() == Some(KERNEL_FENCE)
    }

    /// Whether its number was unique in the fleet, and is another host's now.
    pub fn has_lost_claim(&self) -> bool {
        self.fence.is_some() && self.fence_token.is_none() && self.state == State::Lost
    }

    /// Whether the owner listens.
    pub fn is_listened_on(&self) -> bool {
        matches!(self.state, State::Active)
    }

    /// Whether the program may listen: not while it is away, nor while an outsider has the port.
    pub fn may_be_listened_on(&self) -> bool {
        !self.state.is_ended() && !matches!(self.state, State::Reserved | State::Lost)
    }

    /// Whether this very process owns it.
    pub fn is_own(&self) -> bool {
        let mut owner = self.owner.iter();
        owner.any(|owner| owner.pid == std::process::id())
    }

    /// Returns a lease as other users see it: its place and its user, but no text of the user.
    #[must_use]
    pub fn seen_by_others(mut self) -> Self {
        self.name = None;
        self.directory = None;
        self.owner = None;
        self.mapped_from = None;
        self.spare = false;
        self.moved = None;
        self.idle_since = None;
        self.outsiders.clear();
        self.hint = None;
        self.labels.clear();
        self.trace_id = None;
        self.span_id = None;
        self
    }
}
