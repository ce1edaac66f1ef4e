//! The spans of portbook. Their fields follow the semantic conventions of OpenTelemetry
//! (<https://opentelemetry.io/docs/specs/semconv/>); its own begin with `portbook.`.
//!
//! Every field of a span is declared here, because tracing drops undeclared ones. Numbers are
//! recorded as `i64`: the OTLP layer would make text of unsigned ones.
//!
//! An error stays at its span: an attempt that met a busy port carries `error.type`, the allocation
//! that then found another port carries none. The error status, which trace lists count, is kept
//! for answers that were refused or failed; a busy candidate is usual.

use std::time::Duration;

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use rustix::io::Errno;
use tracing::field::{Empty, display};
use tracing::{Span, info_span};

use super::SPAN_TARGET;
use super::propagation::{self, Ids};
use crate::domain::address::BindAddress;
use crate::domain::attempt::{Occupant, Outcome};
use crate::domain::candidate::{Candidate, Cost};
use crate::domain::lease::{AllocationId, Lease};
use crate::domain::port::{Port, Protocol};

/// Whether a span makes sense only within another one.
pub(super) fn is_part(name: &str) -> bool {
    ["select_interfaces", "choose", "attempt", "commit"].contains(&name)
}

/// Makes the span of an HTTP request, named `POST /api/v1/leases/{id}`, or by its method alone if
/// no route matched. `route` is called only if the span is recorded.
pub fn request(method: &str, route: impl FnOnce() -> Option<String>) -> Span {
    let span = info_span!(
        target: SPAN_TARGET,
        "request",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = Empty,
        http.response.status_code = Empty,
        error.type = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    match route() {
        Some(route) => {
            span.record("otel.name", display(format_args!("{method} {route}")));
            span.record("http.route", route.as_str());
        }
        None => {
            span.record("otel.name", method);
        }
    }
    span
}

/// Records the answer to a request. It is an error from 500 on; below, the client erred.
pub fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", i64::from(status));
    if status >= 500 {
        fail(span, display(status));
    }
}

/// Makes the span of a command, named such as `portbook alloc`.
pub fn command(name: &'static str) -> Span {
    info_span!(
        target: SPAN_TARGET,
        "command",
        otel.name = name,
        otel.kind = "client",
        otel.status_code = Empty,
        process.pid = i64::from(std::process::id()),
        error.type = Empty,
    )
}

/// Makes the span of a request for ports.
pub fn allocate(pool: &str) -> Span {
    info_span!(
        target: SPAN_TARGET,
        "allocate",
        otel.status_code = Empty,
        portbook.pool = pool,
        portbook.allocation.id = Empty,
        portbook.port = Empty,
        portbook.mapped_from = Empty,
        portbook.attempt.count = Empty,
        error.type = Empty,
    )
}

/// Records the port that the program asks for in place of the leased one.
pub fn mapped(span: &Span, from: Port) {
    span.record("portbook.mapped_from", i64::from(from.get()));
}

/// Records the grant of an allocation, and the number of candidate ports that it tried.
pub fn granted(span: &Span, id: AllocationId, port: Port, attempt_count: usize) {
    span.record("portbook.allocation.id", display(id.0));
    span.record("portbook.port", i64::from(port.get()));
    span.record("portbook.attempt.count", number(attempt_count));
}

/// Makes the span of resolving a pool to bind addresses.
pub fn select_interfaces() -> Span {
    info_span!(target: SPAN_TARGET, "select_interfaces", portbook.address.count = Empty)
}

/// Records the number of selected bind addresses.
pub fn selected(span: &Span, address_count: usize) {
    span.record("portbook.address.count", number(address_count));
}

/// Makes the span of the choice among the ports that are left.
pub fn choose() -> Span {
    info_span!(target: SPAN_TARGET, "choose", portbook.candidate.count = Empty)
}

/// Records the number of weighed candidates.
pub fn chosen(span: &Span, candidate_count: usize) {
    span.record("portbook.candidate.count", number(candidate_count));
}

/// Adds the weighed candidates to the span of this thread: one event each, cheapest first.
pub fn weighed(candidates: &[Candidate]) {
    let context = Context::current();
    let span = context.span();
    if !span.is_recording() {
        return;
    }
    for (rank, candidate) in candidates.iter().enumerate() {
        span.add_event("candidate", terms(rank, candidate));
    }
}

/// Terms of a candidate, whose sum is its cost; for TCP and UDP together they are those of both.
fn terms(rank: usize, candidate: &Candidate) -> Vec<KeyValue> {
    let sum = |term: fn(&Cost) -> f64| -> f64 {
        let weighed = candidate.weighed.iter();
        weighed.map(|weighed| term(&weighed.cost)).sum()
    };
    let penalties: f64 = candidate.penalties.iter().map(|penalty| penalty.cost).sum();
    vec![
        KeyValue::new("portbook.port", i64::from(candidate.port.get())),
        KeyValue::new("portbook.rank", number(rank)),
        KeyValue::new("portbook.cost", candidate.cost),
        KeyValue::new("portbook.cost.busy", sum(|cost| cost.p_busy)),
        KeyValue::new("portbook.cost.seen", sum(|cost| cost.seen)),
        KeyValue::new("portbook.cost.late", sum(|cost| cost.late)),
        KeyValue::new("portbook.cost.released", sum(|cost| cost.released)),
        KeyValue::new("portbook.cost.penalties", penalties),
    ]
}

