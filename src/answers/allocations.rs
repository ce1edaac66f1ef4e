//! Allocations: asking for ports, and explaining an earlier request.

use serde_json::json;

use super::document::{
    AllocationDocument, AllocationRecordDocument, AttemptDocument, LeaseDocument, LeaseRequest,
};
use super::operation::{
    Answered, Body, Context, Description, IDEMPOTENCY_KEY, Key, Method, Operation, Output, Tag,
};
use super::problem::{Code, Problem};
use super::veil::veil;
use super::viewer::Viewer;
use crate::domain::lease::AllocationId;
use crate::domain::story;
use crate::engine::Allocated;
use crate::engine::service::Service;
use crate::host::clock::Clock;
use crate::store::{AttemptFilter, StoreError};

/// Maximum number of attempts of one allocation; no request can make more.
const MAX_ATTEMPTS: u32 = 1_000_000;

/// Pattern of a [`RetryKey`](crate::domain::retry::RetryKey), quoted or not.
const KEY_PATTERN: &str = "^([!#-~]{1,128}|\"[!#-~]{1,128}\")$";

/// Problems of a request for ports.
const REFUSED: [Code; 18] = [
    Code::PrivilegedPort,
    Code::NotFound,
    Code::PortInUse,
    Code::PortLeased,
    Code::NameTaken,
    Code::OtherNetworkNamespace,
    Code::PortExcluded,
    Code::AddressNotAvailable,
    Code::NoSuchInterface,
    Code::NoSuchPool,
    Code::QuotaExceeded,
    Code::AttemptsExhausted,
    Code::PoolExhausted,
    Code::TimedOut,
    Code::HostError,
    Code::StoreUnavailable,
    Code::FleetOff,
    Code::FleetAway,
];

pub struct CreateLeases;

impl Operation for CreateLeases {
    type Input = (Body<LeaseRequest>, Key);
    type Output = AllocationDocument;
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/api/v1/leases";
    const ID: &'static str = "createLeases";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Leases, "Ask for ports")
            .says(
                "All fields are optional: an empty object gets one port of the default pool. The ports \
                 are bound before the answer is sent, all or none. A name that has a lease gets its own \
                 port again. A refusal lists the attempts and the occupants.",
            )
            .parameter_of(
                "header",
                IDEMPOTENCY_KEY,
                "The client's own key for a request without names, such as a fresh UUID. A second \
                 request with the same key gets the same leases as long as they live.",
                json!({"type": "string", "pattern": KEY_PATTERN}),
            )
            .body_example(include_str!("example/lease_request.json"))
            .answers::<AllocationDocument>(
                201,
                "A new lease was granted.",
                include_str!("example/allocation.json"),
            )
            .with_header("Location", "Path of the first lease.")
            .answers::<AllocationDocument>(
                200,
                "Nothing new was granted: every name had a lease, the key was known, or `dry_run` was set.",
                include_str!("example/allocation_again.json"),
            )
            .refused(&REFUSED)
    }
}

impl Answered for CreateLeases {
    async fn answer(
        context: Context<'_>,
        (Body(request), Key(key)): (Body<LeaseRequest>, Key),
    ) -> Result<AllocationDocument, Problem> {
        let mut request = request.parse().map_err(Problem::invalid)?;
        request.retry_key = key;
        let caller = context.viewer.caller()?;
        let granted = context.service.allocate(caller, &request).await?;
        let mut answer = document(&granted, context.service.clock());
        for lease in &mut answer.leases {
            lease.hint = context.service.hint(lease.id);
        }
        Ok(answer)
    }
}

impl Output for AllocationDocument {
    fn status(&self) -> u16 {
        if self.created { 201 } else { 200 }
    }

    fn header(&self) -> Option<(&'static str, String)> {
        let first = self.leases.first().filter(|_| self.created)?;
        Some(("Location", format!("/api/v1/leases/{}", first.id)))
    }
}

/// The document of an allocation.
pub fn document(granted: &Allocated, clock: &Clock) -> AllocationDocument {
    let leases = granted.leases.iter().map(|lease| {
        if granted.created {
            LeaseDocument::as_recorded(lease, clock)
        } else {
            LeaseDocument::of(lease, clock)
        }
    });
    let conflicts = granted.conflicts.iter().map(AttemptDocument::from);
    AllocationDocument {
        allocation: granted.id,
        created: granted.created,
        attempt_count: granted.attempt_count,
        trace_id: granted.trace.as_ref().map(|trace| trace.trace_id.clone()),
        span_id: granted.trace.as_ref().map(|trace| trace.span_id.clone()),
        leases: leases.collect(),
        moved: granted.moves.first().cloned(),
        skipped: granted.explanation.skipped.clone(),
        explanation: granted.dry.then(|| granted.explanation.clone()),
        notes: granted.explanation.notes.clone(),
        conflicts: conflicts.collect(),
    }
}

pub struct ExplainAllocation;

impl Operation for ExplainAllocation {
    type Input = AllocationId;
    type Output = AllocationRecordDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/allocations/{id}";
    const ID: &'static str = "explainAllocation";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Leases, "Explain an allocation")
            .says("Granted or refused: excluded ports with their reasons, weighed candidates, attempts.")
            .answers::<AllocationRecordDocument>(
                200,
                "The allocation with its reasons.",
                include_str!("example/allocation_record.json"),
            )
            .refused(&[Code::StoreUnavailable])
    }
}

impl Output for AllocationRecordDocument {}

impl Answered for ExplainAllocation {
    async fn answer(
        context: Context<'_>,
        id: AllocationId,
    ) -> Result<AllocationRecordDocument, Problem> {
        let found = about(context.service, context.viewer, id).await?;
        found.ok_or_else(|| Problem::new(Code::NotFound, "there is no such allocation"))
    }
}

/// The record of one allocation with its attempts. `None` if this viewer may see no such allocation.
pub async fn about(
    service: &Service,
    viewer: &Viewer,
    id: AllocationId,
) -> Result<Option<AllocationRecordDocument>, StoreError> {
    let record = service.store().allocation(id).await?;
    let Some(mut record) = record.filter(|record| viewer.sees(record.uid)) else {
        return Ok(None);
    };
    if !viewer.sees_everybody() {
        record.explanation.veil();
    }
    let filter = AttemptFilter {
        allocation: Some(id),
        limit: MAX_ATTEMPTS,
        ..AttemptFilter::default()
    };
    let mut attempts = service.store().attempts(&filter).await?;
    for occupant in attempts
        .iter_mut()
        .filter_map(|tried| tried.occupant.as_mut())
    {
        veil(occupant, viewer);
    }
    // Newest first: the story is told in the order made.
    attempts.reverse();
    record.story = story::of(&record.explanation, record.refusal.is_some());
    record.attempts = attempts;
    Ok(Some(record))
}
