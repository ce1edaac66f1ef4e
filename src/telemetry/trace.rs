//! Spans over OTLP: destination, transport, sampling, and the layer that makes them.

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, Protocol, SpanExporter, WithExportConfig,
};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT, Sampler, SdkTracerProvider, SpanExporter as SpanExport,
    SpanProcessor,
};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::DynFilterFn;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::admission::Admission;
use super::report::Reporting;
use super::uplink::Uplink;
use super::variables::positive;
use super::{Endpoint, Options, SPAN_TARGET, TelemetryError, resource, span};

const TRACES_PATH: &str = "/v1/traces";

// The SDK does not export these names and numbers (OpenTelemetry's SDK environment variables).
const BATCH_SIZE: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
const DEFAULT_BATCH_SIZE: usize = 512;
const DELAY: &str = "OTEL_BSP_SCHEDULE_DELAY";
const DEFAULT_DELAY: Duration = Duration::from_secs(5);

/// Transport of spans (`OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Http,
    Grpc,
}

/// Makes the provider of spans, and its uplink to the collector. `None` if none is configured.
pub(super) fn provider(
    options: &Options,
) -> Result<Option<(SdkTracerProvider, Uplink)>, TelemetryError> {
    let sampler = sampler(options)?;
    let transport = transport(options);
    let Some(endpoint) = endpoint(options, transport)? else {
        return Ok(None);
    };
    let room = number(options, OTEL_BSP_MAX_QUEUE_SIZE);
    let uplink = Uplink::new(room.unwrap_or(OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT));
    let builder = SdkTracerProvider::builder().with_resource(resource::of(options));
    let builder = match transport {
        Transport::Http => {
            let exporter = Reporting::new(exporter(options, &endpoint)?, &endpoint, uplink.clone());
            builder.with_span_processor(queue(options, exporter, &uplink))
        }
        #[cfg(feature = "grpc")]
        Transport::Grpc => {
            let exporter = super::grpc::exporter(&endpoint, timeout(options))?;
            let exporter = Reporting::new(exporter, &endpoint, uplink.clone());
            builder.with_span_processor(queue(options, exporter, &uplink))
        }
        #[cfg(not(feature = "grpc"))]
        Transport::Grpc => return Err(TelemetryError::NoGrpc),
    };
    let builder = match sampler {
        Some(sampler) => builder.with_sampler(sampler),
        None => builder,
    };
    Ok(Some((builder.build(), uplink)))
}

/// Whether a collector is configured, so that spans are worth making.
pub(super) fn is_wanted(options: &Options) -> bool {
    !matches!(endpoint(options, Transport::Http), Ok(None))
}

/// Makes a queue of batches that counts the spans that it does not admit.
fn queue<E>(options: &Options, exporter: E, uplink: &Uplink) -> impl SpanProcessor + use<E>
where
    E: SpanExport + 'static,
{
    let batch = number(options, BATCH_SIZE).unwrap_or(DEFAULT_BATCH_SIZE);
    let delay = positive(&options.environment, DELAY).map_or(DEFAULT_DELAY, Duration::from_millis);
    let batches = BatchSpanProcessor::builder(exporter)
        .with_batch_config(
            // All are set: from an invalid number, or zero, the SDK would make another one.
            BatchConfigBuilder::default()
                .with_max_queue_size(uplink.room())
                .with_max_export_batch_size(batch)
                .with_scheduled_delay(delay)
                .build(),
        )
        .build();
    Admission::new(batches, uplink.clone())
}

fn number(options: &Options, name: &str) -> Option<usize> {
    positive(&options.environment, name).and_then(|number| usize::try_from(number).ok())
}

