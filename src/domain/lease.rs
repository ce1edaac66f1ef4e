//! Leases: what was granted to whom, until when, and what guards it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::address::AddressGroup;
use super::port::{Port, Protocol};
use super::precedence::Moved;

/// Names an allocation: a UUID of version 7 (RFC 9562), so that order by id is order in time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct AllocationId(pub Uuid);

/// Names a lease: a UUID of version 7 (RFC 9562), so that order by id is order in time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct LeaseId(pub Uuid);

macro_rules! id_as_text {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $id {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}
id_as_text!(AllocationId, LeaseId);

/// A point on the boot-time clock (`CLOCK_BOOTTIME`): time since the kernel started, sleep
/// included. No wall-clock change moves it; it means nothing after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// This point moved forward.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// How long from `now` until this point; zero if it has passed.
    pub fn since(self, now: Self) -> Duration {
        self.0.saturating_sub(now.0)
    }
}

/// What makes a lease sticky: 1 to 64 of `A-Z a-z 0-9 . _ -`, starting with a letter or digit. A
/// second instance of a service is called `web@2`: both parts follow that rule, 64 in all.
///
/// ```
/// use portbook::domain::lease::Name;
/// let name: Name = "my-api.v2".parse().unwrap();
/// assert_eq!(name.env_prefix(), "MY_API_V2");
/// assert!("../etc".parse::<Name>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

/// A text that cannot be a lease's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a name: use 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit"
)]
pub struct NameError(String);

/// Between a service and its instance; no part of a name has it, so that no two can be confused.
const INSTANCE: char = '@';

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the service, without the instance.
    ///
    /// ```
    /// use portbook::domain::lease::Name;
    /// let name: Name = "web@2".parse().unwrap();
    /// assert_eq!((name.service(), name.instance()), ("web", Some("2")));
    /// assert_eq!(name.env_prefix(), "WEB");
    /// ```
    pub fn service(&self) -> &str {
        self.0.split(INSTANCE).next().unwrap_or_default()
    }

    /// Which instance of the service it is; `None` for the first.
    pub fn instance(&self) -> Option<&str> {
        self.0.split_once(INSTANCE).map(|(_, instance)| instance)
    }

    /// The name of an instance of this service.
    pub fn of_instance(&self, instance: &str) -> Result<Self, NameError> {
        format!("{}{INSTANCE}{instance}", self.service()).parse()
    }

    /// The service's name as the front of an environment variable: upper case, other characters as
    /// `_`. Every instance has the same, so that its program finds its port where it looks for it.
    pub fn env_prefix(&self) -> String {
        let fold = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        };
        let folded: String = self.service().chars().map(fold).collect();
        // A variable must not start with a digit (POSIX.1-2024, 8.1).
        if folded.starts_with(|c: char| c.is_ascii_digit()) {
            format!("_{folded}")
        } else {
            folded
        }
    }
}

/// Whether a text can be a name without instance, or an instance.
fn is_plain(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(allowed)
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (service, instance) = match text.split_once(INSTANCE) {
            Some((service, instance)) => (service, Some(instance)),
            None => (text, None),
        };
        if text.len() <= 64 && is_plain(service) && instance.is_none_or(is_plain) {
            Ok(Self(text.into()))
        } else {
            Err(NameError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Within what a name is unique: per user, or per user and directory tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Scope {
    /// One name per user.
    #[default]
    User,
    /// One name per user and folder: that of the project file, else the git work tree's root.
    Dir(PathBuf),
}

impl Scope {
    /// The folder that names belong to; `None` where they belong to the user.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::User => None,
            Self::Dir(folder) => Some(folder),
        }
    }
}

/// The process that uses a port. A pid alone can be used again; with the start time it cannot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its process id, in portbook's pid namespace.
    pub pid: u32,
    /// Its start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
    /// The user that it runs as.
    pub uid: u32,
    /// Its name (`/proc/PID/comm`) when it became the owner.
    pub command: String,
    /// Its start time on the wall clock.
    pub started_at: Timestamp,
    /// Whether it owns even as a zombie, and its lease lasts until the port is free as well: the rule
    /// of the port server, whose clients leave their port to children.
    pub until_reaped: bool,
}

