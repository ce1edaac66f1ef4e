//! The hand-over `bind`: the program gets a cgroup of its own before it starts, and a guard in the kernel lets that
//! alone in through the open gate. If the program has a port of its own choice, the kernel gives it the leased one.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::domain::lease::{Handover, Lease, Owner};
use crate::domain::mapped::Map;
use crate::domain::port::Protocol;
use crate::engine::{
    caller::Mode, context::RequestContext, engine::Engine, leases::Assist, leases::Fresh,
    refusal::Refusal,
};
use crate::host::bpf::{self, Folder, PREFIX};
use crate::host::hold::{Hold, can_stay_beneath};
use crate::host::{kernel, process};

/// Guards the port of a lease for its owner. The error is the reason for which it cannot be, as the end of a
/// sentence.
async fn guard(engine: &Engine, lease: &Lease, place: Place) -> Result<Assist, String> {
    if engine.mode == Mode::Embedded {
        return Err("no service runs".to_owned());
    }
    let Some(owner) = lease.owner.clone() else {
        return Err("it is for a program that `portbook run` starts".to_owned());
    };
    if owner.pid == std::process::id() {
        return Err("it is for programs, not for portbook itself".to_owned());
    }
    if let (Protocol::Udp, Some(obstacle)) = (lease.protocol, obstacle_for_udp(lease)) {
        return Err(obstacle);
    }
    let prefix = prefix(engine);
    let find = move || {
        let folder = match place {
            Place::Own => folder_for(&owner, &prefix),
            Place::Around => around(&owner, &prefix),
        };
        folder.map_err(|error| format!("its program has no cgroup: {error}"))
    };
    guard_with(engine, lease, find, true).await
}

/// The reason for which a port for UDP cannot be guarded. A program gets SO_REUSEADDR for its socket, so the hold must
/// not receive. With that option another program that leaves the choice to the kernel may be given the port too.
fn obstacle_for_udp(lease: &Lease) -> Option<String> {
    if !can_stay_beneath(&lease.addresses) {
        return Some("no socket of portbook can stay beneath that of the program here".to_owned());
    }
    let outgoing = kernel::outgoing_ports();
    outgoing.contains(lease.port).then(|| {
        "the kernel gives out UDP ports of its own choice there (ip_local_port_range): \
         take one of another range"
            .to_owned()
    })
}

/// Guards the port of a lease for the cgroup that `find` gives, which may block. A spare `is_offered` unless the
/// program may have taken it.
async fn guard_with(
    engine: &Engine,
    lease: &Lease,
    find: impl FnOnce() -> Result<Folder, String> + Send + 'static,
    is_offered: bool,
) -> Result<Assist, String> {
    let work = move || match bpf::obstacle() {
        Some(obstacle) => Err(obstacle.to_owned()),
        None => find(),
    };
    let found = tokio::task::spawn_blocking(work).await;
    let folder = found.unwrap_or_else(|_| Err("the service ends".to_owned()))?;
    let assist = engine.leases.assist(lease, folder, is_offered).await;
    assist.map_err(|error| format!("the kernel refuses the guard: {error}"))
}

/// Cgroup that a lease is handed over to.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// One for its owner, which is moved there.
    Own,
    /// The one that its owner is in: a process that has inherited leases is in that of their first owner.
    Around,
}

