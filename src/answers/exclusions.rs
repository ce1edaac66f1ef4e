//! Ports excluded by hand, one by one or as a range.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::{
    Answered, Body, Context, Description, Method, Operation, Output, PortPath, Query, Tag,
};
use super::paging::WholeQuery;
use super::problem::{Code, Problem};
use crate::domain::exclusion::{Exclusion, LONGEST_REASON};
use crate::domain::port::{PortSet, Protocols, ports_in_text};

/// Options of an exclusion.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExclusionRequest {
    /// Reason; at most 200 characters.
    #[schemars(length(max = LONGEST_REASON))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Every port that is excluded by hand.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExclusionList {
    /// TCP first, by port.
    pub exclusions: Vec<Exclusion>,
}

/// One excluded port, with notes about its lease.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExclusionAnswer {
    /// The exclusion.
    #[serde(flatten)]
    pub exclusion: Exclusion,
    /// Whether the port was not excluded before; the HTTP status tells it.
    #[serde(skip)]
    pub is_new: bool,
    /// A sentence for each lease on the port: its owner, and how long it keeps the port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Ports to exclude.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeRequest {
    /// The ports: `5000-5010,6000`.
    pub ports: PortSet,
    /// Protocol; TCP if left out.
    #[serde(default)]
    pub protocol: Protocols,
    /// Reason; at most 200 characters.
    #[schemars(length(max = LONGEST_REASON))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Ports to include again.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeQuery {
    /// The ports: `5000-5010,6000`. Without them nothing is included.
    #[serde(default)]
    #[schemars(schema_with = "ports_in_text")]
    pub ports: PortSet,
    /// Protocol; TCP if left out.
    #[serde(default)]
    pub protocol: Protocols,
}

/// Excluded ports, with notes about their leases.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RangeAnswer {
    /// The ports.
    pub ports: PortSet,
    /// Protocol of the ports.
    pub protocol: Protocols,
    /// Number of exclusions that are new, one a protocol and port.
    pub added: usize,
    /// A sentence for each lease on one of the ports: its owner, and how long it keeps the port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Output for ExclusionList {}

pub struct ListExclusions;

impl Operation for ListExclusions {
    type Input = Query<WholeQuery>;
    type Output = ExclusionList;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/exclusions";
    const ID: &'static str = "listExclusions";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "List ports excluded by hand")
            .says("Without the ports that the configuration excludes. TCP first, by port; always all.")
            .answers::<ExclusionList>(
                200,
                "The ports.",
                include_str!("example/exclusions.json"),
            )
    }
}

impl Answered for ListExclusions {
    async fn answer(context: Context<'_>, _: Query<WholeQuery>) -> Result<ExclusionList, Problem> {
        let exclusions = context.service.exclusions().iter().cloned().collect();
        Ok(ExclusionList { exclusions })
    }
}

impl Output for ExclusionAnswer {
    fn status(&self) -> u16 {
        if self.is_new { 201 } else { 200 }
    }
}

pub struct ExcludePort;

impl Operation for ExcludePort {
    type Input = (PortPath, Body<ExclusionRequest>);
    type Output = ExclusionAnswer;
    const METHOD: Method = Method::Put;
    const PATH: &'static str = "/api/v1/ports/{protocol}/{port}/exclusion";
    const ID: &'static str = "excludePort";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "Exclude a port")
            .says(
                "The port is no longer granted. A name that has it keeps it until its program is started \
                 again, and moves then. Only for the user that runs the service.",
            )
            .body_example(include_str!("example/exclusion_request.json"))
            .answers::<ExclusionAnswer>(
                201,
                "The port is excluded.",
                include_str!("example/exclusion.json"),
            )
            .answers::<ExclusionAnswer>(
                200,
                "The port was excluded before; the reason is the new one.",
                include_str!("example/exclusion.json"),
            )
            .refused(&[Code::InvalidRequest, Code::StoreUnavailable])
    }
}

