//! Leases: a port on a group of bind addresses, granted to a user until a deadline.

mod id;
mod name;
mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use id::{AllocationId, BootTime, LeaseId};
pub use name::{Name, NameError};
pub use state::{Guard, Handover, State};

use super::address::AddressGroup;
use super::claim::LeaseClaim;
use super::port::{Port, Protocol};
use super::precedence::Moved;

/// Space in which a name is unique: the user's, or that of one of the user's folders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Scope {
    /// One name per user.
    #[default]
    User,
    /// One name per user and folder: that of the project file, else the git work tree's root.
    Dir(PathBuf),
}

impl Scope {
    /// Folder that names belong to; `None` if they belong to the user.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::User => None,
            Self::Dir(folder) => Some(folder),
        }
    }
}

/// Process that uses a port. The kernel gives a pid out again, but never with the same start time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, on record under its name"
)]
pub struct Owner {
    /// Process id, in portbook's pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
    /// User that it runs as.
    pub uid: u32,
    /// Name (`/proc/PID/comm`) at the time it became the owner. Text from outside.
    pub command: String,
    /// Start time on the wall clock.
    pub started_at: Timestamp,
    /// Whether it owns even as a zombie, and its lease lasts until the port is free as well. The port
    /// server sets it: its clients leave their ports to children.
    #[serde(default)]
    pub until_reaped: bool,
    /// Whether the program itself has ended and this process, which descends from it, has its lease
    /// now.
    #[serde(default)]
    pub inherited: bool,
    /// Whether it listens for a container engine. The lease is the engine's then: its gate stays open
    /// although this process ends, since the next one is another process.
    #[serde(default)]
    pub engine: bool,
    /// Port that it asks for of its own choice, and for which the kernel gives it the leased one.
    #[serde(default)]
    pub mapped_from: Option<Port>,
    /// Whether the kernel gives it a leased port for each one that it asks for of its own choice. The lease is a spare
    /// until it stands for one.
    #[serde(default)]
    pub all_mapped: bool,
}

impl Owner {
    /// Whether both are one process.
    pub fn is(&self, other: &Self) -> bool {
        (self.pid, self.start_ticks) == (other.pid, other.start_ticks)
    }
}

/// A grant: one protocol and one port on one group of bind addresses, for one user.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// Identifier in the API.
    pub id: LeaseId,
    /// Allocation that granted it.
    pub allocation: AllocationId,
    /// Name that gets this port again. `None` if the lease ends with its owner.
    pub name: Option<Name>,
    /// Space in which the name is unique.
    pub scope: Scope,
    /// Pool that it came from.
    pub pool: Arc<str>,
    /// Protocol of the port.
    pub protocol: Protocol,
    /// Port number, one for all addresses.
    pub port: Port,
    /// Bind addresses that it is held on.
    pub addresses: AddressGroup,
    /// User that asked for it.
    pub uid: u32,
    /// Process that uses it. `None` until the first listener claims it, and while a name is away.
    pub owner: Option<Owner>,
    /// Way in which it passes to its owner.
    pub handover: Handover,
    /// Socket that keeps the port now.
    pub guard: Guard,
    /// Stage of its life.
    pub state: State,
    /// Time of the grant.
    pub granted_at: Timestamp,
    /// Time of the end. `None` while it lives.
    pub ended_at: Option<Timestamp>,
    /// Deadline for the first listener. `None` once it has an owner.
    pub claim_by: Option<BootTime>,
    /// Deadline unless it is renewed. `None` if it has no lifetime of its own.
    pub expires: Option<BootTime>,
    /// Lifetime that it was granted with, and that each renewal adds.
    pub ttl: Option<Duration>,
    /// Free words of the client, to filter by.
    pub labels: BTreeMap<String, String>,
    /// Way to its port from the wanted one. `None` if it is the wanted one.
    pub moved: Option<Moved>,
    /// Whether a release made the name forget this port.
    pub forgotten: bool,
    /// Trace of its allocation: 32 hexadecimal digits. `None` if it was not sampled.
    pub trace_id: Option<String>,
    /// Span of its allocation within that trace: 16 hexadecimal digits.
    pub span_id: Option<String>,
    /// Number of changes so far. The record never replaces a higher number by a lower one.
    pub revision: u64,
    /// Time since which its owner is away. `None` while it has an owner, or waits for the first.
    pub idle_since: Option<Timestamp>,
    /// Whether it was reserved by hand (`reserve`): it never gives way to another request.
    pub by_hand: bool,
    /// Device (`st_dev`) on which the folder of its scope was seen. `None` until it is seen, and
    /// for a folder that is the root of a file system.
    pub scope_device: Option<u64>,
    /// Claim on its number in the fleet. `None` if the number is not unique there. The record has it in a
    /// table of its own.
    pub claim: Option<LeaseClaim>,
}

