//! The fleet: hosts that tell each other who is there, and which name is served where.

mod claims;
mod discovery;
mod everywhere;
mod evict;
mod names;

pub use claims::ListFleetClaims;
pub use claims::{FleetClaimsDocument, FleetClaimsQuery};
pub use discovery::FleetDiscovery;
pub use discovery::prometheus;
pub use everywhere::FleetEverywhereDocument;
pub use everywhere::{
    FleetEverywhereQuery, ListFleetEverywhere, ReleaseEverywhere, ReserveEverywhere,
};
pub use everywhere::{ReservationDocument, ReservationRequest};
pub use evict::{EvictFleetHost, EvictUnreadableClaims};
pub use evict::{EvictionDocument, HostPath, UnreadableQuery};
pub use names::FleetNamesDocument;
pub use names::{FleetNameQuery, FleetNamesQuery, NamePath};
pub use names::{ListFleetNames, ResolveFleetName};

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::{Answered, Context, Description, Method, Operation, Output, Tag};
use super::problem::{Code, Problem};
use crate::domain::claim::{ClaimCounts, guard};
use crate::domain::duration::coarse;
use crate::domain::fleet::{FenceSummary, FleetHost, FleetState, FleetStatus, Question};
use crate::domain::lease::BootTime;
use crate::domain::words::counted;
use crate::engine::fleet::FleetSilence;
use crate::engine::service::Service;
use crate::engine::troubles::TroubleKind;

impl From<FleetSilence> for Problem {
    fn from(silence: FleetSilence) -> Self {
        let code = match silence {
            FleetSilence::Off => Code::FleetOff,
            FleetSilence::Away(_) => Code::FleetAway,
            FleetSilence::Claimed(_)
            | FleetSilence::Releasing(_)
            | FleetSilence::Lives(_)
            | FleetSilence::TooMany(_)
            | FleetSilence::Fenced(..) => Code::InvalidRequest,
            FleetSilence::Taken(..) => Code::PortLeased,
            FleetSilence::NameTaken(..) => Code::NameTaken,
            FleetSilence::NotReserved(_) | FleetSilence::HasNone(_) => Code::NotFound,
            FleetSilence::Denied(_) => Code::Forbidden,
        };
        Self::new(code, silence.to_string())
    }
}

/// This host in its fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetStatusDocument {
    /// Relation to the fleet.
    pub state: FleetState,
    /// Reason for the state. `None` while all is well.
    pub why: Option<String>,
    /// Time since the state changed, in milliseconds.
    pub for_ms: u64,
    /// Name of this host. `None` while the fleet is off.
    pub host: Option<String>,
    /// Addresses of etcd.
    pub engine: Vec<String>,
    /// Session of this host. `None` if none is open.
    pub session: Option<String>,
    /// Time since the last successful renewal was sent, in milliseconds. `None` before the first one.
    pub renewed_ms: Option<u64>,
    /// Addresses of this host that others are told.
    pub addresses: Vec<IpAddr>,
    /// Number of leases of this host that etcd has.
    pub published: usize,
    /// Number of changes that are not sent yet.
    pub pending: usize,
    /// Guard of the unique numbers of this host: `kernel` or `none`. `None` if no pool has a time of
    /// reclaim.
    #[serde(default)]
    pub fence: Option<String>,
    /// Reason for which there is no guard, or it shuts numbers soon. `None` while all is well.
    #[serde(default)]
    pub fence_warning: Option<String>,
    /// Time until the kernel shuts the first number unless the session is renewed, in seconds. `None` if
    /// none is open.
    #[serde(default)]
    pub fence_s: Option<u64>,
    /// Number of unique numbers of this host that the kernel shuts now.
    #[serde(default)]
    pub fence_shut: usize,
    /// Time since which the first of them is shut, in milliseconds. `None` if none is.
    #[serde(default)]
    pub fence_shut_ms: Option<u64>,
    /// Numbers of claims of this host by state.
    #[serde(default)]
    pub claims: ClaimCounts,
    /// Troubles while the session lives, each with the way out: a key keeps all hosts from new claims, or etcd
    /// refuses this host.
    #[serde(default)]
    pub troubles: Vec<String>,
    /// Whether one of the troubles is that etcd refuses this host.
    #[serde(default)]
    pub refused: bool,
}

impl Output for FleetStatusDocument {}

