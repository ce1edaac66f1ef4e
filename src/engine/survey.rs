//! The survey: every port at once as the chooser sees it, in plain values.
//!
//! It is one pass over memory: the books, the pools' rules, history and the latest snapshot. No
//! port is probed for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::choice::assigned::browser_blocked;
use crate::choice::bits::PortBits;
use crate::choice::cost;
use crate::choice::history::Page;
use crate::choice::policy::Penalties;
use crate::choice::weigh::Weigher;
use crate::config::Pool;
use crate::domain::address::AddressGroup;
use crate::domain::candidate::{Candidate, Evidence, PenaltyReason};
use crate::domain::lease::{Lease, State};
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::port::{Port, PortSet, Protocol};
use crate::domain::reason::Reason;
use crate::domain::selector::Selector;
use crate::engine::{
    engine::Engine, plan::allowed, refusal::Refusal, rules::KernelRules, rules::Rules,
};
use crate::host::interface::{Snapshot, resolve};

/// Ports are neighbours within blocks of so many, as for history.
pub const BLOCK: u16 = 64;

/// The standing of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// No pool has it.
    #[default]
    Outside,
    /// A pool has it and nothing speaks against it.
    Free,
    /// Every pool that has it rules it out.
    Excluded,
    /// The latest snapshot saw others on it.
    Others,
    /// It is leased, or being granted right now.
    Leased,
    /// It is leased, and others were seen on it: on another address, or because the lease is lost.
    Contested,
}

/// One port.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PortView {
    /// Its standing.
    pub standing: Standing,
    /// Whether a pool has it.
    pub in_pool: bool,
    /// The rule that excludes it in every pool that has it.
    pub excluded: Option<Reason>,
    /// Expected cost of choosing it.
    pub cost: f64,
    /// Penalties that make it dearer without excluding it.
    pub penalties: Vec<PenaltyReason>,
    /// Refused binds and late conflicts, as they were counted.
    pub conflicts: u64,
    /// When there was last news of it: a bind, the end of a lease, others who came or went.
    pub news_ms: Option<i64>,
}

/// Every port at one moment.
#[derive(Debug, Clone)]
pub struct Survey {
    /// When.
    pub at: Timestamp,
    /// For requests of these addresses.
    pub group: AddressGroup,
    /// Number of snapshots of these addresses. `None` if history does not know them yet.
    pub snapshots: Option<u64>,
    /// The ports, by number; there is no port 0, and what stands there means nothing.
    pub ports: Vec<PortView>,
}

/// A pool's opinion of one port.
#[derive(Debug, Clone, PartialEq)]
pub struct Opinion {
    /// The pool.
    pub pool: Arc<str>,
    /// Its addresses.
    pub group: AddressGroup,
    /// The rule that rules the port out.
    pub excluded: Option<Reason>,
    /// Its evidence and its cost.
    pub candidate: Candidate,
}

/// A copy of history's knowledge, so that its lock is held for a moment only.
#[derive(Default)]
struct Known {
    snapshots: Option<u64>,
    blocks: Vec<Evidence>,
    ports: HashMap<Port, (Evidence, Option<i64>)>,
}

/// The rules of all pools for all ports.
#[derive(Default)]
struct OfPools {
    in_pool: PortBits,
    open: PortBits,
    reasons: HashMap<Port, Reason>,
}

