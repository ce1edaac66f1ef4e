//! Commits of granted requests: found ports become leases, on record first.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::attempt::Attempt;
use crate::domain::explanation::Explanation;
use crate::domain::lease::{Lease, Name, State};
use crate::domain::note;
use crate::domain::precedence::Moved;
use crate::engine::{
    allocated::Allocated, allocator::Found, context::RequestContext, draft, engine::Engine,
    keeper::assist, keeper::ending, keeper::watch, leases::Fresh, name, plan::check_lifetime,
    refusal::Refusal, refusal::in_the_way, slot::Findings,
};
use crate::host::hold::Hold;
use crate::store::Batch;
use crate::telemetry::span;

/// Leases that a name keeps, with the reason why they are not on the preferred port.
struct Kept {
    leases: Vec<Arc<Lease>>,
    moved: Option<Moved>,
}

/// One line for all that was in the way of a grant: there may be thousands. At debug each has its own.
fn tell(asked: &RequestContext<'_>, conflicts: &[Attempt]) {
    if !conflicts.is_empty() {
        let (allocation, count) = (asked.id, conflicts.len());
        tracing::info!(%allocation, conflicts = count, "in the way: {}", in_the_way(conflicts));
    }
}

/// Grants what was found. The leases that it replaces end in the same commit.
pub(super) async fn grant(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    outcome: Findings,
) -> Result<Allocated, Refusal> {
    let Findings {
        slots,
        attempts,
        mut explanation,
    } = outcome;
    let (mut fresh, mut replaced, mut moves) = (Vec::new(), Vec::new(), Vec::new());
    let mut kept: Vec<Option<Kept>> = Vec::with_capacity(slots.len());
    for (index, slot) in slots.into_iter().enumerate() {
        let way = slot.moved(asked, &explanation);
        moves.extend(way.clone());
        let leases = slot.known.map_or_else(Vec::new, |known| known.leases);
        let Some(found) = slot.found else {
            kept.push(Some(Kept { leases, moved: way }));
            continue;
        };
        kept.push(None);
        let name = asked.request.names.get(index);
        let before = leases.first().map(|lease| &**lease);
        fresh.extend(fresh_leases(
            engine,
            asked,
            name,
            found,
            way.as_ref(),
            before,
        ));
        replaced.extend(leases);
    }
    let created = !fresh.is_empty();
    let notes = assist::guard_all(engine, asked, &mut fresh).await?;
    explanation.notes.extend(notes);
    // The record leaves out what other users' leases are; the answer may tell.
    let skipped = explanation.skipped.clone();
    let record = draft::record(engine, asked, explanation, &attempts);
    let batch = engine.store.batch().allocation(&record);
    let batch = batch.attempts(&record, &attempts);
    let granted = commit_fresh(engine, asked, batch, fresh, replaced).await?;
    let leases = in_order(engine, asked, kept, granted).await?;
    let attempt_count = record.explanation.tried.len();
    let mut explanation = Explanation {
        skipped,
        ..record.explanation
    };
    explanation.notes.extend(asked.take_notes());
    let conflicts = asked.conflicts(&attempts);
    tell(asked, &conflicts);
    Ok(Allocated {
        id: asked.id,
        created,
        dry: false,
        attempt_count,
        leases,
        moves,
        explanation,
        conflicts,
        trace: asked.trace.clone(),
    })
}

/// Makes one fresh lease a protocol from a found port. Terms of the lease that its name had
/// `before` go on unless the request sets them anew.
fn fresh_leases(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    name: Option<&Name>,
    found: Found,
    moved: Option<&Moved>,
    before: Option<&Lease>,
) -> Vec<Fresh> {
    let (port, reservation) = (found.port, Arc::new(found.reservation));
    let mut claims = found.claims;
    let fresh = |hold: Hold| {
        let protocol = hold.protocol();
        let mut lease = draft::new_lease(engine, asked, name, port, protocol);
        let claim = claims
            .iter()
            .position(|claim| claim.number().protocol == protocol);
        let claim = claim.map(|index| claims.swap_remove(index));
        if let Some(claim) = &claim {
            lease.id = claim.lease();
            lease.claim = Some(claim.of_lease());
        }
        lease.moved = moved.map(|moved| asked.on_record(moved));
        if let Some(before) = before {
            carry_over(engine, asked, before, &mut lease);
        }
        Fresh {
            lease,
            hold,
            assist: None,
            reservation: Arc::clone(&reservation),
            claim,
        }
    };
    found.holds.into_iter().map(fresh).collect()
}

