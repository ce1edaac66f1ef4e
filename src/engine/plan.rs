//! Plans: a request with every blank filled from its pool: pool, bind addresses, ranges, order and
//! limits.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::refusal::Refusal;
use super::rules::{KernelRules, Rules};
use crate::config::{InterfaceRule, Pool, Settings};
use crate::domain::address::{ANY_INTERFACE, AddressGroup};
use crate::domain::duration::HumanDuration;
use crate::domain::exclusion::Exclusions;
use crate::domain::explanation::{EXPLICIT, Explanation};
use crate::domain::lease::Handover;
use crate::domain::pool::{DEFAULT_POOL, Strategy};
use crate::domain::port::{Port, PortSet, Protocols};
use crate::domain::precedence;
use crate::domain::request::Request;
use crate::domain::selector::Selector;
use crate::host::interface::{Snapshot, resolve};
use crate::host::redirect::addresses_to_try;

/// More addresses than a host has use for; a bound for what one request can make portbook do.
const MAX_ADDRESSES: usize = 64;

/// Maximum number of ports in one request; bounds the work that one request can cause.
const MAX_PORTS: usize = 256;

/// A request with every blank filled in.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The pool.
    pub pool: Arc<Pool>,
    /// Addresses to hold.
    pub group: AddressGroup,
    /// Addresses at which a port is tried for a rule that redirects it. Empty on hosts without
    /// containers.
    pub tried_at: Vec<IpAddr>,
    /// Free for which protocols.
    pub protocols: Protocols,
    /// Ranges of the candidates.
    pub ranges: PortSet,
    /// Ports that the configuration excludes.
    pub exclude: PortSet,
    /// Ports that users excluded by hand.
    pub exclusions: Arc<Exclusions>,
    /// Exactly this port.
    pub explicit: Option<Port>,
    /// The port that the request prefers to all others.
    pub prefer: Option<Port>,
    /// The numbers above the preferred port that come before the pool, as far as the ranges of the
    /// request or of its interfaces allow them.
    pub upwards: PortSet,
    /// The port at which `ordered` begins in the ranges.
    pub start: Option<Port>,
    /// Whether the request names the ranges, so that no port outside of them may be the answer.
    pub is_bounded: bool,
    /// Whether a name may not move to another port.
    pub strict: bool,
    /// The order of the others.
    pub strategy: Strategy,
    /// Maximum number of candidate ports to try.
    pub max_attempts: usize,
    /// Time that the search may take.
    pub timeout: Duration,
    /// Way in which the port passes to its owner.
    pub handover: Handover,
    /// Time to wait for a first listener.
    pub claim_within: Duration,
    /// Lifetime of the lease unless renewed. `None` is without end.
    pub ttl: Option<Duration>,
    /// The selectors as asked for.
    pub selectors: Vec<Selector>,
}

impl Plan {
    /// Whether the kernel keeps a port for the administrator and the pool does not open it to its
    /// users. A service that runs as root could bind it, but not for every caller.
    pub fn needs_privilege(&self, port: Port, uid: u32, unprivileged_start: u16) -> bool {
        uid != 0 && port.get() < unprivileged_start && !self.pool.ranges.contains(port)
    }

    /// Every port that may be the answer to a request without an explicit port.
    pub fn searched(&self) -> PortSet {
        let preferred = self.prefer.map_or(PortSet::EMPTY, PortSet::single);
        self.ranges.union(&self.upwards).union(&preferred)
    }

    /// Whether the configuration or a user excludes a port.
    pub fn excludes(&self, port: Port) -> bool {
        let protocols = self.protocols.each();
        self.exclude.contains(port) || self.exclusions.against(protocols, port).is_some()
    }

