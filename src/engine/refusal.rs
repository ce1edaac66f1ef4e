//! Why a request was refused. The situations only; which HTTP status or exit code they become is
//! decided at the edges.

use crate::domain::attempt::{Attempt, Outcome, veiled};
use crate::domain::explanation::{Excluded, Explanation};
use crate::domain::lease::{Name, NameError};
use crate::domain::port::{Port, PortSet, Protocol, Protocols};
use crate::domain::precedence::another_user;
use crate::domain::reason::Reason;
use crate::domain::words::counted;
use crate::host::interface::{InterfaceError, SelectError};
use crate::host::process::ProcessError;
use crate::store::StoreError;

/// Why a request was refused, with the way out in the message where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request contradicts itself or names something impossible.
    #[error("{0}")]
    InvalidRequest(String),
    /// A pool that is not configured.
    #[error("there is no pool \"{pool}\"; there are: {known}")]
    NoSuchPool {
        /// The name asked for.
        pool: String,
        /// The names there are.
        known: String,
    },
    /// The selectors cannot be resolved on this host.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// An explicit port that a rule forbids.
    #[error("port {port} is excluded by {rule}")]
    PortExcluded {
        /// The port.
        port: Port,
        /// The rule and its source.
        rule: String,
    },
    /// An explicit port that a lease is on.
    #[error("{}", leased(*.port, *.protocol, .holder))]
    PortLeased {
        /// The port.
        port: Port,
        /// The protocol.
        protocol: Protocol,
        /// The lease and its user, as far as the caller may know.
        holder: String,
        /// The user of that lease; `None` if a rule or another request is in the way.
        whose: Option<u32>,
    },
    /// An explicit port with an occupant.
    #[error("port {port} is in use{}", by_whom(.attempts))]
    PortInUse {
        /// The port.
        port: Port,
        /// The attempts and their occupants.
        attempts: Vec<Attempt>,
    },
    /// The kernel forbids the port.
    #[error("{}", privileged(*.port, *.start, .pool.as_deref()))]
    PrivilegedPort {
        /// The port.
        port: Port,
        /// The first port that needs no privilege.
        start: u16,
        /// The pool that does not open the port to its users; `None` if the kernel refused it to
        /// portbook itself.
        pool: Option<String>,
    },
    /// A bind address that the host does not have.
    #[error(
        "address {address} is not on this host (any more); `portbook interfaces` lists those that are"
    )]
    AddressNotAvailable {
        /// The address.
        address: String,
    },
    /// The kernel failed in some other way.
    #[error("binding {address} failed: {source}")]
    BindFailed {
        /// The bind address.
        address: String,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// The kernel does not list its interfaces.
    #[error(transparent)]
    Interfaces(#[from] InterfaceError),
    /// The kernel does not list its sockets.
    #[error("cannot read the socket tables: {0}")]
    SocketTables(#[source] std::io::Error),
    /// The kernel fails to tell of a process, and not because the process is gone or hidden.
    #[error(transparent)]
    Process(ProcessError),
    /// The bound on candidate ports was reached.
    #[error("no free port after {} in {ranges}{}; allow more with max_attempts (--max-attempts)", counted(.tried.len(), "attempt"), tried_before(.attempts))]
    AttemptsExhausted {
        /// The candidates.
        tried: Vec<Port>,
        /// The ranges that were searched.
        ranges: PortSet,
        /// The attempts and their occupants.
        attempts: Vec<Attempt>,
    },
    /// No port of the pool is left.
    #[error("pool {pool} has {} in {ranges}{}{}", too_few(.explanation), excluded(.explanation), tried_last(.attempts))]
    PoolExhausted {
        /// The pool.
        pool: String,
        /// Its ranges, as they count for the interfaces asked for.
        ranges: PortSet,
        /// The reasons against the other ports, and those that the request had found before it ran out of them.
        explanation: Box<Explanation>,
        /// The attempts and their occupants.
        attempts: Vec<Attempt>,
    },
    /// The interfaces asked for have ranges of their own without a common port.
    #[error(
        "no port may be granted on all of these interfaces at once: {0}; ask for one of them, or let their ranges overlap"
    )]
    NothingInCommon(String),
    /// Nowhere are so many ports free in a row.
    #[error(
        "pool {pool} has no {length} free ports in a row in {ranges}: {longest} are the longest run"
    )]
    NoRun {
        /// The pool.
        pool: String,
        /// Its ranges, as they count for the interfaces asked for.
        ranges: PortSet,
        /// The number of ports asked for.
        length: u16,
        /// The length of the longest run.
        longest: u32,
    },
    /// The time to wait was up, and this was still in the way.
    #[error("{}", waited(.refusal, *.limit))]
    WaitedInVain {
        /// The time that it waited.
        limit: std::time::Duration,
        /// The last refusal before the time was up.
        refusal: Box<Refusal>,
    },
    /// The service ends while the request waits. Another may have its place already.
    #[error(
        "this service ends before the wait does, and nothing is granted; ask again, another service may have taken over"
    )]
    Ending,
    /// The time for attempts was up.
    #[error("no free port within {limit:?}{}; allow more with timeout (--timeout), or attempt_timeout of the pool", tried_before(.attempts))]
    TimedOut {
        /// The request's `timeout`, or the pool's `attempt_timeout`.
        limit: std::time::Duration,
        /// The attempts and their occupants.
        attempts: Vec<Attempt>,
    },
    /// A name that lives with another port, or whose owner lives.
    #[error("name {name} is taken: {why}")]
    NameTaken {
        /// The name.
        name: Name,
        /// The conflict.
        why: String,
    },
    /// More than may be held at once.
    #[error("{0}")]
    QuotaExceeded(String),
    /// The owner named is not the asker's to name, or not a process.
    #[error("{0}")]
    Forbidden(String),
    /// The process is in another network namespace, where this host's ports mean nothing.
    #[error(
        "process {0} is in another network namespace: a port held here is no use to it; run portbook inside that namespace"
    )]
    OtherNetworkNamespace(u32),
    /// Ports of which none is excluded by hand.
    #[error("no port of {0}/{1} is excluded by hand; `portbook exclude` lists those that are")]
    NotExcluded(PortSet, Protocols),
    /// There is no such lease, or it is none of the asker's business.
    #[error("there is no such lease")]
    NotFound,
    /// This host is in no fleet, and the numbers of the pool are unique in one.
    #[error(
        "the numbers of pool {0} are unique in a fleet, and this host is in none: `portbook fleet join` enters one, and a service has to run"
    )]
    FleetOff(String),
    /// The fleet does not answer, so that no number can be claimed.
    #[error(
        "no number of pool {pool} can be claimed in the fleet, {}: {why}; other pools grant ports as always",
        since_when(.since.as_ref())
    )]
    FleetAway {
        /// The pool.
        pool: String,
        /// The reason.
        why: String,
        /// Since when this host is without its fleet. `None` if that was noticed just now.
        since: Option<jiff::Timestamp>,
    },
    /// The record cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refusal {
    /// The word for it that clients match on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::NoSuchPool { .. } => "no_such_pool",
            Self::PortExcluded { .. } => "port_excluded",
            Self::PortLeased { .. } => "port_leased",
            Self::PortInUse { .. } => "port_in_use",
            Self::PrivilegedPort { .. } => "privileged_port",
            Self::AddressNotAvailable { .. }
            | Self::Select(SelectError::AddressNotAvailable(_)) => "address_not_available",
            Self::Select(_) => "no_such_interface",
            Self::AttemptsExhausted { .. } => "attempts_exhausted",
            Self::PoolExhausted { .. } | Self::NoRun { .. } | Self::NothingInCommon(_) => {
                "pool_exhausted"
            }
            Self::TimedOut { .. } | Self::WaitedInVain { .. } => "timed_out",
            Self::NameTaken { .. } => "name_taken",
            Self::QuotaExceeded(_) => "quota_exceeded",
            Self::Forbidden(_) => "forbidden",
            Self::OtherNetworkNamespace(_) => "other_network_namespace",
            Self::NotFound | Self::NotExcluded(..) => "not_found",
            Self::BindFailed { .. }
            | Self::Interfaces(_)
            | Self::SocketTables(_)
            | Self::Process(_) => "host_error",
            Self::Ending => "no_service",
            Self::FleetOff(_) => "fleet_off",
            Self::FleetAway { .. } => "fleet_away",
            Self::Store(_) => "store_unavailable",
        }
    }

    /// Whether a lease that ends, or an outsider that leaves, may change the answer.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::PoolExhausted { .. }
                | Self::AttemptsExhausted { .. }
                | Self::NoRun { .. }
                | Self::PortLeased { .. }
                | Self::PortInUse { .. }
        )
    }

    pub(super) fn set_attempts(&mut self, tried: Vec<Attempt>) {
        if let Self::PortInUse { attempts, .. }
        | Self::AttemptsExhausted { attempts, .. }
        | Self::PoolExhausted { attempts, .. }
        | Self::TimedOut { attempts, .. } = self
        {
            *attempts = tried;
        }
    }

    /// Returns the refusal in words for all readers of the requests of `uid`. Root sees more in its
    /// own answers than readers of root's requests do.
    pub(super) fn for_readers(&mut self, uid: u32) -> String {
        match self {
            Self::WaitedInVain { limit, refusal } => waited(&refusal.for_readers(uid), *limit),
            Self::PortLeased {
                port,
                protocol,
                whose: Some(whose),
                ..
            } if *whose != uid => leased(*port, *protocol, &another_user(*whose)),
            _ => {
                let known = self.attempts().to_vec();
                self.set_attempts(veiled(&known, |of| of == uid));
                let said = self.to_string();
                self.set_attempts(known);
                said
            }
        }
    }

    /// Returns the attempts before the refusal.
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            Self::PortInUse { attempts, .. }
            | Self::AttemptsExhausted { attempts, .. }
            | Self::PoolExhausted { attempts, .. }
            | Self::TimedOut { attempts, .. } => attempts,
            Self::WaitedInVain { refusal, .. } => refusal.attempts(),
            _ => &[],
        }
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::InvalidRequest(error.to_string())
    }
}

