//! Numbers that are reserved on every host of the fleet.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{millis, operator};
use crate::answers::operation::{
    Answered, Body, Context, Description, Method, Operation, Output, PortPath, Query, Tag,
};
use crate::answers::problem::{Code, Problem};
use crate::domain::claim::Number;
use crate::domain::everywhere::EverywhereNumber;
use crate::domain::fleet::{Question, Told};
use crate::domain::lease::{CONSOLE_NAME, Name};
use crate::domain::port::{Port, PortSet, Protocol, ports_in_text};
use crate::engine::fleet::{FleetSilence, Reserved};
use crate::engine::service::Service;

/// Longest wait for a change. Clients give up after half a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Maximum number of numbers that are tried without a port in the request. Each that fails was claimed a moment ago.
const TRIES: usize = 8;

/// Reserved numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetEverywhereDocument {
    /// By protocol and port, each with every host that lives or has answered.
    pub everywhere: Vec<EverywhereNumber>,
    /// Whether etcd said so just now. `false` for the last known answer.
    pub fresh: bool,
    /// Time since the answer was read, in milliseconds.
    pub age_ms: u64,
    /// Whether there are more numbers than one answer has.
    pub more: bool,
    /// Changes when the numbers or the answers of hosts do; for `unlike`.
    pub tag: String,
}

impl Output for FleetEverywhereDocument {}

impl FleetEverywhereDocument {
    fn of(told: &Told, query: &FleetEverywhereQuery) -> Self {
        let numbers = told.view.everywhere.iter();
        let everywhere: Vec<EverywhereNumber> = numbers
            .filter(|number| query.matches(number))
            .cloned()
            .collect();
        let text = serde_json::to_vec(&everywhere).unwrap_or_default();
        Self {
            tag: format!("{:08x}", crc32fast::hash(&text)),
            everywhere,
            fresh: told.is_fresh,
            age_ms: millis(told.age),
            more: told.view.more,
        }
    }
}

/// Filters of reserved numbers, and waiting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FleetEverywhereQuery {
    /// For this name.
    pub name: Option<String>,
    /// Of these ports: `3000`, `3000-3010`, or several with commas between them.
    #[schemars(schema_with = "ports_in_text")]
    pub ports: Option<PortSet>,
    /// `tcp` or `udp`; both if it is left out.
    pub protocol: Option<Protocol>,
    /// The `tag` of an earlier answer: wait up to 20 seconds for one with another tag.
    pub unlike: Option<String>,
}

impl FleetEverywhereQuery {
    fn matches(&self, number: &EverywhereNumber) -> bool {
        let ports = self.ports.as_ref();
        self.name.as_ref().is_none_or(|name| *name == number.name)
            && ports.is_none_or(|ports| ports.contains(number.port))
            && self
                .protocol
                .is_none_or(|protocol| protocol == number.protocol)
    }
}

pub struct ListFleetEverywhere;

impl Operation for ListFleetEverywhere {
    type Input = Query<FleetEverywhereQuery>;
    type Output = FleetEverywhereDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/fleet/everywhere";
    const ID: &'static str = "listFleetEverywhere";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "List the numbers that are reserved on every host")
            .says(
                "Every reserved number with the answer of each host: `held`, `busy` with what has the \
                 number there, or `away` while its session has ended or it has not answered. With \
                 `unlike` the answer comes when it changes, or after 20 seconds as it is. While etcd is \
                 away it is the last known list, with its age.",
            )
            .answers::<FleetEverywhereDocument>(
                200,
                "The numbers.",
                include_str!("../example/fleet_everywhere.json"),
            )
            .refused(&[Code::InvalidRequest, Code::FleetOff, Code::FleetAway])
    }
}

impl Answered for ListFleetEverywhere {
    async fn answer(
        context: Context<'_>,
        Query(query): Query<FleetEverywhereQuery>,
    ) -> Result<FleetEverywhereDocument, Problem> {
        let fleet = context.service.fleet();
        let document = |told: &Told| FleetEverywhereDocument::of(told, &query);
        let Some(tag) = &query.unlike else {
            return Ok(document(&fleet.ask(Question::Everywhere).await?));
        };
        let mut told = fleet.follow(Question::Everywhere).await?;
        let is_new = |told: &Option<Told>| {
            let told = told.as_ref().map(document);
            told.is_some_and(|told| told.tag != *tag)
        };
        let change = async {
            tokio::select! {
                told = told.wait_for(is_new) => told.ok().and_then(|told| told.as_ref().map(document)),
                () = fleet.left() => None,
            }
        };
        match timeout(LONGEST_WAIT, change).await.ok().flatten() {
            Some(changed) => Ok(changed),
            None => Ok(document(&fleet.ask(Question::Everywhere).await?)),
        }
    }
}

/// A number to reserve on every host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub struct ReservationRequest {
    /// Name that it is kept for on every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub name: Option<Name>,
    /// Port. If it is left out this host chooses one that no host has claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Protocol; TCP if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Pool of this host to choose from without a port; the default pool if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// A number that is reserved on every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationDocument {
    /// Port.
    pub port: Port,
    /// Protocol of the port.
    pub protocol: Protocol,
    /// Name that it is kept for.
    pub name: Name,
    /// Whether it was reserved for the name before.
    #[serde(default)]
    pub reserved_before: bool,
    /// Pool of this host with unique numbers in whose range it is: no host grants it from there while it is reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out_of: Option<String>,
}

