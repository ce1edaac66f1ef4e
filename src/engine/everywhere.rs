//! Numbers that are reserved on every host of the fleet, as this host keeps them: each is a lease of the
//! service's own user, reserved by hand for a name.
//!
//! The first user that asks for such a name gets the number, and has the lease from then on. The record
//! tells nothing of reservations: which leases are kept for the fleet follows from what the fleet says.

use std::sync::Arc;

use super::context::RequestContext;
use super::engine::Engine;
use super::keeper::ending;
use super::refusal::Refusal;
use crate::domain::lease::{Lease, Name, Scope, State};
use crate::domain::port::Port;

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
