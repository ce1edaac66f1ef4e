//! Leases that portbook uses itself: the console's.

use std::net::TcpListener;
use std::sync::Arc;

use crate::domain::lease::{Guard, Lease, State};
use crate::domain::port::Port;
use crate::engine::{engine::Engine, refusal::Refusal};
use crate::host::process;

/// Makes this process the owner of the console's lease on a port, whose listener its predecessor passed
/// on. `None` if there is no such lease.
pub(in crate::engine) async fn inherit(
    engine: &Engine,
    port: Port,
) -> Result<Option<Arc<Lease>>, Refusal> {
    let is_its = |lease: &Lease| lease.is_console() && lease.port == port;
    let Some(lease) = engine.leases.filtered(is_its).pop() else {
        return Ok(None);
    };
    let me = process::owner(std::process::id()).map_err(Refusal::Process)?;
    let _turn = engine.leases.turn(lease.id).await;
    engine.leases.unwatch(lease.id);
    let mine = engine.leases.change(lease.id, |lease| {
        lease.owner = Some(me);
        lease.state = State::Active;
        lease.guard = Guard::Owner;
    });
    mine.await.map(Some)
}

/// Turns the hold of a lease of portbook's own into listeners, without letting go of the port.
pub(in crate::engine) async fn listen(
    engine: &Engine,
    lease: &Lease,
) -> Result<Vec<TcpListener>, Refusal> {
    let failed = |source: std::io::Error| Refusal::BindFailed {
        address: format!("{}:{}", lease.addresses.advertised_host(), lease.port),
        source,
    };
    // A copy that is left when the service says that it is ready would keep the port after a crash.
    let hold = engine.leases.take_without_copies(lease.id).await;
    let hold = hold.and_then(Arc::into_inner);
    let hold = hold.ok_or_else(|| failed(std::io::Error::other("its hold is gone")))?;
    let listeners = hold.into_listeners().map_err(failed)?;
    let active = engine.leases.change(lease.id, |lease| {
        lease.state = State::Active;
        lease.guard = Guard::Owner;
    });
    engine
        .journal
        .active(&*active.await?, "the console listens");
    Ok(listeners)
}
