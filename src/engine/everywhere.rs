//! Numbers that are reserved on every host of the fleet, as this host keeps them: each is a lease of the
//! service's own user, reserved by hand for a name.
//!
//! The first user that asks for such a name gets the number, and has the lease from then on. The record
//! tells nothing of reservations: which leases are kept for the fleet follows from what the fleet says.

use std::sync::Arc;

use super::caller::Caller;
use super::context::RequestContext;
use super::engine::Engine;
use super::keeper::ending;
use super::queue;
use super::refusal::Refusal;
use crate::config::Pool;
use crate::domain::lease::{Lease, Name, Scope, State};
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::port::{Port, PortSet, Protocol};
use crate::domain::request::Request;

/// The user of leases that no user has asked for yet.
pub(super) fn service_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether the request is one for a reserved number by another user than the one that has its lease.
fn is_for_another(engine: &Engine, asked_by: u32, scope: &Scope, name: &Name) -> Option<Port> {
    let is_other = asked_by != service_uid() && *scope == Scope::User;
    let number = engine.fleet.reserved_for(name).filter(|_| is_other)?;
    Some(number.port)
}

/// Names of a request that are reserved on every host, as those of the service's user: the request takes
/// their turn as well, so that this host does not reserve a number while it passes to a user.
pub(super) fn reserved_names<'r>(
    engine: &'r Engine,
    asked_by: u32,
    scope: &'r Scope,
    names: &'r [Name],
) -> impl Iterator<Item = (u32, &'r Scope, &'r str)> {
    let reserved = names
        .iter()
        .filter(move |name| is_for_another(engine, asked_by, scope, name).is_some());
    reserved.map(|name| (service_uid(), &Scope::User, name.as_str()))
}

/// Lets go of the number that is reserved for a name, for the user that asks for it first. `None` if there is
/// no such number, or it is in use.
pub(super) async fn let_pass(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    name: &Name,
) -> Result<Option<Port>, Refusal> {
    let request = asked.request;
    let number = is_for_another(engine, asked.caller.uid, &request.scope, name);
    let wants_another = |port: &Port| [request.port, request.prefer].contains(&Some(*port));
    let is_open = request.port.is_none() && request.prefer.is_none() && request.ranges.is_none();
    let Some(port) = number.filter(|port| is_open || wants_another(port)) else {
        return Ok(None);
    };
    let mut leases = engine.leases.named(service_uid(), &Scope::User, name);
    leases.retain(|lease| lease.port == port && lease.by_hand && lease.is_idle());
    let fits = |lease: &Arc<Lease>| request.pool.is_none() || lease.pool == asked.plan.pool.name;
    if leases.is_empty() || request.dry_run || !leases.iter().all(fits) {
        return Ok(None);
    }
    for lease in leases {
        let why = "its name was asked for by another user";
        ending::end(engine, lease.id, State::Released, why, Lease::is_idle).await?;
    }
    Ok(Some(port))
}

/// Chooses a number for a name as if it were asked for on this host, without the ports in `taken`.
pub(super) async fn choose(
    engine: &Arc<Engine>,
    pool: Option<&str>,
    name: &Name,
    protocol: Protocol,
    taken: &PortSet,
) -> Result<Port, Refusal> {
    let pool = pool.map(str::to_owned).or_else(|| local_pool(engine));
    let settings = engine.settings();
    let of_pool = settings.pools.get(pool.as_deref().unwrap_or(DEFAULT_POOL));
    if let Some(pool) = of_pool.filter(|pool| pool.is_unique()) {
        return Err(Refusal::InvalidRequest(format!(
            "the numbers of pool {} are for one host each: name another pool, or a port",
            pool.name
        )));
    }
    let ranges = of_pool.map(|pool| pool.ranges.without(taken));
    if ranges.as_ref().is_some_and(PortSet::is_empty) {
        return Err(Refusal::InvalidRequest(
            "every number of the pool is claimed in the fleet: name another pool, or a port"
                .to_owned(),
        ));
    }
    let request = Request {
        ranges,
        protocol: Some(protocol.into()),
        names: vec![name.clone()],
        pool,
        dry_run: true,
        ..Request::default()
    };
    let caller = Caller::user(service_uid());
    let chosen = queue::allocate(engine, &caller, &request).await?;
    let lease = chosen.leases.first().ok_or(Refusal::NotFound)?;
    Ok(lease.port)
}

/// The pool that reserved numbers are leases of: the default one, else the first whose numbers need not be
/// unique. `None` for the default one.
pub(super) fn local_pool(engine: &Engine) -> Option<String> {
    let settings = engine.settings();
    let is_local = |pool: &&Arc<Pool>| !pool.is_unique();
    if settings
        .pools
        .get(DEFAULT_POOL)
        .as_ref()
        .is_some_and(is_local)
    {
        return None;
    }
    let first = settings.pools.values().find(is_local)?;
    Some(first.name.to_string())
}
