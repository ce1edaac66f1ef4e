//! Where the console lands: its port comes from the allocator, as everybody's does.

use std::net::TcpListener;
use std::sync::Arc;

use crate::api::Face;
use crate::config::Settings;
use crate::domain::lease::{CONSOLE_NAME, Lease, Name};
use crate::domain::request::Request;
use crate::domain::selector::{Selector, SelectorKind};
use crate::engine::Allocated;
use crate::engine::refusal::Refusal;
use crate::engine::service::{Caller, Service};
use crate::store::directory::DataDirectory;

use super::{StartError, failed};

/// The console asks the allocator as everybody does: its own name makes its port sticky.
pub(super) async fn land(
    service: &Service,
    settings: &Settings,
    uid: u32,
) -> Result<(Arc<Lease>, Vec<TcpListener>), Refusal> {
    let request = console_request(settings, CONSOLE_NAME.parse()?);
    let me = Caller::user(uid);
    let earlier = service
        .leases()
        .into_iter()
        .find(|lease| lease.is_console() && lease.uid == uid);
    if let Some(earlier) = earlier.filter(|earlier| !is_still_wanted(earlier, &request, settings)) {
        service.release(&me, earlier.id).await?;
    }
    let landed = service.allocate(&me, &request).await?;
    let lease = landed.leases.first().cloned().ok_or(Refusal::NotFound)?;
    tell_where(&landed, &lease, settings);
    let listeners = service.listen(&lease).await?;
    Ok((lease, listeners))
}

/// Whether the console's last address and port are what is configured now.
fn is_still_wanted(lease: &Lease, request: &Request, settings: &Settings) -> bool {
    let console = &settings.console;
    let ip = console.listen.map_or(console.address, |fixed| fixed.ip());
    let same_address = lease
        .addresses
        .addresses()
        .iter()
        .all(|address| address.ip == ip);
    let pool = settings.pools.get(&console.pool);
    let in_pool = pool.is_some_and(|pool| {
        pool.name == lease.pool
            && pool.ranges.contains(lease.port)
            && !pool.exclude.contains(lease.port)
    });
    same_address && request.port.map_or(in_pool, |fixed| fixed == lease.port)
}

fn console_request(settings: &Settings, name: Name) -> Request {
    let console = &settings.console;
    let (ip, port) = match console.listen {
        Some(fixed) => (fixed.ip(), crate::domain::port::Port::new(fixed.port())),
        None => (console.address, None),
    };
    Request {
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

fn tell_where(landed: &Allocated, lease: &Lease, settings: &Settings) {
    for attempt in &landed.conflicts {
        let occupant = attempt.occupant.as_ref();
        let whom = occupant.map_or_else(|| "somebody".to_owned(), ToString::to_string);
        tracing::info!("port {} is held by {whom}", attempt.port);
    }
    let pool = settings.pools.get(&settings.console.pool);
    if let Some(wanted) = pool.and_then(|pool| pool.prefer)
        && settings.console.listen.is_none()
        && wanted != lease.port
    {
        tracing::warn!("the console moved from port {wanted} to {}", lease.port);
    }
}

/// Tells where the console is: in the log, on stdout, and in a file of the data directory.
pub(super) fn announce(
    face: &Face,
    directory: &DataDirectory,
    lease: &Lease,
) -> Result<(), StartError> {
    let host = lease.addresses.advertised_host();
    let url = crate::domain::address::http_url(&host, lease.port);
    let file = directory.console();
    // Under another name first, so that nobody reads half a line.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{url}\n"))
        .and_then(|()| std::fs::rename(&new, &file))
        .map_err(failed(file.display().to_string()))?;
    tracing::info!(%url, "the console listens");
    // Set once, here.
    let _ = face.console.set(url);
    Ok(())
}