impl Owner {
    /// Whether both are the same process.
    pub fn is(&self, other: &Self) -> bool {
        (self.pid, self.start_ticks) == (other.pid, other.start_ticks)
    }
}

/// How a port passes from portbook to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Handover {
    /// The hold stays and lets owners in that set SO_REUSEADDR.
    #[default]
    Gate,
    /// The owner is given listening sockets that portbook bound for it; the hold stays shut beneath.
    Fd,
    /// The hold is closed just before the owner starts; the books keep the port.
    Release,
}

impl Handover {
    /// The word for it in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Fd => "fd",
            Self::Release => "release",
        }
    }

    /// What this hand-over means for a protocol. An open gate would let a second binder take a
    /// UDP owner's datagrams, so UDP has no gate: it is released, or its very socket is given away.
    #[must_use]
    pub const fn for_protocol(self, protocol: Protocol) -> Self {
        match (self, protocol) {
            (Self::Gate, Protocol::Udp) => Self::Release,
            (handover, _) => handover,
        }
    }
}

impl FromStr for Handover {
    type Err = UnknownHandover;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "gate" => Ok(Self::Gate),
            "fd" => Ok(Self::Fd),
            "release" => Ok(Self::Release),
            other => Err(UnknownHandover(other.to_owned())),
        }
    }
}

/// A hand-over that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a hand-over: use gate, fd or release")]
pub struct UnknownHandover(pub String);

/// What enforces a lease in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// A bound socket of portbook's.
    Hold,
    /// The owner's own socket.
    Owner,
    /// The books alone.
    None,
}

impl Guard {
    /// The word for it in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Owner => "owner",
            Self::None => "none",
        }
    }
}

/// Where a lease is in its life. The last four end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Held with the gate shut: a name whose owner is away.
    Reserved,
    /// Gate open or hold released; nobody listens yet.
    Handed,
    /// The owner listens.
    Active,
    /// One of its addresses has gone from the host.
    Degraded,
    /// An outsider has the port.
    Lost,
    /// Given back.
    Released,
    /// Its time was up.
    Expired,
    /// No listener came within the time to claim it.
    Unclaimed,
    /// Its owner is gone.
    OwnerGone,
}

impl State {
    /// Every state, in the order of this enumeration.
    pub const ALL: [Self; 9] = [
        Self::Reserved,
        Self::Handed,
        Self::Active,
        Self::Degraded,
        Self::Lost,
        Self::Released,
        Self::Expired,
        Self::Unclaimed,
        Self::OwnerGone,
    ];

    /// The word for it in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Handed => "handed",
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Lost => "lost",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Unclaimed => "unclaimed",
            Self::OwnerGone => "owner_gone",
        }
    }

    /// What it means, for people: "reserved: its owner is away, and the name keeps the port". An
    /// owner is `away` while its lease lives, and `gone` only where that ended the lease.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Reserved => "its owner is away, and the name keeps the port",
            Self::Handed => "its owner may come, but nobody listens yet",
            Self::Active => "its owner listens",
            Self::Degraded => "an address has gone from the host",
            Self::Lost => "another program has the port",
            Self::Released => "it was given back",
            Self::Expired => "its time was up",
            Self::Unclaimed => "nobody came to listen",
            Self::OwnerGone => "its owner is gone, and no name kept the port",
        }
    }

    /// Whether the lease is over.
    pub const fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Released | Self::Expired | Self::Unclaimed | Self::OwnerGone
        )
    }
}