    /// Fills the blanks of `request` from its pool and resolves its interfaces.
    pub fn of(request: &Request, rules: &Rules, host: &Snapshot) -> Result<Self, Refusal> {
        check(request)?;
        let settings = &*rules.settings;
        let pool = pool(request, settings)?;
        let selectors = if request.interfaces.is_empty() {
            &pool.interfaces
        } else {
            &request.interfaces
        };
        let group = resolve(host, selectors)?;
        if group.addresses().len() > MAX_ADDRESSES {
            return Err(Refusal::InvalidRequest(format!(
                "{} bind addresses are too many for one lease: select at most {MAX_ADDRESSES}, or any",
                group.addresses().len()
            )));
        }
        let (mut ranges, exclude) = allowed(&pool, &group, settings);
        if let Some(wanted) = &request.ranges {
            ranges = within(wanted, &group, settings)?;
        }
        if ranges.is_empty() && request.port.is_none() {
            return Err(nothing_in_common(&pool, &group, settings));
        }
        let protocols = request.protocol.unwrap_or(pool.protocol);
        let handover = request.handover.unwrap_or(pool.handover);
        if request.owner_pid.is_some() && handover == Handover::Bind && protocols != Protocols::Tcp
        {
            ranges = without_outgoing(ranges, &rules.kernel);
        }
        let within = |port: &Port| ranges.contains(*port);
        Ok(Self {
            start: request.prefer.filter(within).or(pool.prefer),
            upwards: upwards(request, &pool, &group, &ranges, settings),
            tried_at: addresses_to_try(&group, host),
            group,
            protocols,
            ranges,
            exclude,
            exclusions: Arc::clone(&rules.exclusions),
            explicit: request.port,
            prefer: request.prefer,
            is_bounded: request.ranges.is_some(),
            strict: request.strict,
            strategy: request.strategy.unwrap_or(pool.strategy),
            max_attempts: request
                .max_attempts
                .or(pool.max_attempts)
                .map_or(usize::MAX, |max| max.get() as usize),
            timeout: request.timeout.unwrap_or(pool.attempt_timeout),
            handover,
            claim_within: request.claim_within.unwrap_or(pool.claim_within),
            ttl: lifetime(request, &pool)?,
            selectors: selectors.clone(),
            pool,
        })
    }