impl Answered for ExcludePort {
    async fn answer(
        context: Context<'_>,
        (path, Body(request)): (PortPath, Body<ExclusionRequest>),
    ) -> Result<ExclusionAnswer, Problem> {
        let (caller, ports) = (context.viewer.caller()?, PortSet::single(path.port));
        let protocols = path.protocol.into();
        let excluded = context
            .service
            .exclude(caller, protocols, &ports, request.reason.as_deref())
            .await?;
        let (is_new, notes) = (excluded.added > 0, excluded.told(caller));
        let exclusion = excluded.exclusions.into_iter().next();
        Ok(ExclusionAnswer {
            exclusion: exclusion.ok_or_else(|| Problem::invalid("ports: name one port"))?,
            is_new,
            notes,
        })
    }
}

pub struct IncludePort;

impl Operation for IncludePort {
    type Input = PortPath;
    type Output = ();
    const METHOD: Method = Method::Delete;
    const PATH: &'static str = "/api/v1/ports/{protocol}/{port}/exclusion";
    const ID: &'static str = "includePort";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "Include a port again")
            .says("Takes back an exclusion by hand. Only for the user that runs the service.")
            .answers_nothing(204, "The port may be granted again.")
            .refused(&[Code::InvalidRequest, Code::StoreUnavailable])
    }
}

impl Answered for IncludePort {
    async fn answer(context: Context<'_>, path: PortPath) -> Result<(), Problem> {
        let (caller, ports) = (context.viewer.caller()?, PortSet::single(path.port));
        let protocols = path.protocol.into();
        Ok(context.service.include(caller, protocols, &ports).await?)
    }
}

impl Output for RangeAnswer {}

pub struct ExcludePorts;

impl Operation for ExcludePorts {
    type Input = Body<RangeRequest>;
    type Output = RangeAnswer;
    const METHOD: Method = Method::Put;
    const PATH: &'static str = "/api/v1/exclusions";
    const ID: &'static str = "excludePorts";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "Exclude several ports")
            .says(
                "All of them or none; the record has one exclusion a protocol and port. Only for the user \
                 that runs the service.",
            )
            .body_example(include_str!("example/exclusion_range.json"))
            .needing_body()
            .answers::<RangeAnswer>(
                200,
                "The ports are excluded.",
                include_str!("example/exclusion_range_answer.json"),
            )
            .refused(&[Code::StoreUnavailable])
    }
}

impl Answered for ExcludePorts {
    async fn answer(
        context: Context<'_>,
        Body(request): Body<RangeRequest>,
    ) -> Result<RangeAnswer, Problem> {
        let RangeRequest {
            ports,
            protocol,
            reason,
        } = request;
        if ports.is_empty() {
            return Err(Problem::invalid(
                "ports: name one port at least, such as 5000-5010",
            ));
        }
        let caller = context.viewer.caller()?;
        let excluded = context
            .service
            .exclude(caller, protocol, &ports, reason.as_deref())
            .await?;
        Ok(RangeAnswer {
            ports,
            protocol,
            added: excluded.added,
            notes: excluded.told(caller),
        })
    }
}

pub struct IncludePorts;

impl Operation for IncludePorts {
    type Input = Query<RangeQuery>;
    type Output = ();
    const METHOD: Method = Method::Delete;
    const PATH: &'static str = "/api/v1/exclusions";
    const ID: &'static str = "includePorts";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "Include several ports again")
            .says("Takes back exclusions by hand. Only for the user that runs the service.")
            .answers_nothing(204, "The ports may be granted again.")
            .refused(&[Code::NotFound, Code::StoreUnavailable])
    }
}

impl Answered for IncludePorts {
    async fn answer(
        context: Context<'_>,
        Query(RangeQuery { ports, protocol }): Query<RangeQuery>,
    ) -> Result<(), Problem> {
        let caller = context.viewer.caller()?;
        Ok(context.service.include(caller, protocol, &ports).await?)
    }
}
