//! Expected cost of choosing a port, in refused binds: 0 is a port that is surely free.
//!
//! Every term is kept beside the values it was computed from, so that an explanation can show it and
//! its reader can compute it again.

use crate::domain::candidate::{Cost, Evidence};

/// Binds imagined in each block: 9 of 10 worked, so an unknown block is free with 0.9.
const PRIOR_FREE: f64 = 9.0;
const PRIOR_ALL: f64 = 10.0;

/// Binds that each host of the fleet that was looked at stands for, and the maximum of all of them together.
const FLEET_HOST: f64 = 0.2;
const MOST_FLEET: f64 = 10.0;

/// Weight of the block, in binds of the port itself.
const PRIOR_WEIGHT: f64 = 3.0;

/// Weight of one snapshot, in binds: snapshots come every minute, and binds do not.
const SNAPSHOT_WEIGHT: f64 = 0.05;

/// Maximum number of snapshots that count, so that they never outweigh refused binds.
const MOST_CHECKS: f64 = 200.0;

/// Cost of an occupant in the latest snapshot.
pub const SEEN_NOW: f64 = 0.5;

/// Cost of a late conflict, and the maximum number that counts.
const LATE: f64 = 0.5;
const MOST_LATE: f64 = 2.0;

/// Cost of a lease that ended a moment ago: its owner may come back, and its clients may still call.
const RELEASED: f64 = 0.05;

/// Terms of the cost. A port is dearer for `rests_ms` after a lease on it has ended: the pool's
/// `release_cool_down`, or 0 for the name that had the port.
pub fn of(evidence: &Evidence, rests_ms: u64) -> Cost {
    let fleet = fleet(evidence);
    let prior_free = (PRIOR_FREE + evidence.block_good + fleet.good)
        / (PRIOR_ALL + evidence.block_good + evidence.block_failed + fleet.all);
    let checks = evidence.checks.min(MOST_CHECKS);
    // Beyond the maximum, the share of snapshots with an occupant is kept.
    let busy = if evidence.checks > MOST_CHECKS {
        evidence.busy * MOST_CHECKS / evidence.checks
    } else {
        evidence.busy
    };
    let expected = PRIOR_WEIGHT * (1.0 - prior_free) + evidence.failed + SNAPSHOT_WEIGHT * busy;
    let all = PRIOR_WEIGHT + evidence.good + evidence.failed + SNAPSHOT_WEIGHT * checks;
    let just_released = evidence.released_ago_ms.is_some_and(|ago| ago < rests_ms);
    Cost {
        prior_free,
        p_busy: expected / all,
        seen: if evidence.seen_now { SEEN_NOW } else { 0.0 },
        late: LATE * evidence.late.min(MOST_LATE),
        released: if just_released { RELEASED } else { 0.0 },
    }
}

/// Binds that the fleet stands for.
struct Fleet {
    good: f64,
    all: f64,
}

