//! A request becomes leases: names looked up, ports found, rows committed, gates opened.

use std::sync::Arc;

use crate::domain::attempt::{Attempt, veiled};
use crate::domain::container;
use crate::domain::explanation::Explanation;
use crate::domain::lease::{AllocationId, Guard, Owner, Scope};
use crate::domain::mapped::Map;
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::request::Request;
use crate::engine::caller::{Caller, Mode};
use crate::engine::fate::{Fate, Known};
use crate::engine::lock::Guarded;
use crate::engine::slot::{Findings, count_ending, slots, wishes};
use crate::engine::{
    allocated::Allocated, context::RequestContext, draft, engine::Engine, known, name, plan::Plan,
    refusal::Refusal, retry, row, search::Searched,
};
use crate::engine::{commit, everywhere, giveway, keeper::stock, quota, remembered, unique};
use crate::host::process::{self, Identity, ProcessError};
use crate::store::AllocationRecord;
use crate::telemetry::propagation::{self, Ids};
use crate::telemetry::span;

pub(super) async fn allocate_now(
    engine: &Arc<Engine>,
    caller: &Caller,
    request: &Request,
) -> Result<Allocated, Refusal> {
    if caller.elsewhere {
        return Err(Refusal::OtherNetworkNamespace(caller.pid.unwrap_or(0)));
    }
    let pool = request.pool.as_deref().unwrap_or(DEFAULT_POOL);
    let allocating = span::allocate(pool);
    if let Some(Map::From(from)) = request.map {
        span::mapped(&allocating, from);
    }
    let trace = propagation::ids(&allocating);
    let request = &*remembered::with_numbers(engine, caller, request);
    let answer = answer(engine, caller, request, trace);
    let answer = tracing::Instrument::instrument(answer, allocating.clone()).await;
    match &answer {
        Ok(done) => {
            stock::let_pass(engine, caller, done).await;
            if let Some(lease) = done.leases.first() {
                span::granted(&allocating, done.id, lease.port, done.attempt_count);
            }
        }
        Err(refusal) => span::failed(&allocating, refusal.code()),
    }
    answer
}

async fn answer(
    engine: &Arc<Engine>,
    caller: &Caller,
    request: &Request,
    trace: Option<Ids>,
) -> Result<Allocated, Refusal> {
    let plan = plan(engine, request)?;
    let names = request.names.iter();
    let names = names.map(|name| (caller.uid, &request.scope, name.as_str()));
    // A key belongs to the user alone, in no scope.
    let key = request.repeated_by();
    let key = key.map(|key| (caller.uid, &Scope::User, key.as_str()));
    let reserved = everywhere::reserved_names(engine, caller.uid, &request.scope, &request.names);
    let names = names.chain(key).chain(reserved);
    let turn = Arc::new(engine.leases.names_turn(names).await);
    let request = &*remembered::without_busy(engine, caller, request);
    let asked = RequestContext {
        id: AllocationId(engine.new_id()),
        owner: owner(engine, caller, request)?,
        start: engine.clock.boot(),
        caller,
        request,
        plan: &plan,
        trace,
        turn,
        notes: Guarded::default(),
    };
    if let Some(again) = retry::granted_before(engine, &asked).await? {
        return Ok(again);
    }
    let mut known = known::look_up_names(engine, &asked).await?;
    if request.block.is_some() {
        known = row::whole_row(engine, &asked, known).await?;
    }
    let all_stay = known
        .iter()
        .all(|known| matches!(known.fate, Fate::Stays(_)));
    if all_stay && !known.is_empty() && !request.maps_all() {
        return name::reissue(engine, &asked, &known).await;
    }
    search_and_grant(engine, &asked, known).await
}

fn plan(engine: &Arc<Engine>, request: &Request) -> Result<Plan, Refusal> {
    let selecting = span::select_interfaces();
    let _entered = selecting.enter();
    let host = engine.interfaces.current()?;
    let plan = Plan::of(request, &engine.rules.now(), &host)?;
    span::selected(&selecting, plan.group.addresses().len());
    Ok(plan)
}

/// The process that is to own what is granted. Only a process of the caller's own user.
fn owner(
    engine: &Arc<Engine>,
    caller: &Caller,
    request: &Request,
) -> Result<Option<Owner>, Refusal> {
    let Some(pid) = request.owner_pid else {
        return Ok(None);
    };
    let pid = match inner_pid(caller, pid) {
        Ok(pid) => pid,
        // It ends by its time, whatever becomes of the process.
        Err(_) if request.ttl.is_some() => return Ok(None),
        Err(why) => return Err(Refusal::InvalidRequest(why)),
    };
    let found = engine.identities.of(pid, engine.clock.boot());
    let Identity { mut owner, place } = found.map_err(|error| match error {
        ProcessError::Unreadable { .. } => Refusal::Process(error),
        _ => Refusal::InvalidRequest(format!("owner_pid {pid}: {error}")),
    })?;
    if !caller.may_act_for(owner.uid) {
        return Err(Refusal::Forbidden(format!(
            "process {pid} belongs to uid {}: name one of your own",
            owner.uid
        )));
    }
    // The caller itself was looked at when it connected.
    let is_other = caller.pid != Some(pid);
    if engine.mode == Mode::Serving && is_other && !place.is_here {
        return Err(Refusal::OtherNetworkNamespace(pid));
    }
    owner.until_reaped = request.until_reaped;
    (owner.mapped_from, owner.all_mapped) = match request.map {
        None => (None, false),
        Some(Map::From(from)) => (Some(from), false),
        Some(Map::All | Map::More(_)) => (None, true),
    };
    // Its proxies come and go, as for a lease that one of them claimed.
    owner.engine = container::is_proxy(&owner.command);
    Ok(Some(owner))
}

