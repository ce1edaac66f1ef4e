//! Spans over OTLP (HTTP, protobuf): where to, which ones, and the layer that makes them.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

use super::report::Reporting;
use super::{Options, SPAN_TARGET, TelemetryError, resource};

const TRACES_PATH: &str = "/v1/traces";

/// What makes and exports spans; none where no collector is configured.
pub(super) fn provider(options: &Options) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let sampler = sampler(options)?;
    let Some(endpoint) = endpoint(options)? else {
        return Ok(None);
    };
    let builder = SdkTracerProvider::builder()
        .with_batch_exporter(Reporting::new(exporter(&endpoint)?, &endpoint))
        .with_resource(resource::of(options));
    let builder = match sampler {
        Some(sampler) => builder.with_sampler(sampler),
        None => builder,
    };
    Ok(Some(builder.build()))
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
fn endpoint(options: &Options) -> Result<Option<String>, TelemetryError> {
    let environment = &options.environment;
    if environment.says("OTEL_SDK_DISABLED", "true")
        || environment.says("OTEL_TRACES_EXPORTER", "none")
    {
        return Ok(None);
    }
    let base = |url: &str| format!("{}{TRACES_PATH}", url.trim().trim_end_matches('/'));
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
        endpoint(&options(own, variables)).unwrap()
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
            let error = endpoint(&options(Some(bad), &[])).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn the_standard_variable_chooses_the_sampler() {
        let named = options(None, &[("OTEL_TRACES_SAMPLER", "always_off")]);
        assert!(sampler(&named).unwrap().is_none());
        let ours = sampler(&Options::default()).unwrap();
        assert!(matches!(ours, Some(Sampler::ParentBased(_))));
    }
}
