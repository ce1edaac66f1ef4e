//! Leases that portbook itself uses, or whose hold it gives away: the console's, and those of a
//! command that becomes its program.

use std::net::TcpListener;
use std::sync::Arc;

use crate::domain::lease::{Guard, Lease, LeaseId, State};
use crate::engine::refusal::Refusal;
use crate::engine::service::{Service, lock};
use crate::host::hold::Hold;

impl Service {
    /// Turns the hold of a lease of portbook's own into listeners, without letting go of the port.
    pub async fn listen(&self, lease: &Lease) -> Result<Vec<TcpListener>, Refusal> {
        let failed = |source: std::io::Error| Refusal::BindFailed {
            address: format!("{}:{}", lease.addresses.advertised_host(), lease.port),
            source,
        };
        let hold = self.take_hold(lease.id);
        let hold = hold.ok_or_else(|| failed(std::io::Error::other("its hold is gone")))?;
        let listeners = hold.into_listeners().map_err(failed)?;
        let active = self.change(lease.id, |lease| {
            lease.state = State::Active;
            lease.guard = Guard::Owner;
        });
        let active = active.await?;
        self.journal.active(&active, "the console listens");
        Ok(listeners)
    }

    /// Lets go of the hold of a lease before the engine ends: `guard` is what keeps the port from
    /// then on.
    pub fn leave_to(&self, guard: Guard, id: LeaseId) {
        drop(lock(&self.holds).remove(id));
        lock(&self.books).change(id, |lease| lease.guard = guard);
    }

    /// Gives a lease's hold away; whoever gets it decides how long the kernel keeps the port.
    pub fn take_hold(&self, id: LeaseId) -> Option<Hold> {
        let hold = lock(&self.holds).remove(id);
        hold.and_then(Arc::into_inner)
    }
}
