//! Metrics of the engine: outcomes, and current values at each scrape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Pool;
use crate::domain::everywhere::Stand;
use crate::domain::explanation::EXPLICIT;
use crate::domain::health::{Check, Condition};
use crate::domain::lease::Lease;
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::port::PortSet;
use crate::domain::request::Request;
use crate::engine::{allocated::Allocated, engine::Engine, health, refusal::Refusal};
use crate::host::kernel;
use crate::telemetry::metrics::{Exposition, Fleet, Now};

/// Label of a request whose pool does not exist.
const NO_STRATEGY: &str = "none";

/// The word that an answer is counted under.
pub(super) fn outcome(answer: &Result<Allocated, Refusal>) -> &'static str {
    match answer {
        Ok(done) if done.dry => "dry_run",
        Ok(done) if done.created => "granted",
        // A name that lived already.
        Ok(_) => "again",
        Err(refusal) => refusal.code(),
    }
}

/// The order in which a request's ports are tried, as a word.
pub(super) fn strategy(engine: &Arc<Engine>, request: &Request) -> &'static str {
    if request.port.is_some() {
        return EXPLICIT;
    }
    let settings = engine.settings();
    let pool = request.pool.as_deref().unwrap_or(DEFAULT_POOL);
    let of_pool = settings.pools.get(pool).map(|pool| pool.strategy);
    let strategy = request.strategy.or(of_pool);
    strategy.map_or(NO_STRATEGY, crate::domain::pool::Strategy::as_str)
}

/// Everything that is counted and measured, with what is true just now.
pub(super) async fn metrics(engine: &Arc<Engine>, exposition: Exposition) -> String {
    let checks = health::health(engine).await;
    engine
        .journal
        .metrics_text(now(engine, &checks), exposition)
}

fn now(engine: &Arc<Engine>, checks: &[Check]) -> Now {
    let leases = engine.leases.all();
    let last_look = engine.learning.last_snapshot_at();
    Now {
        leases: by_state(&leases),
        ports: by_interface(&leases),
        pools: by_pool(engine, &leases),
        queue_depth: engine.store.queue_depth() as u64,
        database_bytes: engine.store.size_bytes(),
        held_descriptors: engine.leases.descriptor_count() as u64,
        descriptor_budget: engine.descriptor_budget() as u64,
        open_descriptors: kernel::open_descriptors().unwrap_or(0) as u64,
        snapshot_at: last_look.map(|at| at.as_duration().as_secs_f64()),
        checks: checks.iter().map(measured).collect(),
        fleet: fleet(engine),
    }
}

fn fleet(engine: &Arc<Engine>) -> Option<Fleet> {
    let status = engine.fleet.status();
    status.host.as_ref()?;
    let age = |at_ms| {
        engine
            .clock
            .boot()
            .0
            .saturating_sub(Duration::from_millis(at_ms))
    };
    let commits = status.commits;
    let fence = engine.fleet.fence_summary(engine.clock.boot());
    let lives = |id| engine.leases.get(id).is_some();
    let claims = engine.fleet.claims().counts(lives);
    let kept = engine.fleet.kept();
    let busy = kept.values().filter(|kept| kept.busy.is_some()).count();
    Some(Fleet {
        state: status.state.as_str(),
        renewal_age: status.renewed_boot_ms.map(|at_ms| age(at_ms).as_secs_f64()),
        fence: fence
            .first_end
            .map(|end| end.since(engine.clock.boot()).as_secs_f64()),
        fence_shut: fence.shut as u64,
        names: [
            ("published", status.published as u64),
            ("pending", status.pending as u64),
        ],
        commits: [
            ("done", commits.done),
            ("refused", commits.refused),
            ("denied", commits.denied),
            ("failed", commits.failed),
        ],
        claims: [
            ("held", claims.held),
            ("asked", claims.asked),
            ("releasing", claims.releasing),
            ("lost", claims.lost),
        ],
        everywhere: [
            (Stand::Held.as_str(), (kept.len() - busy) as u64),
            (Stand::Busy.as_str(), busy as u64),
        ],
    })
}

fn by_pool(engine: &Arc<Engine>, leases: &[Arc<Lease>]) -> Vec<(String, &'static str, u64)> {
    let settings = engine.settings();
    let exclusions = &engine.rules.now().exclusions;
    let pools = settings.pools.values();
    pools
        .flat_map(|pool| {
            let by_hand = exclusions.ports(pool.protocol.each());
            let [taken, excluded, free] = shares(pool, &by_hand, leases);
            let name = || pool.name.to_string();
            [
                (name(), "leased", taken),
                (name(), "excluded", excluded),
                (name(), "free", free),
            ]
        })
        .collect()
}

fn measured(check: &Check) -> (&'static str, i64) {
    let state = match check.condition {
        Condition::Ok => 0,
        Condition::Warn => 1,
        Condition::Fail => 2,
    };
    (check.name, state)
}

/// Returns the numbers of a pool's ports that are leased, excluded and free.
fn shares(pool: &Pool, by_hand: &PortSet, leases: &[Arc<Lease>]) -> [u64; 3] {
    let in_pool = |lease: &&Arc<Lease>| lease.pool == pool.name && pool.ranges.contains(lease.port);
    let mut ports: Vec<_> = leases.iter().filter(in_pool).map(|l| l.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let taken = ports.len() as u64;
    let excluded = pool.ranges.intersection(&pool.exclude.union(by_hand));
    let excluded = excluded.len() as u64;
    let free = (pool.ranges.len() as u64).saturating_sub(taken + excluded);
    [taken, excluded, free]
}

fn by_state(leases: &[Arc<Lease>]) -> Vec<(&'static str, u64)> {
    let mut states: BTreeMap<&'static str, u64> = BTreeMap::new();
    for lease in leases {
        *states.entry(lease.state.as_str()).or_default() += 1;
    }
    states.into_iter().collect()
}

/// A port that is leased on several addresses of an interface counts once there.
fn by_interface(leases: &[Arc<Lease>]) -> Vec<(String, &'static str, u64)> {
    let mut ports: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
    for lease in leases {
        let addresses = lease.addresses.addresses().iter();
        let mut interfaces: Vec<&str> = addresses.map(|address| &*address.interface).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        for interface in interfaces {
            *ports.entry((interface, lease.state.as_str())).or_default() += 1;
        }
    }
    let ports = ports.into_iter();
    ports
        .map(|((interface, state), count)| (interface.to_owned(), state, count))
        .collect()
}
