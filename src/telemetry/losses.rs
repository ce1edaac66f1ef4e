//! Counters of spans that arrived at the collector, of those that were lost, and of lost log lines.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Reasons for lost spans: the collector takes them too slowly, it did not take them, it rejected
/// them, or they were not made because it has not taken earlier ones.
pub(super) const REASONS: [&str; 4] = [QUEUE_FULL, EXPORT_FAILED, REJECTED, PAUSED];
pub(super) const QUEUE_FULL: &str = "queue_full";
pub(super) const EXPORT_FAILED: &str = "export_failed";
pub(super) const REJECTED: &str = "rejected";
pub(super) const PAUSED: &str = "paused";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Lost {
    pub(super) reason: &'static str,
}

/// Number of spans that reached the collector. One for the process, as its exporter is.
pub(super) static EXPORTED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Number of lost spans, by reason.
pub(super) static DROPPED: LazyLock<Family<Lost, Counter>> = LazyLock::new(Family::default);

/// Number of log lines that stderr did not take. One for the process, as its stderr is.
pub(super) static LOG_LINES: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Counts lost spans.
pub(super) fn lose(reason: &'static str, span_count: u64) {
    DROPPED.get_or_create(&Lost { reason }).inc_by(span_count);
}
