//! Drafts of what goes on record: the allocation and its leases.

use std::sync::Arc;

use crate::domain::attempt::Attempt;
use crate::domain::explanation::Explanation;
use crate::domain::lease::{Guard, Handover, Lease, LeaseId, Name, State};
use crate::domain::port::{Port, Protocol};
use crate::engine::{caller::Mode, context::RequestContext, engine::Engine};
use crate::host::hold::can_stay_beneath;
use crate::store::AllocationRecord;

pub(super) fn record(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    mut explanation: Explanation,
    attempts: &[Attempt],
) -> AllocationRecord {
    explanation.veil_skipped(|uid| uid == asked.caller.uid);
    let spent = engine.clock.boot().since(asked.start);
    AllocationRecord {
        id: asked.id,
        at: engine.clock.now(),
        uid: asked.caller.uid,
        pool: asked.plan.pool.name.to_string(),
        refusal: None,
        detail: None,
        attempt_count: u32::try_from(explanation.tried.len()).unwrap_or(u32::MAX),
        free_count: free_count(attempts),
        duration_us: u64::try_from(spent.as_micros()).unwrap_or(u64::MAX),
        explanation,
        trace_id: asked.trace_id().map(str::to_owned),
        span_id: asked.span_id().map(str::to_owned),
        retry_key: asked.request.repeated_by().map(ToString::to_string),
        story: String::new(),
        attempts: Vec::new(),
    }
}

/// Number of ports that no bind was refused on. The attempts on a port lie together, and end with the first refusal.
fn free_count(attempts: &[Attempt]) -> u32 {
    let ports = attempts.chunk_by(|one, next| one.port == next.port);
    let is_free = |tries: &&[Attempt]| tries.last().is_some_and(|last| last.outcome.is_success());
    u32::try_from(ports.filter(is_free).count()).unwrap_or(u32::MAX)
}

pub(super) fn new_lease(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    name: Option<&Name>,
    port: Port,
    protocol: Protocol,
) -> Lease {
    let now = engine.clock.boot();
    // Only the request can know that its program shares its port.
    let gate_for_udp = asked.request.handover.is_some() && can_stay_beneath(&asked.plan.group);
    let handover = asked.plan.handover.for_protocol(protocol, gate_for_udp);
    Lease {
        id: LeaseId(engine.new_id()),
        allocation: asked.id,
        name: name.cloned(),
        scope: asked.request.scope.clone(),
        pool: Arc::clone(&asked.plan.pool.name),
        protocol,
        port,
        addresses: asked.plan.group.clone(),
        uid: asked.caller.uid,
        claim_by: (asked.owner.is_none() && !asked.request.reserve)
            .then(|| now.after(asked.plan.claim_within)),
        owner: asked.owner_of(name),
        handover,
        guard: first_guard(engine, asked, handover),
        state: if asked.request.reserve {
            State::Reserved
        } else {
            State::Handed
        },
        granted_at: engine.clock.now(),
        ended_at: None,
        expires: asked.plan.ttl.map(|ttl| now.after(ttl)),
        ttl: asked.plan.ttl,
        labels: asked.request.labels.clone(),
        moved: None,
        forgotten: false,
        trace_id: asked.trace_id().map(str::to_owned),
        span_id: asked.span_id().map(str::to_owned),
        revision: 0,
        idle_since: asked.request.reserve.then(|| engine.clock.now()),
        by_hand: asked.request.reserve,
        scope_device: None,
        claim: None,
    }
}

/// A command that exits can hold nothing afterwards, unless its program inherits the hold.
fn first_guard(engine: &Arc<Engine>, asked: &RequestContext<'_>, handover: Handover) -> Guard {
    let outlives = engine.mode == Mode::Serving || asked.owner.is_some();
    match handover {
        _ if asked.request.reserve && engine.mode == Mode::Serving => Guard::Hold,
        Handover::Gate | Handover::Fd | Handover::Bind if outlives => Guard::Hold,
        _ => Guard::None,
    }
}
