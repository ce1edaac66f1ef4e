//! Metrics of the port server; its statistics are these numbers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::whole;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Counters of the port server since the service's start: atomics, shared between clones.
#[derive(Debug, Clone)]
pub struct PortserverMetrics {
    /// Granted ports.
    pub granted: Counter,
    /// Refused requests.
    pub denied: Counter,
    /// Messages that are no request.
    pub malformed: Counter,
    checked: Gauge,
    requests: Family<Outcome, Counter>,
}

impl Default for PortserverMetrics {
    fn default() -> Self {
        let requests: Family<Outcome, Counter> = Family::default();
        // Present from the start, so that a rate over them exists when the first is counted.
        let counter = |outcome| requests.get_or_create_owned(&Outcome { outcome });
        Self {
            granted: counter("granted"),
            denied: counter("denied"),
            malformed: counter("malformed"),
            checked: Gauge::default(),
            requests,
        }
    }
}

impl PortserverMetrics {
    /// Notes the number of ports that the last request checked.
    pub fn checked(&self, ports: usize) {
        self.checked.set(whole(ports as u64));
    }

    /// Number of ports that the last request checked.
    pub fn last_checked(&self) -> i64 {
        self.checked.get()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Requests to the port server, by outcome";
        registry.register("portserver_requests", help, self.requests.clone());
        let help = "Ports that the last request to the port server looked at";
        registry.register("portserver_last_checked_ports", help, self.checked.clone());
    }
}
