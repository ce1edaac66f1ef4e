//! The rules that keep one port from being tried, each with its reason in words.

use super::Search;
use crate::choice::assigned::browser_blocked;
use crate::choice::bits::PortBits;
use crate::domain::attempt::{Attempt, Occupant, Outcome};
use crate::domain::claim::Number;
use crate::domain::lease::State;
use crate::domain::port::{Port, PortSet};
use crate::domain::precedence::{Skipped, Step};
use crate::domain::reason::Reason;
use crate::engine::{leases::Keeper, leases::books::Refused, told::holder_text};

/// Maximum number of characters of a set of ports inside a sentence.
const LONGEST_SET: usize = 60;

impl Search<'_> {
    /// The reason why a port is not tried in this step; `None` if it is to be tried.
    ///
    /// A preferred port was written down by the user, so it is tried whether or not it cools down,
    /// is in the static band or set aside by the kernel; the numbers above it are not.
    pub(super) fn ruled_out(&mut self, port: Port, step: Step) -> Option<Skipped> {
        let skipped = |reason: Reason, by: Option<String>| Some(Skipped::new(port, reason, by));
        if let Some(range) = self.outside_of(port, step) {
            return skipped(Reason::OutsideRange, Some(range));
        }
        if self.plan.exclude.contains(port) {
            return skipped(Reason::Configured, Some(self.by_configuration()));
        }
        let protocols = self.plan.protocols.each();
        if let Some(exclusion) = self.plan.exclusions.against(protocols, port) {
            return skipped(Reason::ByHand, Some(exclusion.by()));
        }
        if self.plan.pool.browser_safe && browser_blocked().contains(port) {
            return skipped(Reason::BrowserBlocked, None);
        }
        if self.is_privileged(port) {
            let start = self.rules.unprivileged_start.to_string();
            return skipped(Reason::NeedsPrivilege, Some(start));
        }
        if self.is_over_ephemeral_budget(port) {
            return skipped(Reason::EphemeralBudget, None);
        }
        if let Some((reason, holder, whose)) = self.holder_in_books(port) {
            return Some(Skipped {
                whose,
                ..Skipped::new(port, reason, Some(holder))
            });
        }
        if let Some(host) = self.claimed_by(port) {
            return skipped(Reason::Claimed, Some(host));
        }
        if step == Step::Upwards {
            self.left_alone(port)
        } else {
            None
        }
    }

    /// The host of the fleet that has a number, if numbers of the pool are unique there.
    pub(super) fn claimed_by(&self, port: Port) -> Option<String> {
        let (book, now) = (self.claimed?, self.clock.boot());
        let mut protocols = self.plan.protocols.each().iter();
        protocols.find_map(|protocol| {
            let protocol = *protocol;
            book.holder(Number { protocol, port }, now)
        })
    }

    /// This host, if its own claim on a number is not settled.
    pub(super) fn unsettled(&self, port: Port) -> Option<String> {
        let book = self.claimed?;
        let mut protocols = self.plan.protocols.each().iter();
        protocols.find_map(|protocol| {
            let protocol = *protocol;
            book.unsettled(Number { protocol, port })
        })
    }

    /// The reasons that count for numbers above a preferred port alone.
    fn left_alone(&self, port: Port) -> Option<Skipped> {
        let skipped = |reason| Some(Skipped::new(port, reason, None));
        if self.plan.pool.static_band.contains(port) {
            return skipped(Reason::StaticBand);
        }
        if self.rules.reserved.contains(port) {
            return skipped(Reason::KernelReserved);
        }
        if self
            .listed
            .as_ref()
            .is_some_and(|listed| listed.contains(port))
        {
            return skipped(Reason::Listed);
        }
        None
    }

    /// The refused bind because of which a port cools down.
    pub(super) fn cooling(&self, port: Port) -> Option<Skipped> {
        let (group, protocols) = (&self.plan.group, self.plan.protocols);
        let Refused { at, occupant } = self.leases.why_cooling(group, protocols, port)?;
        Some(Skipped {
            since: Some(at),
            ..self.because_of(port, Reason::CoolingDown, occupant.as_ref())
        })
    }

    /// The reason why a port that was tried just now was not got.
    pub(super) fn why_refused(&self, port: Port) -> Skipped {
        let refused = |attempt: &&Attempt| attempt.port == port && !attempt.outcome.is_success();
        match self.attempts.iter().rev().find(refused) {
            Some(attempt) if attempt.outcome == Outcome::NotPermitted => {
                let start = self.rules.unprivileged_start.to_string();
                Skipped::new(port, Reason::NeedsPrivilege, Some(start))
            }
            Some(attempt) if attempt.outcome == Outcome::Redirected => {
                Skipped::new(port, Reason::Redirected, None)
            }
            Some(attempt) => self.because_of(port, Reason::InUse, attempt.occupant.as_ref()),
            None => match self.holder_in_books(port) {
                Some((reason, holder, whose)) => Skipped {
                    whose,
                    ..Skipped::new(port, reason, Some(holder))
                },
                None => Skipped::new(port, Reason::BeingGranted, None),
            },
        }
    }

    /// A port that is passed over because of an occupant, named as the asker may see it.
    pub(super) fn because_of(
        &self,
        port: Port,
        reason: Reason,
        occupant: Option<&Occupant>,
    ) -> Skipped {
        let named = occupant.map(|occupant| {
            let mut occupant = occupant.clone();
            occupant.veil(|uid| self.caller.may_act_for(uid));
            occupant.to_string()
        });
        Skipped {
            whose: occupant.and_then(|occupant| occupant.uid),
            ..Skipped::new(port, reason, named)
        }
    }

    /// The ranges that a port would have to be in and is not.
    fn outside_of(&self, port: Port, step: Step) -> Option<String> {
        let (plan, ranges) = (self.plan, &self.plan.ranges);
        let allowed = match step {
            Step::Preferred => !plan.is_bounded || ranges.contains(port),
            Step::Last => {
                let wished = plan.prefer == Some(port) || plan.upwards.contains(port);
                ranges.contains(port)
                    || ((wished || self.kept_row.contains(port)) && !plan.is_bounded)
            }
            Step::Upwards => plan.upwards.contains(port),
            Step::Port | Step::Pool => true,
        };
        (!allowed).then(|| format!("the range {}", short(ranges)))
    }

    /// The rule of the configuration, as the end of "is excluded by".
    pub(super) fn by_configuration(&self) -> String {
        let excluded = short(&self.plan.exclude);
        format!("the configuration (exclude = \"{excluded}\")")
    }

    pub(super) fn is_privileged(&self, port: Port) -> bool {
        let start = self.rules.unprivileged_start;
        let refused = self.low_ports_refused && port.get() < start;
        refused || self.plan.needs_privilege(port, self.caller.uid, start)
    }

    pub(super) fn is_over_ephemeral_budget(&mut self, port: Port) -> bool {
        self.rules.ephemeral.contains(port) && self.is_over_budget()
    }

    /// Whether portbook has all of the ephemeral range that it may. Counted once for each port that
    /// is granted: a search may look at all ports there are.
    pub(super) fn is_over_budget(&mut self) -> bool {
        let granted = self.explanation.granted.len();
        if let Some((_, is_over)) = self.over_budget.filter(|(as_of, _)| *as_of == granted) {
            return is_over;
        }
        let ephemeral = PortBits::from(&self.rules.ephemeral);
        let is_over = self.leases.taken_within(&ephemeral) >= self.rules.ephemeral_budget();
        self.over_budget = Some((granted, is_over));
        is_over
    }

    /// The lease, or the request, that has a port in the books, and the user of the lease.
    pub(super) fn holder_in_books(&self, port: Port) -> Option<(Reason, String, Option<u32>)> {
        let (group, protocols) = (&self.plan.group, self.plan.protocols);
        match self.leases.keeper_of(group, protocols, port)? {
            Keeper::Lease(lease) => {
                let reason = match lease.state {
                    State::Reserved => Reason::Reserved,
                    _ => Reason::Leased,
                };
                Some((reason, holder_text(&lease, self.caller), Some(lease.uid)))
            }
            Keeper::Request => {
                let another = "another request that is being answered right now";
                Some((Reason::BeingGranted, another.to_owned(), None))
            }
        }
    }
}

/// A set of ports in a sentence; a long one is cut.
fn short(ports: &PortSet) -> String {
    let text = ports.to_string();
    match text.char_indices().nth(LONGEST_SET) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
