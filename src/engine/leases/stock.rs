//! Spares: leases of a program all of whose ports are mapped (`--map all`), of which it takes one for each port that it
//! asks for. The kernel gives them out; here is what became of them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::assists::{self, Assisted};
use super::{Leases, State};
use crate::domain::lease::{Lease, LeaseId, Name};
use crate::domain::port::{Port, Protocol};
use crate::engine::refusal::Refusal;
use crate::host::bpf::{All, Folder, MOST_MAPPINGS, Spare};

/// Number of spares that a program has to take from.
pub(in crate::engine) const SPARES: usize = 8;

/// A stock that is not full.
#[derive(Debug)]
pub(in crate::engine) struct Shortage {
    /// A lease of the program, on whose terms further ones are granted.
    pub(in crate::engine) like: Arc<Lease>,
    pub(in crate::engine) missing: usize,
}

impl Leases {
    /// Whether all ports of any program are mapped.
    pub(in crate::engine) fn map_all(&self) -> bool {
        self.state
            .with(|state| state.assists.values().any(|one| one.all_of.is_some()))
    }

    /// Returns the spares that programs have taken since, each with the port that was asked for.
    pub(in crate::engine) async fn taken(&self) -> Vec<(LeaseId, Port)> {
        let mut kernel = self.kernel.lock().await;
        let mut found = Vec::new();
        for (cgroup, rewriter) in &mut kernel.rewriters {
            let taken = rewriter.taken().unwrap_or_else(|error| {
                tracing::warn!(%error, cgroup = %cgroup.display(), "could not read which spares a program has taken");
                Vec::new()
            });
            for taken in taken {
                let id = self.state.with(|state| note_taken(state, cgroup, taken.to));
                match id {
                    Some(id) => found.push((id, taken.from)),
                    // It was released at that moment.
                    None => forget(rewriter.forget(taken.from), taken.from),
                }
            }
        }
        found
    }

    /// Makes a spare the lease of a port that its owner asks for. In its turn, and that of the name.
    pub(in crate::engine) async fn settle_spare(
        &self,
        id: LeaseId,
        from: Port,
        name: Option<Name>,
    ) -> Result<Arc<Lease>, Refusal> {
        self.state.with(|state| {
            state.books.rename(id, name);
        });
        let changed = self.change(id, |lease| {
            if let Some(owner) = &mut lease.owner {
                owner.mapped_from = Some(from);
            }
        });
        let changed = changed.await;
        let lease = self.get(id).ok_or(Refusal::NotFound)?;
        self.state.with(|state| {
            if let Some(assist) = state.assists.get_mut(&id) {
                assist.mapping = assists::mapping(&lease);
                assist.is_offered = false;
            }
        });
        self.refresh_unasked().await;
        changed
    }

    /// Puts no mapping of all ports in force until [`Self::enforce_maps`]: the kernel would refuse what is mapped to a
    /// lease that is not in the books yet.
    pub(in crate::engine) fn defer_maps(&self) {
        self.state.with(|state| state.defers_maps = true);
    }

    /// Puts the mappings in force, and offers these spares to their programs.
    pub(in crate::engine) async fn enforce_maps(&self, offered: &[LeaseId]) {
        self.state.with(|state| {
            state.defers_maps = false;
            for id in offered {
                if let Some(assist) = state.assists.get_mut(id) {
                    assist.is_offered = assist.mapping.is_none();
                    state.has_doubtful_spares = true;
                }
            }
        });
        self.refresh_unasked().await;
    }

    /// Whether there are spares that programs may have taken from the service before this one. Once a start.
    pub(in crate::engine) fn doubts_spares(&self) -> bool {
        self.state
            .with(|state| std::mem::take(&mut state.has_doubtful_spares))
    }

    /// Offers these spares no more.
    pub(in crate::engine) async fn withdraw(&self, ids: &[LeaseId]) {
        self.state.with(|state| {
            for id in ids {
                if let Some(assist) = state.assists.get_mut(id) {
                    assist.is_offered = false;
                }
            }
        });
        self.refresh_unasked().await;
    }

