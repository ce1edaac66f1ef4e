//! Spans that a collector rejects in an answer that accepts the rest of a batch (partial success in
//! OTLP). The SDK's exporter tells its caller of success and only logs the number, so it is read from
//! that event.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// End of the names of the SDK's events about a partial success: `HttpTraceClient.PartialSuccess` and
/// `TonicTracesClient.PartialSuccess` in opentelemetry-otlp 0.33.
const EVENT: &str = "PartialSuccess";

/// Number of spans that the collector rejected since the last call of [`take`]. One for the process,
/// as its exporter is.
static REJECTED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of rejected spans since the last call.
pub(super) fn take() -> u64 {
    REJECTED.swap(0, Ordering::Relaxed)
}

/// Makes the layer that counts rejected spans.
pub(super) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    Rejections.with_filter(filter_fn(tells_of_rejected_spans))
}

fn tells_of_rejected_spans(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.name().ends_with(EVENT)
}

struct Rejections;

impl<S: Subscriber> Layer<S> for Rejections {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Counting);
    }
}

/// Reads the number from the fields of an event.
struct Counting;

impl Visit for Counting {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "rejected_spans" {
            let spans = u64::try_from(value).unwrap_or(0);
            REJECTED.fetch_add(spans, Ordering::Relaxed);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
