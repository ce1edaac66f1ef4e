//! A block's names, which live together: in a row, or not at all.

use std::sync::Arc;

use crate::domain::lease::{Lease, State};
use crate::engine::{
    allocator::Wish, context::RequestContext, engine::Engine, fate::Fate, fate::Known,
    keeper::ending, refusal::Refusal,
};
use crate::host::process;

/// The names of a block as they are to be: all stay, or all seek a port. A block that lives in
/// part, or not in a row, or may go back to its preferred port, ends where no program uses it, and
/// is found anew.
pub(super) async fn whole_row(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    known: Vec<Known>,
) -> Result<Vec<Known>, Refusal> {
    let stay = known
        .iter()
        .all(|known| matches!(known.fate, Fate::Stays(_)));
    let is_new = known.iter().all(|known| known.leases.is_empty());
    if is_new || (stay && is_row(&known)) {
        return Ok(known);
    }
    let leases = || known.iter().flat_map(|known| &known.leases);
    let in_use = |lease: &&Arc<Lease>| lease.owner.as_ref().is_some_and(process::is_running);
    if let Some((lease, name)) = leases()
        .find(in_use)
        .and_then(|lease| Some((lease, lease.name.clone()?)))
    {
        let why = format!(
            "its program uses port {}, which cannot be in a row with the others now: stop it first",
            lease.port
        );
        return Err(Refusal::NameTaken { name, why });
    }
    if !asked.request.dry_run {
        for lease in leases() {
            let why = "its block moves as a whole";
            ending::end(engine, lease.id, State::Released, why, |_| true).await?;
        }
    }
    Ok(known.into_iter().map(seeking).collect())
}

/// A name that seeks a port, from the one that it had.
fn seeking(known: Known) -> Known {
    let had = known.leases.first().map(|lease| lease.port);
    let (wish, gives_up) = match known.fate {
        Fate::Seeks { wish, gives_up } => (wish, gives_up),
        Fate::Stays(_) => (Wish::default(), None),
    };
    Known {
        leases: Vec::new(),
        fate: Fate::Seeks {
            wish: Wish {
                last: wish.last.or(had),
                keeps: had.is_some() && gives_up.is_none(),
                ..wish
            },
            gives_up,
        },
    }
}

/// Whether the ports of these names go up one by one.
fn is_row(known: &[Known]) -> bool {
    let ports = known.iter().filter_map(|known| known.leases.first());
    let ports: Vec<u16> = ports.map(|lease| lease.port.get()).collect();
    ports
        .windows(2)
        .all(|pair| pair[0].checked_add(1) == Some(pair[1]))
}
