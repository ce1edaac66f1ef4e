//! The console's port: it comes from the allocator, as every other does.

use std::net::TcpListener;
use std::sync::Arc;

use crate::api::AppState;
use crate::config::Settings;
use crate::domain::lease::{CONSOLE_NAME, Lease, Name};
use crate::domain::request::Request;
use crate::domain::selector::{Selector, SelectorKind};
use crate::engine::Allocated;
use crate::engine::refusal::Refusal;
use crate::engine::service::{Caller, Service};
use crate::store::directory::DataDirectory;

use super::{StartError, failed};

/// Lease of the console with its listeners.
type Landed = (Arc<Lease>, Vec<TcpListener>);

/// Gets the console its port, if it is enabled. Its name makes the port sticky.
pub(super) async fn land(
    state: &AppState,
    settings: &Settings,
) -> Result<Option<Landed>, StartError> {
    if !settings.console.enabled {
        return Ok(None);
    }
    let landed = allocate(&state.service, settings, state.uid).await;
    landed.map(Some).map_err(StartError::Console)
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
        Some(fixed) => (fixed.ip(), crate::domain::port::Port::new(fixed.port())),
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
pub(super) fn announce(
    state: &AppState,
    directory: &DataDirectory,
    lease: &Lease,
) -> Result<(), StartError> {
    let host = lease.addresses.advertised_host();
    let url = crate::domain::address::http_url(&host, lease.port);
    let file = directory.console();
    // Under another name first, so that no reader gets half a line.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{url}\n"))
        .and_then(|()| std::fs::rename(&new, &file))
        .map_err(failed(file.display().to_string()))?;
    tracing::info!(%url, "the console listens");
    // Set once, here.
    let _ = state.console.set(url);
    Ok(())
}
