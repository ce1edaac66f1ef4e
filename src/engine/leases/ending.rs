//! Ending: the record, then the hold, then the books.

use std::sync::Arc;

use super::{Leases, Turn};
use crate::domain::lease::{Lease, LeaseId, State};
use crate::domain::outsider::Outsider;
use crate::engine::{at_work::is_at_work, refusal::Refusal};

/// The way in which a lease ends.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Ending {
    pub(in crate::engine) state: State,
    /// The reason, for the log.
    pub(in crate::engine) why: &'static str,
    /// Whether its name forgets the port.
    pub(in crate::engine) forgets: bool,
}

/// A lease that has ended: it is on record, its hold is closed, and its port is free.
#[derive(Debug)]
pub(in crate::engine) struct Ended {
    pub(in crate::engine) lease: Arc<Lease>,
    pub(in crate::engine) why: &'static str,
    /// An outsider that came in through the gate while it was open, and still listens.
    pub(in crate::engine) outsider: Option<Outsider>,
}

/// Leases that end once others are on record: each as it was and as it ends, and their turn. Must be
/// finished or undone.
#[must_use]
pub(in crate::engine) struct SetAside {
    leases: Vec<(Arc<Lease>, Arc<Lease>)>,
    _turn: Turn,
}

impl SetAside {
    const ENDING: Ending = Ending {
        state: State::Released,
        why: "its name moved",
        forgets: false,
    };

    /// Returns the form of each lease that goes on record.
    pub(super) fn ended(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter().map(|(_, ended)| &**ended)
    }

    /// Ends them, now that they are on record as ended.
    pub(super) async fn finish(self, leases: &Leases) -> Vec<Ended> {
        let mut all = Vec::with_capacity(self.leases.len());
        for (before, ended) in self.leases {
            all.push(leases.finish(&before, ended, Self::ENDING.why).await);
        }
        all
    }

    /// Puts them back as they were.
    pub(super) fn undo(self, leases: &Leases) {
        for (before, _) in &self.leases {
            leases.undo(before);
        }
    }
}

fn came_meanwhile(lease: &Lease) -> Refusal {
    match &lease.name {
        Some(name) => Refusal::NameTaken {
            name: name.clone(),
            why: format!(
                "its program came to port {} just now; ask again",
                lease.port
            ),
        },
        None => Refusal::NotFound,
    }
}

impl Leases {
    /// Ends a lease in its turn, unless `still` denies it of the lease as it is then. `None` if so.
    pub(in crate::engine) async fn end(
        &self,
        id: LeaseId,
        ending: Ending,
        still: impl FnOnce(&Lease) -> bool,
    ) -> Result<Option<Ended>, Refusal> {
        let _turn = self.turn(id).await;
        let lease = self.living(id).ok_or(Refusal::NotFound)?;
        if !still(&lease) {
            return Ok(None);
        }
        let ended = self.begin(&lease, ending).ok_or(Refusal::NotFound)?;
        let mut all = self.commit_ends(vec![(ended, lease)], ending.why).await?;
        Ok(all.pop())
    }

    /// Ends leases, as far as they live and `still` holds of them in their turn, in one commit.
    pub(in crate::engine) async fn end_together(
        &self,
        ids: &[LeaseId],
        ending: Ending,
        still: impl Fn(&Lease) -> bool,
    ) -> Result<Vec<Ended>, Refusal> {
        let _turn = self.transitions.take(ids.iter().copied()).await;
        let living = ids.iter().filter_map(|id| self.living(*id));
        let living = living.filter(|lease| still(lease));
        let ending_of = |lease: Arc<Lease>| Some((self.begin(&lease, ending)?, lease));
        let begun: Vec<(Arc<Lease>, Arc<Lease>)> = living.filter_map(ending_of).collect();
        if begun.is_empty() {
            return Ok(Vec::new());
        }
        self.commit_ends(begun, ending.why).await
    }

    /// Commits endings that have begun, each as it ends and as it was before, and finishes them; puts them
    /// back if they cannot be committed.
    async fn commit_ends(
        &self,
        begun: Vec<(Arc<Lease>, Arc<Lease>)>,
        why: &'static str,
    ) -> Result<Vec<Ended>, Refusal> {
        let forms = begun.iter().map(|(ended, _)| &**ended);
        if let Err(error) = self.store.record_all(forms).await {
            for (_, lease) in &begun {
                self.undo(lease);
            }
            return Err(error.into());
        }
        let mut all = Vec::with_capacity(begun.len());
        for (ended, lease) in begun {
            all.push(self.finish(&lease, ended, why).await);
        }
        Ok(all)
    }

    /// Begins to end leases in the commit of those that replace them. Refused if the program of one
    /// has come meanwhile.
    pub(super) async fn set_aside(&self, leases: Vec<Arc<Lease>>) -> Result<SetAside, Refusal> {
        let ids = leases.iter().map(|lease| lease.id);
        let mut set_aside = SetAside {
            leases: Vec::with_capacity(leases.len()),
            _turn: self.transitions.take(ids).await,
        };
        for lease in leases {
            let Some(lease) = self.living(lease.id) else {
                continue;
            };
            if is_at_work(&lease) {
                set_aside.undo(self);
                return Err(came_meanwhile(&lease));
            }
            if let Some(ended) = self.begin(&lease, SetAside::ENDING) {
                set_aside.leases.push((lease, ended));
            }
        }
        Ok(set_aside)
    }

    /// Marks a lease as ended in the books, and returns the form of it that goes on record.
    fn begin(&self, lease: &Lease, ending: Ending) -> Option<Arc<Lease>> {
        let now = self.clock.now();
        let end = |lease: &mut Lease| {
            lease.state = ending.state;
            lease.ended_at = Some(now);
            lease.forgotten = ending.forgets;
            lease.revision += 1;
        };
        self.state.with(|state| state.books.change(lease.id, end))
    }

    /// Puts a lease back as it was before [`Self::begin`]: it is not on record as ended.
    fn undo(&self, before: &Lease) {
        self.note(before.id, |lease| {
            lease.state = before.state;
            lease.ended_at = None;
            lease.forgotten = before.forgotten;
        });
    }

    /// Closes the hold of a lease that is on record as ended, and then frees its port in the books.
    async fn finish(&self, before: &Lease, ended: Arc<Lease>, why: &'static str) -> Ended {
        let id = ended.id;
        self.unwatch(id);
        let hold = self.take_hold(id);
        // An owner that was never seen to listen may have found an outsider there.
        let outsider = match &hold {
            Some(hold) if before.state == State::Handed => Self::met_at_the_end(before, hold).await,
            _ => None,
        };
        drop(hold);
        // Whoever comes in from here on takes a port that is free.
        self.drop_assist(id).await;
        self.state.with(|state| {
            state.books.remove(id);
            state.observed.remove(&id);
            state.cgroups.remove(&id);
        });
        Ended {
            lease: ended,
            why,
            outsider,
        }
    }
}
