//! From a plan to held ports: choose a candidate, bind it on every address, note each attempt.
//!
//! The bind is the check and the lock in one, so nothing here asks first. The books are asked,
//! because a leased port must not be probed; the kernel's tables are asked only once many
//! candidates were busy.

mod block;
mod candidate;
mod eligible;
mod explicit;
mod preference;
mod ruling;
#[cfg(test)]
mod tests;
mod weighing;

use std::sync::Arc;

use tracing::Span;

use super::caller::Caller;
use super::claims::{ClaimBook, ClaimTicket};
use super::learning::{Learning, Occupants};
use super::leases::{Leases, Reservation};
use super::plan::Plan;
use super::refusal::Refusal;
use super::rules::KernelRules;
use crate::choice::bits::PortBits;
use crate::choice::strategy::Order;
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::explanation::Explanation;
use crate::domain::lease::BootTime;
use crate::domain::port::{Port, PortSet};
use crate::domain::precedence::Step;
use crate::host::clock::Clock;
use crate::host::hold::Hold;

use eligible::cools;
use preference::Above;

/// Number of busy candidates that are really tried, so that the user sees the occupants. After them
/// the search jumps over the ports that the socket tables list.
const REALLY_TRIED: usize = 16;

/// A found port: held for each protocol, and reserved. Fields drop in this order: the sockets close
/// before the books free the port.
#[derive(Debug)]
pub(super) struct Found {
    /// The port number.
    pub(super) port: Port,
    /// One hold a protocol.
    pub(super) holds: Vec<Hold>,
    /// Keeps the port in the books until it is a lease.
    pub(super) reservation: Reservation,
    /// Claims on the number in the fleet, one a protocol. They are given back last: the port is shut then.
    pub(super) claims: Vec<ClaimTicket>,
}

/// A port that a request wants, beside what its plan says of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// The preferred port. Of several ports the first has the preference; the others go upwards.
    pub preferred: Option<Port>,
    /// The port that the name had before.
    pub last: Option<Port>,
    /// Whether the name has a port and keeps it if the preferred one cannot be had.
    pub keeps: bool,
}

/// One search under way: where it looks, what it tried, what it has found.
pub(super) struct Search<'a> {
    plan: &'a Plan,
    leases: &'a Arc<Leases>,
    learning: &'a Learning,
    clock: &'a Clock,
    rules: &'a KernelRules,
    deadline: BootTime,
    occupants: Occupants,
    /// Refused attempts whose occupants are not looked up yet, and the attempts after them.
    refused: Vec<(Attempt, Span)>,
    /// The caller, which decides how much occupants and leases may be described.
    caller: &'a Caller,
    /// Whether what it meets counts for later searches.
    leaves_marks: bool,
    /// Ports that the socket tables list. `None` until they were read.
    listed: Option<PortBits>,
    /// Whether the kernel refused a low port, as it does a service without the privilege.
    low_ports_refused: bool,
    /// Whether a number above the preferred port was passed over because it cools down.
    passed_over_cooling: bool,
    /// Progress of the walk above the preferred port.
    above: Above,
    /// Whether portbook has all of the ephemeral range that it may, as of so many granted ports.
    over_budget: Option<(usize, bool)>,
    /// The row that the names of a block have, and keep if the preferred one cannot be had; it may be
    /// outside the ranges.
    kept_row: PortSet,
    /// Numbers that are claimed in the fleet. `None` in a pool whose numbers need not be unique there.
    claimed: Option<&'a ClaimBook>,
    /// Everything tried so far.
    pub attempts: Vec<Attempt>,
    /// Why it goes as it goes.
    pub explanation: Explanation,
}

impl<'a> Search<'a> {
    /// Returns a search that has not begun. This process must have the data directory's lock.
    pub(super) fn new(
        plan: &'a Plan,
        leases: &'a Arc<Leases>,
        learning: &'a Learning,
        clock: &'a Clock,
        rules: &'a KernelRules,
        caller: &'a Caller,
    ) -> Self {
        Self {
            plan,
            leases,
            learning,
            clock,
            rules,
            deadline: clock.boot().after(plan.timeout),
            occupants: learning.occupants(),
            refused: Vec::new(),
            caller,
            leaves_marks: true,
            listed: None,
            low_ports_refused: false,
            passed_over_cooling: false,
            above: Above::default(),
            over_budget: None,
            kept_row: PortSet::EMPTY,
            claimed: None,
            attempts: Vec::new(),
            explanation: plan.explanation(),
        }
    }

    /// Makes a search whose refused binds do not count for later ones.
    #[must_use]
    pub const fn without_marks(mut self) -> Self {
        self.leaves_marks = false;
        self
    }

    /// Makes a search that leaves out what the book of claims has, if the numbers of its pool are unique.
    #[must_use]
    pub fn without_claimed(mut self, book: &'a ClaimBook) -> Self {
        self.claimed = self.plan.pool.is_unique().then_some(book);
        self
    }

