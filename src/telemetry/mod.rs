//! Logs to stderr, metrics for Prometheus and, if a collector is configured, spans over OTLP.
//!
//! It is set up before the runtime starts and shut down after that has ended, since the exporter's
//! client blocks, on a thread of its own.
//!
//! Logs and spans never mix. Every span has the target [`SPAN_TARGET`]; the log layer leaves that
//! target out, and the OTLP layer takes nothing else. So without a collector no layer wants a span,
//! tracing remembers that at the call site, and a span costs one load and one compare.

mod admission;
mod environment;
#[cfg(feature = "grpc")]
mod grpc;
mod line;
mod log;
mod losses;
pub mod metrics;
pub mod propagation;
mod rejected;
mod report;
mod resource;
pub mod span;
pub mod stderr;
mod stopwatch;
#[cfg(test)]
mod testing;
mod trace;
mod uplink;
mod variables;

use std::time::Duration;

use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Dispatch;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use uuid::Uuid;

pub use environment::{Endpoint, Environment};
pub use log::LogFormat;
pub use stopwatch::Stopwatch;

/// Target of every span of portbook.
pub const SPAN_TARGET: &str = "portbook::span";

/// Limit on the wait of a program that ends for its last spans. With all else that a service does
/// at its end, it is gone within two seconds even if its collector hangs.
pub const FLUSH_TIMEOUT: Duration = Duration::from_millis(1400);

/// Options of logs and spans.
#[derive(Debug, Clone)]
pub struct Options {
    /// Base URL of the collector, such as `http://127.0.0.1:4318`; `/v1/traces` is appended. If
    /// `None`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` (used unchanged) or
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` gives it. Without any of them no span is made.
    pub endpoint: Option<String>,
    /// Name of the service in traces. If `None`, that of `OTEL_SERVICE_NAME` or
    /// `OTEL_RESOURCE_ATTRIBUTES`, else `portbook`.
    pub service_name: Option<String>,
    /// Id of this process among those of one service. If `None`, a random one.
    pub instance_id: Option<Uuid>,
    /// Share of new traces that are recorded, 0 to 1. The decision of a caller's `traceparent` is
    /// kept, and `OTEL_TRACES_SAMPLER` overrides both.
    pub sample_ratio: f64,
    /// Logs to write: a level, or directives such as `info,portbook=debug`.
    pub log: String,
    /// Format of log lines.
    pub log_format: LogFormat,
    /// The standard variables (`OTEL_*`, `NO_COLOR`) that portbook reads.
    ///
    /// The OpenTelemetry SDK reads further ones (headers, time limits, batch sizes, the sampler)
    /// from the process's own environment.
    pub environment: Environment,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            service_name: None,
            instance_id: None,
            sample_ratio: 1.0,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            environment: Environment::default(),
        }
    }
}

/// A reason for telemetry not to start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "log filter \"{filter}\" is not valid: write a level, or such as \"info,portbook=debug\""
    )]
    LogFilter { filter: String, source: ParseError },
    /// The collector's address of the configuration is no `http://` URL.
    #[error(
        "OTLP endpoint \"{0}\" is not an http:// URL: write such as \"http://127.0.0.1:4318\", \
         and let a collector on this host forward by TLS"
    )]
    Endpoint(String),
    /// The collector's address of a standard variable is no `http://` URL.
    #[error(
        "OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is \"{0}\", and that is \
         not an http:// URL: write such as \"http://127.0.0.1:4318\", and let a collector on this \
         host forward by TLS"
    )]
    EndpointVariable(String),
    /// gRPC was asked for, and this build has none.
    #[cfg(not(feature = "grpc"))]
    #[error(
        "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not built in: build portbook with --features grpc, or \
         set it to http/protobuf and the endpoint to the collector's HTTP port (4318)"
    )]
    NoGrpc,
    /// The runtime of the gRPC client cannot be made.
    #[cfg(feature = "grpc")]
    #[error("no runtime for OTLP over gRPC")]
    Runtime(#[source] std::io::Error),
    #[error("sample ratio {0} is not between 0 and 1: 0.1 records every tenth trace")]
    SampleRatio(f64),
    /// The exporter refuses its configuration, usually that of an `OTEL_EXPORTER_*` variable.
    #[error("spans cannot be exported to \"{endpoint}\": check the OTEL_EXPORTER_OTLP_* variables")]
    Exporter {
        endpoint: String,
        source: ExporterBuildError,
    },
    #[error("telemetry has been started already: start it once, at the top of the program")]
    AlreadyStarted(#[from] TryInitError),
}

impl TelemetryError {
    /// Whether a variable is wrong that is set for all programs alike. That must not keep portbook
    /// from granting ports.
    pub const fn is_of_environment(&self) -> bool {
        match self {
            Self::EndpointVariable(_) => true,
            #[cfg(not(feature = "grpc"))]
            Self::NoGrpc => true,
            _ => false,
        }
    }
}

/// Running telemetry, to be shut down when everything else has ended.
#[derive(Debug)]
#[must_use = "the last spans are lost unless it is shut down"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    fault: Option<TelemetryError>,
}

impl Telemetry {
    /// Reason for exporting nothing although the environment names a collector.
    pub const fn fault(&self) -> Option<&TelemetryError> {
        self.fault.as_ref()
    }

