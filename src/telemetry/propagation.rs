//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): traces across processes.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::Options;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Whether traces cross processes.
static PROPAGATES: AtomicBool = AtomicBool::new(true);

/// Applies `OTEL_PROPAGATORS`: if it does not list `tracecontext`, no trace comes in or goes out.
pub(super) fn choose(options: &Options) {
    let Some(list) = options.environment.get("OTEL_PROPAGATORS") else {
        return;
    };
    let known = list.split(',').any(|word| word.trim() == "tracecontext");
    PROPAGATES.store(known, Ordering::Relaxed);
}

/// Reads the caller's trace from its `traceparent` and `tracestate`. The context is empty if there
/// is none, or an invalid one: such a caller gets a trace of its own.
pub fn extract(traceparent: Option<&str>, tracestate: Option<&str>) -> Context {
    let propagates = PROPAGATES.load(Ordering::Relaxed);
    let headers = Headers {
        traceparent: traceparent
            .filter(|_| propagates)
            .map(str::trim)
            .filter(|text| is_well_formed(text))
            .map(str::to_owned),
        tracestate: tracestate.map(str::to_owned),
    };
    TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
}

/// The variables `TRACEPARENT` and `TRACESTATE`, as headers to send on. A malformed one counts as not
/// set.
pub fn of_variables() -> (Option<String>, Option<String>) {
    let variable = |name: &str| std::env::var(name).ok();
    let parent = variable("TRACEPARENT").filter(|text| is_well_formed(text));
    let is_plain = |text: &String| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let state = variable("TRACESTATE").filter(is_plain);
    let state = parent.as_ref().and(state);
    (parent, state)
}

/// Makes a span part of the caller's trace; a context without one changes nothing.
///
/// Call it before the span is entered, has a child or is asked for its trace id: these fix its
/// parent.
pub fn set_parent(span: &Span, context: Context) {
    if context.span().span_context().is_valid() {
        // It fails only for a span that is off, or whose parent is fixed.
        let _ = span.set_parent(context);
    }
}

/// Links a span to one of another trace, such as a renewal or a release to its allocation.
pub fn link(span: &Span, other: &Ids) {
    let context = extract(Some(&other.traceparent()), None);
    let context = context.span().span_context().clone();
    if context.is_valid() {
        span.add_link(context);
    }
}

/// Ids of a span whose trace is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// Id of the trace: 32 hexadecimal digits.
    pub trace_id: String,
    /// Id of the span: 16 hexadecimal digits.
    pub span_id: String,
}

impl Ids {
    /// Header that makes a span of another process a child of this one.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.span_id)
    }
}

/// Ids of a span. `None` unless its trace is recorded, so that no reader searches for a missing
/// one.
pub fn ids(span: &Span) -> Option<Ids> {
    sampled(&span.context())
}

/// Ids of the span that this thread is in.
pub(super) fn current() -> Option<Ids> {
    sampled(&Context::current())
}

fn sampled(context: &Context) -> Option<Ids> {
    let span = context.span();
    let context = span.span_context();
    (context.is_valid() && context.is_sampled()).then(|| Ids {
        trace_id: context.trace_id().to_string(),
        span_id: context.span_id().to_string(),
    })
}

/// Id of a span's trace. `None` unless the trace is recorded.
pub fn current_trace_id(span: &Span) -> Option<String> {
    ids(span).map(|ids| ids.trace_id)
}

/// Value for the header `traceparent`, or for the variable `TRACEPARENT` of a child process.
///
/// A trace that is not recorded has one too: it tells the next service not to record either.
pub fn traceparent_of(span: &Span) -> Option<String> {
    inject(span).traceparent
}

/// Value for the header `tracestate` beside it.
pub fn tracestate_of(span: &Span) -> Option<String> {
    inject(span).tracestate.filter(|state| !state.is_empty())
}

