//! Leases that are handed over by `bind`: the cgroups of their programs, and the programs in the kernel that let
//! these alone in through the open gates, and give them the leased ports for those that they ask for.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Leases, State, stock};
use crate::domain::lease::{Lease, LeaseId};
use crate::domain::port::Protocol;
use crate::host::bpf::{Folder, Guard, Mapping, Mappings, Permit, Rewriter};

/// The cgroup of the program of one lease, the permit for it, and the mapping to its port.
#[derive(Debug)]
pub(super) struct Assisted {
    pub(super) folder: Arc<Folder>,
    pub(super) permit: Permit,
    pub(super) mapping: Option<Mapping>,
    /// User of the program, if all its ports are mapped. `None` if those that it has no lease for are left alone.
    pub(super) all_of: Option<u32>,
    /// Whether the program may take it for any port.
    pub(super) is_offered: bool,
}

impl Assisted {
    /// Number of descriptors that its mapping keeps open at most: those of one program share theirs.
    pub(super) fn descriptor_count(&self) -> usize {
        let mapping = self.mapping.as_ref();
        let is_mapped = mapping.is_some() || self.all_of.is_some();
        let is_udp = mapping.is_some_and(|mapping| mapping.protocol == Protocol::Udp);
        usize::from(is_mapped) * Rewriter::DESCRIPTORS
            + usize::from(is_udp) * Rewriter::UDP_DESCRIPTORS
    }
}

/// Programs in the kernel, while a lease needs them.
#[derive(Debug, Default)]
pub(super) struct InKernel {
    guard: Option<Guard>,
    /// By cgroup.
    pub(super) rewriters: HashMap<PathBuf, Rewriter>,
}

/// A lease whose port is guarded. Dropped before it is kept, it takes the guard away again: the grant failed, or
/// its client hung up.
#[derive(Debug)]
pub(in crate::engine) struct Assist {
    leases: Arc<Leases>,
    id: LeaseId,
    is_kept: bool,
}

impl Assist {
    /// Leaves the guard in force until [`Leases::drop_assist`].
    pub(in crate::engine) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Assist {
    fn drop(&mut self) {
        // Without a runtime this process ends, and the guard with it.
        if let (false, Ok(runtime)) = (self.is_kept, tokio::runtime::Handle::try_current()) {
            let (leases, id) = (Arc::clone(&self.leases), self.id);
            runtime.spawn(async move { leases.drop_assist(id).await });
        }
    }
}

impl Leases {
    /// Guards the port of a lease, so that processes of a cgroup alone can bind it, if need be for the one that
    /// they ask for, and those of no other any more. Must come before its gate opens. A spare `is_offered` unless
    /// the program may have taken it.
    pub(in crate::engine) async fn assist(
        self: &Arc<Self>,
        lease: &Lease,
        folder: Folder,
        is_offered: bool,
    ) -> io::Result<Assist> {
        let permit = folder.permit(lease.protocol, lease.port, lease.addresses.clone());
        let folder = Arc::new(folder);
        let assist = Assist {
            leases: Arc::clone(self),
            id: lease.id,
            is_kept: false,
        };
        let owner = lease.owner.as_ref();
        let assisted = Assisted {
            folder,
            permit,
            mapping: mapping(lease),
            all_of: owner
                .filter(|owner| owner.all_mapped)
                .map(|owner| owner.uid),
            is_offered: is_offered && lease.is_spare(),
        };
        let before = self
            .state
            .with(|state| state.assists.insert(lease.id, assisted));
        self.refresh_kernel().await?;
        if let Some(before) = before {
            self.remove_unneeded(before.folder).await;
        }
        Ok(assist)
    }

    /// Ends the guard of a lease, if it has one, once its gate is shut.
    pub(in crate::engine) async fn drop_assist(&self, id: LeaseId) {
        if !self.state.with(|state| state.assists.contains_key(&id)) {
            return;
        }
        let hold = self.hold_of(id);
        // This opens it for a moment, so the guard must not end by another lease's change meanwhile.
        if let Some(Err(error)) = hold.map(|hold| hold.shut_gate()) {
            tracing::error!(%error, lease = %id, "could not shut a gate before its guard ends");
        }
        let Some(taken) = self.state.with(|state| state.assists.remove(&id)) else {
            return;
        };
        if let Err(error) = self.refresh_kernel().await {
            tracing::warn!(%error, lease = %id, "could not end the guard on a port; only its last program can bind it");
        }
        self.remove_unneeded(taken.folder).await;
    }

