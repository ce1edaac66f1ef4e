//! One port: its leases, its occupants and its past.

use std::fmt;
use std::net::IpAddr;
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

/// One port: its leases, its occupants and its past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortDocument {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: Port,
    /// Living leases on the port.
    pub leases: Vec<LeaseDocument>,
    /// Processes on the port, without portbook itself.
    pub occupants: Vec<OccupantDocument>,
    /// Own address at which a packet filter sends connections elsewhere, such as to a container. It is
    /// looked for while no process listens on the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirected: Option<IpAddr>,
    /// Latest attempts, 20 at most; `/api/v1/attempts?port=` lists all.
    pub attempts: Vec<AttemptDocument>,
    /// Exclusion by hand, with its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusion: Option<Exclusion>,
    /// Totals of all attempts. `None` if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<PortRecord>,
    /// Programs outside portbook that snapshots saw, newest first.
    #[serde(default)]
    pub sightings: Vec<SightingDocument>,
}

/// A lease in short; its name and folder are left out for viewers who may not see them.
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
    /// The link to a lease, with or without its name and folder.
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
    /// The process with its sockets on that port.
    #[serde(flatten)]
    pub occupant: OccupantDocument,
}

/// A program outside portbook, seen on one address in every snapshot between two times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SightingDocument {
    /// Local address of the socket.
    pub address: String,
    /// User of the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Name of the program: text of its user, to be escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// First snapshot that saw it.
    pub from: Timestamp,
    /// Last snapshot that saw it. `None` if the latest one still does.
    pub until: Option<Timestamp>,
}

impl SightingDocument {
    /// A recorded sighting. The name of the program is left out unless `may_name` allows its user.
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
    /// The process according to the kernel's tables.
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
    /// For an outsider: a lease on another port that its program owns. The program does not listen
    /// on the port it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<LeaseLink>,
    /// Details of the process.
    #[serde(flatten)]
    pub process: ProcessDocument,
}

impl PortDocument {
    /// The listener for this lease. `None` if there is none that the viewer may see.
    pub fn listener_of(&self, lease: &LeaseDocument) -> Option<&Occupant> {
        let is_alone = self.leases.iter().all(|other| other.id == lease.id);
        let occupants = self.occupants.iter().map(|found| &found.occupant);
        listener_of(lease, is_alone, occupants)
    }
}

/// The occupant of a port that listens for a lease: its owner, else a process that the owner may have
/// started. If the port has several leases, a listener may belong to another one.
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