fn inject(span: &Span) -> Headers {
    let mut headers = Headers::default();
    if !PROPAGATES.load(Ordering::Relaxed) {
        return headers;
    }
    TraceContextPropagator::new().inject_context(&span.context(), &mut headers);
    headers
}

/// Whether the four fields of a `traceparent` have their lengths; the SDK would accept shorter ones
/// and signs.
pub fn is_well_formed(traceparent: &str) -> bool {
    let mut fields = traceparent.split('-');
    [2, 32, 16, 2].iter().all(|length| {
        let digits = |field: &str| field.bytes().all(|byte| byte.is_ascii_hexdigit());
        fields
            .next()
            .is_some_and(|field| field.len() == *length && digits(field))
    })
}

/// The two headers of a trace.
#[derive(Debug, Default)]
struct Headers {
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.traceparent.as_deref(),
            TRACESTATE => self.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        match key {
            TRACEPARENT => self.traceparent = Some(value),
            TRACESTATE => self.tracestate = Some(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::span;
    use super::super::testing::{captured, captured_with};
    use super::*;
    use opentelemetry_sdk::trace::Sampler;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_span_joins_the_trace_of_its_caller() {
        let spans = captured(|| {
            let span = span::request("POST", || Some("/api/v1/leases".to_owned()));
            set_parent(&span, extract(Some(CALLER), Some("vendor=1")));
            assert_eq!(current_trace_id(&span).unwrap(), TRACE);
            let sent_on = traceparent_of(&span).unwrap();
            assert!(sent_on.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
            assert!(sent_on.ends_with("-01") && sent_on != CALLER);
            assert_eq!(tracestate_of(&span).unwrap(), "vendor=1");
        });
        assert_eq!(spans[0].parent_span_id.to_string(), "b7ad6b7169203331");
        assert!(spans[0].parent_span_is_remote);
    }

    #[test]
    fn invalid_headers_start_a_trace_of_their_own() {
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for bad in [
            "",
            "nonsense",
            "00-1-2-01",
            zero,
            &CALLER.replace("00-0", "ff-0"),
            &CALLER.to_uppercase(),
        ] {
            let spans = captured(|| {
                let span = span::allocate("default");
                set_parent(&span, extract(Some(bad), None));
                assert_ne!(current_trace_id(&span).unwrap(), TRACE, "{bad}");
            });
            assert_eq!(
                spans[0].parent_span_id.to_string(),
                "0000000000000000",
                "{bad}"
            );
        }
    }

    #[test]
    fn a_trace_that_is_not_recorded_has_no_id_to_look_up() {
        let never = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
        let spans = captured_with(never, || {
            let span = span::allocate("default");
            assert_eq!(current_trace_id(&span), None);
            assert!(traceparent_of(&span).unwrap().ends_with("-00"));
        });
        assert!(spans.is_empty());
    }

    #[test]
    fn a_callers_decision_is_kept() {
        let never = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
        let spans = captured_with(never, || {
            let span = span::allocate("default");
            set_parent(&span, extract(Some(CALLER), None));
        });
        assert_eq!(spans.len(), 1);
    }

    #[test]
    fn without_telemetry_there_is_nothing_to_pass_on() {
        let span = Span::none();
        set_parent(&span, extract(Some(CALLER), None));
        assert_eq!(current_trace_id(&span), None);
        assert_eq!(traceparent_of(&span), None);
        assert_eq!(tracestate_of(&span), None);
    }

    #[test]
    fn a_link_leads_to_another_trace() {
        let other = Ids {
            trace_id: TRACE.to_owned(),
            span_id: "b7ad6b7169203331".to_owned(),
        };
        assert_eq!(other.traceparent(), CALLER);
        let spans = captured(|| link(&span::allocate("default"), &other));
        assert_eq!(spans[0].links[0].span_context.trace_id().to_string(), TRACE);
        assert_ne!(spans[0].span_context.trace_id().to_string(), TRACE);
    }
}