/// Every port as a request of these addresses would find it; those of the default pool where
/// no interface is named.
pub(super) fn survey(
    engine: &Arc<Engine>,
    protocol: Protocol,
    on: &[Selector],
) -> Result<Survey, Refusal> {
    let host = host(engine)?;
    let rules = engine.rules.now();
    let default = rules.settings.pools.get(DEFAULT_POOL);
    let usual = default.map_or(&[][..], |pool| &pool.interfaces);
    let group = resolve(&host, if on.is_empty() { usual } else { on })?;
    let at = engine.clock.now();
    let (taken, cooling) = engine.leases.kept_from(&group, protocol);
    let seen = engine.learning.seen(protocol, &group);
    // The snapshot has ports of pools alone; a lease may be on another one.
    let is_lost = |lease: &Lease| lease.protocol == protocol && lease.state == State::Lost;
    let lost = engine.leases.filtered(is_lost).into_iter();
    let lost: HashSet<Port> = lost.map(|lease| lease.port).collect();
    let of_pools = of_pools(&rules, protocol, &group, &cooling);
    let known = known(engine, protocol, &group, at.as_millisecond());
    let penalties = Penalties {
        ephemeral: &rules.kernel.ephemeral,
        rests_ms: default.map_or(0, |pool| rests_ms(pool)),
    };
    let view = |number| {
        let port = Port::new(number)?;
        let mut view = known.view(port, &penalties);
        view.in_pool = of_pools.in_pool.contains(port);
        if view.in_pool && !of_pools.open.contains(port) {
            view.excluded = of_pools.reasons.get(&port).copied();
        }
        let others = seen.contains(port) || lost.contains(&port);
        view.standing = standing(&view, taken.contains(port), others);
        Some(view)
    };
    let ports = (0..=u16::MAX).map(|number| view(number).unwrap_or_default());
    Ok(Survey {
        at,
        ports: ports.collect(),
        snapshots: known.snapshots,
        group,
    })
}

/// Returns the opinion of every pool that has the port.
pub(super) fn opinions(
    engine: &Arc<Engine>,
    protocol: Protocol,
    port: Port,
) -> Result<Vec<Opinion>, Refusal> {
    let host = host(engine)?;
    let rules = engine.rules.now();
    let by_hand = rules.exclusions.ports(&[protocol]);
    let mut opinions = Vec::new();
    for pool in rules.settings.pools.values() {
        // A pool whose addresses are away has no opinion.
        let Ok(group) = resolve(&host, &pool.interfaces) else {
            continue;
        };
        let (ranges, exclude) = allowed(pool, &group, &rules.settings);
        if !ranges.contains(port) {
            continue;
        }
        let (_, cooling) = engine.leases.kept_from(&group, protocol);
        let ruled_out = exclusions(pool, [&exclude, &by_hand], &rules.kernel, &cooling);
        let penalties = Penalties {
            ephemeral: &rules.kernel.ephemeral,
            rests_ms: rests_ms(pool),
        };
        let weigh = |weigher: &Weigher<'_>| weigher.weigh(port);
        opinions.push(Opinion {
            pool: Arc::clone(&pool.name),
            excluded: first_of(&ruled_out, port),
            candidate: engine.learning.weigh(&group, &[protocol], penalties, weigh),
            group,
        });
    }
    Ok(opinions)
}

pub(super) fn host(engine: &Arc<Engine>) -> Result<Arc<Snapshot>, Refusal> {
    Ok(engine.interfaces.current()?)
}

fn known(engine: &Arc<Engine>, protocol: Protocol, group: &AddressGroup, now_ms: i64) -> Known {
    let read = |page: &Page| {
        let blocks = 0..=u16::MAX / BLOCK;
        let known = page.known();
        Known {
            snapshots: Some(page.checks_total()),
            blocks: blocks.map(|block| page.of_block(block, now_ms)).collect(),
            ports: known
                .map(|(port, news_ms)| (port, (page.evidence(port, now_ms), news_ms)))
                .collect(),
        }
    };
    let known = engine.learning.read_page(group, protocol, read);
    known.unwrap_or_default()
}

/// Collects what the pools say of all ports on these addresses.
fn of_pools(
    rules: &Rules,
    protocol: Protocol,
    group: &AddressGroup,
    cooling: &PortBits,
) -> OfPools {
    let by_hand = rules.exclusions.ports(&[protocol]);
    let mut all = OfPools::default();
    for pool in rules.settings.pools.values() {
        let (ranges, exclude) = allowed(pool, group, &rules.settings);
        let mut open = PortBits::from(&ranges);
        all.in_pool.add(&open);
        for (reason, ports) in exclusions(pool, [&exclude, &by_hand], &rules.kernel, cooling) {
            for port in open.common(&ports) {
                all.reasons.entry(port).or_insert(reason);
            }
            open.subtract(&ports);
        }
        all.open.add(&open);
    }
    all
}