/// Makes the span of an event of a lease (`renew`, `release`, `owner_gone`), linked to its
/// allocation. A lease itself may last for days, so it is no span.
pub fn of_lease(what: &'static str, lease: &Lease) -> Span {
    let span = info_span!(
        target: SPAN_TARGET,
        "lease",
        otel.name = what,
        otel.status_code = Empty,
        portbook.lease.id = %lease.id,
        portbook.allocation.id = %lease.allocation,
        portbook.pool = &*lease.pool,
        portbook.port = i64::from(lease.port.get()),
        portbook.lease.state = lease.state.as_str(),
        error.type = Empty,
    );
    link(&span, lease);
    span
}

/// Makes the span of a chore of the service, with a trace of its own: `expire`, `repair`,
/// `snapshot`, `restore`.
pub fn chore(what: &'static str) -> Span {
    info_span!(
        target: SPAN_TARGET,
        parent: None,
        "chore",
        otel.name = what,
        otel.status_code = Empty,
        portbook.lease.count = Empty,
        portbook.count = Empty,
        error.type = Empty,
    )
}

/// Links a span to the allocations of these leases, and records their number.
pub fn concerns<'a>(span: &Span, leases: impl ExactSizeIterator<Item = &'a Lease>) {
    span.record("portbook.lease.count", number(leases.len()));
    leases.for_each(|lease| link(span, lease));
}

/// Records the number of things that a chore found.
pub fn counted(span: &Span, count: usize) {
    span.record("portbook.count", number(count));
}

/// Records an error by a short word, such as the code of a refusal.
pub fn failed(span: &Span, code: &str) {
    fail(span, code);
}

fn link(span: &Span, lease: &Lease) {
    if let (false, Some(trace_id), Some(span_id)) =
        (span.is_disabled(), &lease.trace_id, &lease.span_id)
    {
        let (trace_id, span_id) = (trace_id.clone(), span_id.clone());
        propagation::link(span, &Ids { trace_id, span_id });
    }
}

/// Makes the span of one attempt to bind an address and port.
pub fn attempt(address: &BindAddress, port: Port, protocol: Protocol) -> Span {
    info_span!(
        target: SPAN_TARGET,
        "attempt",
        network.transport = protocol.as_str(),
        network.type = address.family().as_str(),
        network.local.address = %address.ip,
        network.local.port = i64::from(port.get()),
        network.interface.name = &*address.interface,
        portbook.outcome = Empty,
        portbook.occupant = Empty,
        error.type = Empty,
    )
}

/// Records the result of an attempt: a failure by its errno, and the occupant.
pub fn attempted(span: &Span, outcome: Outcome, errno: Option<i32>, occupant: Option<&Occupant>) {
    span.record("portbook.outcome", outcome.as_str());
    if !outcome.is_success() {
        span.record("error.type", errno.map_or(outcome.as_str(), errno_name));
    }
    if let Some(occupant) = occupant {
        span.record("portbook.occupant", display(occupant));
    }
}

/// Makes the span of one transaction of the record's writer, for all grants that waited for it.
pub fn commit() -> Span {
    info_span!(
        target: SPAN_TARGET,
        "commit",
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = "sqlite",
        portbook.batch.size = Empty,
        portbook.queue.wait_ms = Empty,
        error.type = Empty,
    )
}

/// Records the number of grants of a transaction, and the wait of the first.
pub fn committed(span: &Span, batch_size: usize, queue_wait: Duration) {
    span.record("portbook.batch.size", number(batch_size));
    span.record("portbook.queue.wait_ms", queue_wait.as_secs_f64() * 1000.0);
}

/// Makes the span of a commit of names to the fleet.
#[cfg(feature = "fleet")]
pub fn fleet_commit(steps: usize) -> Span {
    info_span!(
        target: SPAN_TARGET,
        "fleet.commit",
        otel.kind = "client",
        otel.status_code = Empty,
        portbook.fleet.steps = number(steps),
        portbook.fleet.outcome = Empty,
        error.type = Empty,
    )
}

/// Records the outcome of a commit to the fleet. It is a failure unless etcd has looked at its conditions.
#[cfg(feature = "fleet")]
pub fn fleet_committed(span: &Span, outcome: &'static str, is_answered: bool) {
    span.record("portbook.fleet.outcome", outcome);
    if !is_answered {
        fail(span, "fleet");
    }
}

