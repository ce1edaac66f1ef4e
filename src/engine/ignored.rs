//! Programs that do not take the sockets that they were given: their lease waits for them again, and a
//! hint tells.

use std::sync::Arc;

use crate::domain::hint::Hint;
use crate::domain::lease::{Lease, State};
use crate::engine::{engine::Engine, refusal::Refusal};

/// Tells of such a program, in the turn of its lease.
pub(super) async fn tell(engine: &Arc<Engine>, lease: &Lease, hint: Hint) -> Result<(), Refusal> {
    if let Some(hint) = engine.leases.set_hint(lease, Some(hint)) {
        engine.journal.hinted(lease, &hint);
    }
    if lease.state == State::Active {
        let handed = |lease: &mut Lease| lease.state = State::Handed;
        engine.leases.change(lease.id, handed).await?;
    }
    Ok(())
}
