//! Programs all of whose ports are mapped (`--map all`): what they took of their spares goes on record, and their
//! stock is filled up.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::lease::{Handover, Lease, LeaseId, Name};
use crate::domain::mapped::Map;
use crate::domain::port::Port;
use crate::domain::request::Request;
use crate::domain::selector::{Selector, SelectorKind};
use crate::engine::{
    allocated::Allocated, caller::Caller, engine::Engine, grant, leases::Shortage,
    look::listeners_of, refusal::Refusal,
};
use crate::host::{bpf, process};

/// Pause after a stock could not be filled up: each refusal is on record.
const PUT_OFF: Duration = Duration::from_secs(30);

/// Puts what was taken on record, and fills the stocks up. Part of each round of the observer.
pub(in crate::engine) async fn look(engine: &Arc<Engine>) {
    if !engine.leases.map_all() {
        return;
    }
    settle(engine).await;
    if engine.leases.doubts_spares() {
        let (_, taken) = spares(engine);
        engine.leases.withdraw(&taken).await;
    }
    let now = engine.clock.boot();
    let is_put_off = engine
        .stocks_put_off
        .with(|until| until.is_some_and(|until| now < until));
    if is_put_off {
        return;
    }
    for shortage in engine.leases.shortages() {
        let uid = shortage.like.uid;
        if let Err(refusal) = fill_up(engine, shortage).await {
            tracing::warn!(%refusal, uid, "could not fill up the spares of --map all; trying again in 30 s");
            engine
                .stocks_put_off
                .with(|until| *until = Some(now.after(PUT_OFF)));
        }
    }
}

/// Puts the spares that programs have taken on record, each as the lease of the port that was asked for.
pub(in crate::engine) async fn settle(engine: &Arc<Engine>) {
    if !engine.leases.map_all() {
        return;
    }
    for (id, from) in engine.leases.taken().await {
        if let Err(error) = settle_one(engine, id, from).await {
            tracing::error!(%error, lease = %id, %from, "could not record that a spare was taken; trying again in a second");
        }
    }
}

async fn settle_one(engine: &Arc<Engine>, id: LeaseId, from: Port) -> Result<(), Refusal> {
    let Some(lease) = engine.leases.living(id) else {
        return Ok(());
    };
    let Ok(name) = from.to_string().parse::<Name>() else {
        return Ok(());
    };
    let key = (lease.uid, &lease.scope, name.as_str());
    let Some(_names) = engine.leases.try_names_turn(std::iter::once(key)) else {
        // A request is at work on it. The next round comes back to it.
        return Ok(());
    };
    let _turn = engine.leases.turn(id).await;
    let lease = engine.leases.living(id).filter(|lease| lease.is_spare());
    let Some(lease) = lease else {
        return Ok(());
    };
    let is_free = engine
        .leases
        .named(lease.uid, &lease.scope, &name)
        .is_empty();
    let settled = engine
        .leases
        .settle_spare(id, from, is_free.then_some(name));
    engine.journal.mapped(&*settled.await?, from);
    Ok(())
}

/// Grants further spares on the terms of another lease of the program.
async fn fill_up(engine: &Arc<Engine>, shortage: Shortage) -> Result<(), Refusal> {
    let Shortage { like, missing } = shortage;
    let missing = u32::try_from(missing).ok().and_then(NonZeroU32::new);
    let owner = like.owner.as_ref();
    let owner = owner.filter(|owner| process::is_running(owner));
    let (Some(missing), Some(owner)) = (missing, owner) else {
        return Ok(());
    };
    let interfaces = like.addresses.addresses().iter().map(|address| Selector {
        negated: false,
        kind: SelectorKind::Address(address.ip),
    });
    let request = Request {
        pool: Some(like.pool.to_string()),
        scope: like.scope.clone(),
        interfaces: interfaces.collect(),
        handover: Some(Handover::Bind),
        owner_pid: Some(owner.pid),
        map: Some(Map::More(missing)),
        labels: like.labels.clone(),
        ttl: like.ttl,
        ..Request::default()
    };
    let caller = Caller::user(like.uid);
    grant::allocate_now(engine, &caller, &request)
        .await
        .map(drop)
}

/// Puts mappings in force after a start, when all leases are in the books.
pub(in crate::engine) async fn resume(engine: &Arc<Engine>) {
    if engine.leases.map_all() {
        for lease in engine.leases.filtered(|lease| lease.owner.is_some()) {
            if let Some(cgroup) = lease.owner.as_ref().and_then(|owner| cgroup_of(owner.pid)) {
                engine.leases.note_cgroup(&[lease.id], cgroup).await;
            }
        }
    }
    let (free, _) = spares(engine);
    engine.leases.enforce_maps(&free).await;
}

/// Returns the spares on which nothing listens, and the others. Those were taken while this service did not run, or
/// did not have the word yet.
fn spares(engine: &Engine) -> (Vec<LeaseId>, Vec<LeaseId>) {
    let spares = engine.leases.filtered(Lease::is_spare).into_iter();
    let is_free = |lease: &LeaseId| {
        let lease = engine.leases.get(*lease);
        lease.is_some_and(|one| listeners_of(&one).is_ok_and(|found| found.is_empty()))
    };
    spares.map(|lease| lease.id).partition(is_free)
}

/// Leaves the ports that are granted within a program all of whose ports are mapped as they are.
pub(in crate::engine) async fn let_pass(engine: &Arc<Engine>, caller: &Caller, done: &Allocated) {
    if done.dry || !engine.leases.map_all() {
        return;
    }
    let mut ids: Vec<LeaseId> = done.leases.iter().map(|lease| lease.id).collect();
    let owner = done.leases.iter().find_map(|lease| lease.owner.as_ref());
    if let Some(owner) = owner.filter(|owner| owner.all_mapped) {
        let is_its = |lease: &Lease| lease.owner.as_ref().is_some_and(|one| one.is(owner));
        ids.extend(engine.leases.filtered(is_its).iter().map(|lease| lease.id));
    }
    let pid = owner.map(|owner| owner.pid).or(caller.pid);
    if let Some(cgroup) = pid.and_then(cgroup_of) {
        engine.leases.note_cgroup(&ids, cgroup).await;
    }
}

fn cgroup_of(pid: u32) -> Option<PathBuf> {
    bpf::of_process(pid).ok()
}
