//! Log lines on stderr; stdout belongs to answers.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, FilterFn, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::Layered;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use super::line::Line;
use super::{Options, SPAN_TARGET, TelemetryError, report};
use crate::domain::words::{UnknownWord, Written, as_str};

/// Format of log lines.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
#[strum(parse_err_ty = UnknownWord, parse_err_fn = UnknownWord::of::<LogFormat>)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: one compact line, in colour on a terminal.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Written for LogFormat {
    const KIND: &'static str = "a log format";
}

as_str!(LogFormat);

/// A subscriber that writes log lines and nothing else.
pub(super) type Subscriber = Layered<Boxed, Registry>;
type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

/// Levels of the libraries of server and exporter, unless the user asks for more by name: at debug
/// level each export would fill a page. They are a minimum too, so that lost spans and lost lines
/// are reported even at `error`.
const EXPORTER_DIRECTIVES: &str = "actix_server=warn,opentelemetry=warn,hyper=warn,reqwest=warn,portbook::telemetry::report=info,\
     portbook::telemetry::stderr=warn";

/// Makes the layer that writes log lines to `writer`.
pub(super) fn layer<W>(options: &Options, writer: W) -> Result<Boxed, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let exporter = options.environment.get("OTEL_LOG_LEVEL");
    let filter = filter(&options.log, exporter).map_err(|source| TelemetryError::LogFilter {
        filter: options.log.clone(),
        source,
    })?;
    let filter = filter.and(FilterFn::new(is_log).with_max_level_hint(LevelFilter::TRACE));
    let layer = fmt::layer().with_writer(writer);
    let text = fmt::format().compact().with_ansi(wants_colour(options));
    Ok(match options.log_format {
        LogFormat::Text if goes_to_journal(options) => {
            let line = Line::for_journal(text.without_time());
            layer.event_format(line).with_filter(filter).boxed()
        }
        LogFormat::Text => {
            let line = Line::new(text, LogFormat::Text);
            layer.event_format(line).with_filter(filter).boxed()
        }
        LogFormat::Json => {
            let object = fmt::format().json().flatten_event(true);
            let object = object.with_current_span(false).with_span_list(false);
            let line = Line::new(object, LogFormat::Json);
            let layer = layer.fmt_fields(JsonFields::new()).event_format(line);
            layer.with_filter(filter).boxed()
        }
    })
}

/// Whether stderr is the journal's stream, which adds times and reads priorities
/// (`systemd.exec(5)`, `JOURNAL_STREAM`).
fn goes_to_journal(options: &Options) -> bool {
    let stream = options.environment.get("JOURNAL_STREAM");
    let here = rustix::fs::fstat(std::io::stderr()).ok();
    here.is_some_and(|here| stream == Some(&*format!("{}:{}", here.st_dev, here.st_ino)))
}

/// Builds the filter. `OTEL_LOG_LEVEL` is the level of the SDK; an invalid one counts as unset.
fn filter(directives: &str, exporter: Option<&str>) -> Result<EnvFilter, ParseError> {
    let asked_for = EnvFilter::builder().parse(directives)?;
    if asked_for.max_level_hint() == Some(LevelFilter::OFF) {
        return Ok(asked_for);
    }
    let exporter = exporter.and_then(|level| level.parse::<LevelFilter>().ok());
    let exporter = exporter.map_or(String::new(), |level| format!(",opentelemetry={level}"));
    EnvFilter::builder().parse(format!("{EXPORTER_DIRECTIVES}{exporter},{directives}"))
}

fn is_log(metadata: &Metadata<'_>) -> bool {
    metadata.target() != SPAN_TARGET && !report::replaces(metadata.name())
}

fn wants_colour(options: &Options) -> bool {
    std::io::stderr().is_terminal() && options.environment.get("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::span;
    use super::super::testing::{Sink, captured_beside};
    use super::*;

    fn logged(log: &str, log_format: LogFormat, act: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let options = Options {
            log: log.to_owned(),
            log_format,
            ..Options::default()
        };
        let layer = layer(&options, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
        sink.text()
    }

    fn act() {
        let _span = span::allocate("default").entered();
        tracing::info!(port = 8888, "lease granted");
        tracing::debug!("not asked for");
    }

    #[test]
    fn text_is_one_plain_line_without_spans() {
        let text = logged("info", LogFormat::Text, act);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("INFO") && text.contains("lease granted port=8888"),
            "{text}"
        );
        assert!(
            !text.contains('\u{1b}') && !text.contains("allocate"),
            "{text}"
        );
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let text = logged("info", LogFormat::Json, act);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "lease granted");
        assert_eq!(line["port"], 8888);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_line_names_the_trace_it_was_written_in() {
        let lines = |format| {
            let sink = Sink::default();
            let writer = sink.clone();
            let options = Options {
                log_format: format,
                ..Options::default()
            };
            let log = layer(&options, move || writer.clone()).unwrap();
            let spans = captured_beside(log, || {
                act();
                tracing::info!("outside");
            });
            let context = spans[0].span_context.clone();
            (
                sink.text(),
                context.trace_id().to_string(),
                context.span_id().to_string(),
            )
        };
        let (text, trace, span) = lines(LogFormat::Text);
        assert!(
            text.contains(&format!("port=8888 trace_id={trace} span_id={span}\n")),
            "{text}"
        );
        assert!(text.ends_with("outside\n"), "{text}");
        let (text, trace, span) = lines(LogFormat::Json);
        let mut lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
        let inside = lines.next().unwrap().unwrap();
        assert_eq!(inside["trace_id"], trace);
        assert_eq!(inside["span_id"], span);
        assert_eq!(inside["message"], "lease granted");
        assert_eq!(lines.next().unwrap().unwrap().get("trace_id"), None);
    }

    #[test]
    fn the_exporters_warnings_are_logged_and_its_details_are_not() {
        let exporter = || {
            tracing::debug!(target: "opentelemetry_sdk", "chatter");
            tracing::warn!(target: "opentelemetry-otlp", "spans dropped");
            tracing::warn!(target: "portbook::telemetry::report", "not exported");
            tracing::warn!(name: "Export.Failed.Exhausted", target: "opentelemetry-otlp", "twice");
        };
        for log in ["trace", "error", "portbook=debug"] {
            let text = logged(log, LogFormat::Text, exporter);
            let said = |what: &str| text.contains(what);
            assert!(
                said("spans dropped") && said("not exported"),
                "{log}: {text}"
            );
            assert!(!said("chatter") && !said("twice"), "{log}: {text}");
        }
        let all = logged("opentelemetry=debug", LogFormat::Text, exporter);
        assert!(all.contains("chatter"), "{all}");
        assert_eq!(logged("off", LogFormat::Text, exporter), "");
    }
}