    /// Removes the cgroup of a program, unless another lease of the program needs it. What is left of the program
    /// moves to the cgroup above.
    async fn remove_unneeded(&self, folder: Arc<Folder>) {
        if self.needs_folder(&folder) {
            return;
        }
        let remove = move || {
            if let Err(error) = folder.remove() {
                let cgroup = folder.path().display();
                tracing::warn!(%error, %cgroup, "could not remove the cgroup of a program; the next start does");
            }
        };
        // To move a process takes the kernel some milliseconds. An error means that the runtime ends.
        let _ = tokio::task::spawn_blocking(remove).await;
    }

    /// Whether a cgroup belongs to a living lease.
    pub(in crate::engine) fn needs_folder(&self, folder: &Folder) -> bool {
        self.state.with(|state| {
            let mut assists = state.assists.values();
            assists.any(|assist| assist.folder.path() == folder.path())
        })
    }

    /// Makes the programs in the kernel those that the leases need. A change takes some microseconds, a program a
    /// millisecond. Nothing is awaited meanwhile: a client that hangs up must not take the guard along.
    pub(super) async fn refresh_kernel(&self) -> io::Result<()> {
        let mut kernel = self.kernel.lock().await;
        let rewritten = self.refresh_rewriters(&mut kernel.rewriters);
        self.refresh_guard(&mut kernel.guard).and(rewritten)
    }

    fn refresh_guard(&self, guard: &mut Option<Guard>) -> io::Result<()> {
        let permits: Vec<Permit> = self.state.with(|state| {
            let assists = state.assists.values();
            assists.map(|assist| assist.permit.clone()).collect()
        });
        if permits.is_empty() {
            if guard.take().is_some() {
                self.state.with(|state| state.holds.tell_no_guard());
            }
            return Ok(());
        }
        if let Some(guard) = guard {
            return guard.change_to(&permits);
        }
        let new = Guard::on(&permits, std::process::id())?;
        self.state.with(|state| state.holds.tell_guard(&new));
        *guard = Some(new);
        Ok(())
    }

    /// All leases of a program have one cgroup, and so one rewriter.
    fn refresh_rewriters(&self, rewriters: &mut HashMap<PathBuf, Rewriter>) -> io::Result<()> {
        let wanted = self.state.with(|state| mappings(state));
        let ended = rewriters.extract_if(|cgroup, _| !wanted.contains_key(cgroup));
        for (cgroup, rewriter) in ended {
            drop(rewriter);
            self.state.with(|state| state.holds.tell_unmapped(cgroup));
        }
        for (cgroup, (folder, mappings)) in wanted {
            let known = rewriters.get_mut(&cgroup);
            let is_other = known.is_some();
            if let Some(rewriter) = known.filter(|one| one.suits(&mappings)) {
                rewriter.change_to(&mappings)?;
                continue;
            }
            // In force before the one that it replaces ends.
            let new = Rewriter::on(&folder, &mappings)?;
            self.state.with(|state| {
                if is_other {
                    state.holds.tell_unmapped(cgroup.clone());
                }
                state.holds.tell_mapped(&cgroup, &new);
            });
            rewriters.insert(cgroup, new);
        }
        Ok(())
    }
}

/// Mapping of a lease, if its owner asks for another port.
pub(super) fn mapping(lease: &Lease) -> Option<Mapping> {
    let owner = lease.owner.as_ref()?;
    Some(Mapping {
        protocol: lease.protocol,
        from: owner.mapped_from?,
        to: lease.port,
        group: lease.addresses.clone(),
        uid: owner.uid,
    })
}

/// Cgroups with the mappings of their programs, by path.
type Mapped = HashMap<PathBuf, (Arc<Folder>, Mappings)>;

/// The cgroups whose programs are given other ports than they ask for.
fn mappings(state: &State) -> Mapped {
    let mut wanted = Mapped::new();
    let is_mapped = |one: &&Assisted| one.mapping.is_some() || one.all_of.is_some();
    for assist in state.assists.values().filter(is_mapped) {
        let path = assist.folder.path().to_owned();
        let of_folder = wanted
            .entry(path)
            .or_insert_with(|| (Arc::clone(&assist.folder), Mappings::default()));
        of_folder.1.known.extend(assist.mapping.clone());
    }
    for (folder, mappings) in wanted.values_mut() {
        mappings.all = stock::all(state, folder);
    }
    wanted.retain(|_, (_, mappings)| !(state.defers_maps && mappings.all.is_some()));
    wanted
}