    /// Returns the stocks that are not full. No program has more leases than mappings have room for.
    pub(in crate::engine) fn shortages(&self) -> Vec<Shortage> {
        self.state.with(|state| {
            let mut stocks: HashMap<&Path, (usize, usize, LeaseId)> = HashMap::new();
            for (id, one) in state.assists.iter().filter(|(_, one)| one.all_of.is_some()) {
                let stock = stocks.entry(one.folder.path()).or_insert((0, 0, *id));
                stock.0 += 1;
                stock.1 += usize::from(one.is_offered);
                // The newest is of this run of the program, and not one that it has again.
                stock.2 = stock.2.max(*id);
            }
            let most = usize::try_from(MOST_MAPPINGS).unwrap_or(usize::MAX);
            let shortage = |(all, offered, id): (usize, usize, LeaseId)| {
                let missing = SPARES.saturating_sub(offered).min(most.saturating_sub(all));
                let like = state.books.get(id).filter(|_| missing > 0)?;
                Some(Shortage {
                    like: Arc::clone(like),
                    missing,
                })
            };
            stocks.into_values().filter_map(shortage).collect()
        })
    }

    /// Notes the cgroup that leases are for. Their ports are then left as they are where all others are mapped.
    pub(in crate::engine) async fn note_cgroup(&self, ids: &[LeaseId], cgroup: PathBuf) {
        let concerns = self.state.with(|state| {
            let mut all = state.assists.values().filter(|one| one.all_of.is_some());
            let concerns = all.any(|one| cgroup.starts_with(one.folder.path()));
            if concerns {
                let ids = ids.iter().map(|id| (*id, cgroup.clone()));
                state.cgroups.extend(ids);
            }
            concerns
        });
        if concerns {
            self.refresh_unasked().await;
        }
    }

    async fn refresh_unasked(&self) {
        if let Err(error) = self.refresh_kernel().await {
            tracing::warn!(%error, "could not change the mappings of a program; trying again at the next change");
        }
    }
}

/// Finds the lease of a taken spare, which must not be offered again.
fn note_taken(state: &mut State, cgroup: &Path, port: Port) -> Option<LeaseId> {
    let mut assists = state.assists.iter_mut();
    let is_it =
        |one: &Assisted| is_tcp(one) && one.permit.port == port && one.folder.path() == cgroup;
    let (id, assist) = assists.find(|(_, one)| is_it(one))?;
    assist.is_offered = false;
    Some(*id)
}

/// Whether it is for TCP, as all ports of a program are that have no map of their own.
fn is_tcp(one: &Assisted) -> bool {
    one.permit.protocol == Protocol::Tcp
}

fn forget(done: io::Result<()>, from: Port) {
    if let Err(error) = done {
        tracing::warn!(%error, %from, "could not end the mapping to a lease that has ended");
    }
}

/// The mapping of all other ports of a cgroup. `None` if they are left alone.
pub(super) fn all(state: &State, folder: &Folder) -> Option<All> {
    let own = state.assists.values();
    let own = own.filter(|one| one.folder.path() == folder.path());
    let uid = own.clone().find_map(|one| one.all_of)?;
    let offered = own.clone().filter(|one| one.is_offered);
    let spares = offered.map(|one| Spare {
        to: one.permit.port,
        group: one.permit.group.clone(),
    });
    let within = state.cgroups.iter();
    let within = within.filter(|(_, cgroup)| cgroup.starts_with(folder.path()));
    let within = within.filter_map(|(id, _)| state.books.get(*id));
    let within = within.filter(|lease| lease.protocol == Protocol::Tcp && !lease.state.is_ended());
    let passing = within.map(|lease| lease.port);
    let own = own.filter(|one| is_tcp(one));
    Some(All {
        uid,
        spares: spares.collect(),
        passing: passing.chain(own.map(|one| one.permit.port)).collect(),
    })
}
