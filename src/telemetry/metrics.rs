//! Counters and measurements, in the format of Prometheus.
//!
//! Names have the prefix `portbook_`, base units, and `_total` on counters
//! (<https://prometheus.io/docs/practices/naming/>). Labels are words of portbook, pools of the
//! configuration, and interfaces of the host up to [`MOST_INTERFACES`]. Ports, names and processes
//! are never labels, since their number has no limit.

mod now;
mod portserver;
mod store;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use self::now::Gauges;
use super::losses;
pub use now::{Fleet, Now};
pub use portserver::PortserverMetrics;
pub use store::StoreMetrics;

/// Media type of [`Exposition::Text`], as Prometheus asks for it.
pub const TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Media type of [`Exposition::OpenMetrics`]
/// (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
pub const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Maximum number of interfaces with a label of their own; containers come and go, and later ones
/// are counted under `other`.
pub const MOST_INTERFACES: usize = 32;

/// Formats of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    Text,
    OpenMetrics,
}

/// Outcome of an allocation, and the order in which its ports were tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AllocationLabels {
    outcome: &'static str,
    strategy: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    result: &'static str,
    interface: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// All counters and measurements. Those on the path of an allocation are atomics.
pub struct Metrics {
    registry: Registry,
    allocations: Family<AllocationLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    /// Interfaces that have labels.
    interfaces: Mutex<BTreeSet<String>>,
    attempts_each: Histogram,
    duration: Histogram,
    ends: Family<Reason, Counter>,
    lifetimes: Family<Reason, Histogram>,
    late_conflicts: Counter,
    repairs: Family<Kind, Counter>,
    rejected: Family<Reason, Counter>,
    snapshot: Histogram,
    fleet_commits: Family<Outcome, Histogram>,
    portserver: PortserverMetrics,
    /// Locked while a scrape is answered, so that two do not mix.
    gauges: Mutex<Gauges>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn lifetimes() -> Histogram {
    // A second to eleven days.
    Histogram::new(exponential_buckets(1.0, 4.0, 11))
}

fn fleet_commits() -> Histogram {
    // Half a millisecond to four seconds.
    Histogram::new(exponential_buckets(0.000_5, 2.0, 14))
}

impl Metrics {
    /// Starts all metrics at zero, beside those of the record's writer.
    pub fn new(store: &StoreMetrics) -> Self {
        let (mut registry, gauges) = (Registry::with_prefix("portbook"), Gauges::default());
        store.register(&mut registry);
        gauges.register(&mut registry);
        let mut metrics = Self {
            registry,
            allocations: Family::default(),
            attempts: Family::default(),
            interfaces: Mutex::default(),
            attempts_each: Histogram::new([0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 16.0, 64.0, 256.0]),
            duration: Histogram::new(exponential_buckets(0.000_1, 2.0, 17)),
            ends: Family::default(),
            lifetimes: Family::new_with_constructor(lifetimes),
            late_conflicts: Counter::default(),
            repairs: Family::default(),
            rejected: Family::default(),
            snapshot: Histogram::new(exponential_buckets(0.000_5, 2.0, 12)),
            fleet_commits: Family::new_with_constructor(fleet_commits),
            portserver: PortserverMetrics::default(),
            gauges: Mutex::new(gauges),
        };
        metrics.register_counts();
        metrics.register_process();
        metrics.portserver.register(&mut metrics.registry);
        metrics
    }

    fn add(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.registry.register(name, help, metric);
    }

    fn add_unit(&mut self, name: &str, help: &str, unit: Unit, metric: impl Metric) {
        self.registry.register_with_unit(name, help, unit, metric);
    }

    fn register_counts(&mut self) {
        let help = "Requests for ports by outcome (granted, or the code of the refusal)";
        self.add("allocations", help, self.allocations.clone());
        let help = "Tries to bind one address and port, by result and interface";
        self.add("attempts", help, self.attempts.clone());
        let help = "Candidate ports tried for one request";
        self.add("allocation_attempts", help, self.attempts_each.clone());
        let help = "From a request for ports to its answer, its turn and its commit included";
        let duration = self.duration.clone();
        self.add_unit("allocation_duration", help, Unit::Seconds, duration);
        let help = "Leases that ended, by reason";
        self.add("leases_ended", help, self.ends.clone());
        let help = "How long leases lasted, by the reason of their end";
        let lifetimes = self.lifetimes.clone();
        self.add_unit("lease_lifetime", help, Unit::Seconds, lifetimes);
        let help = "Outsiders found on a leased port";
        self.add("late_conflicts", help, self.late_conflicts.clone());
        let help = "What the repair loop mended, by kind";
        self.add("repairs", help, self.repairs.clone());
        let help = "Requests answered with an error, by its code";
        self.add("rejected_requests", help, self.rejected.clone());
        let help = "How long a look at the socket tables took";
        let snapshot = self.snapshot.clone();
        self.add_unit("snapshot_duration", help, Unit::Seconds, snapshot);
        let help = "How long commits to the fleet took, by outcome";
        let commits = self.fleet_commits.clone();
        self.add_unit("fleet_commit_duration", help, Unit::Seconds, commits);
    }

    fn register_process(&mut self) {
        let help = "Log lines that stderr did not take";
        self.add("log_lines_dropped", help, losses::LOG_LINES.clone());
        let help = "Spans that reached the collector";
        self.add("spans_exported", help, losses::EXPORTED.clone());
        let help = "Spans that were lost, by reason";
        let dropped = losses::DROPPED.clone();
        for reason in losses::REASONS {
            // Present from the start, so that a rate over them exists when the first is lost.
            drop(dropped.get_or_create(&losses::Lost { reason }));
        }
        self.add("spans_dropped", help, dropped);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        self.add("build", "The program that runs", version);
    }

