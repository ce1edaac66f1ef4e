//! Unique numbers of the fleet.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::millis;
use crate::answers::operation::{
    Answered, Context, Description, Method, Operation, Output, Query, Tag,
};
use crate::answers::problem::{Code, Problem};
use crate::domain::claim::{ClaimStage, FleetClaim, Number, guard};
use crate::domain::fleet::{FleetState, Publish, Question};
use crate::domain::lease::Name;
use crate::domain::port::{PortSet, ports_in_text};
use crate::engine::service::Service;

/// Claimed numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetClaimsDocument {
    /// By protocol and port.
    pub claims: Vec<FleetClaim>,
    /// Whether etcd said so just now. `false` for the last known answer.
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

/// Claims of this host by its own book, which knows of a change before a list of the engine does.
#[derive(Debug, Default)]
struct Own {
    held: Vec<FleetClaim>,
    /// Numbers whose leases have ended: the engine is about to have them no more.
    over: BTreeSet<Number>,
}

impl Own {
    fn of(service: &Service) -> Self {
        let status = service.fleet().status();
        let Some(host) = &status.host else {
            return Self::default();
        };
        let is_in = status.state == FleetState::Joined;
        let is_told = service.settings().fleet.publish != Publish::Nothing;
        let mut own = Self::default();
        for entered in service.fleet().claims().all() {
            let claim = &entered.claim;
            match service.lease(claim.lease) {
                Some(lease) if claim.stage == ClaimStage::Held => own.held.push(FleetClaim {
                    port: claim.number.port,
                    protocol: claim.number.protocol,
                    host: host.to_string(),
                    pool: lease.pool.to_string(),
                    name: lease.name.as_ref().filter(|_| is_told).map(Name::to_string),
                    lease: claim.lease.to_string(),
                    fence: guard(claim.reclaim_s > 0).to_owned(),
                    fence_token: claim.token,
                    live: is_in,
                    own: true,
                }),
                None if !entered.is_in_hand => drop(own.over.insert(claim.number)),
                _ => {}
            }
        }
        own
    }

    /// Takes out of a list what this host has given back.
    fn take_out(&self, claims: &mut Vec<FleetClaim>) {
        claims.retain(|claim| !(claim.own && self.over.contains(&claim.number())));
    }

    /// Adds what a list does not have yet.
    fn put_in(self, claims: &mut Vec<FleetClaim>) {
        let listed: BTreeSet<Number> = claims.iter().map(FleetClaim::number).collect();
        let new = self.held.into_iter();
        let before = claims.len();
        claims.extend(new.filter(|claim| !listed.contains(&claim.number())));
        if claims.len() > before {
            claims.sort_by_key(FleetClaim::number);
        }
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
                 etcd is away it is the last known list, with its age.",
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
        // What this host gives back while the list is read may be in it still.
        let before = Own::of(context.service);
        let told = context.service.fleet().ask(Question::Claims).await?;
        let mut claims = told.view.claims.clone();
        if told.is_fresh {
            before.take_out(&mut claims);
        }
        let now = Own::of(context.service);
        if told.is_fresh {
            now.take_out(&mut claims);
        }
        now.put_in(&mut claims);
        claims.retain(|claim| query.matches(claim));
        Ok(FleetClaimsDocument {
            claims,
            fresh: told.is_fresh,
            age_ms: millis(told.age),
            more: told.view.more,
        })
    }
}
