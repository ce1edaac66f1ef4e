//! Trace of a command, if a collector is configured. The service, and the program that `run`
//! becomes, continue it.

use std::time::Duration;

use tracing::Span;

use super::{Failure, note};
use crate::config::Loaded;
use crate::telemetry::propagation;
use crate::telemetry::{self, Environment, Options, Telemetry, span};

/// Limit on the export of a command's span once the answer is there.
const FLUSH: Duration = Duration::from_millis(500);

/// Limit on the export while a program waits to be started.
const FLUSH_BEFORE_PROGRAM: Duration = Duration::from_millis(100);

/// Span of a command, and its exporter.
pub(super) struct Trace {
    pub(super) span: Span,
    telemetry: Option<Telemetry>,
}

impl Trace {
    /// Begins a trace, or continues that of `TRACEPARENT`. If that fails, the command goes on
    /// without. Must be called outside of any runtime, as the exporter wants it.
    pub(super) fn begin(loaded: &Loaded, name: &'static str) -> Self {
        let options = Options {
            // Commands print notes, not logs.
            log: "off".to_owned(),
            ..options(loaded)
        };
        let mut trace = Self {
            span: Span::none(),
            telemetry: None,
        };
        if !telemetry::is_wanted(&options) {
            return trace;
        }
        match telemetry::start(&options) {
            Ok(telemetry) => {
                if let Some(fault) = telemetry.fault() {
                    note(&format!("no trace: {fault}"));
                }
                trace.telemetry = Some(telemetry);
            }
            Err(error) => note(&format!("no trace: {error}")),
        }
        trace.span = span::command(name);
        let variable = |name: &str| std::env::var(name).ok();
        let (parent, state) = (variable("TRACEPARENT"), variable("TRACESTATE"));
        let context = propagation::extract(parent.as_deref(), state.as_deref());
        propagation::set_parent(&trace.span, context);
        trace
    }

    /// Trace context for a program. `None` if this command makes no span.
    pub(super) fn traceparent(&self) -> Option<String> {
        propagation::traceparent_of(&self.span)
    }

    /// Ends the span and exports it, within half a second.
    pub(super) fn end(self, failure: Option<&Failure>) {
        self.end_within(FLUSH, failure);
    }

    /// Ends the span and exports it, within the time that a waiting program is worth.
    pub(super) fn end_before_program(self) {
        self.end_within(FLUSH_BEFORE_PROGRAM, None);
    }

    fn end_within(self, limit: Duration, failure: Option<&Failure>) {
        if let Some(failure) = failure {
            let code = failure.problem().map(|problem| problem.code);
            span::failed(&self.span, code.as_deref().unwrap_or("_OTHER"));
        }
        drop(self.span);
        if let Some(telemetry) = self.telemetry {
            telemetry.shutdown(limit);
        }
    }
}

/// Options of telemetry by the settings and the environment.
pub(super) fn options(loaded: &Loaded) -> Options {
    let settings = &loaded.settings.telemetry;
    Options {
        endpoint: settings.endpoint.clone(),
        service_name: settings.service_name.clone(),
        sample_ratio: settings.sample_ratio,
        log: settings.log.clone(),
        log_format: settings.log_format,
        environment: Environment::of_process(),
        ..Options::default()
    }
}
