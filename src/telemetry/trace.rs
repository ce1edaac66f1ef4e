//! Spans over OTLP: where to, how, which ones, and the layer that makes them.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT, Sampler, SdkTracerProvider, SpanExporter as SpanExport,
    SpanProcessor,
};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

use super::admission::{Admission, Leaving, Waiting};
use super::report::Reporting;
use super::{Options, SPAN_TARGET, TelemetryError, resource};

const TRACES_PATH: &str = "/v1/traces";

/// How spans travel (`OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Http,
    Grpc,
}

/// What makes and exports spans; none where no collector is configured.
pub(super) fn provider(options: &Options) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let sampler = sampler(options)?;
    let transport = transport(options)?;
    let Some(endpoint) = endpoint(options, transport)? else {
        return Ok(None);
    };
    let builder = SdkTracerProvider::builder().with_resource(resource::of(options));
    let builder = match transport {
        Transport::Http => {
            builder.with_span_processor(queue(options, exporter(&endpoint)?, &endpoint))
        }
        #[cfg(feature = "grpc")]
        Transport::Grpc => {
            let exporter = super::grpc::exporter(&endpoint)?;
            builder.with_span_processor(queue(options, exporter, &endpoint))
        }
        #[cfg(not(feature = "grpc"))]
        Transport::Grpc => return Err(TelemetryError::NoGrpc),
    };
    let builder = match sampler {
        Some(sampler) => builder.with_sampler(sampler),
        None => builder,
    };
    Ok(Some(builder.build()))
}

/// Whether a collector is configured, so that spans are worth making.
pub(super) fn is_wanted(options: &Options) -> bool {
    !matches!(endpoint(options, Transport::Http), Ok(None))
}

/// Batches behind a door that counts what it turns away.
fn queue<E>(options: &Options, exporter: E, endpoint: &str) -> impl SpanProcessor + use<E>
where
    E: SpanExport + 'static,
{
    let room = options.environment.get(OTEL_BSP_MAX_QUEUE_SIZE);
    let room = room.and_then(|room| room.parse().ok());
    let room = room.unwrap_or(OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT);
    let waiting = Waiting::default();
    let exporter = Leaving::new(Reporting::new(exporter, endpoint), waiting.clone());
    let batches = BatchSpanProcessor::builder(exporter)
        .with_batch_config(
            // The rest of OTEL_BSP_* is read by the SDK.
            BatchConfigBuilder::default()
                .with_max_queue_size(room)
                .build(),
        )
        .build();
    Admission::new(batches, room, waiting)
}

fn transport(options: &Options) -> Result<Transport, TelemetryError> {
    let environment = &options.environment;
    let own = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
    match own.or_else(|| environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")) {
        None | Some("http/protobuf") => Ok(Transport::Http),
        Some("grpc") => Ok(Transport::Grpc),
        Some(other) => Err(TelemetryError::Protocol(other.to_owned())),
    }
}

/// The layer that turns portbook's spans, and nothing else, into OpenTelemetry's.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("portbook"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_filter(FilterFn::new(is_span).with_max_level_hint(LevelFilter::INFO))
}

fn is_span(metadata: &Metadata<'_>) -> bool {
    metadata.target() == SPAN_TARGET && *metadata.level() <= Level::INFO
}

fn exporter(endpoint: &str) -> Result<SpanExporter, TelemetryError> {
    SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .build()
        .map_err(|source| TelemetryError::Exporter {
            endpoint: endpoint.to_owned(),
            source,
        })
}

/// The sampler, or none where `OTEL_TRACES_SAMPLER` names one: the SDK reads it by itself.
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

/// The whole URL that spans are posted to; none where they are not wanted.
fn endpoint(options: &Options, transport: Transport) -> Result<Option<String>, TelemetryError> {
    let environment = &options.environment;
    if environment.says("OTEL_SDK_DISABLED", "true")
        || environment.says("OTEL_TRACES_EXPORTER", "none")
    {
        return Ok(None);
    }
    if let Some(other) = environment
        .get("OTEL_TRACES_EXPORTER")
        .filter(|word| *word != "otlp")
    {
        // As the specification asks: a warning, and the default.
        tracing::warn!("OTEL_TRACES_EXPORTER={other} is not known here: use otlp or none");
    }
    let path = match transport {
        Transport::Http => TRACES_PATH,
        // The service and its method are the path (opentelemetry-proto, TraceService).
        Transport::Grpc => "",
    };
    let base = |url: &str| format!("{}{path}", url.trim().trim_end_matches('/'));
    let own = options
        .endpoint
        .as_deref()
        .filter(|url| !url.trim().is_empty());
    let url = own
        .map(base)
        .or_else(|| {
            environment
                .get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
                .map(str::to_owned)
        })
        .or_else(|| environment.get("OTEL_EXPORTER_OTLP_ENDPOINT").map(base));
    url.map(plain_http).transpose()
}

/// The URL, unless it needs what this build does not have: its HTTP client knows no TLS, and every
/// export would fail where nobody looks.
fn plain_http(url: String) -> Result<String, TelemetryError> {
    match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") && !rest.starts_with('/') => {
            Ok(url)
        }
        _ => Err(TelemetryError::Endpoint(url)),
    }
}

#[cfg(test)]
mod tests {
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
    fn what_the_client_cannot_reach_is_refused() {
        for bad in ["https://own:4318", "127.0.0.1:4318", "http:///v1"] {
            let error = endpoint(&options(Some(bad), &[]), Transport::Http).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
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
        assert_eq!(
            transport(&protocol("http/protobuf")).unwrap(),
            Transport::Http
        );
        assert!(transport(&protocol("http/json")).is_err());
        let grpc = protocol("grpc");
        let url = endpoint(&grpc, transport(&grpc).unwrap()).unwrap();
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
    fn the_standard_variable_chooses_the_sampler() {
        let named = options(None, &[("OTEL_TRACES_SAMPLER", "always_off")]);
        assert!(sampler(&named).unwrap().is_none());
        let ours = sampler(&Options::default()).unwrap();
        assert!(matches!(ours, Some(Sampler::ParentBased(_))));
    }
}
