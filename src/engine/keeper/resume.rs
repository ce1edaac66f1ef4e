//! After a take-over that failed: the record, which the successor may have changed, is made to say what
//! the books say. Holds, owners and deadlines went on all the time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::lease::{Lease, LeaseId, State};
use crate::engine::{engine::Engine, keeper::repair, refusal::Refusal};

/// Compares every lease with the record, and writes those anew that differ.
pub(in crate::engine) async fn resume(engine: &Arc<Engine>) -> Result<(), Refusal> {
    let living = engine.store.living_revisions().await?;
    let mut living: HashMap<LeaseId, u64> = living.into_iter().collect();
    let leases = engine.leases.filtered(|lease| !lease.state.is_ended());
    for lease in leases {
        let differs = living.remove(&lease.id) != Some(lease.revision);
        if differs {
            match write_anew(engine, &lease).await {
                // It ended meanwhile.
                Ok(()) | Err(Refusal::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
    }
    for id in living.into_keys() {
        drop_or_adopt(engine, id).await?;
    }
    Ok(())
}

/// Writes a lease under a newer number than the record has.
async fn write_anew(engine: &Arc<Engine>, lease: &Lease) -> Result<(), Refusal> {
    let _turn = engine.leases.turn(lease.id).await;
    let stored = engine.store.lease(lease.id).await?;
    let recorded = stored.map_or(0, |stored| stored.lease.revision);
    let raise = |lease: &mut Lease| lease.revision = lease.revision.max(recorded);
    engine.leases.change(lease.id, raise).await?;
    Ok(())
}

/// Ends the console's lease of a successor, and adopts any other that is in the record alone.
async fn drop_or_adopt(engine: &Arc<Engine>, id: LeaseId) -> Result<(), Refusal> {
    let stored = engine.store.lease(id).await?;
    let Some(mut stored) = stored.filter(|stored| stored.lease.is_console()) else {
        return repair::mend_books(engine, id).await.map(drop);
    };
    stored.lease.state = State::OwnerGone;
    stored.lease.ended_at = Some(engine.clock.now());
    stored.lease.revision += 1;
    let batch = engine.store.batch().lease(&stored.lease);
    engine.store.commit(batch).await?;
    Ok(())
}
