//! Checks that compare settings with each other, and with the host.

use std::time::Duration;

use super::finding::{Finding, Problem};
use super::model::Settings;
use super::pool::Pool;
use super::provenance::Provenance;
use crate::domain::claim::{LEAST_SESSIONS, Reclaim};
use crate::domain::duration::HumanDuration;
use crate::domain::port::{PortSet, Protocols};
use crate::domain::selector::{Selector, SelectorKind};

/// Checks the settings among themselves.
pub(super) fn among_themselves(settings: &Settings, provenance: &Provenance) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pool in settings.pools.values() {
        findings.extend(pool_alone(pool, provenance));
        findings.extend(lifetimes(pool, provenance));
        findings.extend(unique(pool, settings, provenance));
    }
    for (name, rule) in &settings.interfaces {
        let ranges = rule.ranges.as_ref();
        if ranges.is_some_and(|ranges| covers(&rule.exclude, ranges)) {
            let key = super::key::Key::new(["interfaces", name, "exclude"]).to_string();
            findings.push(error(provenance, &key, nothing_left(&rule.exclude)));
        }
    }
    findings.extend(pool_of(
        "console.pool",
        &settings.console.pool,
        settings,
        provenance,
    ));
    if settings.portserver.address.is_some() {
        let pool = &settings.portserver.pool;
        findings.extend(pool_of("portserver.pool", pool, settings, provenance));
    }
    findings.extend(fleet(settings, provenance));
    findings.extend(overlaps(settings, provenance));
    findings
}

/// Finds settings that do not fit this host: errors where a promise of theirs would not hold, else warnings. The caller knows the host: `outgoing` are the ports that
/// the kernel gives to outgoing connections, `matches` says whether selectors match an address now.
pub fn against_host(
    settings: &Settings,
    provenance: &Provenance,
    outgoing: &PortSet,
    matches: &dyn Fn(&[Selector]) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pool in settings.pools.values() {
        findings.extend(among_outgoing(pool, outgoing, provenance));
        if !matches(&pool.interfaces) {
            let key = format!("pools.{}.interfaces", pool.name);
            let problem = Problem::new(
                "this host has no such address now",
                "name interfaces that `portbook interfaces` lists",
            );
            findings.push(warning(provenance, &key, problem));
        }
    }
    for name in settings.interfaces.keys() {
        let nic = Selector {
            negated: false,
            kind: SelectorKind::Interface(name.clone()),
        };
        if !matches(&[nic]) {
            let key = super::key::Key::new(["interfaces", name, "ranges"]).to_string();
            let problem = Problem::new(
                format!("this host has no interface {name} now"),
                "name one that `portbook interfaces` lists",
            );
            findings.push(warning(provenance, &key, problem));
        }
    }
    findings
}

/// Checks that this build has a fleet, and that a certificate comes with its key.
fn fleet(settings: &Settings, provenance: &Provenance) -> Option<Finding> {
    let fleet = &settings.fleet;
    if fleet.engine.is_empty() {
        return None;
    }
    if !cfg!(feature = "fleet") {
        let problem = Problem::new(
            "this portbook was built without the feature `fleet`",
            "build it with `cargo build --release --features fleet`, or take the setting out",
        );
        return Some(error(provenance, "fleet.engine", problem));
    }
    let has_tls = fleet.engine.iter().any(|one| one.starts_with("https://"));
    if has_tls && fleet.ca.is_none() {
        let problem = Problem::new(
            "nothing says which certificate of etcd is the right one",
            "set fleet.ca to the file of the authority that signed it, as `portbook fleet join … --ca FILE` does",
        );
        return Some(error(provenance, "fleet.engine", problem));
    }
    let (key, missing) = match (&fleet.certificate, &fleet.key) {
        (Some(_), None) => ("fleet.certificate", "key"),
        (None, Some(_)) => ("fleet.key", "certificate"),
        _ => return None,
    };
    let problem = Problem::new(
        format!("etcd takes a certificate and its key together, and there is no {missing}"),
        format!("set fleet.{missing} as well"),
    );
    Some(error(provenance, key, problem))
}

/// Checks that the numbers of a pool can be claimed in a fleet.
fn unique(pool: &Pool, settings: &Settings, provenance: &Provenance) -> Option<Finding> {
    if !pool.is_unique() {
        return None;
    }
    let name = &pool.name;
    let key = |setting: &str| format!("pools.{name}.{setting}");
    let (key, problem) = if !cfg!(feature = "fleet") {
        let problem = Problem::new(
            "this portbook was built without the feature `fleet`, so no number can be unique in one",
            "build it with `cargo build --release --features fleet`, or take the setting out",
        );
        (key("fleet"), problem)
    } else if settings.fleet.engine.is_empty() {
        let problem = Problem::new(
            "no number can be unique in a fleet, as this host is in none",
            "run `portbook fleet join` with an address of etcd, or take the setting out",
        );
        (key("fleet"), problem)
    } else if settings.console.pool == **name {
        let problem = Problem::new(
            "the console's port would wait for the fleet at each start",
            "give the console a pool of its own (console.pool)",
        );
        (key("fleet"), problem)
    } else if pool.reclaim.is_none() {
        let problem = Problem::new(
            "nothing says how the fleet gets numbers back from a host that is gone",
            format!(
                "write reclaim = \"manual\" in [pools.{name}]: an operator gives them back; or a time such as \"24h\", with a fence in the kernel"
            ),
        );
        (key("reclaim"), problem)
    } else {
        (
            key("reclaim"),
            too_short(pool.reclaim?, settings.fleet.session)?,
        )
    };
    Some(error(provenance, &key, problem))
}

