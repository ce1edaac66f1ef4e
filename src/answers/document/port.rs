//! Who is on one port.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AttemptDocument;
use super::lease::LeaseDocument;
use super::process::ProcessDocument;
use super::stats::PortRecord;
use crate::domain::attempt::{Occupant, SocketState, printable};
use crate::domain::exclusion::Exclusion;
use crate::domain::lease::{Lease, LeaseId, Name, Scope};
use crate::domain::port::{Port, Protocol};
use crate::domain::relation::Relation;
use crate::store::Seen;

/// Who is on one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortDocument {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: Port,
    /// The leases on it.
    pub leases: Vec<LeaseDocument>,
    /// Who is on it outside portbook.
    pub occupants: Vec<OccupantDocument>,
    /// Its latest attempts, 20 at most; `/api/v1/attempts?port=` lists all.
    pub attempts: Vec<AttemptDocument>,
    /// Whether somebody excluded it by hand, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusion: Option<Exclusion>,
    /// What all attempts on it add up to; none where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<PortRecord>,
    /// Others who were seen on it by snapshots, newest first.
    #[serde(default)]
    pub sightings: Vec<SightingDocument>,
}

/// A lease in a few words; its name and folder for those alone who may see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseLink {
    /// Its id.
    pub id: LeaseId,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The directory tree that the name belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port.
    pub port: Port,
    /// Its user.
    pub uid: u32,
}

impl LeaseLink {
    /// The words for a lease, as its user sees them or as others do.
    pub fn of(lease: &Lease, is_shown: bool) -> Self {
        let directory = match &lease.scope {
            Scope::User => None,
            Scope::Dir(directory) => Some(directory.clone()),
        };
        Self {
            id: lease.id,
            name: lease.name.clone().filter(|_| is_shown),
            directory: directory.filter(|_| is_shown),
            protocol: lease.protocol,
            port: lease.port,
            uid: lease.uid,
        }
    }
}

/// A process that listens on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerDocument {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: Port,
    /// The process and its sockets on that port.
    #[serde(flatten)]
    pub occupant: OccupantDocument,
}

/// Program of others, seen on one address of a port in every snapshot from one to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SightingDocument {
    /// Local address of the socket.
    pub address: String,
    /// User of the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Name of the program: anybody's text, shown only escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// First snapshot that saw it.
    pub from: Timestamp,
    /// Last snapshot that saw it. `None` if the latest one still does.
    pub until: Option<Timestamp>,
}

impl SightingDocument {
    /// A sighting of the record; the program's name for those alone who may see its user's.
    pub fn of(seen: Seen, may_name: impl Fn(Option<u32>) -> bool) -> Option<Self> {
        let command = seen.command.filter(|_| may_name(seen.uid));
        let until = seen.until_ms.map(Timestamp::from_millisecond);
        Some(Self {
            address: seen.address,
            uid: seen.uid,
            command,
            from: Timestamp::from_millisecond(seen.from_ms).ok()?,
            until: until.transpose().ok()?,
        })
    }
}

impl fmt::Display for SightingDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.command, self.uid) {
            (Some(command), Some(uid)) => write!(f, "{} (uid {uid})", printable(command)),
            (Some(command), None) => f.write_str(&printable(command)),
            (None, Some(uid)) => write!(f, "a program of uid {uid}"),
            (None, None) => f.write_str("a program that the kernel does not name"),
        }
    }
}

/// A process on a port, with its sockets there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OccupantDocument {
    /// As the kernel's tables tell.
    #[serde(flatten)]
    pub occupant: Occupant,
    /// Local addresses of its sockets, with the port.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Relation to the lease on the port.
    #[serde(default)]
    pub relation: Relation,
    /// The lease on its port and address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseLink>,
    /// For a stranger, a lease on another port that its program owns: it listens elsewhere than it
    /// was told to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<LeaseLink>,
    /// What else is known of the process.
    #[serde(flatten)]
    pub process: ProcessDocument,
}

impl PortDocument {
    /// Who listens on the port of this lease. `None` where nobody does, as far as the reader may
    /// know.
    pub fn listener_of(&self, lease: &LeaseDocument) -> Option<&Occupant> {
        let is_alone = self.leases.iter().all(|other| other.id == lease.id);
        let occupants = self.occupants.iter().map(|found| &found.occupant);
        listener_of(lease, is_alone, occupants)
    }
}

/// Who of the occupants of a port listens for a lease on it: its owner, or what that has started.
/// Where the lease is not alone on the number, a listener may be another one's.
pub fn listener_of<'a>(
    lease: &LeaseDocument,
    is_alone: bool,
    occupants: impl Iterator<Item = &'a Occupant> + Clone,
) -> Option<&'a Occupant> {
    let owner = lease.owner.as_ref().map(|owner| owner.pid);
    let mut listening = occupants.filter(|found| found.state == SocketState::Listening);
    let of_owner = |found: &&Occupant| owner.is_some() && found.pid == owner;
    let others = listening.clone().next();
    let others = others.filter(|_| is_alone || lease.is_listened_on());
    listening.find(of_owner).or(others)
}
