//! The trace that a command begins, where a collector is configured: the service, and the program
//! that `run` becomes, go on with it.

use std::time::Duration;

use tracing::Span;

use super::{Failure, note};
use crate::config::Loaded;
use crate::telemetry::propagation;
use crate::telemetry::{self, Environment, Options, Telemetry, span};

/// How long a command's span may take to leave once the answer is there.
const FLUSH: Duration = Duration::from_millis(500);

/// The same where a program waits to be started.
const FLUSH_BEFORE_PROGRAM: Duration = Duration::from_millis(100);

/// A command's span, and what exports it.
pub(super) struct Trace {
    pub(super) span: Span,
    telemetry: Option<Telemetry>,
}

impl Trace {
    /// Begins a trace, or goes on with that of `TRACEPARENT`. It is no reason to refuse a port if
    /// that fails. Outside of any runtime, as the exporter wants it.
    pub(super) fn begin(loaded: &Loaded, name: &'static str) -> Self {
        let options = Options {
            // A command has its own words for its user.
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

    /// What a program that goes on with the trace is told; none where this command makes no spans.
    pub(super) fn traceparent(&self) -> Option<String> {
        propagation::traceparent_of(&self.span)
    }

    /// Ends the span and sends it. A collector that is away costs no more than half a second.
    pub(super) fn end(self, failure: Option<&Failure>) {
        self.end_within(FLUSH, failure);
    }

    /// The same just before a program is started.
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

/// What the settings and the environment say of telemetry.
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