    /// Counts an answered request for ports: `granted`, or the code of the refusal.
    pub fn allocated(&self, outcome: &'static str, strategy: &'static str, took: Duration) {
        let labels = AllocationLabels { outcome, strategy };
        self.allocations.get_or_create(&labels).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a commit to the fleet, by the word of its outcome.
    #[cfg(feature = "fleet")]
    pub fn fleet_committed(&self, outcome: &'static str, took: Duration) {
        let commits = self.fleet_commits.get_or_create_owned(&Outcome { outcome });
        commits.observe(took.as_secs_f64());
    }

    /// Counts the candidate ports that one request tried.
    pub fn tried(&self, candidates: usize) {
        self.attempts_each.observe(count(candidates));
    }

    /// Counts one attempt to bind, by the word of its outcome.
    pub fn attempted(&self, result: &'static str, interface: &str) {
        let labels = |interface: &str| AttemptLabels {
            result,
            interface: interface.to_owned(),
        };
        let own = labels(interface);
        if let Some(counter) = self.attempts.get(&own) {
            counter.inc();
            return;
        }
        let own = if self.is_known(interface) {
            own
        } else {
            labels("other")
        };
        self.attempts.get_or_create(&own).inc();
    }

    /// Whether an interface has labels of its own; it gets them while there is room.
    fn is_known(&self, interface: &str) -> bool {
        let known = self.interfaces.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let room = known.len() < MOST_INTERFACES;
        known.contains(interface) || (room && known.insert(interface.to_owned()))
    }

    /// Counts a lease that ended, by the word of its end state and its lifetime.
    pub fn ended(&self, reason: &'static str, lifetime: Duration) {
        let labels = Reason { reason };
        self.ends.get_or_create(&labels).inc();
        let lifetimes = self.lifetimes.get_or_create(&labels);
        lifetimes.observe(lifetime.as_secs_f64());
    }

    /// Counts an outsider on a leased port.
    pub fn late_conflict(&self) {
        self.late_conflicts.inc();
    }

    /// Counts a repair of this kind.
    pub fn repaired(&self, kind: &'static str) {
        self.repairs.get_or_create(&Kind { kind }).inc();
    }

    /// Counts an answered error of this code.
    pub fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&Reason { reason }).inc();
    }

    /// Counts one snapshot of the socket tables.
    pub fn looked(&self, took: Duration) {
        self.snapshot.observe(took.as_secs_f64());
    }

    /// Metrics of the port server.
    pub fn portserver(&self) -> PortserverMetrics {
        self.portserver.clone()
    }

    /// Writes all metrics as text; `now` gives the values of this moment.
    pub fn text(&self, now: Now, exposition: Exposition) -> String {
        let gauges = self.gauges();
        gauges.set(now);
        let mut out = String::new();
        let written = match exposition {
            Exposition::Text => prometheus_text::encode(&mut out, &self.registry),
            Exposition::OpenMetrics => text::encode(&mut out, &self.registry),
        };
        if let Err(error) = written {
            // Writing to a String cannot fail; only an invalid label could.
            tracing::error!(%error, "could not write the metrics; the answer is cut short");
        }
        out
    }

    fn gauges(&self) -> std::sync::MutexGuard<'_, Gauges> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of one request are far below 2^52"
)]
const fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics, exposition: Exposition) -> String {
        metrics.text(Now::default(), exposition)
    }

    #[test]
    fn names_have_prefix_unit_and_total() {
        let metrics = Metrics::new(&StoreMetrics::default());
        metrics.allocated("granted", "learned", Duration::from_millis(2));
        metrics.ended("released", Duration::from_secs(3));
        let plain = text(&metrics, Exposition::Text);
        for line in [
            "# TYPE portbook_allocations_total counter",
            "portbook_allocations_total{outcome=\"granted\",strategy=\"learned\"} 1",
            "portbook_allocation_duration_seconds_count 1",
            "portbook_lease_lifetime_seconds_sum{reason=\"released\"} 3",
        ] {
            assert!(plain.contains(line), "{line}\n{plain}");
        }
        let open = text(&metrics, Exposition::OpenMetrics);
        assert!(open.ends_with("# EOF\n") && !plain.contains("# EOF"));
        let others = plain.lines().filter(|line| !line.starts_with('#'));
        assert!(others.clone().count() > 20);
        assert!(others.into_iter().all(|line| line.starts_with("portbook_")));
    }

    #[test]
    fn labels_of_interfaces_are_limited() {
        let metrics = Metrics::new(&StoreMetrics::default());
        for number in 0..1000 {
            metrics.attempted("bound", &format!("veth{number}"));
        }
        let text = text(&metrics, Exposition::Text);
        let lines = text.lines();
        let labels = lines.filter(|line| line.starts_with("portbook_attempts_total{"));
        assert_eq!(labels.count(), MOST_INTERFACES + 1);
        assert!(text.contains("{result=\"bound\",interface=\"other\"} 968"));
    }

    #[test]
    fn values_that_are_gone_leave_the_next_scrape() {
        let metrics = Metrics::new(&StoreMetrics::default());
        let now = Now {
            leases: vec![("active", 2)],
            ..Now::default()
        };
        let first = metrics.text(now, Exposition::Text);
        assert!(first.contains("portbook_leases{state=\"active\"} 2"));
        assert!(!text(&metrics, Exposition::Text).contains("state=\"active\""));
    }
}
