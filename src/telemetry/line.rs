//! One log line: the usual one, followed by the ids of its trace and span.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use super::propagation::{self, Ids};

/// A format that adds the ids of trace and span, if the trace is recorded.
#[derive(Debug)]
pub(super) struct Line<F> {
    inner: F,
    format: LogFormat,
    /// Whether a line begins with its priority, as the journal reads it (`sd-daemon(3)`).
    priority: bool,
}

impl<F> Line<F> {
    pub(super) const fn new(inner: F, format: LogFormat) -> Self {
        Self {
            inner,
            format,
            priority: false,
        }
    }

    /// Lines of text that begin with their priority.
    pub(super) const fn for_journal(inner: F) -> Self {
        Self {
            inner,
            format: LogFormat::Text,
            priority: true,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Line<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.priority {
            write!(writer, "<{}>", priority(*event.metadata().level()))?;
        }
        let Some(ids) = propagation::current() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::with_capacity(256);
        let inner = Writer::new(&mut line);
        self.inner.format_event(context, inner, event)?;
        writer.write_str(&joined(&line, &ids, self.format))
    }
}

const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn joined(line: &str, ids: &Ids, format: LogFormat) -> String {
    let Ids { trace_id, span_id } = ids;
    let line = line.trim_end();
    match (format, line.strip_suffix('}')) {
        (LogFormat::Json, Some(open)) => {
            format!("{open},\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\"}}\n")
        }
        _ => format!("{line} trace_id={trace_id} span_id={span_id}\n"),
    }
}