impl Known {
    /// Returns the view of a port from its history.
    fn view(&self, port: Port, penalties: &Penalties<'_>) -> PortView {
        let nothing = Evidence::default();
        let known = self.ports.get(&port);
        let of_block = self.blocks.get(usize::from(port.get() / BLOCK));
        let evidence = known.map(|(evidence, _)| evidence).or(of_block);
        let evidence = evidence.unwrap_or(&nothing);
        let dearer = penalties.of(port);
        let of_rules: f64 = dearer.iter().map(|penalty| penalty.cost).sum();
        PortView {
            cost: cost::of(evidence, penalties.rests_ms).total() + of_rules,
            penalties: dearer.iter().map(|penalty| penalty.reason).collect(),
            conflicts: evidence.totals.failed + evidence.totals.late,
            news_ms: known.and_then(|(_, news_ms)| *news_ms),
            ..PortView::default()
        }
    }
}

const fn standing(view: &PortView, taken: bool, seen: bool) -> Standing {
    match (taken, seen) {
        (true, true) => Standing::Contested,
        (true, false) => Standing::Leased,
        (false, true) => Standing::Others,
        (false, false) if view.excluded.is_some() => Standing::Excluded,
        (false, false) if view.in_pool => Standing::Free,
        (false, false) => Standing::Outside,
    }
}

fn rests_ms(pool: &Pool) -> u64 {
    u64::try_from(pool.release_cool_down.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the rules that exclude ports of a pool, in the order in which a request asks.
pub(super) fn exclusions(
    pool: &Pool,
    [exclude, by_hand]: [&PortSet; 2],
    kernel: &KernelRules,
    cooling: &PortBits,
) -> Vec<(Reason, PortBits)> {
    let mut found = vec![
        (Reason::Configured, PortBits::from(exclude)),
        (Reason::ByHand, PortBits::from(by_hand)),
    ];
    if pool.browser_safe {
        found.push((Reason::BrowserBlocked, browser_blocked().clone()));
    }
    found.push((Reason::StaticBand, PortBits::from(&pool.static_band)));
    found.push((Reason::KernelReserved, PortBits::from(&kernel.reserved)));
    found.push((Reason::CoolingDown, cooling.clone()));
    found
}

fn first_of(exclusions: &[(Reason, PortBits)], port: Port) -> Option<Reason> {
    let mut found = exclusions.iter().filter(|(_, ports)| ports.contains(port));
    found.next().map(|(reason, _)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(text: &str) -> PortBits {
        PortBits::from(&text.parse::<PortSet>().unwrap())
    }

    #[test]
    fn a_port_stands_as_what_speaks_loudest() {
        let mut view = PortView::default();
        assert_eq!(standing(&view, false, false), Standing::Outside);
        assert_eq!(standing(&view, false, true), Standing::Others);
        view.in_pool = true;
        assert_eq!(standing(&view, false, false), Standing::Free);
        view.excluded = Some(Reason::Configured);
        assert_eq!(standing(&view, false, false), Standing::Excluded);
        assert_eq!(standing(&view, true, false), Standing::Leased);
        assert_eq!(standing(&view, true, true), Standing::Contested);
    }

    #[test]
    fn the_first_rule_that_names_a_port_is_its_reason() {
        let port = Port::new(150).unwrap();
        let rules = [
            (Reason::Configured, bits("1-10")),
            (Reason::StaticBand, bits("100-200")),
            (Reason::KernelReserved, bits("150")),
        ];
        assert_eq!(first_of(&rules, port), Some(Reason::StaticBand));
    }
}
