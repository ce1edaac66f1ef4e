//! Expected costs of candidates, and the explanation of what was weighed.

use super::Search;
use crate::choice::bits::PortBits;
use crate::choice::policy::Penalties;
use crate::choice::strategy::{Order, TOO_DEAR};
use crate::choice::weigh::Weigher;
use crate::domain::candidate::Candidate;
use crate::domain::pool::Strategy;
use crate::domain::port::Port;
use crate::telemetry::span;

/// Maximum number of choices that are explained candidate by candidate. A search with more meets a
/// host that is nearly full: its record would be long and repeat itself.
const EXPLAINED: usize = 16;

impl Search<'_> {
    /// The next candidate in the order of the strategy, with those that it was weighed against.
    pub(super) fn next(
        &mut self,
        order: &mut Order,
        eligible: &PortBits,
        rng: &mut fastrand::Rng,
    ) -> Option<Port> {
        let next = self.weighing(|weigher| order.next(eligible, weigher, rng))?;
        self.note_choice(next.weighed);
        Some(next.port)
    }

    /// A port with its expected cost.
    pub(super) fn weighed(&self, port: Port) -> Candidate {
        self.weighing(|weigher| weigher.weigh(port))
    }

    /// The expected cost of the name's own last port where that is too much, noted as a choice of
    /// one.
    pub(super) fn is_too_dear(&mut self, port: Port) -> Option<f64> {
        let candidate = self.weighing(|weigher| weigher.weigh_returning(port));
        let cost = candidate.cost;
        self.note_choice(vec![candidate]);
        let counts = self.plan.strategy == Strategy::Learned && !self.plan.strict;
        (counts && cost > TOO_DEAR).then_some(cost)
    }

    /// The starts of runs of eligible ports; `learned` leaves out runs with a port that was seen
    /// busy, as long as others are left.
    pub(super) fn starts(&self, eligible: &PortBits, length: u16) -> PortBits {
        if self.plan.strategy == Strategy::Learned {
            let mut unseen = eligible.clone();
            self.weighing(|weigher| weigher.leave_out_seen(&mut unseen));
            let starts = unseen.run_starts(length);
            if !starts.is_empty() {
                return starts;
            }
        }
        eligible.run_starts(length)
    }

    /// Notes the share of eligible ports at which a random draw would have met an occupant.
    pub(super) fn note_what_random_would_meet(&mut self, eligible: &PortBits) {
        // Of what was eligible when it began, not of what is left after some were tried.
        if self.explanation.tried.is_empty() {
            let share = self.weighing(|weigher| weigher.busy_share(eligible));
            self.explanation.random_would_meet = share;
        }
    }

    pub(super) fn note_choice(&mut self, weighed: Vec<Candidate>) {
        span::weighed(&weighed);
        if self.explanation.choices.len() < EXPLAINED {
            self.explanation.choices.push(weighed);
        }
    }

    fn weighing<T>(&self, act: impl FnOnce(&Weigher<'_>) -> T) -> T {
        let rests = self.plan.pool.release_cool_down;
        let penalties = Penalties {
            ephemeral: &self.rules.ephemeral,
            rests_ms: u64::try_from(rests.as_millis()).unwrap_or(u64::MAX),
        };
        let (group, protocols) = (&self.plan.group, self.plan.protocols.each());
        self.learning.weigh(group, protocols, penalties, act)
    }
}
