//! The note that a user writes on a lease.

use std::sync::Arc;

use tracing::Instrument;

use crate::domain::lease::{Lease, LeaseId};
use crate::domain::note::{self, MAX_NOTE};
use crate::engine::{caller::Caller, engine::Engine, refusal::Refusal};
use crate::telemetry::span;

/// Writes a note on a living lease of the caller, or removes it if the text is blank. The answer comes
/// when it is on record.
pub(in crate::engine) async fn write(
    engine: &Arc<Engine>,
    caller: &Caller,
    id: LeaseId,
    text: &str,
) -> Result<Arc<Lease>, Refusal> {
    let lease = engine.leases.of_caller(caller, id)?;
    if text.trim().chars().count() > MAX_NOTE {
        return Err(Refusal::InvalidRequest(format!(
            "note: at most {MAX_NOTE} characters"
        )));
    }
    let noting = span::of_lease("note", &lease);
    let noted = async {
        let _turn = engine.leases.turn(id).await;
        let change = |lease: &mut Lease| note::write(&mut lease.labels, text);
        engine.leases.change(id, change).await
    };
    let noted = noted.instrument(noting).await?;
    engine.journal.noted(&noted);
    Ok(noted)
}