fn fail(span: &Span, error_type: impl tracing::Value) {
    span.record("error.type", error_type);
    span.record("otel.status_code", "ERROR");
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Name of an error of `bind(2)` and `socket(2)`; `_OTHER` as the conventions ask.
fn errno_name(errno: i32) -> &'static str {
    match Errno::from_raw_os_error(errno) {
        Errno::ADDRINUSE => "EADDRINUSE",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::ACCESS => "EACCES",
        Errno::PERM => "EPERM",
        Errno::AFNOSUPPORT => "EAFNOSUPPORT",
        Errno::INVAL => "EINVAL",
        Errno::MFILE => "EMFILE",
        Errno::NFILE => "ENFILE",
        Errno::NOBUFS => "ENOBUFS",
        Errno::NOMEM => "ENOMEM",
        Errno::NODEV => "ENODEV",
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanKind, Status};
    use opentelemetry::{Key, Value};
    use opentelemetry_sdk::trace::SpanData;

    use super::super::testing::captured;
    use super::*;
    use crate::domain::address::Family;

    fn value(span: &SpanData, key: &'static str) -> Option<Value> {
        let key = Key::from_static_str(key);
        let attribute = span.attributes.iter().find(|pair| pair.key == key)?;
        Some(attribute.value.clone())
    }

    fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
        spans.iter().find(|span| span.name == name).unwrap()
    }

    /// Records a request that meets a busy port, then gets the next.
    fn allocation() {
        let request = request("POST", || Some("/api/v1/leases".to_owned()));
        let _in_request = request.enter();
        let allocate = allocate("default");
        let _in_allocate = allocate.enter();
        selected(&select_interfaces(), 2);
        chosen(&choose(), 5);
        for (port, errno) in [(8888, Some(98)), (8889, None)] {
            let port = Port::new(port).unwrap();
            let span = attempt(&BindAddress::wildcard(Family::Ipv4), port, Protocol::Tcp);
            let outcome = errno.map_or(Outcome::Bound, |_| Outcome::InUse);
            let occupant = errno.map(|_| Occupant {
                pid: Some(7),
                ..Occupant::default()
            });
            attempted(&span, outcome, errno, occupant.as_ref());
        }
        committed(&commit(), 3, Duration::from_micros(250));
        let id = AllocationId(uuid::Uuid::from_u128(1));
        granted(&allocate, id, Port::new(8889).unwrap(), 2);
        answered(&request, 201);
    }

    #[test]
    fn spans_of_an_allocation_form_one_tree() {
        let spans = captured(allocation);
        let request = named(&spans, "POST /api/v1/leases");
        let allocate = named(&spans, "allocate");
        assert_eq!(request.span_kind, SpanKind::Server);
        assert_eq!(allocate.parent_span_id, request.span_context.span_id());
        for name in ["select_interfaces", "choose", "attempt", "commit"] {
            let child = named(&spans, name);
            assert_eq!(
                child.parent_span_id,
                allocate.span_context.span_id(),
                "{name}"
            );
        }
        assert_eq!(spans.len(), 7);
    }

    #[test]
    fn only_the_busy_attempt_carries_an_error() {
        let spans = captured(allocation);
        let with_error: Vec<_> = spans
            .iter()
            .filter_map(|span| Some((span.name.as_ref(), value(span, "error.type")?)))
            .collect();
        assert_eq!(with_error, [("attempt", Value::from("EADDRINUSE"))]);
        assert!(spans.iter().all(|span| span.status == Status::Unset));
    }

    #[test]
    fn attributes_follow_the_conventions_and_numbers_are_numbers() {
        let spans = captured(allocation);
        let expected: [(&str, &'static str, Value); 14] = [
            ("POST /api/v1/leases", "http.request.method", "POST".into()),
            ("POST /api/v1/leases", "http.route", "/api/v1/leases".into()),
            (
                "POST /api/v1/leases",
                "http.response.status_code",
                201.into(),
            ),
            ("allocate", "portbook.pool", "default".into()),
            ("allocate", "portbook.port", 8889.into()),
            ("allocate", "portbook.attempt.count", 2.into()),
            ("attempt", "network.transport", "tcp".into()),
            ("attempt", "network.type", "ipv4".into()),
            ("attempt", "network.local.address", "0.0.0.0".into()),
            ("attempt", "network.local.port", 8888.into()),
            ("attempt", "network.interface.name", "any".into()),
            ("attempt", "portbook.occupant", "pid 7".into()),
            ("commit", "db.system.name", "sqlite".into()),
            ("commit", "portbook.queue.wait_ms", 0.25.into()),
        ];
        for (span, key, wanted) in expected {
            assert_eq!(value(named(&spans, span), key), Some(wanted), "{key}");
        }
    }

    #[test]
    fn refusals_and_failures_have_the_error_status() {
        let spans = captured(|| {
            let allocate = allocate("default");
            allocate.in_scope(|| failed(&commit(), "disk_full"));
            failed(&allocate, "pool_exhausted");
            answered(&request("GET", || None), 503);
            answered(&request("HEAD", || None), 404);
        });
        let failed = |name| matches!(named(&spans, name).status, Status::Error { .. });
        assert!(failed("allocate") && failed("GET") && failed("commit"));
        assert!(!failed("HEAD"));
        assert_eq!(
            value(named(&spans, "GET"), "error.type"),
            Some("503".into())
        );
    }
}
