//! Exclusions by hand: for all users, until they are taken back. A lease that lives on the port
//! lives on.

use std::sync::Arc;

use crate::domain::exclusion::{Exclusion, LONGEST_REASON};
use crate::domain::lease::Lease;
use crate::domain::port::{Port, PortSet, Protocol, Protocols};
use crate::engine::{
    at_work::is_at_work, caller::Caller, engine::Engine, refusal::Refusal, told::holder_text,
};
use crate::store::StoreError;

/// Ports that were excluded.
#[derive(Debug, Clone)]
pub struct Excluded {
    /// One a protocol and port.
    pub exclusions: Vec<Exclusion>,
    /// Number of those that were not excluded before.
    pub added: usize,
    /// The living leases on them.
    pub leases: Vec<Arc<Lease>>,
}

impl Excluded {
    /// For each lease on an excluded port what becomes of it, as `caller` may know it.
    pub fn told(&self, caller: &Caller) -> Vec<String> {
        let told = self.leases.iter().map(|lease| what_follows(lease, caller));
        told.collect()
    }
}

/// "5000/tcp is leased to app (lease …, node, pid 7): it keeps the port while that program runs, and
/// moves at its next start".
pub fn what_follows(lease: &Lease, caller: &Caller) -> String {
    let (port, protocol) = (lease.port, lease.protocol);
    let holder = holder_text(lease, caller);
    let at_work = is_at_work(lease);
    let follows = match (&lease.name, at_work) {
        (Some(_), true) => "it keeps the port while that program runs, and moves at its next start",
        (Some(_), false) => "it moves at its next start",
        (None, _) => "it keeps the port until it ends",
    };
    format!("{port}/{protocol} is leased to {holder}: {follows}")
}

/// Excludes ports, all or none. Leases on them live on until their names are asked for again.
pub(super) async fn exclude(
    engine: &Arc<Engine>,
    caller: &Caller,
    protocols: Protocols,
    ports: &PortSet,
    reason: Option<&str>,
) -> Result<Excluded, Refusal> {
    check_administrator(caller)?;
    let (reason, at) = (checked(reason)?, engine.clock.now());
    let each = protocols.each().iter();
    let exclusion = |protocol: Protocol, port| Exclusion {
        protocol,
        port,
        reason: reason.clone(),
        uid: caller.uid,
        at,
    };
    let exclusions = each.flat_map(|each| ports.iter().map(|port| exclusion(*each, port)));
    let exclusions: Vec<Exclusion> = exclusions.collect();
    engine.store.exclude(exclusions.clone()).await?;
    let before = engine.rules.now();
    let known = |one: &&Exclusion| before.exclusions.get(one.protocol, one.port).is_some();
    let added = exclusions.len() - exclusions.iter().filter(known).count();
    engine
        .rules
        .change_exclusions(|all| all.add_all(exclusions.iter().cloned()));
    let by = exclusions.first().map(Exclusion::by).unwrap_or_default();
    engine.journal.excluded(protocols, ports, caller.uid, &by);
    Ok(Excluded {
        leases: leases_within(engine, protocols, ports),
        exclusions,
        added,
    })
}

/// Takes exclusions back. Refused if none of the ports is excluded by hand.
pub(super) async fn include(
    engine: &Arc<Engine>,
    caller: &Caller,
    protocols: Protocols,
    ports: &PortSet,
) -> Result<(), Refusal> {
    check_administrator(caller)?;
    let rules = engine.rules.now();
    let each = protocols.each().iter();
    let found = each.flat_map(|each| ports.iter().map(|port| (*each, port)));
    let found = found.filter(|(protocol, port)| rules.exclusions.get(*protocol, *port).is_some());
    let found: Vec<(Protocol, Port)> = found.collect();
    if found.is_empty() {
        return Err(Refusal::NotExcluded(ports.clone(), protocols));
    }
    engine.store.include(found.clone()).await?;
    engine.rules.change_exclusions(|all| all.remove_all(&found));
    engine.journal.included(protocols, ports, caller.uid);
    engine.leases.notify_freed();
    Ok(())
}

/// The living leases on these ports, by port.
fn leases_within(engine: &Arc<Engine>, protocols: Protocols, ports: &PortSet) -> Vec<Arc<Lease>> {
    let mut leases = engine.leases.all();
    leases.retain(|lease| ports.contains(lease.port) && protocols.each().contains(&lease.protocol));
    leases.sort_by_key(|lease| lease.port);
    leases
}

/// Reads what is on record.
pub(super) async fn restore(engine: &Arc<Engine>) -> Result<(), StoreError> {
    let on_record = engine.store.exclusions().await?;
    engine.rules.change_exclusions(|all| all.add_all(on_record));
    Ok(())
}

/// Refuses callers other than the service's user and root: an exclusion concerns all users.
fn check_administrator(caller: &Caller) -> Result<(), Refusal> {
    let owner = rustix::process::geteuid().as_raw();
    if caller.may_act_for(owner) {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!(
        "what is excluded is so for everybody: only uid {owner}, which portbook runs as, or root \
         may change it"
    )))
}

fn checked(reason: Option<&str>) -> Result<Option<String>, Refusal> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.chars().count() > LONGEST_REASON) {
        let detail = format!("reason: at most {LONGEST_REASON} characters");
        return Err(Refusal::InvalidRequest(detail));
    }
    Ok(reason.map(str::to_owned))
}
