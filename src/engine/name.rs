//! Names: what lives under one already, where it was before, and handing it out once more.

use std::sync::Arc;

use crate::domain::attempt::{Attempt, veiled};
use crate::domain::lease::{BootTime, Handover, Lease, Name, Owner, State};
use crate::domain::note;
use crate::domain::precedence::Moved;
use crate::engine::{
    allocated::Allocated, caller::Caller, context::RequestContext, engine::Engine, fate::Known,
    keeper::gate, keeper::watch, refusal::Refusal,
};
use crate::host::hold::{Hold, Take, can_stay_beneath};
use crate::host::process;

/// The living leases of a name. One that is ending is waited for, so that its port is free
/// again when the name asks for it.
pub(super) async fn leases_named(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    name: &Name,
) -> Vec<Arc<Lease>> {
    let known = known_as(engine, asked, name);
    for lease in known.iter().filter(|lease| lease.state.is_ended()) {
        drop(engine.leases.turn(lease.id).await);
    }
    let mut living = known_as(engine, asked, name);
    living.retain(|lease| !lease.state.is_ended());
    living
}

fn known_as(engine: &Engine, asked: &RequestContext<'_>, name: &Name) -> Vec<Arc<Lease>> {
    let (uid, scope) = (asked.caller.uid, &asked.request.scope);
    engine.leases.named(uid, scope, name)
}

/// Whether a name's port can still be handed out: held, in its owner's hands, or to be had.
pub(super) async fn is_still_ours(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    lease: &Lease,
) -> Result<bool, Refusal> {
    let _turn = engine.leases.turn(lease.id).await;
    let Some(lease) = engine.leases.living(lease.id) else {
        return Ok(true);
    };
    // Released, its program may be about to bind: a hold would be in its way.
    let let_go = lease.handover == Handover::Release && lease.state == State::Handed;
    let in_use =
        lease.owner.as_ref().is_some_and(process::is_running) || lease.is_engines() || let_go;
    let ours = lease.state != State::Lost
        && (in_use
            || engine.leases.hold_of(lease.id).is_some()
            || engine.leases.hold_again(&lease).is_some());
    if !ours && asked.request.strict && lease.has_lost_claim() {
        return Err(Refusal::PortLeased {
            port: lease.port,
            protocol: lease.protocol,
            holder: "another host of the fleet".to_owned(),
            whose: None,
        });
    }
    if !ours && asked.request.strict {
        return Err(why_in_use(engine, asked.caller, &lease).await);
    }
    Ok(ours)
}

/// The lease of a name that is asked to be reserved: from now on it is kept by hand.
pub(super) async fn reserved_by_hand(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    lease: &Lease,
) -> Result<Arc<Lease>, Refusal> {
    if !asked.request.reserve || asked.request.dry_run || lease.by_hand {
        return engine.leases.get(lease.id).ok_or(Refusal::NotFound);
    }
    let _turn = engine.leases.turn(lease.id).await;
    engine
        .leases
        .change(lease.id, |lease| lease.by_hand = true)
        .await
}

/// Tries the port of a lease once more, and returns the refusal with the occupant's name.
pub(super) async fn why_in_use(engine: &Arc<Engine>, caller: &Caller, lease: &Lease) -> Refusal {
    let mut attempts = Vec::new();
    let (group, protocol, port) = (&lease.addresses, lease.protocol, lease.port);
    let mut note = |attempt: Attempt, _: &tracing::Span| attempts.push(attempt);
    drop(Hold::take(
        Take::Strictly,
        group,
        protocol,
        port,
        &engine.clock,
        &mut note,
    ));
    for attempt in &mut attempts {
        attempt.occupant = gate::occupant_of(engine, attempt).await;
    }
    let attempts = veiled(&attempts, |uid| caller.may_act_for(uid));
    Refusal::PortInUse { port, attempts }
}

/// Every name keeps its leases: the same ones, in the asker's hands once more.
pub(super) async fn reissue(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    known: &[Known],
) -> Result<Allocated, Refusal> {
    let mut answer = Allocated::again(asked, asked.id, Vec::new());
    for known in known {
        let moved = known
            .leases
            .first()
            .and_then(|lease| known.moved(asked, |_| None, lease.port));
        answer.moves.extend(moved.clone());
        for lease in &known.leases {
            answer
                .leases
                .push(hand(engine, asked, lease, moved.as_ref()).await?);
        }
    }
    if let Some(first) = answer.leases.first() {
        answer.id = first.allocation;
    }
    answer.explanation.notes.extend(asked.take_notes());
    Ok(answer)
}

/// Hands a living lease out once more, on a task of its own: the client may hang up, but an owner
/// is not noted without its gate.
pub(super) async fn hand(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    lease: &Lease,
    moved: Option<&Moved>,
) -> Result<Arc<Lease>, Refusal> {
    let owner_lives = lease.owner.as_ref().is_some_and(process::is_running);
    let at_work = owner_lives && asked.owner.is_none();
    if at_work || asked.request.dry_run || asked.request.reserve {
        // Nothing changes hands.
        return reserved_by_hand(engine, asked, lease).await;
    }
    let now = engine.clock.boot();
    let terms = Terms {
        owner: asked.owner_of(lease.name.as_ref()),
        claim_by: asked
            .owner
            .is_none()
            .then(|| now.after(asked.plan.claim_within)),
        ttl: asked.request.ttl.or(lease.ttl),
        handover: asked.request.handover,
        labels: asked.request.labels.clone(),
        prefers: asked.request.prefer.is_some(),
        moved: moved.map(|moved| asked.on_record(moved)),
    };
    let strict = asked.insists_on_handover();
    let (engine, id) = (Arc::clone(engine), lease.id);
    let handing = async move {
        let _turn = engine.leases.turn(id).await;
        let changed = engine
            .leases
            .change(id, |lease| terms.apply(lease, now))
            .await?;
        engine.leases.note_handed(id);
        // Watched first: an owner that is refused the port ends, and must be missed.
        watch::watch(&engine, &changed);
        let note = gate::hand_over(&engine, &changed, strict).await?;
        let lease = engine.leases.get(id).ok_or(Refusal::NotFound)?;
        Ok((lease, note))
    };
    let handed = tokio::spawn(handing).await;
    let handed = handed.unwrap_or(Err(Refusal::Store(crate::store::StoreError::Closed)));
    handed.map(|(lease, note)| {
        asked.note(note);
        lease
    })
}

/// The terms on which a name's lease is handed out once more.
struct Terms {
    owner: Option<Owner>,
    claim_by: Option<BootTime>,
    ttl: Option<std::time::Duration>,
    handover: Option<Handover>,
    labels: std::collections::BTreeMap<String, String>,
    /// Whether there is a preference, without which nothing is said of a move.
    prefers: bool,
    moved: Option<Moved>,
}

impl Terms {
    fn apply(self, lease: &mut Lease, now: BootTime) {
        lease.state = State::Handed;
        lease.idle_since = None;
        // A container engine may come back meanwhile.
        let engine = lease.owner.take().filter(|owner| owner.engine);
        lease.owner = self.owner.or(engine);
        lease.claim_by = self.claim_by;
        lease.ttl = self.ttl;
        lease.expires = self.ttl.map(|ttl| now.after(ttl));
        if let Some(handover) = self.handover {
            let gate_for_udp = can_stay_beneath(&lease.addresses);
            lease.handover = handover.for_protocol(lease.protocol, gate_for_udp);
        }
        lease.labels = note::relabelled(&lease.labels, self.labels);
        if self.prefers {
            lease.moved = self.moved;
        }
    }
}
