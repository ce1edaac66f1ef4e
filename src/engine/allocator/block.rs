//! Ports in a row.

use super::{Found, Search};
use crate::choice::strategy::Order;
use crate::domain::port::Port;
use crate::domain::precedence::Step;
use crate::engine::refusal::Refusal;

impl Search<'_> {
    /// Finds `length` ports in a row, or none at all.
    pub fn find_block(
        &mut self,
        length: u16,
        rng: &mut fastrand::Rng,
    ) -> Result<Vec<Found>, Refusal> {
        let ranges = self.plan.ranges.clone();
        let mut eligible = self.eligible(&ranges, true).ports;
        let mut starts = self.starts(&eligible, length);
        let mut order = Order::new(self.plan.strategy, self.plan.start);
        while let Some(first) = self.next(&mut order, &starts, rng) {
            starts.remove(first);
            self.check_limits()?;
            let found = self.try_block(first, length)?;
            if found.len() == usize::from(length) {
                let granted = found.iter().map(|found| found.port);
                self.explanation.granted.extend(granted);
                let steps = std::iter::repeat_n(Step::Pool, found.len());
                self.explanation.steps.extend(steps);
                return Ok(found);
            }
            // The next one is busy, so no run with it is left.
            let busy = found.last().map_or(Some(first), |last| next(last.port));
            for found in found {
                self.let_go(found);
            }
            if let Some(busy) = busy {
                eligible.remove(busy);
                starts = self.starts(&eligible, length);
            }
        }
        Err(Refusal::NoRun {
            pool: self.plan.pool.name.to_string(),
            ranges: self.plan.ranges.clone(),
            length,
            longest: eligible.longest_run(),
        })
    }

    /// Tries ports in a row until one is busy.
    pub(super) fn try_block(&mut self, first: Port, length: u16) -> Result<Vec<Found>, Refusal> {
        let mut found: Vec<Found> = Vec::with_capacity(usize::from(length));
        let mut port = Some(first);
        for _ in 0..length {
            let Some(candidate) = port else { break };
            match self.try_candidate(candidate) {
                Ok(Some(taken)) => found.push(taken),
                Ok(None) => break,
                Err(refusal) => {
                    for found in found {
                        self.let_go(found);
                    }
                    return Err(refusal);
                }
            }
            port = next(candidate);
        }
        Ok(found)
    }
}

fn next(port: Port) -> Option<Port> {
    port.get().checked_add(1).and_then(Port::new)
}