    /// The beginning of the record of this choice.
    pub fn explanation(&self) -> Explanation {
        let strategy = match self.explicit {
            Some(_) => EXPLICIT,
            None => self.strategy.as_str(),
        };
        let addresses = self.group.addresses();
        Explanation {
            strategy: strategy.to_owned(),
            interfaces: self.selectors.iter().map(ToString::to_string).collect(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            ranges: self.ranges.to_string(),
            ..Explanation::default()
        }
    }
}

/// Leaves out ports that cannot be handed over by `bind` for UDP, unless there are no others.
fn without_outgoing(ranges: PortSet, kernel: &KernelRules) -> PortSet {
    let others = ranges.without(&kernel.outgoing());
    if others.is_empty() { ranges } else { others }
}

/// Returns the lifetime of the lease, within the pool's limit.
fn lifetime(request: &Request, pool: &Pool) -> Result<Option<Duration>, Refusal> {
    check_lifetime(request.ttl, pool)?;
    Ok(request.ttl.or(pool.ttl).or(pool.max_ttl))
}

/// Refuses a lifetime that is longer than the pool allows.
pub fn check_lifetime(wanted: Option<Duration>, pool: &Pool) -> Result<(), Refusal> {
    let limit = pool.max_ttl.unwrap_or(Duration::MAX);
    match wanted.filter(|wanted| *wanted > limit) {
        None => Ok(()),
        Some(wanted) => Err(Refusal::QuotaExceeded(format!(
            "a ttl of {} is longer than pool {} allows, {} (max_ttl): ask for less and renew",
            HumanDuration(wanted),
            pool.name,
            HumanDuration(limit)
        ))),
    }
}

/// The numbers above the preferred port that a request may be given before the pool's. Ranges of the
/// request bound them, and so do those of an interface that has its own.
fn upwards(
    request: &Request,
    pool: &Pool,
    group: &AddressGroup,
    ranges: &PortSet,
    settings: &Settings,
) -> PortSet {
    let Some(prefer) = request.prefer else {
        return PortSet::EMPTY;
    };
    let span = request.prefer_span.unwrap_or(pool.prefer_span);
    let above = precedence::upwards(prefer, span);
    let mut addresses = group.addresses().iter();
    let has_own = |nic: &str| rule_for(nic, settings).is_some_and(|rule| rule.ranges.is_some());
    if request.ranges.is_some() || addresses.any(|address| has_own(&address.interface)) {
        above.intersection(ranges)
    } else {
        above
    }
}

/// Refuses a time of a lease that is over at the grant; the record keeps milliseconds.
pub fn check_lasting(field: &str, wanted: Option<Duration>) -> Result<(), Refusal> {
    match wanted.filter(|wanted| wanted.as_millis() == 0) {
        None => Ok(()),
        Some(_) => Err(Refusal::InvalidRequest(format!(
            "a {field} of zero ends the lease at once: give a longer one, such as 30m"
        ))),
    }
}

fn check(request: &Request) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::InvalidRequest(why.to_owned()));
    let count = request.port_count();
    if count > MAX_PORTS {
        return Err(Refusal::InvalidRequest(format!(
            "{count} ports in one request are too many: ask for at most {MAX_PORTS}"
        )));
    }
    if request.port.is_some() && count > 1 {
        return refuse("one explicit port cannot be several: leave out port, or ask for one");
    }
    if request.prefer_span.is_some() && request.prefer.is_none() {
        return refuse("prefer_span goes with prefer: it says how far above it to look");
    }
    if request.timeout.is_some_and(|timeout| timeout.is_zero()) {
        return refuse("a timeout of zero leaves no time to try a port: give a longer one");
    }
    check_lasting("ttl", request.ttl)?;
    check_lasting("claim_within", request.claim_within)?;
    if request.port.is_some() && request.prefer.is_some() {
        return refuse("port and prefer exclude each other: port is strict, prefer may move");
    }
    if request.count.is_some() && request.block.is_some() {
        return refuse("count and block exclude each other: a block is so many ports in a row");
    }
    if request.block.is_some_and(|n| n.get() as usize != count) {
        return refuse("block does not match the number of names: give as many names, or none");
    }
    if request.count.is_some_and(|n| n.get() as usize != count) {
        return refuse("count does not match the number of names: give one of them");
    }
    let mut names = request.names.clone();
    if request.reserve && (names.is_empty() || request.owner_pid.is_some()) {
        return refuse(
            "reserve keeps a port for a name whose owner is away: give a name and no owner",
        );
    }
    names.sort_unstable();
    names.dedup();
    if names.len() != request.names.len() {
        return refuse("a name is given twice");
    }
    Ok(())
}

fn pool(request: &Request, settings: &Settings) -> Result<Arc<Pool>, Refusal> {
    let name = request.pool.as_deref().unwrap_or(DEFAULT_POOL);
    settings.pools.get(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = settings.pools.keys().map(String::as_str).collect();
        Refusal::NoSuchPool {
            pool: name.to_owned(),
            known: known.join(", "),
        }
    })
}

/// The ranges and exclusions that count on these addresses. An interface with ranges of its own
/// replaces the pool's; asked for together with others, the intersection counts.
pub(super) fn allowed(
    pool: &Pool,
    group: &AddressGroup,
    settings: &Settings,
) -> (PortSet, PortSet) {
    let own = own_ranges(pool, group, settings);
    let ranges = own.iter().map(|(_, ranges)| (*ranges).clone());
    let ranges = ranges.reduce(|common, next| common.intersection(&next));
    let mut exclude = pool.exclude.clone();
    for (name, _) in own {
        if let Some(rule) = rule_for(name, settings) {
            exclude = exclude.union(&rule.exclude);
        }
    }
    (ranges.unwrap_or_else(|| pool.ranges.clone()), exclude)
}