/// Gives a name's next lease what its last one was told and the request leaves open, as for a lease
/// that stays.
fn carry_over(engine: &Arc<Engine>, asked: &RequestContext<'_>, before: &Lease, lease: &mut Lease) {
    lease.by_hand |= before.by_hand;
    lease.labels = note::relabelled(&before.labels, std::mem::take(&mut lease.labels));
    let ttl = before.ttl.filter(|_| asked.request.ttl.is_none());
    let allowed = |ttl: &Duration| check_lifetime(Some(*ttl), &asked.plan.pool).is_ok();
    if let Some(ttl) = ttl.filter(allowed) {
        lease.ttl = Some(ttl);
        lease.expires = Some(engine.clock.boot().after(ttl));
    }
}

/// Fresh leases and those that were kept, in the order of the names; the kept ones are handed out
/// once more.
async fn in_order(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    kept: Vec<Option<Kept>>,
    fresh: Vec<Arc<Lease>>,
) -> Result<Vec<Arc<Lease>>, Refusal> {
    let each = asked.plan.protocols.each().len();
    let mut fresh = fresh.into_iter();
    let mut leases = Vec::new();
    for kept in kept {
        let Some(Kept {
            leases: known,
            moved,
        }) = kept
        else {
            leases.extend(fresh.by_ref().take(each));
            continue;
        };
        for lease in known {
            leases.push(name::hand(engine, asked, &lease, moved.as_ref()).await?);
        }
    }
    Ok(leases)
}

/// Commits and enters the leases on a task of its own, since the client may hang up meanwhile. If
/// it has, unnamed leases without a retry key are released at once: no client knows them.
async fn commit_fresh(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    batch: Batch,
    fresh: Vec<Fresh>,
    replaced: Vec<Arc<Lease>>,
) -> Result<Vec<Arc<Lease>>, Refusal> {
    let (answer, answered) = oneshot::channel();
    let engine = Arc::clone(engine);
    // Kept until the books know the names, whether or not the asker waits for that.
    let turn = Arc::clone(&asked.turn);
    let asked_again = asked.request.repeated_by().is_some();
    let committing = span::commit();
    let task = async move {
        let result = commit_and_enter(&engine, batch, fresh, replaced).await;
        drop(turn);
        if let Err(Ok(unheard)) = answer.send(result)
            && !asked_again
        {
            give_back(&engine, unheard).await;
        }
    };
    tokio::spawn(tracing::Instrument::instrument(task, committing));
    answered
        .await
        .unwrap_or(Err(Refusal::Store(crate::store::StoreError::Closed)))
}

async fn commit_and_enter(
    engine: &Arc<Engine>,
    batch: Batch,
    fresh: Vec<Fresh>,
    replaced: Vec<Arc<Lease>>,
) -> Result<Vec<Arc<Lease>>, Refusal> {
    let (granted, ended) = engine.leases.grant(batch, fresh, replaced).await?;
    for lease in &granted {
        watch::watch(engine, lease);
        engine.journal.granted(lease);
    }
    for ended in ended {
        ending::report(engine, ended);
    }
    Ok(granted)
}

/// Releases leases that no client knows: those without a name, by which a client could ask again.
async fn give_back(engine: &Arc<Engine>, leases: Vec<Arc<Lease>>) {
    for lease in leases.iter().filter(|lease| lease.name.is_none()) {
        let why = "the answer could not be delivered";
        let ended = ending::end(engine, lease.id, State::Released, why, |_| true).await;
        if let Err(error) = ended {
            tracing::warn!(%error, lease = %lease.id, "an unheard lease waits to be claimed");
        }
    }
}
