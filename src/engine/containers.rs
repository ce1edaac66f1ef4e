//! Names of containers on ports. Engines are asked on a thread for blocking work, only while a proxy of
//! theirs is on a lease or a port is asked about, and their answers are kept for a while: no request for a
//! port waits for an engine.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::container;
use crate::domain::lease::{Lease, LeaseId, State};
use crate::domain::outsider::Outsider;
use crate::domain::port::{Port, Protocol};
use crate::engine::engine::Engine;
use crate::engine::publications::Containers;
use crate::host::containers::published;
use crate::host::process;

/// Time after which the engines are asked again although no listener has changed: a container may be
/// renamed.
const STALE: Duration = Duration::from_mins(1);

/// Age up to which names answer a question about one port.
const FRESH: Duration = Duration::from_secs(2);

/// Time after a change for which the engines are asked again and again: Docker starts the proxy before
/// the container, and names the container only once that runs.
const SETTLING: Duration = Duration::from_secs(15);

/// Returns the name of the container that has published a port, as far as its engine told.
pub(super) fn name_on(engine: &Engine, protocol: Protocol, port: Port) -> Option<String> {
    let published = engine.containers.with(|state| Arc::clone(&state.published));
    let mut all = published.iter();
    let found = all.find(|one| (one.protocol, one.port) == (protocol, port))?;
    Some(found.container.clone())
}

/// Returns the name of the container for which a process listens: conmon has it among its arguments.
pub(super) fn name_of(pid: u32, command: &str) -> Option<String> {
    (command == "conmon")
        .then(|| process::container_of_conmon(pid))
        .flatten()
}

/// Asks the engines in the background if the proxies on leases have changed.
pub(super) fn refresh_if_due(engine: &Arc<Engine>) {
    let proxies = proxies(engine);
    let now = engine.clock.boot();
    let is_due = engine.containers.with(|state| {
        let is_changed = state.proxies != proxies;
        if is_changed {
            state.changed_at = Some(now);
        }
        let is_older_than = |age| state.read_at.is_none_or(|at| now.since(at) > age);
        let is_settling = state.changed_at.is_some_and(|at| now.since(at) <= SETTLING);
        let is_stale = is_older_than(STALE) || (is_settling && is_older_than(FRESH));
        let is_due = !state.is_reading && !proxies.is_empty() && (is_stale || is_changed);
        state.is_reading |= is_due;
        is_due
    });
    if is_due {
        let reading = Arc::clone(engine);
        engine
            .runtime
            .spawn(async move { read(&reading, proxies).await });
    }
}

/// Asks the engines unless their last answers are fresh.
pub(super) async fn refresh(engine: &Arc<Engine>) {
    let now = engine.clock.boot();
    let is_due = engine.containers.with(|state| {
        let is_fresh = state.read_at.is_some_and(|at| now.since(at) < FRESH);
        let is_due = !is_fresh && !state.is_reading;
        state.is_reading |= is_due;
        is_due
    });
    if is_due {
        let (reading, proxies) = (Arc::clone(engine), proxies(engine));
        // On a task of its own: a client that hangs up must not leave it half done.
        let done = tokio::spawn(async move { read(&reading, proxies).await });
        drop(done.await);
    }
}

async fn read(engine: &Engine, proxies: HashSet<(LeaseId, u32)>) {
    let found = tokio::task::spawn_blocking(published).await;
    let now = engine.clock.boot();
    engine.containers.with(|state| {
        *state = Containers {
            published: Arc::new(found.unwrap_or_default()),
            read_at: Some(now),
            changed_at: state.changed_at,
            proxies,
            is_reading: false,
        };
    });
}

/// The proxies on leases: owners, and outsiders.
fn proxies(engine: &Engine) -> HashSet<(LeaseId, u32)> {
    let of_lease = |lease: &Arc<Lease>| {
        let owner = lease.owner.as_ref().filter(|owner| owner.engine);
        let owner = owner.map(|owner| (lease.id, owner.pid));
        let outsiders = engine.leases.outsiders(lease.id).into_iter();
        let proxy = |outsider: Outsider| {
            let occupant = outsider.occupant;
            let is_proxy = occupant.command.as_deref().is_some_and(container::is_proxy);
            occupant.pid.filter(|_| is_proxy)
        };
        let outsiders = outsiders.filter_map(proxy).map(|pid| (lease.id, pid));
        owner.into_iter().chain(outsiders).collect::<Vec<_>>()
    };
    let on_ports = engine
        .leases
        .filtered(|lease| lease.is_engines() || lease.state == State::Lost);
    on_ports.iter().flat_map(of_lease).collect()
}
