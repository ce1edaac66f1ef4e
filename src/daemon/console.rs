//! The console's port: it comes from the allocator, as every other does.

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;

use crate::api::AppState;
use crate::config::Settings;
use crate::domain::lease::{CONSOLE_NAME, Lease, Name};
use crate::domain::port::Port;
use crate::domain::request::Request;
use crate::domain::selector::{Selector, SelectorKind};
use crate::engine::Allocated;
use crate::engine::refusal::Refusal;
use crate::engine::service::{Caller, Service};
use crate::store::directory::DataDirectory;

use super::StartError;

/// Lease of the console with its listeners.
type Landed = (Arc<Lease>, Vec<TcpListener>);

/// Gets the console its port, if it is enabled. Its name makes the port sticky. A listener that a
/// predecessor passed on stays if the settings allow it.
pub(super) async fn land(
    state: &AppState,
    settings: &Settings,
    passed_on: Option<TcpListener>,
) -> Result<Option<Landed>, StartError> {
    if !settings.console.enabled {
        return Ok(None);
    }
    let service = &state.service;
    if let Some((listener, at)) = passed_on.and_then(with_address) {
        let inherited = service.inherit_console(at.1).await;
        let lease = inherited.map_err(StartError::Console)?;
        if let Some(lease) = lease.filter(|_| is_allowed(at, settings)) {
            return Ok(Some((lease, vec![listener])));
        }
    }
    match allocate(service, settings, state.uid).await {
        Err(Refusal::Store(error)) if error.may_pass() => {
            tracing::error!(%error, "the console gets no port, as the record takes no commits; it is back at the next start");
            Ok(None)
        }
        landed => landed.map(Some).map_err(StartError::Console),
    }
}

type Address = (IpAddr, Port);

fn with_address(listener: TcpListener) -> Option<(TcpListener, Address)> {
    let at = listener.local_addr().ok()?;
    Some((listener, (at.ip(), Port::new(at.port())?)))
}

/// Whether the settings let the console listen there.
fn is_allowed((ip, port): Address, settings: &Settings) -> bool {
    let console = &settings.console;
    if let Some(fixed) = console.listen {
        return (fixed.ip(), fixed.port()) == (ip, port.get());
    }
    let pool = settings.pools.get(&console.pool);
    console.address == ip && pool.is_some_and(|pool| pool.ranges.contains(port))
}

async fn allocate(service: &Service, settings: &Settings, uid: u32) -> Result<Landed, Refusal> {
    let request = console_request(settings, CONSOLE_NAME.parse()?);
    let landed = service.allocate(&Caller::user(uid), &request).await?;
    let lease = landed.leases.first().cloned().ok_or(Refusal::NotFound)?;
    tell_where(&landed, &lease);
    let listeners = service.listen(&lease).await?;
    Ok((lease, listeners))
}

/// A request that prefers the port that the pool prefers, or the pool's first. The console goes back
/// to that at the next start at which it is free.
fn console_request(settings: &Settings, name: Name) -> Request {
    let console = &settings.console;
    let (ip, port) = match console.listen {
        Some(fixed) => (fixed.ip(), Port::new(fixed.port())),
        None => (console.address, None),
    };
    let pool = settings.pools.get(&console.pool).filter(|_| port.is_none());
    Request {
        prefer: pool.and_then(|pool| pool.prefer.or_else(|| pool.ranges.first())),
        ranges: pool.map(|pool| pool.ranges.clone()),
        pool: Some(console.pool.clone()),
        names: vec![name],
        interfaces: vec![Selector {
            negated: false,
            kind: SelectorKind::Address(ip),
        }],
        port,
        owner_pid: Some(std::process::id()),
        ..Request::default()
    }
}

fn tell_where(landed: &Allocated, lease: &Lease) {
    for attempt in &landed.conflicts {
        let occupant = attempt.occupant.as_ref();
        let by = occupant.map_or_else(|| "an unknown process".to_owned(), ToString::to_string);
        tracing::info!(port = %attempt.port, "port {} is in use by {by}; the console tries another", attempt.port);
    }
    for moved in &landed.moves {
        tracing::warn!(port = %lease.port, "the console moved: {moved}");
    }
}

/// Writes the console's URL to the log and to a file of the data directory.
pub(super) fn announce(state: &AppState, directory: &DataDirectory, lease: &Lease) {
    let host = lease.addresses.advertised_host();
    let url = crate::domain::address::http_url(&host, lease.port);
    write(&url, directory);
    tracing::info!(%url, "the console listens");
    // Set once, here.
    let _ = state.console.set(url);
}

/// Writes the console's URL into its file again, after a process that failed to take over may have written
/// another one.
pub(super) fn restore(state: &AppState, directory: &DataDirectory) {
    if let Some(url) = state.console.get() {
        write(url, directory);
    }
}

fn write(url: &str, directory: &DataDirectory) {
    let file = directory.console();
    // Under another name first, so that no reader gets half a line.
    let new = file.with_extension("new");
    let written = std::fs::write(&new, format!("{url}\n"));
    if let Err(error) = written.and_then(|()| std::fs::rename(&new, &file)) {
        tracing::warn!(%error, file = %file.display(), "could not write the console's address down; `portbook status` tells it");
    }
}
