//! The steps of the precedence that come before the pool: the preferred port, the port that the name
//! had before, and the numbers above the preferred one.

use std::collections::VecDeque;

use super::{Found, REALLY_TRIED, Search, Wish};
use crate::choice::bits::PortBits;
use crate::choice::strategy::TOO_DEAR;
use crate::domain::port::Port;
use crate::domain::precedence::{Skipped, Step};
use crate::domain::reason::Reason;
use crate::engine::refusal::Refusal;

/// Progress of the walk above the preferred port.
#[derive(Debug, Default)]
pub(super) struct Above {
    /// The last number that was looked at.
    last: Option<Port>,
    /// Numbers that are expected to be busy, which come after the others.
    costly: VecDeque<Port>,
}

impl Search<'_> {
    /// The preferred port, always by a bind unless a rule or a lease speaks against it.
    pub(super) async fn preferred(&mut self, wish: Wish) -> Result<Option<Found>, Refusal> {
        let Some(port) = wish.preferred else {
            return Ok(None);
        };
        if let Some(skipped) = self.ruled_out(port, Step::Preferred) {
            self.explanation.skip(skipped);
            return Ok(None);
        }
        let candidate = self.weighed(port);
        self.note_choice(vec![candidate]);
        // Its own connections may linger on a port that the name had before.
        let take = if wish.last == Some(port) {
            Self::retake
        } else {
            Self::take
        };
        self.check_limits()?;
        let found = self.candidate(port, take).await?;
        if found.is_none() {
            self.explanation.skip(self.why_refused(port));
        }
        Ok(found)
    }

    /// The preferred port for a name that keeps the one it has if this one cannot be had: an obstacle
    /// in the way refuses nothing.
    pub(super) async fn returning(&mut self, wish: Wish) -> Option<Found> {
        match self.preferred(wish).await {
            Ok(found) => found,
            Err(refusal) => {
                self.note(format!("the preferred port was not tried: {refusal}"));
                None
            }
        }
    }

    /// The port that the name had before, unless it is expected to be busy.
    pub(super) async fn last(&mut self, wish: Wish) -> Result<Option<Found>, Refusal> {
        let untried = |port: &Port| wish.preferred != Some(*port);
        let Some(port) = wish.last.filter(untried) else {
            return Ok(None);
        };
        if let Some(skipped) = self.ruled_out(port, Step::Last) {
            self.explanation.skip(skipped);
            return Ok(None);
        }
        if let Some(cost) = self.is_too_dear(port) {
            self.explanation.skip(too_costly(port, cost));
            return Ok(None);
        }
        self.check_limits()?;
        let found = self.candidate(port, Self::retake).await?;
        if found.is_none() {
            self.explanation.skip(self.why_refused(port));
        }
        Ok(found)
    }

    /// The numbers above the preferred port, ascending. Those that history expects to be busy come
    /// after the others. Each number is looked at once, however many ports are sought.
    pub(super) async fn upwards(&mut self, with_cool_down: bool) -> Result<Option<Found>, Refusal> {
        while let Some(port) = self.next_above() {
            self.check_time()?;
            if !self.may_be_tried(port, with_cool_down) {
                continue;
            }
            let candidate = self.weighed(port);
            if candidate.cost > TOO_DEAR {
                self.above.costly.push_back(port);
                let why = self.why_costly(port, candidate.cost).await;
                self.explanation.skip(why);
                continue;
            }
            self.note_choice(vec![candidate]);
            if let Some(found) = self.try_above(port).await? {
                return Ok(Some(found));
            }
        }
        while let Some(port) = self.above.costly.pop_front() {
            if self.listed.as_ref().is_some_and(|all| all.contains(port)) {
                // Enough were tried to see that the tables are right.
                continue;
            }
            self.explanation.unskip(port);
            if let Some(found) = self.try_above(port).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The next number above the preferred port that has not been looked at.
    fn next_above(&mut self) -> Option<Port> {
        let from = self.above.last.or(self.plan.prefer)?;
        let next = self.plan.upwards.next_above(from)?;
        self.above.last = Some(next);
        Some(next)
    }

    /// The occupant because of which a port is expected to be busy, if the socket tables name one;
    /// the cost itself if not.
    async fn why_costly(&mut self, port: Port, cost: f64) -> Skipped {
        let plan = self.plan;
        let mut occupant = None;
        'found: for protocol in plan.protocols.each() {
            for address in plan.group.addresses() {
                occupant = self.occupants.on(*protocol, port, address).await;
                if occupant.is_some() {
                    break 'found;
                }
            }
        }
        match occupant {
            Some(occupant) => self.because_of(port, Reason::Listed, Some(&occupant)),
            None => too_costly(port, cost),
        }
    }

    /// Whether a number above the preferred port is to be tried now; if not, its reason is noted.
    fn may_be_tried(&mut self, port: Port, with_cool_down: bool) -> bool {
        if self.explanation.tried.contains(&port) {
            return false;
        }
        if let Some(skipped) = self.ruled_out(port, Step::Upwards) {
            self.explanation.skip(skipped);
            return false;
        }
        if let Some(skipped) = with_cool_down.then(|| self.cooling(port)).flatten() {
            self.passed_over_cooling = true;
            self.explanation.skip(skipped);
            return false;
        }
        true
    }

    async fn try_above(&mut self, port: Port) -> Result<Option<Found>, Refusal> {
        self.check_limits()?;
        let found = self.try_candidate(port).await?;
        if found.is_none() {
            self.explanation.skip(self.why_refused(port));
            if self.listed.is_none() && self.failed() >= REALLY_TRIED {
                self.listed = Some(self.listed_by_tables());
            }
        }
        Ok(found)
    }

    /// The ports that the socket tables list on these addresses.
    pub(super) fn listed_by_tables(&self) -> PortBits {
        let mut listed = PortBits::default();
        for protocol in self.plan.protocols.each() {
            if let Some(ports) = self.occupants.listed(*protocol, &self.plan.group) {
                listed.add(&ports);
            }
        }
        listed
    }
}

fn too_costly(port: Port, cost: f64) -> Skipped {
    let by = format!("expected cost {cost:.2}");
    Skipped::new(port, Reason::TooCostly, Some(by))
}
