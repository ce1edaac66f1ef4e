//! Unique numbers of the fleet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::millis;
use crate::answers::operation::{
    Answered, Context, Description, Method, Operation, Output, Query, Tag,
};
use crate::answers::problem::{Code, Problem};
use crate::domain::claim::FleetClaim;
use crate::domain::fleet::Question;
use crate::domain::port::{PortSet, ports_in_text};

/// Claimed numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetClaimsDocument {
    /// By protocol and port.
    pub claims: Vec<FleetClaim>,
    /// Whether the engine said so just now. `false` for the last known answer.
    pub fresh: bool,
    /// Time since the answer was read, in milliseconds.
    pub age_ms: u64,
    /// Whether there are more claims than one answer has.
    pub more: bool,
}

impl Output for FleetClaimsDocument {}

/// Filters of the claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FleetClaimsQuery {
    /// Of this host.
    pub host: Option<String>,
    /// On these ports: `3000`, `3000-3010`, or several with commas between them.
    #[schemars(schema_with = "ports_in_text")]
    pub ports: Option<PortSet>,
}

impl FleetClaimsQuery {
    fn matches(&self, claim: &FleetClaim) -> bool {
        let ports = self.ports.as_ref();
        self.host.as_ref().is_none_or(|host| *host == claim.host)
            && ports.is_none_or(|ports| ports.contains(claim.port))
    }
}

pub struct ListFleetClaims;

impl Operation for ListFleetClaims {
    type Input = Query<FleetClaimsQuery>;
    type Output = FleetClaimsDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/fleet/claims";
    const ID: &'static str = "listFleetClaims";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Fleet, "List the unique numbers of the fleet")
            .says(
                "Every number that a host has claimed for a lease of a pool with `fleet = \"unique\"`. \
                 `live` is whether the session of its host lives: the number stays claimed if not. While \
                 the engine is away it is the last known list, with its age.",
            )
            .answers::<FleetClaimsDocument>(
                200,
                "The numbers.",
                include_str!("../example/fleet_claims.json"),
            )
            .refused(&[Code::InvalidRequest, Code::FleetOff, Code::FleetAway])
    }
}

impl Answered for ListFleetClaims {
    async fn answer(
        context: Context<'_>,
        Query(query): Query<FleetClaimsQuery>,
    ) -> Result<FleetClaimsDocument, Problem> {
        let told = context.service.fleet().ask(Question::Claims).await?;
        let claims = told.view.claims.iter().filter(|claim| query.matches(claim));
        Ok(FleetClaimsDocument {
            claims: claims.cloned().collect(),
            fresh: told.is_fresh,
            age_ms: millis(told.age),
            more: told.view.more,
        })
    }
}
