//! OTLP over gRPC, if it is built in. Its client has a runtime of its own, since the exporter's
//! thread has none.

use std::time::Duration;

use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as SpanExport};
use tokio::runtime::{Builder, Runtime};

use super::TelemetryError;

/// An exporter, and the runtime of its connection.
#[derive(Debug)]
pub(super) struct OnRuntime {
    exporter: SpanExporter,
    runtime: Runtime,
}

/// Makes an exporter to this endpoint. It does not connect yet.
pub(super) fn exporter(endpoint: &str, timeout: Duration) -> Result<OnRuntime, TelemetryError> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp-grpc")
        .enable_all()
        .build()
        .map_err(TelemetryError::Runtime)?;
    let entered = runtime.enter();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(timeout)
        .build()
        .map_err(|source| TelemetryError::Exporter {
            endpoint: endpoint.to_owned(),
            source,
        })?;
    drop(entered);
    Ok(OnRuntime { exporter, runtime })
}

impl SpanExport for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        // The exporter has this thread for itself.
        self.runtime.block_on(self.exporter.export(batch))
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(limit)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