impl Output for ReservationDocument {
    fn status(&self) -> u16 {
        if self.reserved_before { 200 } else { 201 }
    }
}

pub struct ReserveEverywhere;

impl Operation for ReserveEverywhere {
    type Input = Body<ReservationRequest>;
    type Output = ReservationDocument;
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/api/v1/fleet/everywhere";
    const ID: &'static str = "reserveEverywhere";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "Reserve a number on every host")
            .says(
                "Every host takes the number, holds it, and keeps it for whoever asks for the name there. The \
                 answer comes once the reservation is in etcd; the list tells what the hosts say. This \
                 host needs the rights of an operator in etcd. For the user of the service and root.",
            )
            .body_example(include_str!("../example/reservation_request.json"))
            .needing_body()
            .answers::<ReservationDocument>(
                201,
                "The number is reserved.",
                include_str!("../example/reservation.json"),
            )
            .answers::<ReservationDocument>(
                200,
                "It was reserved for this name before.",
                include_str!("../example/reservation_again.json"),
            )
            .refused(&[
                Code::InvalidRequest,
                Code::FleetOff,
                Code::FleetAway,
                Code::Forbidden,
                Code::PortLeased,
                Code::NameTaken,
                Code::NoSuchPool,
                Code::PoolExhausted,
            ])
    }
}

impl Answered for ReserveEverywhere {
    async fn answer(
        context: Context<'_>,
        Body(request): Body<ReservationRequest>,
    ) -> Result<ReservationDocument, Problem> {
        operator(&context, "reserve numbers on every host")?;
        let name = named(&request)?;
        let protocol = protocol_of(&request);
        let reserved = match request.port {
            Some(port) => {
                let number = Number { protocol, port };
                (port, reserve(context.service, number, &name).await?)
            }
            None => choose_and_reserve(context.service, &request, &name).await?,
        };
        Ok(ReservationDocument {
            port: reserved.0,
            protocol,
            name,
            reserved_before: reserved.1 != Reserved::New,
            left_out_of: context.service.unique_pool(reserved.0),
        })
    }
}

/// Reserves a number, unless this host is one that would object for as long as its settings stay.
async fn reserve(service: &Service, number: Number, name: &Name) -> Result<Reserved, FleetSilence> {
    if let Some(pool) = service.fenced_pool(number.port) {
        return Err(FleetSilence::Fenced(number, pool));
    }
    service.fleet().reserve(number, name.clone()).await
}

/// The name of a request, which is not that of a console's own lease.
fn named(request: &ReservationRequest) -> Result<Name, Problem> {
    let is_free = |name: &Name| name.as_str() != CONSOLE_NAME;
    let name = request.name.clone().filter(is_free);
    let wanted = || {
        Problem::invalid("name: give the name that the number is for, and not the console's own")
    };
    name.ok_or_else(wanted)
}

fn protocol_of(request: &ReservationRequest) -> Protocol {
    request.protocol.unwrap_or(Protocol::Tcp)
}

/// Reserves the number that the name has on every host, else the one that this host would choose for it.
async fn choose_and_reserve(
    service: &Service,
    request: &ReservationRequest,
    name: &Name,
) -> Result<(Port, Reserved), Problem> {
    let (fleet, protocol) = (service.fleet(), protocol_of(request));
    let known = fleet.ask(Question::Everywhere).await?;
    let mut known = known.view.everywhere.iter();
    let of_name =
        |known: &&EverywhereNumber| known.name == name.as_str() && known.protocol == protocol;
    if let Some(known) = known.find(of_name) {
        return Ok((known.port, Reserved::Again));
    }
    let claims = fleet.ask(Question::Claims).await?;
    let claims = claims.view.claims.iter();
    let claimed = claims.filter(|claim| claim.protocol == protocol);
    let mut taken: BTreeSet<Port> = claimed.map(|claim| claim.port).collect();
    let mut tries = 0..TRIES;
    loop {
        let without: PortSet = taken.iter().copied().collect();
        let pool = request.pool.as_deref();
        let chosen = service.choose_everywhere(pool, name, protocol, &without);
        let port = chosen.await?;
        match reserve(service, Number { protocol, port }, name).await {
            Ok(reserved) => return Ok((port, reserved)),
            Err(FleetSilence::Taken(..) | FleetSilence::Fenced(..)) if tries.next().is_some() => {
                taken.insert(port);
            }
            Err(silence) => return Err(silence.into()),
        }
    }
}

pub struct ReleaseEverywhere;

impl Operation for ReleaseEverywhere {
    type Input = PortPath;
    type Output = ();
    const METHOD: Method = Method::Delete;
    const PATH: &'static str = "/api/v1/fleet/everywhere/{protocol}/{port}";
    const ID: &'static str = "releaseEverywhere";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "Release a number on every host")
            .says(
                "Takes the reservation back. Each host lets go of the number once it hears of that, unless a \
                 program uses it there: that one keeps its lease. For the user of the service and root.",
            )
            .answers_nothing(204, "The number is reserved no more.")
            .refused(&[
                Code::InvalidRequest,
                Code::FleetOff,
                Code::FleetAway,
                Code::Forbidden,
                Code::NotFound,
            ])
    }
}

impl Answered for ReleaseEverywhere {
    async fn answer(
        context: Context<'_>,
        PortPath { protocol, port }: PortPath,
    ) -> Result<(), Problem> {
        operator(&context, "release numbers on every host")?;
        let number = Number { protocol, port };
        Ok(context.service.fleet().release(number).await?)
    }
}
