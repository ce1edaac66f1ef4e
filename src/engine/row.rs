//! A block's names, which live together: in a row, or not at all.

use std::sync::Arc;

use super::grant::Asked;
use super::refusal::Refusal;
use super::service::Service;
use crate::domain::lease::{Lease, State};
use crate::host::process;

/// For each name its living leases.
type Living = Vec<Option<Vec<Arc<Lease>>>>;

impl Service {
    /// The living leases of a block and how many of its names have none: all, or none. A block that
    /// lives in part, or not in a row, ends where no program uses it, and is found anew.
    pub(super) async fn whole_row(
        &self,
        asked: &Asked<'_>,
        living: Living,
    ) -> Result<(Living, usize), Refusal> {
        let leases = || living.iter().flatten().flatten();
        let missing = living.iter().filter(|lives| lives.is_none()).count();
        if missing == living.len() || (missing == 0 && is_row(&living)) {
            return Ok((living, missing));
        }
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
                self.end(lease.id, State::Released, why, |_| true).await?;
            }
        }
        let count = living.len();
        Ok((vec![None; count], count))
    }
}

/// Whether the ports of these names go up one by one.
fn is_row(living: &Living) -> bool {
    let ports = living.iter().flatten();
    let ports: Vec<u16> = ports
        .filter_map(|leases| leases.first())
        .map(|lease| lease.port.get())
        .collect();
    ports
        .windows(2)
        .all(|pair| pair[0].checked_add(1) == Some(pair[1]))
}