fn since_when(since: Option<&jiff::Timestamp>) -> String {
    match since {
        Some(since) => format!("which is away since {since:.0}"),
        None => "which does not answer".to_owned(),
    }
}

fn privileged(port: Port, start: u16, pool: Option<&str>) -> String {
    let needs = format!(
        "port {port} needs a privilege: ports below {start} are the administrator's \
         (net.ipv4.ip_unprivileged_port_start)"
    );
    match pool {
        Some(pool) => format!(
            "{needs}, and pool {pool} does not open it to its users; choose a higher port, or have \
             the administrator add it to the ranges of a pool"
        ),
        None => format!(
            "{needs}, and portbook does not have it; run the service with CAP_NET_BIND_SERVICE, or \
             choose a higher port"
        ),
    }
}

fn leased(port: Port, protocol: Protocol, holder: &str) -> String {
    format!("port {port}/{protocol} is leased to {holder}")
}

fn waited(refusal: &impl std::fmt::Display, limit: std::time::Duration) -> String {
    format!("{refusal} (waited {limit:?})")
}

fn by_whom(attempts: &[Attempt]) -> String {
    let is_redirected = |attempt: &Attempt| attempt.outcome == Outcome::Redirected;
    if attempts.iter().any(is_redirected) {
        return ": a packet filter sends its packets elsewhere, such as to a container".to_owned();
    }
    let occupant = attempts
        .iter()
        .find_map(|attempt| attempt.occupant.as_ref());
    occupant.map_or_else(String::new, |occupant| format!(" by {occupant}"))
}