/// Limit on the collector's answer. The limit for batches is part of it, since the SDK applies that
/// with an asynchronous runtime alone.
fn timeout(options: &Options) -> Duration {
    let milliseconds = |name| positive(&options.environment, name);
    let answer = milliseconds("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
        .or_else(|| milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT"));
    let answer = answer.map_or(OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, Duration::from_millis);
    let batch = milliseconds("OTEL_BSP_EXPORT_TIMEOUT");
    batch.map_or(answer, |batch| answer.min(Duration::from_millis(batch)))
}

fn transport(options: &Options) -> Transport {
    let environment = &options.environment;
    let own = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
    match own.or_else(|| environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")) {
        Some("grpc") => Transport::Grpc,
        _ => Transport::Http,
    }
}

/// Makes the layer that turns portbook's spans, and no others, into OpenTelemetry's while the
/// uplink takes them.
pub(super) fn layer<S>(provider: &SdkTracerProvider, uplink: Uplink) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("portbook"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_filter(while_it_works(uplink))
}

/// Filters out whole traces while `uplink` takes none. A span within another one shares its fate.
fn while_it_works<S>(uplink: Uplink) -> impl Filter<S> + use<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let is_of_use = move |metadata: &Metadata<'_>, context: &Context<'_, S>| {
        if !is_span(metadata) {
            return false;
        }
        if context.lookup_current().is_some() {
            return true;
        }
        if span::is_part(metadata.name()) {
            uplink.leave_out_part();
            return false;
        }
        uplink.admits_trace()
    };
    DynFilterFn::new(is_of_use)
        .with_callsite_filter(|metadata| {
            if is_span(metadata) {
                Interest::sometimes()
            } else {
                Interest::never()
            }
        })
        .with_max_level_hint(LevelFilter::INFO)
}

fn is_span(metadata: &Metadata<'_>) -> bool {
    metadata.target() == SPAN_TARGET && *metadata.level() <= Level::INFO
}

fn exporter(options: &Options, endpoint: &str) -> Result<SpanExporter, TelemetryError> {
    SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(timeout(options))
        .build()
        .map_err(|source| TelemetryError::Exporter {
            endpoint: endpoint.to_owned(),
            source,
        })
}

/// Makes the sampler. `None` if `OTEL_TRACES_SAMPLER` names one, which the SDK reads.
fn sampler(options: &Options) -> Result<Option<Sampler>, TelemetryError> {
    if !(0.0..=1.0).contains(&options.sample_ratio) {
        return Err(TelemetryError::SampleRatio(options.sample_ratio));
    }
    if options.environment.get("OTEL_TRACES_SAMPLER").is_some() {
        return Ok(None);
    }
    let new_traces = Sampler::TraceIdRatioBased(options.sample_ratio);
    Ok(Some(Sampler::ParentBased(Box::new(new_traces))))
}

/// URL to post spans to. `None` if they are not wanted.
fn endpoint(options: &Options, transport: Transport) -> Result<Option<String>, TelemetryError> {
    let environment = &options.environment;
    if environment.says("OTEL_SDK_DISABLED", "true")
        || environment.says("OTEL_TRACES_EXPORTER", "none")
    {
        return Ok(None);
    }
    let path = match transport {
        Transport::Http => TRACES_PATH,
        // With gRPC the service and its method are the path (opentelemetry-proto, TraceService).
        Transport::Grpc => "",
    };
    let base = |url: &str| format!("{}{path}", url.trim().trim_end_matches('/'));
    let own = options
        .endpoint
        .as_deref()
        .filter(|url| !url.trim().is_empty());
    if let Some(url) = own.map(base) {
        return plain_http(url).map(Some).map_err(TelemetryError::Endpoint);
    }
    let url = environment.endpoint().map(|named| match named {
        Endpoint::Whole(url) => url.to_owned(),
        Endpoint::Base(url) => base(url),
    });
    let url = url.map(plain_http).transpose();
    url.map_err(TelemetryError::EndpointVariable)
}

/// Returns an `http://` URL. The HTTP client of this build knows no TLS, so every export to another
/// would fail unnoticed.
fn plain_http(url: String) -> Result<String, String> {
    match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") && !rest.starts_with('/') => {
            Ok(url)
        }
        _ => Err(url),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::captured_over;
    use super::*;

    fn options(own: Option<&str>, variables: &[(&str, &str)]) -> Options {
        Options {
            endpoint: own.map(str::to_owned),
            environment: variables.iter().copied().collect(),
            ..Options::default()
        }
    }

    fn url(own: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        endpoint(&options(own, variables), Transport::Http).unwrap()
    }

    #[test]
    fn the_endpoint_comes_from_the_configuration_then_from_the_environment() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:4318");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:4318/mine");
        assert_eq!(url(None, &[]), None);
        assert_eq!(url(None, &[base]).unwrap(), "http://b:4318/v1/traces");
        assert_eq!(url(None, &[base, traces]).unwrap(), "http://t:4318/mine");
        let own = url(Some("http://own:4318/"), &[base, traces]);
        assert_eq!(own.unwrap(), "http://own:4318/v1/traces");
    }

    #[test]
    fn the_standard_switches_turn_it_off() {
        let own = Some("http://own:4318");
        assert_eq!(url(own, &[("OTEL_SDK_DISABLED", "TRUE")]), None);
        assert_eq!(url(own, &[("OTEL_TRACES_EXPORTER", "none")]), None);
        assert!(url(own, &[("OTEL_SDK_DISABLED", "1")]).is_some());
        assert!(url(own, &[("OTEL_TRACES_EXPORTER", "otlp")]).is_some());
    }

    #[test]
    fn endpoints_beyond_http_are_refused() {
        for bad in ["https://own:4318", "127.0.0.1:4318", "http:///v1"] {
            let named = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", bad)];
            for (options, by_variable) in [
                (options(Some(bad), &[]), false),
                (options(None, &named), true),
            ] {
                let error = endpoint(&options, Transport::Http).unwrap_err();
                assert!(error.to_string().contains(bad), "{error}");
                assert_eq!(error.is_of_environment(), by_variable);
            }
        }
    }

    #[test]
    fn a_transport_that_is_not_built_in_is_refused() {
        let protocol = |word| {
            options(
                Some("http://b:4317"),
                &[("OTEL_EXPORTER_OTLP_PROTOCOL", word)],
            )
        };
        for other in ["http/protobuf", "http/json"] {
            assert_eq!(transport(&protocol(other)), Transport::Http);
        }
        let grpc = protocol("grpc");
        let url = endpoint(&grpc, transport(&grpc)).unwrap();
        assert_eq!(url.unwrap(), "http://b:4317");
        #[cfg(not(feature = "grpc"))]
        assert!(
            provider(&grpc)
                .unwrap_err()
                .to_string()
                .contains("--features grpc")
        );
    }

    #[test]
    fn the_shorter_limit_holds() {
        let limit = |variables: &[(&str, &str)]| timeout(&options(None, variables)).as_millis();
        let (all, traces) = (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        );
        let batch = "OTEL_BSP_EXPORT_TIMEOUT";
        assert_eq!(limit(&[]), 10_000);
        assert_eq!(limit(&[(all, "30s")]), 10_000);
        assert_eq!(limit(&[(all, "300"), (traces, "200")]), 200);
        assert_eq!(limit(&[(all, "300"), (batch, "100")]), 100);
        assert_eq!(limit(&[(all, "300"), (batch, "30000")]), 300);
    }

    #[test]
    fn the_standard_variable_chooses_the_sampler() {
        let named = options(None, &[("OTEL_TRACES_SAMPLER", "always_off")]);
        assert!(sampler(&named).unwrap().is_none());
        let ours = sampler(&Options::default()).unwrap();
        assert!(matches!(ours, Some(Sampler::ParentBased(_))));
    }

    #[test]
    fn traces_are_made_whole_or_left_out() {
        let uplink = Uplink::new(8);
        uplink.answered(false);
        let away = uplink.clone();
        let spans = captured_over(uplink.clone(), Sampler::AlwaysOn, || {
            let left_out = span::allocate("default");
            let _in_it = left_out.enter();
            away.answered(true);
            drop(span::choose());
        });
        assert_eq!(spans.len(), 0, "its beginning is missing: {spans:?}");
        assert_eq!(uplink.take_left_out(), 2);

        let spans = captured_over(uplink.clone(), Sampler::AlwaysOn, || {
            let begun = span::allocate("default");
            let _in_it = begun.enter();
            uplink.answered(false);
            drop(span::choose());
        });
        assert_eq!(spans.len(), 2, "it had begun");
        assert_eq!(uplink.take_left_out(), 0);
    }
}
