//! An exporter that logs when exports begin to fail and when they work again, once each.
//!
//! The SDK would log every failed batch, as an error, every five seconds, and leave out the address
//! of a failed connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::losses::{EXPORT_FAILED, EXPORTED, REJECTED, lose};
use super::rejected;
use super::uplink::Uplink;

/// Whether an event of the SDK, by its name, is left out since this file logs it better.
pub(super) fn replaces(name: &str) -> bool {
    let told_here = [
        "Export.Failed.",
        "BatchSpanProcessor.ExportError",
        "BatchSpanProcessor.Shutdown.Timeout",
    ];
    told_here.iter().any(|prefix| name.starts_with(prefix))
}

/// An exporter whose failures are logged when they begin and when they end.
#[derive(Debug)]
pub(super) struct Reporting<E> {
    exporter: E,
    endpoint: String,
    lost_spans: AtomicU64,
    uplink: Uplink,
}

impl<E> Reporting<E> {
    /// Wraps an exporter to this URL. The uplink is told of the spans that leave the queue, and of
    /// the results.
    pub(super) fn new(exporter: E, endpoint: &str, uplink: Uplink) -> Self {
        Self {
            exporter,
            endpoint: without_credentials(endpoint),
            lost_spans: AtomicU64::new(0),
            uplink,
        }
    }

    fn report(&self, result: &OTelSdkResult, span_count: u64) {
        let endpoint = self.endpoint.as_str();
        self.uplink.answered(result.is_ok());
        match result {
            Ok(()) => {
                let rejected = rejected::take().min(span_count);
                EXPORTED.inc_by(span_count - rejected);
                lose(REJECTED, rejected);
                let failed = self.lost_spans.swap(0, Ordering::Relaxed);
                let left_out = self.uplink.take_left_out();
                if failed > 0 {
                    let lost_spans = failed + left_out;
                    tracing::info!(endpoint, lost_spans, "spans are exported again");
                }
            }
            Err(error) => {
                lose(EXPORT_FAILED, span_count);
                if self.lost_spans.fetch_add(span_count, Ordering::Relaxed) == 0 {
                    tracing::warn!(
                        endpoint,
                        %error,
                        "could not export spans; they are lost until a collector listens there"
                    );
                }
            }
        }
    }
}

impl<E: SpanExporter> SpanExporter for Reporting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let span_count = batch.len();
        self.uplink.left(span_count);
        let result = self.exporter.export(batch).await;
        self.report(&result, span_count as u64);
        result
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(limit)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Removes the user and password that may stand before the host of a URL.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::error::OTelSdkError;
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::testing::Sink;
    use super::super::{Options, log};
    use super::*;

    #[test]
    fn a_failure_and_its_end_are_logged_once() {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = log::layer(&Options::default(), move || writer.clone()).unwrap();
        let reporting = Reporting::new(
            (),
            "http://me:secret@127.0.0.1:4318/v1/traces",
            Uplink::new(8),
        );
        let failure = Err(OTelSdkError::InternalFailure("network error".to_owned()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            reporting.report(&Ok(()), 1);
            reporting.report(&failure, 2);
            reporting.report(&failure, 3);
            assert!(!reporting.uplink.admits_trace(), "its span is lost as well");
            reporting.report(&Ok(()), 1);
        });
        let text = sink.text();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.contains("WARN") && text.contains("network error"),
            "{text}"
        );
        assert!(text.contains("lost_spans=6"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
