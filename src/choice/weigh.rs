//! Weighing: history and rules brought together for the ports of one request.

use super::bits::PortBits;
use super::cost;
use super::history::{History, Page};
use super::policy::Penalties;
use crate::domain::address::AddressGroup;
use crate::domain::candidate::{Candidate, Weighed};
use crate::domain::port::{Port, Protocol};

/// Scale for the ports of one request, at one moment.
#[derive(Debug)]
pub struct Weigher<'a> {
    pages: Vec<(Protocol, Option<&'a Page>)>,
    penalties: Penalties<'a>,
    now_ms: i64,
}

impl<'a> Weigher<'a> {
    /// Scale for a request of these addresses and protocols.
    pub fn new(
        history: &'a History,
        group: &AddressGroup,
        protocols: &[Protocol],
        penalties: Penalties<'a>,
        now_ms: i64,
    ) -> Self {
        let page = |protocol: &Protocol| (*protocol, history.page(group, *protocol));
        Self {
            pages: protocols.iter().map(page).collect(),
            penalties,
            now_ms,
        }
    }

    /// Weighs a port.
    pub fn weigh(&self, port: Port) -> Candidate {
        self.weigh_after(port, self.penalties.rests_ms)
    }

    /// Weighs a port for the name that had it before: it is not dearer for having been released.
    pub fn weigh_returning(&self, port: Port) -> Candidate {
        self.weigh_after(port, 0)
    }

    fn weigh_after(&self, port: Port, rests_ms: u64) -> Candidate {
        let penalties = self.penalties.of(port);
        let weighed: Vec<Weighed> = self
            .pages
            .iter()
            .map(|(protocol, page)| {
                let known = page.map(|page| page.evidence(port, self.now_ms));
                let evidence = known.unwrap_or_default();
                Weighed {
                    protocol: *protocol,
                    cost: cost::of(&evidence, rests_ms),
                    evidence,
                }
            })
            .collect();
        // A refusal on either protocol refuses the port, so the costs add up.
        let of_evidence: f64 = weighed.iter().map(|weighed| weighed.cost.total()).sum();
        let of_rules: f64 = penalties.iter().map(|penalty| penalty.cost).sum();
        Candidate {
            port,
            cost: of_evidence + of_rules,
            weighed,
            penalties,
        }
    }

    /// Whether the latest snapshot saw an occupant on a port.
    pub fn is_seen(&self, port: Port) -> bool {
        let mut pages = self.pages.iter().filter_map(|(_, page)| *page);
        pages.any(|page| page.seen().contains(port))
    }

    /// Removes ports that the latest snapshot saw busy.
    pub fn leave_out_seen(&self, ports: &mut PortBits) {
        for page in self.pages.iter().filter_map(|(_, page)| *page) {
            ports.subtract(page.seen());
        }
    }

    /// Number of these ports that the latest snapshot saw busy.
    fn count_seen(&self, ports: &PortBits) -> u32 {
        let mut pages = self.pages.iter().filter_map(|(_, page)| *page);
        match (pages.next(), pages.next()) {
            (None, _) => 0,
            (Some(page), None) => ports.count_common(page.seen()),
            _ => {
                let mut free = ports.clone();
                self.leave_out_seen(&mut free);
                ports.len() - free.len()
            }
        }
    }

    /// Share of these ports that the latest snapshot saw busy. `None` before the first.
    pub fn busy_share(&self, ports: &PortBits) -> Option<f64> {
        let looked = |page: &&Page| page.checks_total() > 0;
        if !self
            .pages
            .iter()
            .filter_map(|(_, page)| *page)
            .any(|page| looked(&page))
        {
            return None;
        }
        let all = ports.len();
        let busy = f64::from(self.count_seen(ports));
        Some(if all == 0 { 0.0 } else { busy / f64::from(all) })
    }
}
