//! The pools with their rules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::PoolDocument;
use super::operation::{Answered, Context, Description, Method, Operation, Output, Query, Tag};
use super::paging::WholeQuery;
use super::problem::Problem;
use crate::config::Pool;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::Lease;

/// Every pool.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct PoolList {
    /// By name.
    pub pools: Vec<PoolDocument>,
}

impl Output for PoolList {}

pub struct ListPools;

impl Operation for ListPools {
    type Input = Query<WholeQuery>;
    type Output = PoolList;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/pools";
    const ID: &'static str = "listPools";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "List pools")
            .says("All of them, with their rules and the number of their ports that are leased.")
            .answers::<PoolList>(200, "The pools.", include_str!("example/pools.json"))
    }
}

impl Answered for ListPools {
    async fn answer(context: Context<'_>, _: Query<WholeQuery>) -> Result<PoolList, Problem> {
        let leases = context.service.leases();
        let settings = context.service.settings();
        let pools = settings.pools.values();
        let pools = pools.map(|pool| document(pool, leases.iter().map(AsRef::as_ref)));
        Ok(PoolList {
            pools: pools.collect(),
        })
    }
}

/// The document of a pool, with the number of `leases` that belong to it.
fn document<'a>(pool: &Pool, leases: impl Iterator<Item = &'a Lease>) -> PoolDocument {
    PoolDocument {
        name: pool.name.to_string(),
        ranges: pool.ranges.to_string(),
        exclude: pool.exclude.to_string(),
        static_band: pool.static_band.to_string(),
        browser_safe: pool.browser_safe,
        ports: pool.ranges.len(),
        leased: leases.filter(|lease| lease.pool == pool.name).count(),
        prefer: pool.prefer,
        prefer_span: pool.prefer_span,
        strategy: pool.strategy,
        max_attempts: pool.max_attempts,
        protocol: pool.protocol,
        interfaces: pool.interfaces.clone(),
        handover: pool.handover,
        claim_within: HumanDuration(pool.claim_within),
        gone_after: HumanDuration(pool.gone_after),
        names_idle: HumanDuration(pool.names_idle),
        ttl: pool.ttl.map(HumanDuration),
        max_ttl: pool.max_ttl.map(HumanDuration),
        max_leases: pool.max_leases,
        max_leases_per_user: pool.max_leases_per_user,
        attempt_timeout: HumanDuration(pool.attempt_timeout),
        cool_down: HumanDuration(pool.cool_down),
        release_cool_down: HumanDuration(pool.release_cool_down),
    }
}
