//! One protocol's evidence and cost of a candidate as bytes.
//!
//! A mask tells which of the [`COUNT`] numbers below differ from their expected value; only these
//! follow, as differences. Expected are the numbers of the candidate before for snapshots and hosts of the fleet, the counts
//! without decay for decayed ones, and for costs a formula. The error of a formula is stored, so every
//! number comes back exactly.

use super::Unreadable;
use super::bytes::{Decoder, Encoder, from_millionths, millionths};
use crate::domain::candidate::{Cost, Evidence, Totals, Weighed};
use crate::domain::port::Protocol;

/// Number of numbers.
const COUNT: usize = 23;

/// Indices of numbers that are mostly those of the candidate before: snapshots, decayed and in all, and hosts of
/// the fleet.
const KEPT: [usize; 3] = [6, 7, 21];

/// Index of the number that tells whether the name of an occupant follows.
const OCCUPANT: usize = 20;

/// Numbers that the next entry is compared with.
#[derive(Debug, Default)]
pub(super) struct Before([i64; COUNT]);

impl Before {
    /// Writes one entry.
    pub(super) fn encode(&mut self, bytes: &mut Encoder, weighed: &Weighed) {
        let numbers = numbers(weighed);
        let differs = |index: &usize| numbers[*index] != self.0[*index];
        let mask = (0..COUNT).filter(differs).map(|index| 1_u64 << index).sum();
        bytes.number(mask);
        for index in (0..COUNT).filter(differs) {
            bytes.signed(numbers[index].wrapping_sub(self.0[index]));
        }
        if let Some(occupant) = &weighed.evidence.occupant {
            bytes.text(occupant);
        }
        self.keep(&numbers);
    }

    /// Reads one entry.
    pub(super) fn decode(&mut self, bytes: &mut Decoder<'_>) -> Result<Weighed, Unreadable> {
        let mask = bytes.number()?;
        let mut numbers = self.0;
        for (index, number) in numbers.iter_mut().enumerate() {
            if mask & (1 << index) != 0 {
                *number = number.wrapping_add(bytes.signed()?);
            }
        }
        let mut weighed = weighed(&numbers);
        if numbers[OCCUPANT] != 0 {
            weighed.evidence.occupant = Some(bytes.text()?.into());
        }
        self.keep(&numbers);
        Ok(weighed)
    }

    fn keep(&mut self, numbers: &[i64; COUNT]) {
        for index in KEPT {
            self.0[index] = numbers[index];
        }
    }
}

/// The numbers of an entry, most frequent ones first. The order is part of the layout.
fn numbers(weighed: &Weighed) -> [i64; COUNT] {
    let known = &weighed.evidence;
    let totals = known.totals;
    let faded = |value: f64, total: u64| millionths(value).wrapping_sub(whole(total));
    let released = known.released_ago_ms.map_or(0, |ago| ago.wrapping_add(1));
    let (cost, expected) = (weighed.cost, expected(known));
    let beyond = |value: f64, expected: f64| millionths(value).wrapping_sub(millionths(expected));
    [
        totals.good.cast_signed(),
        faded(known.good, totals.good),
        millionths(known.block_good),
        released.cast_signed(),
        beyond(cost.prior_free, expected.prior_free),
        beyond(cost.p_busy, expected.p_busy),
        millionths(known.checks),
        totals.checks.cast_signed(),
        millionths(known.block_failed),
        i64::from(known.seen_now),
        totals.failed.cast_signed(),
        faded(known.failed, totals.failed),
        totals.busy.cast_signed(),
        faded(known.busy, totals.busy),
        totals.late.cast_signed(),
        faded(known.late, totals.late),
        beyond(cost.seen, expected.seen),
        beyond(cost.late, expected.late),
        beyond(cost.released, expected.released),
        i64::from(weighed.protocol == Protocol::Udp),
        i64::from(known.occupant.is_some()),
        i64::from(known.fleet_hosts),
        i64::from(known.fleet_busy),
    ]
}

/// The entry of some numbers, without the occupant.
fn weighed(numbers: &[i64; COUNT]) -> Weighed {
    let totals = Totals {
        good: numbers[0].cast_unsigned(),
        failed: numbers[10].cast_unsigned(),
        busy: numbers[12].cast_unsigned(),
        checks: numbers[7].cast_unsigned(),
        late: numbers[14].cast_unsigned(),
    };
    let faded =
        |index: usize, total: u64| from_millionths(numbers[index].wrapping_add(whole(total)));
    let evidence = Evidence {
        good: faded(1, totals.good),
        failed: faded(11, totals.failed),
        busy: faded(13, totals.busy),
        checks: from_millionths(numbers[6]),
        late: faded(15, totals.late),
        block_good: from_millionths(numbers[2]),
        block_failed: from_millionths(numbers[8]),
        seen_now: numbers[9] != 0,
        fleet_hosts: u32::try_from(numbers[21]).unwrap_or_default(),
        fleet_busy: u32::try_from(numbers[22]).unwrap_or_default(),
        released_ago_ms: (numbers[3] != 0).then(|| numbers[3].cast_unsigned().wrapping_sub(1)),
        totals,
        occupant: None,
    };
    let expected = expected(&evidence);
    let beyond = |index: usize, expected: f64| {
        from_millionths(numbers[index].wrapping_add(millionths(expected)))
    };
    let cost = Cost {
        prior_free: beyond(4, expected.prior_free),
        p_busy: beyond(5, expected.p_busy),
        seen: beyond(16, expected.seen),
        late: beyond(17, expected.late),
        released: beyond(18, expected.released),
    };
    let protocol = if numbers[19] == 0 {
        Protocol::Tcp
    } else {
        Protocol::Udp
    };
    Weighed {
        protocol,
        evidence,
        cost,
    }
}

/// Millionths of a whole number.
const fn whole(number: u64) -> i64 {
    number.cast_signed().wrapping_mul(1_000_000)
}

/// The cost as version 1 expects it: the formula of `choice::cost` and its defaults, frozen here, since
/// every stored explanation depends on it. It takes the evidence as it is read back.
fn expected(evidence: &Evidence) -> Cost {
    let rounded = |value: f64| from_millionths(millionths(value));
    let [block_good, block_failed] = [evidence.block_good, evidence.block_failed].map(rounded);
    let [good, failed, busy] = [evidence.good, evidence.failed, evidence.busy].map(rounded);
    let all_checks = rounded(evidence.checks);
    let prior_free = (9.0 + block_good) / (10.0 + block_good + block_failed);
    let checks = all_checks.min(200.0);
    let busy = if all_checks > 200.0 {
        busy * 200.0 / all_checks
    } else {
        busy
    };
    let is_recent = evidence.released_ago_ms.is_some_and(|ago| ago < 60_000);
    Cost {
        prior_free,
        p_busy: (3.0 * (1.0 - prior_free) + failed + 0.05 * busy)
            / (3.0 + good + failed + 0.05 * checks),
        seen: if evidence.seen_now { 0.5 } else { 0.0 },
        late: 0.5 * rounded(evidence.late).min(2.0),
        released: if is_recent { 0.05 } else { 0.0 },
    }
}