/// A word that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a lease state")]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// One protocol and one port on one group of bind addresses, granted to somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// Its own name in the API.
    pub id: LeaseId,
    /// The allocation that granted it.
    pub allocation: AllocationId,
    /// What makes it sticky, if anything.
    pub name: Option<Name>,
    /// Within what the name is unique.
    pub scope: Scope,
    /// The pool it came from.
    pub pool: Arc<str>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: Port,
    /// Where it is held.
    pub addresses: AddressGroup,
    /// The user it belongs to.
    pub uid: u32,
    /// The process that uses it, once there is one.
    pub owner: Option<Owner>,
    /// How it passes to its owner.
    pub handover: Handover,
    /// What enforces it now.
    pub guard: Guard,
    /// Where it is in its life.
    pub state: State,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Until when a first listener must come; none once it has an owner.
    pub claim_by: Option<BootTime>,
    /// Until when it lasts unless renewed.
    pub expires: Option<BootTime>,
    /// How long a renewal lasts; the lifetime it was granted with.
    pub ttl: Option<Duration>,
    /// Free words to filter by.
    pub labels: BTreeMap<String, String>,
    /// The way to its port from the one that was wanted; `None` if it is the one wanted.
    pub moved: Option<Moved>,
    /// Whether a release made the name forget this port.
    pub forgotten: bool,
    /// The trace of its allocation, when that was sampled: 32 hex digits.
    pub trace_id: Option<String>,
    /// The span of its allocation within that trace: 16 hex digits.
    pub span_id: Option<String>,
    /// Counts the changes, so that the record never goes back to an older form.
    pub revision: u64,
    /// Since when its owner is away. `None` while somebody uses it, or may come to.
    pub idle_since: Option<Timestamp>,
    /// Whether it was reserved by hand (`reserve`): it never gives way to another request.
    pub by_hand: bool,
    /// The device (`st_dev`) on which the folder of its scope was seen. `None` until it is seen, and
    /// for a folder that is the root of a file system.
    pub scope_device: Option<u64>,
}

/// The name of the console's own lease.
pub const CONSOLE_NAME: &str = "portbook-console";

impl Lease {
    /// Whether it is the console's own.
    pub fn is_console(&self) -> bool {
        self.name
            .as_ref()
            .is_some_and(|name| name.as_str() == CONSOLE_NAME)
    }

    /// Notes that its owner is away and the name keeps the port.
    pub fn rest(&mut self, now: Timestamp) {
        self.state = State::Reserved;
        self.owner = None;
        self.idle_since.get_or_insert(now);
    }

    /// Since when nobody has used it, as far as that is known.
    pub fn last_used(&self) -> Timestamp {
        self.idle_since.unwrap_or(self.granted_at)
    }

    /// Whether it is kept for a name and nobody is there: no owner, and none listens.
    pub const fn is_idle(&self) -> bool {
        self.name.is_some()
            && self.owner.is_none()
            && self.claim_by.is_none()
            && matches!(self.state, State::Reserved)
    }

    /// What it is called in messages: "web of /home/me/shop", or its id where it has no name.
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

    /// The next moment at which the lease ends by itself.
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
    fn states_and_words_match() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn names_keep_to_harmless_characters() {
        for bad in [
            "",
            "-x",
            "a b",
            "a/b",
            "ü",
            "@2",
            "a@",
            "a@-",
            "a@2@3",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was taken");
        }
        assert_eq!("1st".parse::<Name>().unwrap().env_prefix(), "_1ST");
        let second = "web@2".parse::<Name>().unwrap();
        assert_eq!(second.of_instance("3").unwrap().as_str(), "web@3");
        assert!(second.of_instance("a b").is_err());
    }

    #[test]
    fn the_first_of_two_deadlines_counts() {
        let at = |seconds| Some(BootTime(Duration::from_secs(seconds)));
        let mut lease = crate::domain::lease::tests_support::lease(8000);
        (lease.claim_by, lease.expires) = (at(5), at(3));
        assert_eq!(lease.deadline(), at(3));
        lease.expires = None;
        assert_eq!(lease.deadline(), at(5));
    }
}

/// A lease to begin with, for tests of every layer.
#[cfg(test)]
pub mod tests_support {
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
        }
    }
}