    #[cfg(test)]
    const fn is_exporting(&self) -> bool {
        self.provider.is_some()
    }

    /// Exports the last spans and ends the exporter's thread, within `limit` ([`FLUSH_TIMEOUT`]).
    /// Then writes the last log lines, if stderr takes them at once.
    ///
    /// It blocks, so call it outside the runtime, after that has ended. A failure is logged, not
    /// returned: the exit status must not depend on a collector.
    pub fn shutdown(self, limit: Duration) {
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown_with_timeout(limit)
        {
            tracing::warn!(%error, "could not export the last spans; they are lost");
        }
        stderr::flush();
    }
}

/// Starts telemetry for the whole process.
///
/// Call it once, before a runtime is entered: the exporter's blocking client must be neither built
/// nor dropped on a thread that runs futures.
pub fn start(options: &Options) -> Result<Telemetry, TelemetryError> {
    let (dispatch, telemetry) = build(options)?;
    dispatch.try_init()?;
    stderr::print_crashes();
    propagation::choose(options);
    for complaint in variables::complaints(&options.environment) {
        tracing::warn!("{complaint}");
    }
    if let Some(fault) = telemetry.fault() {
        tracing::warn!("no traces: {fault}");
    }
    Ok(telemetry)
}

/// Whether a collector is configured, so that [`start`] would make and export spans.
pub fn is_wanted(options: &Options) -> bool {
    trace::is_wanted(options)
}

/// Builds the parts that [`start`] installs, without installing them, so that a test can use them
/// for one thread.
pub fn build(options: &Options) -> Result<(Dispatch, Telemetry), TelemetryError> {
    let logs_alone = Dispatch::new(log_subscriber(options)?);
    // The SDK logs invalid OTEL_* variables while it is built.
    let provider = tracing::dispatcher::with_default(&logs_alone, || trace::provider(options));
    let (exporting, fault) = match provider {
        Ok(exporting) => (exporting, None),
        Err(error) if error.is_of_environment() => (None, Some(error)),
        Err(error) => return Err(error),
    };
    let (dispatch, provider) = match exporting {
        Some((provider, uplink)) => {
            let layer = trace::layer(&provider, uplink);
            let subscriber = log_subscriber(options)?.with(layer).with(rejected::layer());
            (Dispatch::new(subscriber), Some(provider))
        }
        None => (logs_alone, None),
    };
    Ok((dispatch, Telemetry { provider, fault }))
}

fn log_subscriber(options: &Options) -> Result<log::Subscriber, TelemetryError> {
    let layer = log::layer(options, || stderr::LogLine)?;
    Ok(tracing_subscriber::registry().with(layer))
}

#[cfg(test)]
mod tests {
    use super::testing::{Receiver, exporting_to};
    use super::*;

    /// Asks the dispatchers: with several in one process, as in tests, the call site remembers the
    /// wishes of all of them together.
    #[test]
    fn without_an_endpoint_spans_are_off_at_their_call_site() {
        let receiver = Receiver::start();
        let (on, exporting) = build(&exporting_to(&receiver)).unwrap();
        let (off, silent) = build(&Options::default()).unwrap();
        assert!(exporting.is_exporting() && !silent.is_exporting());

        let span = tracing::dispatcher::with_default(&on, || span::allocate("default"));
        assert!(!span.is_disabled());
        let metadata = span.metadata().unwrap();
        assert!(off.register_callsite(metadata).is_never());
        assert!(!on.register_callsite(metadata).is_never());
        drop(span);
        exporting.shutdown(FLUSH_TIMEOUT);
    }

    #[test]
    fn spans_reach_the_collector_at_shut_down() {
        let receiver = Receiver::start();
        let (dispatch, telemetry) = build(&exporting_to(&receiver)).unwrap();
        tracing::dispatcher::with_default(&dispatch, || drop(span::allocate("default")));
        telemetry.shutdown(FLUSH_TIMEOUT);

        let post = receiver.posts.recv_timeout(FLUSH_TIMEOUT).unwrap();
        assert_eq!(post.request_line, "POST /v1/traces HTTP/1.1");
        assert!(post.has("portbook") && post.has("service.instance.id"));
        assert!(post.has("allocate") && post.has("portbook.pool"));
        assert!(!post.has("code.line.number") && !post.has("thread.id"));
    }

    #[test]
    fn a_collector_that_hangs_does_not_delay_the_end() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let options = Options {
            endpoint: Some(format!("http://{}", silent.local_addr().unwrap())),
            ..Options::default()
        };
        let (dispatch, telemetry) = build(&options).unwrap();
        tracing::dispatcher::with_default(&dispatch, || drop(span::allocate("default")));
        #[expect(
            clippy::disallowed_methods,
            reason = "the wall clock is what is tested"
        )]
        let before = std::time::Instant::now();
        telemetry.shutdown(Duration::from_millis(100));
        assert!(before.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn invalid_options_are_named() {
        let error = |options: Options| build(&options).unwrap_err().to_string();
        let ratio = error(Options {
            sample_ratio: 1.5,
            ..Options::default()
        });
        assert!(ratio.starts_with("sample ratio 1.5 is not"), "{ratio}");
        let filter = error(Options {
            log: "portbook=loud".to_owned(),
            ..Options::default()
        });
        assert!(filter.contains("\"portbook=loud\""), "{filter}");
    }
}