/// Of the ranges that were asked for what may be granted on each of these interfaces.
fn within(wanted: &PortSet, group: &AddressGroup, settings: &Settings) -> Result<PortSet, Refusal> {
    let mut ranges = wanted.clone();
    for address in group.addresses() {
        let rule = rule_for(&address.interface, settings);
        let Some(own) = rule.and_then(|rule| rule.ranges.as_ref()) else {
            continue;
        };
        ranges = ranges.intersection(own);
        if ranges.is_empty() {
            let name = &address.interface;
            return Err(Refusal::NothingInCommon(format!(
                "{wanted} was asked for, {name} has {own}"
            )));
        }
    }
    Ok(ranges)
}

/// Each interface of a group with the ranges that count on it alone.
fn own_ranges<'a>(
    pool: &'a Pool,
    group: &'a AddressGroup,
    settings: &'a Settings,
) -> Vec<(&'a str, &'a PortSet)> {
    let mut found: Vec<(&str, &PortSet)> = Vec::new();
    for address in group.addresses() {
        let name = &*address.interface;
        if found.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let own = rule_for(name, settings).and_then(|rule| rule.ranges.as_ref());
        found.push((name, own.unwrap_or(&pool.ranges)));
    }
    found
}

fn rule_for<'a>(name: &str, settings: &'a Settings) -> Option<&'a InterfaceRule> {
    let rule = settings.interfaces.get(name);
    rule.filter(|_| name != ANY_INTERFACE)
}

fn nothing_in_common(pool: &Pool, group: &AddressGroup, settings: &Settings) -> Refusal {
    let own = own_ranges(pool, group, settings);
    let parts: Vec<String> = own
        .iter()
        .map(|(name, ranges)| format!("{name} {ranges}"))
        .collect();
    Refusal::NothingInCommon(parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Sources, load};
    use crate::engine::rules::RulesInForce;
    use crate::host::interface::Interfaces;

    fn ports(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    #[test]
    fn ports_that_the_kernel_gives_out_are_left_out_unless_there_are_no_others() {
        let kernel = KernelRules {
            ephemeral: ports("32768-60999"),
            reserved: ports("40000-40009"),
            unprivileged_start: 1024,
        };
        let left = |ranges| without_outgoing(ports(ranges), &kernel).to_string();
        assert_eq!(left("20000-50000"), "20000-32767,40000-40009");
        assert_eq!(left("41000-41009"), "41000-41009");
    }

    #[test]
    fn bind_of_udp_searches_where_the_kernel_does_not() {
        let mut request = Request {
            ranges: Some(ports("1-65535")),
            protocol: Some(Protocols::Udp),
            handover: Some(Handover::Bind),
            ..Request::default()
        };
        let of_alloc = planned(&request).ranges;
        request.owner_pid = Some(1);
        let udp = planned(&request).ranges;
        let outgoing = crate::host::kernel::outgoing_ports();
        assert!(!outgoing.is_empty());
        assert_eq!(udp, of_alloc.without(&outgoing));
        request.protocol = Some(Protocols::Tcp);
        assert_eq!(planned(&request).ranges, of_alloc);
    }

    fn planned(request: &Request) -> Plan {
        let sources = Sources {
            flags: Flags {
                data_dir: Some("/nonexistent".into()),
                ..Flags::default()
            },
            ..Sources::default()
        };
        let settings = Arc::new(load(&sources).unwrap().settings);
        let rules = RulesInForce::new(settings).now();
        let host = Interfaces::open().current().unwrap();
        Plan::of(request, &rules, &host).unwrap()
    }

    #[test]
    fn ranges_of_a_request_open_no_privileged_port() {
        let plan = planned(&Request {
            ranges: Some(ports("80-2000")),
            ..Request::default()
        });
        let kept = |number, uid| plan.needs_privilege(Port::new(number).unwrap(), uid, 1024);
        assert!(kept(80, 1000) && kept(1023, 1000));
        assert!(!kept(80, 0) && !kept(1024, 1000));
    }
}