/// Translates a pid that a caller names into portbook's own pid namespace. In another one, the kernel names
/// the caller alone, so the pid must be the caller's, or that of a process that started it.
fn inner_pid(caller: &Caller, pid: u32) -> Result<u32, String> {
    if !caller.foreign_pids {
        return Ok(pid);
    }
    let hidden = caller.pid.is_none();
    let found = caller.pid.and_then(|peer| process::named_by(peer, pid));
    found.ok_or_else(|| {
        let why = if hidden {
            "this service runs in a pid namespace that does not show your processes"
        } else {
            "your process ids are of another pid namespace, and this is neither your process nor one that started it"
        };
        format!(
            "owner_pid {pid}: {why}; take the port with `portbook alloc` and let the program that listens \
             claim it, give the lease a ttl, or start the container with --pid host"
        )
    })
}

async fn search_and_grant(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    known: Vec<Known>,
) -> Result<Allocated, Refusal> {
    let wishes = wishes(asked.request, &known);
    let ending = count_ending(asked, &known);
    let (_admission, notes) = if wishes.iter().all(|wish| wish.keeps) {
        // To go back to a preferred port is no reason to refuse, or to make others give way.
        match quota::admit(engine, asked, wishes.len(), ending) {
            Ok(admission) => (admission, Vec::new()),
            Err(_) => return name::reissue(engine, asked, &known).await,
        }
    } else {
        giveway::admit_with_room(engine, asked, wishes.len(), ending).await?
    };
    let Searched {
        result,
        attempts,
        explanation,
    } = unique::search_and_claim(engine, asked, &wishes, notes).await;
    if !asked.request.dry_run {
        engine.learning.learn(&attempts);
    }
    engine.journal.tried(&attempts, explanation.tried.len());
    let found = match result {
        Ok(found) => found,
        Err(refusal) => {
            return Err(refused(engine, asked, refusal, attempts, explanation).await);
        }
    };
    let outcome = Findings {
        slots: slots(known, found),
        attempts,
        explanation,
    };
    if asked.request.dry_run {
        return Ok(dry(engine, asked, outcome));
    }
    commit::grant(engine, asked, outcome).await
}

/// Records a refusal and gives it its attempts.
async fn refused(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    mut refusal: Refusal,
    attempts: Vec<Attempt>,
    explanation: Explanation,
) -> Refusal {
    if asked.request.wait.is_some() && attempts.is_empty() {
        // One look of many while it waits: nothing was tried, so there is nothing to record.
        return refusal;
    }
    let caller = asked.caller;
    if asked.request.dry_run {
        // Only a question, which leaves nothing.
        refusal.set_attempts(veiled(&attempts, |uid| caller.may_act_for(uid)));
        return refusal;
    }
    refusal.set_attempts(veiled(&attempts, |uid| caller.may_act_for(uid)));
    let said = refusal.for_readers(caller.uid);
    let record = AllocationRecord {
        refusal: Some(refusal.code().to_owned()),
        detail: Some(said.clone()),
        ..draft::record(engine, asked, explanation, &attempts)
    };
    let batch = engine
        .store
        .batch()
        .allocation(&record)
        .attempts(&record, &attempts);
    if let Err(error) = engine.store.commit(batch).await {
        // The store tells of its failure once.
        tracing::debug!(%error, "could not record a refusal; it is missing from history");
    }
    engine.journal.refused(asked.id, caller.uid, &refusal, said);
    refusal
}

/// Answers a dry run: describes the leases that would have been granted, and frees their ports.
fn dry(engine: &Arc<Engine>, asked: &RequestContext<'_>, outcome: Findings) -> Allocated {
    let Findings {
        slots,
        attempts,
        mut explanation,
    } = outcome;
    if !asked.caller.sees_unknown_users() {
        explanation.veil();
    }
    let (mut leases, mut moves) = (Vec::new(), Vec::new());
    for (index, slot) in slots.into_iter().enumerate() {
        let way = slot.moved(asked, &explanation);
        moves.extend(way.clone());
        let Some(found) = slot.found else {
            leases.extend(slot.known.into_iter().flat_map(|known| known.leases));
            continue;
        };
        for protocol in asked.plan.protocols.each() {
            let name = asked.request.names.get(index);
            let mut lease = draft::new_lease(engine, asked, name, found.port, *protocol);
            lease.guard = Guard::None;
            lease.moved.clone_from(&way);
            leases.push(Arc::new(lease));
        }
        drop(found);
    }
    Allocated {
        id: asked.id,
        created: false,
        dry: true,
        attempt_count: explanation.tried.len(),
        leases,
        moves,
        explanation,
        conflicts: asked.conflicts(&attempts),
        trace: asked.trace.clone(),
    }
}
