//! The gate over a lease's life: open exactly while the owner may bind.

use std::sync::Arc;

use super::retake;
use crate::domain::attempt::Occupant;
use crate::domain::lease::{Guard, Handover, Lease, LeaseId, State};
use crate::engine::caller::{Caller, Mode};
use crate::engine::refusal::Refusal;
use crate::engine::service::{Service, lock};
use crate::host::hold::Hold;
use crate::host::process;

/// Whether a lease is of somebody who binds beside its hold.
pub(super) fn may_be_open(lease: &Lease) -> bool {
    lease.handover == Handover::Gate && (lease.claim_by.is_some() || lease.owner.is_some())
}

/// The same, and its owner still lives.
fn is_open_to_owner(lease: &Lease) -> bool {
    let owner = lease.owner.as_ref();
    may_be_open(lease) && (lease.claim_by.is_some() || owner.is_some_and(process::is_running))
}

impl Service {
    /// Lets the owner in: opens the gate, closes the hold, or makes the sockets that it will be
    /// given, whichever way the lease is handed over.
    pub(in crate::engine) async fn hand_over(&self, lease: &Lease) -> Result<(), Refusal> {
        if lease.handover == Handover::Release {
            self.let_go(lease).await;
            return Ok(());
        }
        if self.mode == Mode::Embedded && lease.owner.is_none() {
            // Nothing outlives a command that becomes no program.
            return Ok(());
        }
        let Some(hold) = self.hold_of(lease.id).or_else(|| self.hold_again(lease)) else {
            return Ok(());
        };
        match lease.handover {
            Handover::Fd => self.prepare(lease, &hold),
            _ => hold.open_gate().map_err(|source| Refusal::BindFailed {
                address: format!("port {}", lease.port),
                source,
            }),
        }
    }

    /// Closes the hold of a lease, a supervisor's copies of it included.
    async fn let_go(&self, lease: &Lease) {
        let taken = lock(&self.holds).take(lease.id);
        if let Some((hold, gone)) = taken {
            drop(hold);
            if let Some(gone) = gone {
                // An error: nobody keeps copies any more.
                let _ = gone.await;
            }
        }
        self.set_guard(lease, Guard::None);
    }

    /// Makes the listeners that the owner of a lease will be given, unless they wait already.
    pub(super) fn prepare(&self, lease: &Lease, hold: &Hold) -> Result<(), Refusal> {
        if lease.protocol.has_no_listeners() || hold.has_listeners() {
            return Ok(());
        }
        hold.prepare_listeners(&self.clock).map_err(|mut attempt| {
            attempt.occupant = self.learning.occupants().of(&attempt);
            if let Some(occupant) = &mut attempt.occupant {
                occupant.veil(|uid| Caller::user(lease.uid).may_act_for(uid));
            }
            Refusal::PortInUse {
                port: lease.port,
                attempts: vec![*attempt],
            }
        })
    }

    /// Keeps a name's port while its owner is away: held, gate shut. Only if `still` says so of
    /// the lease as it is in its turn.
    pub(super) async fn park_lease(
        &self,
        id: LeaseId,
        why: &str,
        still: impl FnOnce(&Lease) -> bool,
    ) -> Result<(), Refusal> {
        let _turn = self.turn(id).await;
        let lease = self.living_lease(id).ok_or(Refusal::NotFound)?;
        if still(&lease) {
            self.put_away_in_turn(&lease, why).await
        } else {
            Ok(())
        }
    }

    async fn put_away_in_turn(&self, lease: &Lease, why: &str) -> Result<(), Refusal> {
        self.unwatch(lease.id);
        let hold = self.hold_of(lease.id).or_else(|| self.hold_again(lease));
        let intruder = match &hold {
            Some(hold) => self.shut(lease, hold).await,
            None => self.stranger_on(lease).await,
        };
        let now = self.clock.now();
        let changed = self.change(lease.id, |lease| {
            lease.rest(now);
            if intruder.is_some() {
                lease.state = State::Lost;
            }
            lease.guard = if hold.is_some() {
                Guard::Hold
            } else {
                Guard::None
            };
            lease.claim_by = None;
        });
        let changed = changed.await?;
        match intruder {
            Some(who) => self.late_conflict(&changed, who),
            None => self.journal.parked(&changed, why),
        }
        Ok(())
    }

