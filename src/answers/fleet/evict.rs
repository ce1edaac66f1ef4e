//! Eviction: an operator takes the unique numbers of a host that is gone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operator;
use crate::answers::operation::{
    Answered, Context, Description, Given, Input, Method, Operation, Output, Query, Sent, Tag,
};
use crate::answers::problem::{Code, Problem};
use crate::domain::claim::{Number, UNREADABLE};
use crate::domain::fleet::HostName;
use crate::domain::port::{Port, PortSet, Protocol, ports_in_text};

/// A number that a host had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvictedNumber {
    /// Port.
    pub port: Port,
    /// Protocol of the port.
    pub protocol: Protocol,
}

/// Numbers that were taken from a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvictionDocument {
    /// Host that had them; `?` for claims that could not be read.
    pub host: String,
    /// Numbers that any host may claim now.
    pub evicted: Vec<EvictedNumber>,
}

impl Output for EvictionDocument {}

impl EvictionDocument {
    fn of(host: &str, numbers: Vec<Number>) -> Self {
        let evicted = numbers.into_iter().map(|number| EvictedNumber {
            port: number.port,
            protocol: number.protocol,
        });
        Self {
            host: host.to_owned(),
            evicted: evicted.collect(),
        }
    }
}

/// A host in the path.
#[derive(Debug, Clone)]
pub struct HostPath(pub HostName);

impl Input for HostPath {
    fn read(given: &Given<'_>) -> Result<Self, Problem> {
        given.path.host.parse().map(Self).map_err(Problem::invalid)
    }

    fn write(&self, sent: &mut Sent) -> Result<(), Problem> {
        sent.target = sent.target.replace("{host}", self.0.as_str());
        Ok(())
    }
}

pub struct EvictFleetHost;

impl Operation for EvictFleetHost {
    type Input = HostPath;
    type Output = EvictionDocument;
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/api/v1/fleet/hosts/{host}/evict";
    const ID: &'static str = "evictFleetHost";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "Evict a host that is gone")
            .says(
                "Takes all unique numbers from a host whose session has ended, so that other hosts may claim \
                 them at once. Refused while its session lives, and if it has none. Call it for a machine that is switched off: \
                 a program there that goes on is not cut off by this. For the user of the service and root.",
            )
            .answers::<EvictionDocument>(
                200,
                "The numbers.",
                include_str!("../example/fleet_evicted.json"),
            )
            .refused(&[
                Code::InvalidRequest,
                Code::NotFound,
                Code::FleetOff,
                Code::FleetAway,
                Code::Forbidden,
            ])
    }
}

impl Answered for EvictFleetHost {
    async fn answer(
        context: Context<'_>,
        HostPath(host): HostPath,
    ) -> Result<EvictionDocument, Problem> {
        operator(&context, "evict hosts")?;
        let numbers = context.service.fleet().evict(host.clone()).await?;
        Ok(EvictionDocument::of(host.as_str(), numbers))
    }
}

/// Ports whose unreadable claims are to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UnreadableQuery {
    /// These ports: `3000`, `3000-3010`, or several with commas between them; all if left out.
    #[schemars(schema_with = "ports_in_text")]
    pub ports: Option<PortSet>,
}

pub struct EvictUnreadableClaims;

impl Operation for EvictUnreadableClaims {
    type Input = Query<UnreadableQuery>;
    type Output = EvictionDocument;
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/api/v1/fleet/claims/unreadable/evict";
    const ID: &'static str = "evictUnreadableClaims";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "Delete claims that cannot be read")
            .says(
                "Deletes the claims that `listFleetClaims` lists with the host `?`, so that hosts may claim \
                 their numbers: no sweep and no eviction of a host takes them. A host of a later build may \
                 have written one, and a program there that goes on is not cut off. A claim that changes \
                 meanwhile stays. For the user of the service and root.",
            )
            .answers::<EvictionDocument>(
                200,
                "The numbers.",
                include_str!("../example/fleet_evicted_unreadable.json"),
            )
            .refused(&[
                Code::InvalidRequest,
                Code::FleetOff,
                Code::FleetAway,
                Code::Forbidden,
            ])
    }
}

impl Answered for EvictUnreadableClaims {
    async fn answer(
        context: Context<'_>,
        Query(query): Query<UnreadableQuery>,
    ) -> Result<EvictionDocument, Problem> {
        operator(&context, "evict hosts")?;
        let fleet = context.service.fleet();
        let numbers = fleet.evict_unreadable(query.ports).await?;
        Ok(EvictionDocument::of(UNREADABLE, numbers))
    }
}