fn around(owner: &Owner, prefix: &str) -> std::io::Result<Folder> {
    Folder::around(owner.pid, prefix).ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

/// The cgroup of an owner, with the owner in it: one for all its leases.
fn folder_for(owner: &Owner, prefix: &str) -> std::io::Result<Folder> {
    let name = format!("{prefix}{}-{:x}", owner.pid, owner.start_ticks);
    if let Some(folder) = Folder::around(owner.pid, &name) {
        return Ok(folder);
    }
    let folder = Folder::below_that_of(owner.pid, &name)?;
    let moved = folder.take_in(owner.pid);
    // Its pid may be another process's by now.
    if moved.is_ok() && process::is_running(owner) {
        return Ok(folder);
    }
    let _ = folder.remove();
    moved.and(Err(std::io::ErrorKind::NotFound.into()))
}

/// Prefix of the names of this service's cgroups: no other service has its data directory.
fn prefix(engine: &Engine) -> String {
    let folder = std::fs::metadata(&engine.settings().data_dir);
    let (device, inode) = folder.map_or((0, 0), |folder| (folder.dev(), folder.ino()));
    format!("{PREFIX}{device:x}.{inode:x}-")
}

/// Guards the ports of fresh leases, those that are handed over by `bind`. Where that cannot be, the lease falls
/// back to the gate: the notes say why, unless the request is strict about it.
pub(in crate::engine) async fn guard_all(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    fresh: &mut [Fresh],
) -> Result<Vec<String>, Refusal> {
    let mut notes = Vec::new();
    let place = match asked.request.map {
        Some(Map::More(_)) => Place::Around,
        _ => Place::Own,
    };
    let wants = asked.plan.handover == Handover::Bind && !asked.request.reserve;
    for fresh in fresh.iter_mut().filter(|_| wants) {
        let lease = &mut fresh.lease;
        match guard(engine, lease, place).await {
            Ok(assist) => fresh.assist = Some(assist),
            Err(why) => {
                refuse_map(lease.owner.as_ref(), &why)?;
                lease.handover = instead(lease);
                notes.push(unmet(lease, &why, asked.insists_on_handover())?);
            }
        }
    }
    Ok(notes)
}

/// Lets the owner of a name's lease in again. Returns a note if that falls back to the gate.
pub(super) async fn let_in_again(
    engine: &Arc<Engine>,
    lease: &Lease,
    hold: &Hold,
    strict: bool,
) -> Result<Option<String>, Refusal> {
    // The guard passes from its last program to this one: that may have ended just before, with the gate still open.
    let note = match guard(engine, lease, Place::Own).await {
        Ok(assist) => {
            assist.keep();
            None
        }
        Err(why) => {
            engine.leases.drop_assist(lease.id).await;
            let owner = lease.owner.clone();
            let lease = fall_back(engine, lease).await?;
            refuse_map(owner.as_ref(), &why)?;
            let note = unmet(&lease, &why, strict)?;
            if lease.handover == Handover::Release {
                engine.leases.let_go(&lease).await;
                return Ok(Some(note));
            }
            Some(note)
        }
    };
    hold.open_gate().map_err(|source| Refusal::BindFailed {
        address: format!("port {}", lease.port),
        source,
    })?;
    Ok(note)
}

/// Guards the port of an owner that lives, after a start. Returns the lease, which falls back to the gate if that
/// cannot be.
pub(super) async fn resume(engine: &Arc<Engine>, lease: &Lease) -> Result<Arc<Lease>, Refusal> {
    let (prefix, owner) = (prefix(engine), lease.owner.clone());
    let find = move || {
        let folder = owner.and_then(|owner| Folder::around(owner.pid, &prefix));
        folder.ok_or_else(|| "its program is not in its cgroup any more".to_owned())
    };
    match guard_with(engine, lease, find, false).await {
        Ok(assist) => {
            assist.keep();
            Ok(Arc::new(lease.clone()))
        }
        Err(why) => {
            let (id, port) = (lease.id, lease.port);
            tracing::warn!(lease = %id, %port, "could not guard the port of a program again: {why}; it is handed over by gate");
            fall_back(engine, lease).await
        }
    }
}

async fn fall_back(engine: &Engine, lease: &Lease) -> Result<Arc<Lease>, Refusal> {
    let changed = engine.leases.change(lease.id, |lease| {
        lease.handover = instead(lease);
        if let Some(owner) = &mut lease.owner {
            owner.mapped_from = None;
            owner.all_mapped = false;
        }
    });
    changed.await
}

/// Removes cgroups that no lease needs any more: their programs have ended while no service ran.
pub(super) async fn remove_leftovers(engine: &Arc<Engine>) {
    let engine = Arc::clone(engine);
    let work = move || {
        for folder in bpf::with_prefix(&prefix(&engine)) {
            if !engine.leases.needs_folder(&folder)
                && let Err(error) = folder.remove()
            {
                let cgroup = folder.path().display();
                tracing::warn!(%error, %cgroup, "could not remove the cgroup of an ended program");
            }
        }
    };
    let _ = tokio::task::spawn_blocking(work).await;
}

fn instead(lease: &Lease) -> Handover {
    Handover::Gate.for_protocol(lease.protocol, false)
}

/// Refuses a map that cannot be had: the program would take the port that it asks for.
fn refuse_map(owner: Option<&Owner>, why: &str) -> Result<(), Refusal> {
    let what = match owner {
        Some(Owner {
            mapped_from: Some(from),
            ..
        }) => format!("port {from} cannot be mapped to a leased one"),
        Some(owner) if owner.all_mapped => {
            "the ports of a program cannot be mapped to leased ones".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Refusal::InvalidRequest(format!(
        "{what}: {why}; a map takes a service with CAP_BPF and CAP_NET_ADMIN, \
         such as root's, and `portbook doctor` says whether it can. Without --map the program must take its port \
         from {{port}} or PORT"
    )))
}

/// Note on a wish that is not met; a refusal if the request is strict.
fn unmet(lease: &Lease, why: &str, strict: bool) -> Result<String, Refusal> {
    let (port, instead) = (lease.port, lease.handover.as_str());
    let is_not = format!(
        "{} port {port} is not handed over by bind: {why}",
        lease.protocol
    );
    if strict {
        return Err(Refusal::InvalidRequest(is_not));
    }
    Ok(format!("{is_not}; it is handed over by {instead} instead"))
}
