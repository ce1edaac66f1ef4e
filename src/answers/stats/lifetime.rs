//! Lifetimes of ended leases.

use crate::answers::document::LifetimeStats;
use crate::domain::duration::HumanDuration;
use crate::store::LeaseTotal;

/// The totals are sorted by state, then by lifetime.
pub(super) fn lifetimes(totals: &[LeaseTotal]) -> Vec<LifetimeStats> {
    let of_state = totals.chunk_by(|a, b| a.state == b.state);
    let told = of_state.filter_map(|totals| {
        let leases: u64 = totals.iter().map(|total| total.leases.unsigned_abs()).sum();
        Some(LifetimeStats {
            state: totals.first()?.state.clone(),
            leases,
            median: reached(totals, leases.div_ceil(2))?,
            p90: reached(totals, (leases * 9).div_ceil(10))?,
        })
    });
    told.collect()
}

/// The lifetime that this number of leases do not exceed.
fn reached(totals: &[LeaseTotal], wanted: u64) -> Option<HumanDuration> {
    let mut leases = 0;
    let total = totals.iter().find(|total| {
        leases += total.leases.unsigned_abs();
        leases >= wanted
    })?;
    let lifetime = std::time::Duration::from_millis(total.lifetime_ms.unsigned_abs());
    Some(HumanDuration(lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(state: &str, lifetime_ms: i64, leases: i64) -> LeaseTotal {
        LeaseTotal {
            state: state.to_owned(),
            lifetime_ms,
            leases,
        }
    }

    #[test]
    fn half_of_the_leases_live_no_longer_than_the_median() {
        let totals = [
            total("expired", 60_000, 1),
            total("released", 1_000, 5),
            total("released", 2_000, 4),
            total("released", 90_000, 1),
        ];
        let told = lifetimes(&totals);
        let texts: Vec<String> = told
            .iter()
            .map(|one| format!("{} {} {} {}", one.state, one.leases, one.median, one.p90))
            .collect();
        assert_eq!(texts, ["expired 1 1m 1m", "released 10 1s 2s"]);
    }
}