    /// Shuts the gate, and says who came in through it while it was open and is still there: what
    /// stays has the port now.
    pub(super) async fn shut(&self, lease: &Lease, hold: &Hold) -> Option<Occupant> {
        drop(hold.take_listeners());
        if lease.handover != Handover::Gate {
            // It was never open, so nobody came in.
            return None;
        }
        match hold.shut_gate() {
            Ok(false) => None,
            Ok(true) => self.stranger_on(lease).await,
            Err(error) => {
                tracing::error!(%error, port = %lease.port, "a gate could not be shut");
                self.stranger_on(lease).await
            }
        }
    }

    /// Opens or shuts the gate of a hold, whichever is right for its lease now; who came in, where
    /// it was open and is shut.
    pub(in crate::engine) async fn fix_gate(&self, lease: &Lease, hold: &Hold) -> Option<Occupant> {
        let open = is_open_to_owner(lease);
        let done = match (open, hold.is_open()) {
            (true, _) => hold.open_gate(),
            (false, Ok(false)) => Ok(()),
            (false, _) => return self.shut(lease, hold).await,
        };
        if let Err(error) = done {
            tracing::error!(%error, port = %lease.port, "a gate could not be opened");
        }
        None
    }

    /// Takes the hold of a living lease once more, if nobody is in the way: gate shut, unless the
    /// sockets were given to this process, whose gate is as it was left. In the
    /// lease's turn, so that it cannot end meanwhile and leave the hold behind.
    pub(in crate::engine) fn hold_again(&self, lease: &Lease) -> Option<Arc<Hold>> {
        let (group, protocol, port) = (&lease.addresses, lease.protocol, lease.port);
        let given = Hold::of_given(&mut lock(&self.given), group, protocol, port);
        let hold = match given {
            Some(hold) => hold,
            None => retake(group, protocol, port, &self.clock, &mut |_, _| {}).ok()?,
        };
        let hold = Arc::new(hold);
        lock(&self.holds).insert(lease.id, Arc::clone(&hold));
        self.set_guard(lease, Guard::Hold);
        Some(hold)
    }

    /// Holds those addresses of a lease that its owner's listener does not guard. In its turn.
    pub(super) fn hold_beside_owner(&self, lease: &Lease) {
        let has = self.hold_of(lease.id);
        let part = Hold::in_part(&lease.addresses, |group| {
            let missing = |hold: &Arc<Hold>| !group.addresses().iter().any(|a| hold.has(a));
            if !has.as_ref().is_none_or(missing) {
                return None;
            }
            let (protocol, port) = (lease.protocol, lease.port);
            retake(group, protocol, port, &self.clock, &mut |_, _| {}).ok()
        });
        let Some(part) = part else { return };
        let joined = match has {
            Some(hold) => hold.joined_by(part),
            None => Ok(part),
        };
        match joined {
            Ok(hold) => {
                if may_be_open(lease)
                    && let Err(error) = hold.open_gate()
                {
                    tracing::error!(%error, port = %lease.port, "a gate could not be opened");
                }
                lock(&self.holds).insert(lease.id, Arc::new(hold));
            }
            Err(error) => tracing::warn!(%error, port = %lease.port, "not held on all addresses"),
        }
    }

    /// Whether a lease has a hold on every one of its addresses.
    pub(super) fn is_held(&self, lease: &Lease) -> bool {
        let hold = self.hold_of(lease.id);
        hold.is_some_and(|hold| hold.is_complete(&lease.addresses))
    }

    /// Notes in the books what guards a lease. Not worth a commit: a restart finds out anew.
    pub(in crate::engine) fn set_guard(&self, lease: &Lease, guard: Guard) {
        if lease.guard != guard {
            lock(&self.books).change(lease.id, |lease| lease.guard = guard);
        }
    }
}