/// A time of reclaim that renewals of the session are too rare for.
fn too_short(reclaim: Reclaim, session: Duration) -> Option<Problem> {
    let (time, least) = (reclaim.time()?, session * LEAST_SESSIONS);
    let problem = || {
        Problem::new(
            format!(
                "{} is too short for sessions of {}: half of it is the longest outage of etcd until the numbers are shut",
                HumanDuration(time),
                HumanDuration(session)
            ),
            format!(
                "write {} or more, or \"manual\"; or make fleet.session shorter",
                HumanDuration(least)
            ),
        )
    };
    (time < least).then(problem)
}

fn pool_alone(pool: &Pool, provenance: &Provenance) -> Option<Finding> {
    let key = |setting: &str| format!("pools.{}.{setting}", pool.name);
    if covers(&pool.exclude, &pool.ranges) {
        let problem = nothing_left(&pool.exclude);
        return Some(error(provenance, &key("exclude"), problem));
    }
    let prefer = pool.prefer?;
    let problem = if !pool.ranges.contains(prefer) {
        Problem::new(
            format!("{prefer} is outside the ranges {}", pool.ranges),
            "prefer a port inside them, or add it to ranges",
        )
    } else if pool.exclude.contains(prefer) {
        Problem::new(
            format!("{prefer} is excluded"),
            "prefer another port, or take it out of exclude",
        )
    } else {
        return None;
    };
    Some(error(provenance, &key("prefer"), problem))
}

fn lifetimes(pool: &Pool, provenance: &Provenance) -> Option<Finding> {
    let (ttl, limit) = (pool.ttl?, pool.max_ttl?);
    if ttl <= limit {
        return None;
    }
    let problem = Problem::new(
        format!(
            "{} is longer than max_ttl, {}",
            HumanDuration(ttl),
            HumanDuration(limit)
        ),
        "make ttl shorter or max_ttl longer",
    );
    Some(error(
        provenance,
        &format!("pools.{}.ttl", pool.name),
        problem,
    ))
}

fn covers(outer: &PortSet, inner: &PortSet) -> bool {
    outer.intersection(inner) == *inner
}

fn nothing_left(exclude: &PortSet) -> Problem {
    Problem::new(
        format!("{exclude} leaves no port to grant"),
        "exclude fewer, or widen ranges",
    )
}

/// Checks that a pool named by another setting exists.
fn pool_of(key: &str, name: &str, settings: &Settings, provenance: &Provenance) -> Option<Finding> {
    // A pool with problems of its own is not in the settings, but it exists.
    let ranges = format!("pools.{name}.ranges");
    if settings.pools.contains_key(name) || provenance.has(&ranges) {
        return None;
    }
    let known: Vec<&str> = settings.pools.keys().map(String::as_str).collect();
    let problem = Problem::new(
        format!("there is no pool {name}"),
        format!("write one of {}, or add [pools.{name}]", known.join(", ")),
    );
    Some(error(provenance, key, problem))
}

/// Warns of pools that share ports. Each port is granted only once, but one pool can use the other up.
fn overlaps(settings: &Settings, provenance: &Provenance) -> Vec<Finding> {
    let pools: Vec<&Pool> = settings.pools.values().map(AsRef::as_ref).collect();
    let mut findings = Vec::new();
    for (index, pool) in pools.iter().enumerate() {
        for other in &pools[..index] {
            let shared = pool.ranges.intersection(&other.ranges);
            if shared.is_empty() || apart(pool.protocol, other.protocol) {
                continue;
            }
            // The warning belongs to ranges that the user wrote, not to built-in ones.
            let own = format!("pools.{}.ranges", pool.name);
            let others = format!("pools.{}.ranges", other.name);
            let (key, second) = if provenance.is_default(&own) {
                if provenance.is_default(&others) {
                    continue;
                }
                (others, pool)
            } else {
                (own, other)
            };
            let problem = Problem::new(
                format!("the pool {} has {shared} as well", second.name),
                "give each pool ports of its own",
            );
            findings.push(warning(provenance, &key, problem));
        }
    }
    findings
}

fn apart(one: Protocols, other: Protocols) -> bool {
    !one.each()
        .iter()
        .any(|protocol| other.each().contains(protocol))
}

fn among_outgoing(pool: &Pool, outgoing: &PortSet, provenance: &Provenance) -> Option<Finding> {
    let shared = shared_with_outgoing(pool, outgoing)?;
    let way_out =
        format!("keep clear of {outgoing}, or move that range: `portbook doctor` has the command");
    let key = format!("pools.{}.ranges", pool.name);
    if pool.is_fenced() {
        let problem = format!("{shared}, whose answers the fence of a unique pool would cut off");
        return Some(error(provenance, &key, Problem::new(problem, way_out)));
    }
    Some(warning(provenance, &key, Problem::new(shared, way_out)))
}

/// Describes the ports of a pool that the kernel gives to outgoing connections too. `None` if there are
/// none. Reserving them in the kernel is no way out: a pool grants reserved ports to requests by number
/// alone.
pub fn shared_with_outgoing(pool: &Pool, outgoing: &PortSet) -> Option<String> {
    let shared = pool.ranges.intersection(outgoing);
    let said = || format!("the kernel gives {shared} to outgoing connections as well");
    (!shared.is_empty()).then(said)
}

fn error(provenance: &Provenance, key: &str, problem: Problem) -> Finding {
    Finding::error(&key, provenance.source(key), problem)
}

fn warning(provenance: &Provenance, key: &str, problem: Problem) -> Finding {
    Finding::warning(&key, provenance.source(key), problem)
}
