//! Eligible ports: those that a search may try. The others go into the explanation.

use std::collections::BTreeMap;

use super::Search;
use crate::choice::assigned::browser_blocked;
use crate::choice::bits::PortBits;
use crate::choice::policy::Eligible;
use crate::domain::port::{Port, PortSet};
use crate::domain::precedence::Skipped;
use crate::domain::reason::Reason;

impl Search<'_> {
    /// Returns the ports of `ranges` that may be tried, and explains the others.
    pub(super) fn eligible(&mut self, ranges: &PortSet, with_cool_down: bool) -> Eligible {
        let mut eligible = Eligible::all_of(ranges);
        if !self.plan.exclude.is_empty() {
            eligible.exclude(Reason::Configured, &PortBits::from(&self.plan.exclude));
        }
        let by_hand = self.plan.exclusions.ports(self.plan.protocols.each());
        if !by_hand.is_empty() {
            eligible.exclude(Reason::ByHand, &PortBits::from(&by_hand));
        }
        if self.plan.pool.browser_safe {
            eligible.exclude(Reason::BrowserBlocked, browser_blocked());
        }
        if !self.plan.pool.static_band.is_empty() {
            let band = PortBits::from(&self.plan.pool.static_band);
            eligible.exclude(Reason::StaticBand, &band);
        }
        if !self.rules.reserved.is_empty() {
            eligible.exclude(
                Reason::KernelReserved,
                &PortBits::from(&self.rules.reserved),
            );
        }
        self.leave_out_privileged(&mut eligible);
        for protocol in self.plan.protocols.each() {
            let exclude = |reason, ports: &PortBits| eligible.exclude(reason, ports);
            let group = &self.plan.group;
            self.leases
                .exclude_kept(group, *protocol, with_cool_down, exclude);
            if let Some(book) = self.claimed {
                let now = self.clock.boot();
                let claimants = book.claimants(*protocol, &eligible.ports, now);
                eligible.exclude(Reason::Claimed, &book.taken(*protocol, now));
                self.tell_claimants(claimants);
            }
        }
        if self.over_ephemeral_budget() {
            let ephemeral = PortBits::from(&self.rules.ephemeral);
            eligible.exclude(Reason::EphemeralBudget, &ephemeral);
        }
        if let Some(listed) = &self.listed {
            eligible.exclude(Reason::Listed, listed);
        }
        // A port that this search has already tried is not tried again.
        for port in &self.explanation.tried {
            eligible.ports.remove(*port);
        }
        self.note_what_random_would_meet(&eligible.ports);
        self.explanation.ports = eligible.pool_size;
        self.explanation.excluded.clone_from(&eligible.excluded);
        eligible
    }

    /// Tells which hosts have the numbers that are left out. After a preferred port the reasons lead from that to the
    /// granted one, and have no others among them.
    fn tell_claimants(&mut self, claimants: BTreeMap<String, Vec<Port>>) {
        let told = &mut self.explanation;
        if told.skipped.iter().any(|it| it.reason != Reason::Claimed) {
            return;
        }
        for (host, ports) in claimants {
            told.skip(Skipped {
                ports: ports.into_iter().collect(),
                reason: Reason::Claimed,
                by: Some(host),
                since: None,
                whose: None,
            });
        }
    }

    /// Takes away the ports that the kernel keeps for the administrator.
    pub(super) fn leave_out_privileged(&mut self, eligible: &mut Eligible) {
        let below = self.rules.unprivileged_start;
        let lowest = self.plan.ranges.first();
        if lowest.is_none_or(|lowest| lowest.get() >= below) {
            return;
        }
        let low = (1..below).filter_map(Port::new);
        let low: PortSet = low.filter(|port| self.is_privileged(*port)).collect();
        if !low.is_empty() {
            eligible.exclude(Reason::NeedsPrivilege, &PortBits::from(&low));
            self.explanation.excluded.clone_from(&eligible.excluded);
        }
    }

    fn over_ephemeral_budget(&mut self) -> bool {
        let ephemeral = &self.rules.ephemeral;
        !self.plan.ranges.intersection(ephemeral).is_empty() && self.is_over_budget()
    }

    /// Leaves out what the socket tables list. They are hints, but a port listed cannot be bound
    /// strictly, and what they miss the bind will tell.
    pub(super) fn jump_over_listed(&mut self, eligible: &mut Eligible) {
        let listed = self.listed_by_tables();
        eligible.exclude(Reason::Listed, &listed);
        self.explanation.excluded.clone_from(&eligible.excluded);
        self.listed = Some(listed);
    }
}

pub(super) fn cools(eligible: &Eligible) -> bool {
    let mut excluded = eligible.excluded.iter();
    excluded.any(|excluded| excluded.reason == Reason::CoolingDown)
}
