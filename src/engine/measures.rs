//! What the engine tells its metrics: outcomes as they happen, and what is true when it is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::grant::Allocated;
use super::refusal::Refusal;
use super::service::Service;
use crate::domain::health::{Check, Condition};
use crate::domain::lease::Lease;
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::port::PortSet;
use crate::domain::request::Request;
use crate::host::kernel;
use crate::telemetry::metrics::{Exposition, Now, PortserverMetrics};

/// What is counted where a request names no pool that exists.
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

impl Service {
    /// The order in which a request's ports are tried, as a word.
    pub(super) fn strategy(&self, request: &Request) -> &'static str {
        if request.port.is_some() {
            return "explicit";
        }
        let settings = self.settings();
        let pool = request.pool.as_deref().unwrap_or(DEFAULT_POOL);
        let of_pool = settings.pools.get(pool).map(|pool| pool.strategy);
        let strategy = request.strategy.or(of_pool);
        strategy.map_or(NO_STRATEGY, crate::domain::pool::Strategy::as_str)
    }

    /// Counts an answer with an error of this code.
    pub fn note_rejection(&self, code: &'static str) {
        self.journal.rejected(code);
    }

    /// Returns the counters of a port server.
    pub fn portserver_metrics(&self) -> PortserverMetrics {
        self.journal.portserver_metrics()
    }

    /// Notes that somebody waits for the kernel's news of interfaces.
    pub fn note_watching(&self) {
        self.watching.store(true, Ordering::Relaxed);
    }

    /// Everything that is counted and measured, with what is true just now.
    pub async fn metrics(&self, exposition: Exposition) -> String {
        let checks = self.health().await;
        self.journal.metrics_text(self.now(&checks), exposition)
    }

    fn now(&self, checks: &[Check]) -> Now {
        let leases = self.leases();
        let last_look = self.learning.last_snapshot_at();
        Now {
            leases: by_state(&leases),
            ports: by_interface(&leases),
            pools: self.by_pool(&leases),
            queue_depth: self.store.queue_depth() as u64,
            database_bytes: self.store.size_bytes(),
            held_descriptors: self.held_descriptors() as u64,
            descriptor_budget: self.descriptor_budget() as u64,
            open_descriptors: kernel::open_descriptors().unwrap_or(0) as u64,
            snapshot_at: last_look.map(|at| at.as_duration().as_secs_f64()),
            checks: checks.iter().map(measured).collect(),
        }
    }

    fn by_pool(&self, leases: &[Arc<Lease>]) -> Vec<(String, &'static str, u64)> {
        let settings = self.settings();
        let exclusions = self.exclusions();
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
}

fn measured(check: &Check) -> (&'static str, i64) {
    let state = match check.condition {
        Condition::Ok => 0,
        Condition::Warn => 1,
        Condition::Fail => 2,
    };
    (check.name, state)
}

/// How many ports of a pool's ranges are leased, excluded and left.
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