    /// Finds a port for each of these wishes, or none at all. `None` stands for a name that stays
    /// where it is, because its preferred port could not be had.
    pub async fn find(
        &mut self,
        wishes: &[Wish],
        rng: &mut fastrand::Rng,
    ) -> Result<Vec<Option<Found>>, Refusal> {
        let mut all = Vec::with_capacity(wishes.len());
        for wish in wishes {
            match self.find_one(*wish, rng).await {
                Ok(Some((step, found))) => {
                    self.explanation.granted.push(found.port);
                    self.explanation.steps.push(step);
                    all.push(Some(found));
                }
                Ok(None) => all.push(None),
                Err(refusal) => {
                    self.explanation.granted.clear();
                    self.explanation.steps.clear();
                    return Err(refusal);
                }
            }
        }
        Ok(all)
    }

    /// Goes through the steps of the precedence ([`Step`]) until one yields a port.
    async fn find_one(
        &mut self,
        wish: Wish,
        rng: &mut fastrand::Rng,
    ) -> Result<Option<(Step, Found)>, Refusal> {
        if let Some(port) = self.plan.explicit {
            let found = self.explicit(port).await?;
            return Ok(Some((Step::Port, found)));
        }
        if wish.keeps {
            let found = self.returning(wish).await;
            return Ok(found.map(|found| (Step::Preferred, found)));
        }
        let strict = self.plan.strict.then_some(wish.last).flatten();
        if strict.is_none()
            && let Some(found) = self.preferred(wish).await?
        {
            return Ok(Some((Step::Preferred, found)));
        }
        if let Some(found) = self.last(wish).await? {
            return Ok(Some((Step::Last, found)));
        }
        if let Some(port) = strict {
            return Err(self.why_not(port));
        }
        if let Some(found) = self.upwards(true).await? {
            return Ok(Some((Step::Upwards, found)));
        }
        self.any(rng).await.map(Some)
    }

    fn note(&mut self, note: String) {
        self.explanation.notes.push(note);
    }

    /// Walks the eligible ports in the order of the strategy.
    async fn any(&mut self, rng: &mut fastrand::Rng) -> Result<(Step, Found), Refusal> {
        let ranges = &self.plan.ranges;
        let mut eligible = self.eligible(ranges, true);
        let mut order = Order::new(self.plan.strategy, self.plan.start);
        let mut lifted = false;
        loop {
            let Some(port) = self.next(&mut order, &eligible.ports, rng) else {
                // Cool-down is lifted when nothing else is left.
                let cooled = self.passed_over_cooling || cools(&eligible);
                if std::mem::replace(&mut lifted, true) || !cooled {
                    return Err(self.exhausted());
                }
                self.note("cool-down lifted: nothing else was left".to_owned());
                self.above = Above::default();
                if let Some(found) = self.upwards(false).await? {
                    return Ok((Step::Upwards, found));
                }
                eligible = self.eligible(ranges, false);
                continue;
            };
            eligible.ports.remove(port);
            self.check_limits()?;
            if !lifted && self.cools_since(port) {
                self.passed_over_cooling = true;
                continue;
            }
            if let Some(found) = self.try_candidate(port).await? {
                return Ok((Step::Pool, found));
            }
            self.leave_out_privileged(&mut eligible);
            if self.listed.is_none() && self.failed() >= REALLY_TRIED {
                self.jump_over_listed(&mut eligible);
            }
        }
    }

    /// Whether another request found a port busy while this one waited for a lookup.
    fn cools_since(&self, port: Port) -> bool {
        let (group, protocols) = (&self.plan.group, self.plan.protocols);
        self.failed() > 0 && self.leases.why_cooling(group, protocols, port).is_some()
    }

    fn check_limits(&self) -> Result<(), Refusal> {
        if self.failed() >= self.plan.max_attempts {
            return Err(Refusal::AttemptsExhausted {
                tried: self.explanation.tried.clone(),
                ranges: self.plan.searched(),
                attempts: Vec::new(),
            });
        }
        self.check_time()
    }

    /// Refuses once the time is up; also asked where ports are passed over, of which there may be tens
    /// of thousands.
    fn check_time(&self) -> Result<(), Refusal> {
        if self.clock.boot() >= self.deadline {
            return Err(Refusal::TimedOut {
                limit: self.plan.timeout,
                attempts: Vec::new(),
            });
        }
        Ok(())
    }

    /// Returns the number of busy candidates.
    fn failed(&self) -> usize {
        self.explanation.tried.len() - self.explanation.granted.len()
    }

    fn exhausted(&self) -> Refusal {
        let refused = |attempt: &Attempt| attempt.outcome == Outcome::NotPermitted;
        if let Some(last) = self
            .attempts
            .last()
            .filter(|_| self.attempts.iter().all(refused))
        {
            // The kernel let portbook try nothing else.
            return Refusal::PrivilegedPort {
                port: last.port,
                start: self.rules.unprivileged_start,
                pool: None,
            };
        }
        Refusal::PoolExhausted {
            pool: self.plan.pool.name.to_string(),
            ranges: self.plan.searched(),
            explanation: Box::new(self.explanation.clone()),
            attempts: Vec::new(),
        }
    }
}
