//! Gates: each is open exactly while the owner of its lease may bind.

use std::sync::Arc;

use super::Leases;
use crate::domain::lease::{Guard, Lease, LeaseId, State};
use crate::domain::outsider::Outsider;
use crate::domain::port::Protocol;
use crate::engine::{look, retake::retake, retake::take_beneath, tables::Tables};
use crate::host::hold::Hold;
use crate::host::process;

/// Whether a lease has an owner, or waits for one, that binds beside its hold.
pub(in crate::engine) fn may_be_open(lease: &Lease) -> bool {
    let may_bind = lease.handover.opens_gate() && !lease.has_lost_claim();
    may_bind && (lease.claim_by.is_some() || lease.owner.is_some())
}

/// Whether a gate may be open and its owner, if known, still runs.
fn is_open_to_owner(lease: &Lease) -> bool {
    let owner = lease.owner.as_ref();
    let may_come = lease.claim_by.is_some() || lease.is_engines();
    may_be_open(lease) && (may_come || owner.is_some_and(process::is_running))
}

/// Returns the state of a lease whose port is portbook's again.
pub(in crate::engine) fn recovered_state(lease: &Lease) -> State {
    let owner_lives = lease.owner.as_ref().is_some_and(process::is_running) || lease.is_engines();
    match lease.state {
        State::Lost if owner_lives || lease.claim_by.is_some() => State::Handed,
        State::Lost => State::Reserved,
        other => other,
    }
}

fn log_failed(error: &std::io::Error, lease: &Lease, what: &str) {
    let (lease, port) = (lease.id, lease.port);
    tracing::error!(%error, %lease, %port, "could not {what}; the next repair tries again");
}

impl Leases {
    /// Shuts the gate, and returns the outsider that came in while it was open and still listens: it
    /// has the port now.
    pub(in crate::engine) async fn shut(lease: &Lease, hold: &Hold) -> Option<Outsider> {
        drop(hold.take_listeners());
        if !lease.handover.opens_gate() {
            // It was never open, so no outsider came in.
            return None;
        }
        match hold.shut_gate() {
            Ok(false) => None,
            Ok(true) => look::outsider_on(lease).await,
            Err(error) => {
                log_failed(&error, lease, "shut a gate");
                look::outsider_on(lease).await
            }
        }
    }

    /// Returns the outsider that came in through the gate of a hold that closes next, and still listens.
    pub(super) async fn met_at_the_end(lease: &Lease, hold: &Hold) -> Option<Outsider> {
        drop(hold.take_listeners());
        // A gate that no outsider used need not be shut: its sockets close now.
        let may_be_alone =
            !lease.handover.opens_gate() || matches!(hold.is_listened_beside(), Ok(false));
        if may_be_alone {
            return None;
        }
        Self::shut(lease, hold).await
    }

    /// Opens or shuts the gate of a hold, as its lease needs it now. Returns the outsider that came in
    /// while it was open, if it is shut.
    pub(in crate::engine) async fn fix_gate(lease: &Lease, hold: &Hold) -> Option<Outsider> {
        let open = is_open_to_owner(lease);
        let done = match (open, hold.is_open()) {
            (true, _) => hold.open_gate(),
            (false, Ok(false)) => Ok(()),
            (false, _) => return Self::shut(lease, hold).await,
        };
        if let Err(error) = done {
            log_failed(&error, lease, "open a gate");
        }
        None
    }

    /// Takes the hold of a lease out, and waits until a supervisor's copies of it are closed.
    pub(in crate::engine) async fn take_without_copies(&self, id: LeaseId) -> Option<Arc<Hold>> {
        let (hold, gone) = self.state.with(|state| state.holds.take(id))?;
        if let Some(gone) = gone {
            // An error means that no supervisor keeps copies any more.
            let _ = gone.await;
        }
        Some(hold)
    }

    /// Closes the hold of a lease and a supervisor's copies of it.
    pub(in crate::engine) async fn let_go(&self, lease: &Lease) {
        drop(self.take_without_copies(lease.id).await);
        self.set_guard(lease, Guard::None);
    }

    /// Takes the hold of a living lease once more, if no socket is in the way. Its gate is shut; a
    /// given socket keeps its gate as it was. In the lease's turn, so that the lease cannot end
    /// meanwhile and leave the hold behind.
    pub(in crate::engine) fn hold_again(&self, lease: &Lease) -> Option<Arc<Hold>> {
        self.hold_by(lease, None)
    }

    /// [`Self::hold_again`] in a round over many leases, with the tables of the round.
    pub(in crate::engine) fn hold_by(
        &self,
        lease: &Lease,
        tables: Option<&Tables>,
    ) -> Option<Arc<Hold>> {
        let (group, protocol, port) = (&lease.addresses, lease.protocol, lease.port);
        let given = self
            .state
            .with(|state| Hold::of_given(&mut state.given, group, protocol, port));
        let hold = match given {
            Some(hold) => hold,
            None => retake(group, protocol, port, &self.clock, tables, &mut |_, _| {}).ok()?,
        };
        let hold = Arc::new(hold);
        self.put_hold(lease.id, Arc::clone(&hold));
        self.set_guard(lease, Guard::Hold);
        Some(hold)
    }

    /// Holds those addresses of a lease that its owner's listener does not guard, and for UDP those that the
    /// owner shares. In its turn. `tables` are those of a round over many leases.
    pub(in crate::engine) fn hold_beside_owner(&self, lease: &Lease, tables: Option<&Tables>) {
        let has = self.hold_of(lease.id);
        let part = Hold::in_part(&lease.addresses, |group| {
            let missing = |hold: &Arc<Hold>| !group.addresses().iter().any(|a| hold.has(a));
            if !has.as_ref().is_none_or(missing) {
                return None;
            }
            let (protocol, port, clock) = (lease.protocol, lease.port, &self.clock);
            match retake(group, protocol, port, clock, tables, &mut |_, _| {}) {
                Ok(hold) => Some(hold),
                Err(_) if protocol == Protocol::Udp && is_open_to_owner(lease) => {
                    take_beneath(group, port, clock)
                }
                Err(_) => None,
            }
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
                    log_failed(&error, lease, "open a gate");
                }
                self.put_hold(lease.id, Arc::new(hold));
            }
            Err(error) => log_failed(&error, lease, "hold all addresses of a lease"),
        }
    }

    /// Whether a lease has a hold on every one of its addresses.
    pub(in crate::engine) fn is_held(&self, lease: &Lease) -> bool {
        let hold = self.hold_of(lease.id);
        hold.is_some_and(|hold| hold.is_complete(&lease.addresses))
    }
}
