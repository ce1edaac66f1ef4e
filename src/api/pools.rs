//! `/api/v1/pools`: the pools with their rules.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use schemars::JsonSchema;
use serde::Serialize;

use super::AppState;
use super::document::PoolDocument;
use super::paging::Whole;
use crate::config::Pool;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::Lease;

/// Every pool.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PoolList")]
pub(super) struct List {
    /// By name.
    pools: Vec<PoolDocument>,
}

/// Lists pools.
pub async fn list(face: Data<AppState>, _: Query<Whole>) -> HttpResponse {
    let leases = face.service.leases();
    let settings = face.service.settings();
    let pools = settings.pools.values();
    let pools = pools
        .map(|pool| document(pool, leases.iter().map(AsRef::as_ref)))
        .collect();
    HttpResponse::Ok().json(List { pools })
}

/// A pool, and how many of `leases` are of it.
pub fn document<'a>(pool: &Pool, leases: impl Iterator<Item = &'a Lease>) -> PoolDocument {
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
