//! Measurements of the record's writer.

use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::count;

/// Measurements of the record's writer: atomics, shared between clones.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    commit: Histogram,
    batch: Histogram,
    wait: Histogram,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            commit: Histogram::new(exponential_buckets(0.000_1, 2.0, 15)),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            wait: Histogram::new(exponential_buckets(0.000_05, 2.0, 15)),
        }
    }
}

impl StoreMetrics {
    /// Counts one commit, and the requests that it carried.
    pub fn committed(&self, took: Duration, batch_size: usize) {
        self.commit.observe(took.as_secs_f64());
        self.batch.observe(count(batch_size));
    }

    /// Notes the time for which one request waited for its commit to begin.
    pub fn waited(&self, wait: Duration) {
        self.wait.observe(wait.as_secs_f64());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "How long commits took";
        let commit = self.commit.clone();
        registry.register_with_unit("store_commit_duration", help, Unit::Seconds, commit);
        let help = "Requests that one commit carried";
        registry.register("store_batch_requests", help, self.batch.clone());
        let help = "How long requests waited until their commit began";
        let wait = self.wait.clone();
        registry.register_with_unit("store_queue_wait", help, Unit::Seconds, wait);
    }
}