impl FleetStatusDocument {
    /// The status at this time of the host's clock.
    pub fn of(status: &FleetStatus, guarded: &FenceSummary, now: BootTime) -> Self {
        let since = |at: BootTime| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        let age = |at_ms: u64| since(BootTime(Duration::from_millis(at_ms)));
        let is_off = status.host.is_none();
        Self {
            state: status.state,
            why: (!status.why.is_empty()).then(|| status.why.clone()),
            for_ms: if is_off { 0 } else { age(status.since_boot_ms) },
            host: status.host.as_ref().map(ToString::to_string),
            engine: status.engine.clone(),
            session: status.session.clone(),
            renewed_ms: status.renewed_boot_ms.map(age),
            addresses: status.addresses.clone(),
            published: status.published,
            pending: status.pending,
            fence: status.has_fence.map(|has| guard(has).to_owned()),
            fence_warning: Some(status.fence_warning.clone()).filter(|why| !why.is_empty()),
            fence_s: guarded.first_end.map(|end| end.since(now).as_secs()),
            fence_shut: guarded.shut,
            fence_shut_ms: guarded.shut_since.map(since),
            claims: ClaimCounts::default(),
            troubles: Vec::new(),
            refused: false,
        }
    }

    /// The status of the fleet of a service at this moment.
    pub fn now(service: &Service) -> Self {
        let (fleet, now) = (service.fleet(), service.clock().boot());
        Self {
            claims: service.claim_counts(),
            troubles: fleet.troubles().told(),
            refused: fleet.troubles().has(TroubleKind::Rights),
            ..Self::of(&fleet.status(), &fleet.fence_summary(now), now)
        }
    }

    /// Numbers that the kernel shuts, in words. `None` if there are none.
    pub fn shut_in_words(&self) -> Option<String> {
        let since = coarse(Duration::from_millis(self.fence_shut_ms?));
        let shut = counted(self.fence_shut as u64, "unique number");
        Some(format!(
            "shut: the kernel shuts {shut} of this host, the first for {since}; they open once its session is renewed"
        ))
    }
}

pub struct ShowFleet;

impl Operation for ShowFleet {
    type Input = ();
    type Output = FleetStatusDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/fleet/status";
    const ID: &'static str = "showFleet";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "This host in its fleet")
            .says("Whether this host is in a fleet, and in which state its session is.")
            .answers::<FleetStatusDocument>(
                200,
                "The state.",
                include_str!("example/fleet_status.json"),
            )
    }
}

impl Answered for ShowFleet {
    async fn answer(context: Context<'_>, (): ()) -> Result<FleetStatusDocument, Problem> {
        Ok(FleetStatusDocument::now(context.service))
    }
}

/// The hosts of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetHostsDocument {
    /// By name. A host is listed for as long as its session lives.
    pub hosts: Vec<FleetHost>,
    /// Whether etcd said so just now. `false` for the last known answer.
    pub fresh: bool,
    /// Time since the answer was read, in milliseconds.
    pub age_ms: u64,
    /// Whether there are more hosts than one answer has.
    pub more: bool,
}

impl Output for FleetHostsDocument {}

pub struct ListFleetHosts;

impl Operation for ListFleetHosts {
    type Input = ();
    type Output = FleetHostsDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/fleet/hosts";
    const ID: &'static str = "listFleetHosts";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "List the hosts of the fleet")
            .says(
                "Every host whose session lives, by its own account. While etcd is away it is \
                 the last known list, with its age.",
            )
            .answers::<FleetHostsDocument>(
                200,
                "The hosts.",
                include_str!("example/fleet_hosts.json"),
            )
            .refused(&[Code::FleetOff, Code::FleetAway])
    }
}

impl Answered for ListFleetHosts {
    async fn answer(context: Context<'_>, (): ()) -> Result<FleetHostsDocument, Problem> {
        let told = context.service.fleet().ask(Question::Hosts).await?;
        Ok(FleetHostsDocument {
            hosts: told.view.hosts.clone(),
            fresh: told.is_fresh,
            age_ms: millis(told.age),
            more: told.view.more,
        })
    }
}

pub struct LeaveFleet;

impl Operation for LeaveFleet {
    type Input = ();
    type Output = ();
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/api/v1/fleet/leave";
    const ID: &'static str = "leaveFleet";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "Leave the fleet")
            .says(
                "Withdraws the names of this host, and ends its session. Refused while a lease has a unique \
                 number. The service joins again at its next start if `fleet.engine` is still set. For the \
                 user of the service and root.",
            )
            .answers_nothing(204, "This host has left.")
            .refused(&[
                Code::InvalidRequest,
                Code::FleetOff,
                Code::FleetAway,
                Code::Forbidden,
            ])
    }
}

impl Answered for LeaveFleet {
    async fn answer(context: Context<'_>, (): ()) -> Result<(), Problem> {
        operator(&context, "take this host out of its fleet")?;
        Ok(context.service.fleet().leave().await?)
    }
}

/// Refuses callers other than the user of the service and root.
fn operator(context: &Context<'_>, deed: &str) -> Result<(), Problem> {
    let own = rustix::process::geteuid().as_raw();
    if context.viewer.caller()?.may_act_for(own) {
        return Ok(());
    }
    let detail = format!("the user of the service and root alone {deed}");
    Err(Problem::new(Code::Forbidden, detail))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