/// Binds that the hosts of the fleet stand for: none without a fleet.
fn fleet(evidence: &Evidence) -> Fleet {
    let (hosts, busy) = (evidence.fleet_hosts, evidence.fleet_busy);
    if hosts == 0 {
        return Fleet {
            good: 0.0,
            all: 0.0,
        };
    }
    let all = (f64::from(hosts) * FLEET_HOST).min(MOST_FLEET);
    let busy = f64::from(busy.min(hosts)) / f64::from(hosts);
    Fleet {
        good: all * (1.0 - busy),
        all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    const MINUTE_MS: u64 = 60_000;

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn unknown_port_costs_a_tenth_of_a_refused_bind() {
        let cost = of(&Evidence::default(), MINUTE_MS);
        assert!(near(cost.total(), 0.1), "{cost:?}");
    }

    fn prior(fleet_hosts: u32, fleet_busy: u32) -> f64 {
        let evidence = Evidence {
            block_good: 11.0,
            block_failed: 9.0,
            fleet_hosts,
            fleet_busy,
            ..Evidence::default()
        };
        of(&evidence, 0).prior_free
    }

    #[test]
    fn hosts_of_the_fleet_weigh_a_fifth_of_a_bind_each_and_ten_together() {
        assert!(near(prior(0, 0), 20.0 / 30.0));
        assert!(near(prior(5, 0), 21.0 / 31.0), "{}", prior(5, 0));
        assert!(near(prior(20, 5), 23.0 / 34.0), "{}", prior(20, 5));
        assert!(near(prior(50, 17), (20.0 + 10.0 * 33.0 / 50.0) / 40.0));
        assert!(near(prior(500, 500), 20.0 / 40.0));
        assert!(near(prior(5, 900), prior(5, 5)), "no more than all");
    }

    #[test]
    fn few_binds_of_its_own_outweigh_the_fleet() {
        let doubted = Evidence {
            fleet_hosts: 50,
            fleet_busy: 50,
            ..Evidence::default()
        };
        let unknown = of(&Evidence::default(), 0).total();
        assert!(of(&doubted, 0).total() > 5.0 * unknown);
        let proven = Evidence {
            good: 16.0,
            block_good: 16.0,
            ..doubted
        };
        assert!(of(&proven, 0).total() < unknown);
    }

    #[test]
    fn terms_follow_the_documented_formula() {
        let evidence = Evidence {
            good: 4.0,
            failed: 2.0,
            busy: 30.0,
            checks: 100.0,
            late: 1.5,
            block_good: 11.0,
            block_failed: 9.0,
            seen_now: true,
            released_ago_ms: Some(59_999),
            ..Evidence::default()
        };
        let cost = of(&evidence, MINUTE_MS);
        let prior = 20.0 / 30.0;
        assert!(near(cost.prior_free, prior));
        let p_busy = (3.0 * (1.0 - prior) + 2.0 + 1.5) / (3.0 + 4.0 + 2.0 + 5.0);
        assert!(near(cost.p_busy, p_busy), "{cost:?}");
        assert!(near(cost.total(), p_busy + 0.5 + 0.75 + 0.05), "{cost:?}");
        let returning = of(&evidence, 0);
        assert!(near(returning.total(), cost.total() - 0.05));
    }

    #[test]
    fn release_cost_ends_after_its_time_and_late_cost_is_capped() {
        let evidence = Evidence {
            late: 7.0,
            released_ago_ms: Some(60_000),
            ..Evidence::default()
        };
        let cost = of(&evidence, MINUTE_MS);
        assert!(near(cost.late, 1.0) && near(cost.released, 0.0), "{cost:?}");
    }

    #[test]
    fn snapshots_never_drown_refused_binds() {
        let refused = |checks| {
            let evidence = Evidence {
                failed: 3.0,
                checks,
                ..Evidence::default()
            };
            of(&evidence, MINUTE_MS).p_busy
        };
        assert!(near(refused(200.0), refused(4000.0)));
        let always = |checks: f64| {
            let evidence = Evidence {
                busy: checks,
                checks,
                ..Evidence::default()
            };
            of(&evidence, MINUTE_MS).p_busy
        };
        assert!(near(always(200.0), always(4000.0)));
    }

    proptest! {
        #[test]
        fn bad_news_never_makes_a_port_cheaper(
            good in 0.0..50.0f64, failed in 0.0..50.0f64, checks in 0.0..5000.0f64,
            share in 0.0..=1.0f64, late in 0.0..5.0f64,
        ) {
            let known = Evidence { good, failed, checks, busy: checks * share, late, ..Evidence::default() };
            let before = of(&known, MINUTE_MS).total();
            prop_assert!((0.0..=1.0).contains(&of(&known, MINUTE_MS).p_busy));
            let worse = Evidence { failed: failed + 1.0, ..known.clone() };
            prop_assert!(of(&worse, MINUTE_MS).total() >= before);
            let worse = Evidence { late: late + 1.0, ..known.clone() };
            prop_assert!(of(&worse, MINUTE_MS).total() >= before);
            let better = Evidence { good: good + 1.0, ..known };
            prop_assert!(of(&better, MINUTE_MS).total() <= before);
        }
    }
}
