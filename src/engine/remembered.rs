//! Numbers that are names: the leases that earlier programs left, all of whose ports were mapped, or this one. The
//! next such program in their scope has them again.

use std::borrow::Cow;

use crate::domain::lease::{Handover, Lease, Name};
use crate::domain::mapped::Map;
use crate::domain::port::{Port, Protocol};
use crate::domain::request::Request;
use crate::engine::{caller::Caller, engine::Engine};

/// Maximum number of leases that a program has again. The others wait for a program that asks for them by name.
const MOST: usize = 64;

/// Port that a name stands for.
pub(super) fn number(name: &Name) -> Option<Port> {
    let port: Port = name.as_str().parse().ok()?;
    (port.to_string() == name.as_str()).then_some(port)
}

/// Adds the names of the leases that a program all of whose ports are mapped is to have again.
pub(super) fn with_numbers<'r>(
    engine: &Engine,
    caller: &Caller,
    request: &'r Request,
) -> Cow<'r, Request> {
    if request.map != Some(Map::All) {
        return Cow::Borrowed(request);
    }
    let is_one = |lease: &Lease| {
        let is_number = lease.name.as_ref().and_then(number).is_some();
        is_number && is_left(lease, caller, request)
    };
    let mut left = engine.leases.filtered(is_one);
    left.sort_by_key(|lease| std::cmp::Reverse(lease.last_used()));
    left.truncate(MOST);
    let names = left.iter().filter_map(|lease| lease.name.clone());
    Cow::Owned(Request {
        names: names.collect(),
        ..request.clone()
    })
}

/// Takes the names out again that another program has got meanwhile.
pub(super) fn without_busy<'r>(
    engine: &Engine,
    caller: &Caller,
    request: &'r Request,
) -> Cow<'r, Request> {
    if request.map != Some(Map::All) {
        return Cow::Borrowed(request);
    }
    let mut request = request.clone();
    let names = std::mem::take(&mut request.names);
    let is_left_still = |name: &Name| {
        let leases = engine.leases.named(caller.uid, &request.scope, name);
        leases.iter().any(|lease| is_left(lease, caller, &request))
    };
    let names = names.into_iter().filter(is_left_still).collect();
    request.names = names;
    Cow::Owned(request)
}

/// Whether a lease was a mapped program's, which is away.
fn is_left(lease: &Lease, caller: &Caller, request: &Request) -> bool {
    (lease.uid, &lease.scope) == (caller.uid, &request.scope)
        && lease.is_idle()
        && (lease.protocol, lease.handover) == (Protocol::Tcp, Handover::Bind)
}