/// Time for which an unnamed lease is kept for the next listener of a container engine. Docker waits up to
/// a minute between two restarts.
pub const ENGINE_RETURNS: Duration = Duration::from_secs(90);

/// Name of the console's own lease.
pub const CONSOLE_NAME: &str = "portbook-console";

impl Lease {
    /// Whether it is the console's own lease.
    pub fn is_console(&self) -> bool {
        self.name
            .as_ref()
            .is_some_and(|name| name.as_str() == CONSOLE_NAME)
    }

    /// Marks its owner as away; the name keeps the port.
    pub fn rest(&mut self, now: Timestamp) {
        self.state = State::Reserved;
        self.owner = None;
        self.idle_since.get_or_insert(now);
    }

    /// Whether another host of the fleet has its number now: no program is let in, whatever the port is like.
    pub fn has_lost_claim(&self) -> bool {
        self.claim.is_some_and(|claim| claim.is_lost)
    }

    /// Whether a container engine has claimed it, whose listeners come and go.
    pub fn is_engines(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.engine)
    }

    /// Port that its owner asks for in place of the leased one. `None` if it asks for that.
    pub fn mapped_from(&self) -> Option<Port> {
        self.owner.as_ref()?.mapped_from
    }

    /// Whether it waits to be given in place of any port that its owner asks for (`--map all`).
    pub fn is_spare(&self) -> bool {
        let mut owner = self.owner.iter();
        owner.any(|owner| owner.all_mapped && owner.mapped_from.is_none())
    }

    /// Notes that its owner's socket, which may have guarded the port, is gone.
    pub fn listener_closed(&mut self) {
        if self.guard == Guard::Owner {
            self.guard = Guard::None;
        }
    }

    /// Notes that no listener of its engine is there: without a name it waits a while for the next one.
    pub fn wait_for_engine(&mut self, now: BootTime) {
        if self.is_engines() && self.name.is_none() && self.claim_by.is_none() {
            self.claim_by = Some(now.after(ENGINE_RETURNS));
        }
    }

    /// Time of the last known use.
    pub fn last_used(&self) -> Timestamp {
        self.idle_since.unwrap_or(self.granted_at)
    }

    /// Whether it is kept for a name alone: it has no owner and waits for no first listener.
    pub const fn is_idle(&self) -> bool {
        self.name.is_some()
            && self.owner.is_none()
            && self.claim_by.is_none()
            && matches!(self.state, State::Reserved)
    }

    /// Description in messages: "web of /home/me/shop", or its id if it has no name.
    pub fn called(&self) -> String {
        let name = match &self.name {
            Some(name) => name.to_string(),
            None => return format!("lease {}", self.id),
        };
        match self.scope.folder() {
            Some(folder) => format!("{name} of {}", folder.display()),
            None => name,
        }
    }

    /// Next moment at which the lease ends by itself.
    pub fn deadline(&self) -> Option<BootTime> {
        match (self.claim_by, self.expires) {
            (Some(claim), Some(expiry)) => Some(claim.min(expiry)),
            (claim, expiry) => claim.or(expiry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_is_the_earlier_of_claim_and_expiry() {
        let at = |seconds| Some(BootTime(Duration::from_secs(seconds)));
        let mut lease = crate::domain::lease::tests_support::lease(8000);
        (lease.claim_by, lease.expires) = (at(5), at(3));
        assert_eq!(lease.deadline(), at(3));
        lease.expires = None;
        assert_eq!(lease.deadline(), at(5));
    }
}

/// Lease for tests of every layer.
#[cfg(test)]
pub mod tests_support {
    use uuid::Uuid;

    use super::*;
    use crate::domain::address::{BindAddress, Family};

    /// An unowned TCP lease on the IPv4 wildcard.
    ///
    /// # Panics
    ///
    /// At port 0.
    pub fn lease(port: u16) -> Lease {
        Lease {
            id: LeaseId(Uuid::from_u128(u128::from(port))),
            allocation: AllocationId(Uuid::from_u128(1)),
            name: None,
            scope: Scope::User,
            pool: "default".into(),
            protocol: Protocol::Tcp,
            port: Port::new(port).unwrap(),
            addresses: AddressGroup::new([BindAddress::wildcard(Family::Ipv4)]),
            uid: 1000,
            owner: None,
            handover: Handover::Gate,
            guard: Guard::Hold,
            state: State::Handed,
            granted_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            claim_by: None,
            expires: None,
            ttl: None,
            labels: BTreeMap::new(),
            moved: None,
            forgotten: false,
            trace_id: None,
            span_id: None,
            revision: 0,
            idle_since: None,
            by_hand: false,
            scope_device: None,
            claim: None,
        }
    }
}
