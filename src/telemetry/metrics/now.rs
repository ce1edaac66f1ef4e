//! Values of the moment of a scrape.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::whole;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabels {
    interface: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    check: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Values of the moment of a scrape, looked up for it and not kept up to date.
#[derive(Debug, Default)]
pub struct Now {
    pub leases: Vec<(&'static str, u64)>,
    /// Leased ports by interface and state of their leases.
    pub ports: Vec<(String, &'static str, u64)>,
    /// Ports of each pool: `leased`, `excluded` or `free` as far as the books know.
    pub pools: Vec<(String, &'static str, u64)>,
    /// Requests that wait for the record's writer.
    pub queue_depth: u64,
    /// Size of the record's files with its write-ahead log.
    pub database_bytes: u64,
    /// Descriptors kept open by holds and watches.
    pub held_descriptors: u64,
    /// Maximum of held descriptors.
    pub descriptor_budget: u64,
    /// All descriptors of the process.
    pub open_descriptors: u64,
    /// Unix time of the last snapshot, in seconds. `None` before the first.
    pub snapshot_at: Option<f64>,
    /// The checks of the service's health: 0 ok, 1 warning, 2 failed.
    pub checks: Vec<(&'static str, i64)>,
    /// The fleet. `None` if this host is in none.
    pub fleet: Option<Fleet>,
}

/// This host in its fleet.
#[derive(Debug)]
pub struct Fleet {
    pub state: &'static str,
    /// Time since the last successful renewal, in seconds. `None` before the first.
    pub renewal_age: Option<f64>,
    /// Time until the kernel shuts the first unique number, in seconds. `None` if none is open.
    pub fence: Option<f64>,
    /// Number of unique numbers that the kernel shuts now.
    pub fence_shut: u64,
    /// Leases that the engine has, and changes that are not sent yet.
    pub names: [(&'static str, u64); 2],
    /// Commits since the start, by outcome.
    pub commits: [(&'static str, u64); 4],
    /// Claims on unique numbers by state.
    pub claims: [(&'static str, u64); 4],
    /// Numbers that are reserved on every host, by what this one says of them.
    pub everywhere: [(&'static str, u64); 2],
}

#[derive(Debug, Default)]
pub(super) struct Gauges {
    leases: Family<State, Gauge>,
    ports: Family<PortLabels, Gauge>,
    pools: Family<PoolLabels, Gauge>,
    queue_depth: Gauge,
    database_bytes: Gauge,
    held_descriptors: Gauge,
    descriptor_budget: Gauge,
    open_descriptors: Gauge,
    snapshot_at: Gauge<f64, AtomicU64>,
    checks: Family<CheckLabels, Gauge>,
    fleet: FleetGauges,
}

/// The only member of a family has no label.
type NoLabels = Vec<(&'static str, &'static str)>;

/// Families, so that a host without a fleet shows none of them.
#[derive(Debug, Default)]
struct FleetGauges {
    state: Family<State, Gauge>,
    renewal_age: Family<NoLabels, Gauge<f64, AtomicU64>>,
    fence: Family<NoLabels, Gauge<f64, AtomicU64>>,
    fence_shut: Family<NoLabels, Gauge>,
    names: Family<State, Gauge>,
    commits: Family<OutcomeLabels, Counter>,
    claims: Family<State, Gauge>,
    everywhere: Family<State, Gauge>,
}

impl FleetGauges {
    fn register(&self, registry: &mut Registry) {
        let help = "The state of this host in its fleet: 1 for the current one";
        registry.register("fleet_state", help, self.state.clone());
        let (help, age) = (
            "Time since the last renewal of the session",
            self.renewal_age.clone(),
        );
        registry.register_with_unit("fleet_renewal_age", help, Unit::Seconds, age);
        let (help, fence) = (
            "Time until the kernel shuts the first unique number unless the session is renewed",
            self.fence.clone(),
        );
        registry.register_with_unit("fleet_fence", help, Unit::Seconds, fence);
        let help =
            "Unique numbers of this host that the kernel shuts, as its session was not renewed";
        registry.register("fleet_fence_shut", help, self.fence_shut.clone());
        let help = "Leases that the fleet has from this host, and changes to be sent";
        registry.register("fleet_names", help, self.names.clone());
        let help = "Commits of names to the fleet by outcome";
        registry.register("fleet_commits", help, self.commits.clone());
        let help = "Claims of this host on unique numbers of the fleet by state";
        registry.register("fleet_claims", help, self.claims.clone());
        let help = "Numbers that are reserved on every host, held or busy on this one";
        registry.register("fleet_everywhere", help, self.everywhere.clone());
    }

    fn set(&self, fleet: &Fleet) {
        self.state.clear();
        let state = fleet.state;
        self.state.get_or_create_owned(&State { state }).set(1);
        if let Some(age) = fleet.renewal_age {
            self.renewal_age
                .get_or_create_owned(&NoLabels::new())
                .set(age);
        }
        self.fence.clear();
        if let Some(left) = fleet.fence {
            self.fence.get_or_create_owned(&NoLabels::new()).set(left);
        }
        let shut = self.fence_shut.get_or_create_owned(&NoLabels::new());
        shut.set(whole(fleet.fence_shut));
        for (state, names) in fleet.names {
            let gauge = self.names.get_or_create_owned(&State { state });
            gauge.set(whole(names));
        }
        for (outcome, commits) in fleet.commits {
            let counter = self.commits.get_or_create_owned(&OutcomeLabels { outcome });
            counter.inner().store(commits, Ordering::Relaxed);
        }
        for (state, claims) in fleet.claims {
            let gauge = self.claims.get_or_create_owned(&State { state });
            gauge.set(whole(claims));
        }
        for (state, numbers) in fleet.everywhere {
            let gauge = self.everywhere.get_or_create_owned(&State { state });
            gauge.set(whole(numbers));
        }
    }
}

impl Gauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Living leases by state";
        registry.register("leases", help, self.leases.clone());
        let help = "Leased ports by interface and state of the lease";
        registry.register("ports", help, self.ports.clone());
        let help = "Ports of each pool: leased, excluded, or free as far as the books know";
        registry.register("pool_ports", help, self.pools.clone());
        let help = "Requests that wait for the writer";
        registry.register("store_queue_depth", help, self.queue_depth.clone());
        let (help, size) = ("Size of the record", self.database_bytes.clone());
        registry.register_with_unit("store_size", help, Unit::Bytes, size);
        let help = "Descriptors kept open by holds and watches";
        registry.register("held_descriptors", help, self.held_descriptors.clone());
        let help = "Descriptors that holds may keep open";
        registry.register("descriptor_budget", help, self.descriptor_budget.clone());
        let help = "Descriptors that the process has open";
        registry.register("open_descriptors", help, self.open_descriptors.clone());
        let help = "When the socket tables were looked at last";
        let snapshot_at = self.snapshot_at.clone();
        registry.register_with_unit("snapshot_timestamp", help, Unit::Seconds, snapshot_at);
        let help = "The checks of the service's health: 0 ok, 1 warning, 2 failed";
        registry.register("check_state", help, self.checks.clone());
        self.fleet.register(registry);
    }

    /// Sets the values of this moment, and removes those that are gone.
    pub(super) fn set(&self, now: Now) {
        self.leases.clear();
        for (state, leases) in now.leases {
            let gauge = self.leases.get_or_create_owned(&State { state });
            gauge.set(whole(leases));
        }
        self.ports.clear();
        for (interface, state, ports) in now.ports {
            let labels = PortLabels { interface, state };
            self.ports.get_or_create_owned(&labels).set(whole(ports));
        }
        self.pools.clear();
        for (pool, state, ports) in now.pools {
            let labels = PoolLabels { pool, state };
            self.pools.get_or_create_owned(&labels).set(whole(ports));
        }
        for (gauge, value) in [
            (&self.queue_depth, now.queue_depth),
            (&self.database_bytes, now.database_bytes),
            (&self.held_descriptors, now.held_descriptors),
            (&self.descriptor_budget, now.descriptor_budget),
            (&self.open_descriptors, now.open_descriptors),
        ] {
            gauge.set(whole(value));
        }
        self.snapshot_at.set(now.snapshot_at.unwrap_or(0.0));
        for (check, state) in now.checks {
            let gauge = self.checks.get_or_create_owned(&CheckLabels { check });
            gauge.set(state);
        }
        if let Some(fleet) = &now.fleet {
            self.fleet.set(fleet);
        }
    }
}