/// "8888 is held by node (pid 7), 8889 by …": at most 16 ports, as many as are really tried.
pub(super) fn in_the_way(attempts: &[Attempt]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let is_in_the_way = |one: &&Attempt| one.outcome.is_taken() || one.outcome == Outcome::Claimed;
    for attempt in attempts.iter().filter(is_in_the_way) {
        let line = obstacle(attempt);
        // A port may have been refused on each of its addresses.
        if !lines.contains(&line) {
            lines.push(line);
        }
        if lines.len() == 16 {
            break;
        }
    }
    lines.join(", ")
}

fn obstacle(attempt: &Attempt) -> String {
    if attempt.outcome == Outcome::Redirected {
        return format!("{} is redirected by a packet filter", attempt.port);
    }
    let occupant = attempt.occupant.as_ref();
    let whom = occupant.map_or_else(|| "somebody".to_owned(), ToString::to_string);
    if attempt.outcome == Outcome::Claimed {
        return format!("{} is claimed by {whom}", attempt.port);
    }
    format!("{} is held by {whom}", attempt.port)
}

fn tried_before(attempts: &[Attempt]) -> String {
    match in_the_way(attempts) {
        said if said.is_empty() => said,
        said => format!(": {said}"),
    }
}

fn tried_last(attempts: &[Attempt]) -> String {
    match in_the_way(attempts) {
        said if said.is_empty() => said,
        said => format!("; {said}"),
    }
}

/// Number of ports that a request had found before it ran out of them, in words.
fn too_few(explanation: &Explanation) -> String {
    match explanation.granted.len() {
        0 => "no free port".to_owned(),
        found => format!(
            "only {}, fewer than were asked for at once,",
            counted(found, "free port")
        ),
    }
}

/// Reasons against the ports. Those that the request itself has found count as leased meanwhile.
fn excluded(explanation: &Explanation) -> String {
    let own = u32::try_from(explanation.granted.len()).unwrap_or(u32::MAX);
    let part = |excluded: &Excluded| {
        let ports = match excluded.reason {
            Reason::Leased => excluded.ports.saturating_sub(own),
            _ => excluded.ports,
        };
        (ports > 0).then(|| format!("{ports} {}", excluded.reason.describe()))
    };
    let parts: Vec<String> = explanation.excluded.iter().filter_map(part).collect();
    if parts.is_empty() {
        return String::new();
    }
    let (all, parts) = (counted(explanation.ports, "port"), parts.join(", "));
    format!(": of {all} {parts}")
}
