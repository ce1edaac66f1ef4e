//! What choosing a port is expected to cost, in refused binds: 0 is a port that is surely free.
//!
//! Every term is a plain value beside what it was computed from, so that an explanation can say it
//! and anybody can compute it again.

use crate::domain::candidate::{Cost, Evidence};

/// A block in which nothing is known is free with 9 of 10: so many binds are imagined in it.
const PRIOR_FREE: f64 = 9.0;
const PRIOR_ALL: f64 = 10.0;

/// The block's word counts as much as so many binds of the port's own.
const PRIOR_WEIGHT: f64 = 3.0;

/// What one snapshot counts, beside a bind: it comes every minute, and binds do not.
const SNAPSHOT_WEIGHT: f64 = 0.05;

/// So many snapshots count at most, so that they never drown refused binds.
const MOST_CHECKS: f64 = 200.0;

/// What it costs that the latest snapshot saw somebody there.
pub const SEEN_NOW: f64 = 0.5;

/// What a late conflict costs, and how many count.
const LATE: f64 = 0.5;
const MOST_LATE: f64 = 2.0;

/// What it costs that a lease on it ended a moment ago: whoever had it may come back, and its clients
/// may still call.
const RELEASED: f64 = 0.05;

/// The terms of the cost. A port is dearer for `rests_ms` after a lease on it has ended: the pool's
/// rule, but no time at all for the name that had it.
pub fn of(evidence: &Evidence, rests_ms: u64) -> Cost {
    let prior_free = (PRIOR_FREE + evidence.block_good)
        / (PRIOR_ALL + evidence.block_good + evidence.block_failed);
    let checks = evidence.checks.min(MOST_CHECKS);
    // The share of snapshots that saw somebody stays the same where not all of them count.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    const MINUTE_MS: u64 = 60_000;

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn nothing_known_costs_what_a_tenth_of_all_ports_being_busy_would() {
        let cost = of(&Evidence::default(), MINUTE_MS);
        assert!(near(cost.total(), 0.1), "{cost:?}");
    }

    #[test]
    fn the_terms_are_those_of_the_written_formula() {
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
    fn a_moment_is_over_after_a_minute_and_two_late_conflicts_are_enough() {
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
