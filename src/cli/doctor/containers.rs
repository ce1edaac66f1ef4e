//! Ports that Docker or Podman have published. Both rewrite packets before any socket sees them, so
//! a bind does not notice them, and their API has to be asked.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::answers::document::LeaseDocument;
use crate::config::Pool;
use crate::domain::container;
use crate::domain::lease::State;
use crate::domain::port::{Port, Protocol};
use crate::domain::words::shell_word;
use crate::host::containers::{Publication, ask, sockets};
use crate::host::occupancy::Occupancy;

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    container: String,
    protocol: Protocol,
    port: Port,
    /// Whether a socket on the host shows it, such as that of the engine's proxy.
    seen: bool,
}

/// Ports that the engines have published. An engine that does not let us look is noted in
/// `unknown`.
pub(super) async fn published(unknown: &mut Vec<String>) -> Vec<Published> {
    // An engine has its time to answer, and a lookup waits for the kernel.
    let asked = tokio::task::spawn_blocking(|| {
        let all = sockets().into_iter();
        let answers = all.map(|socket| (ask(&socket).map(seen), socket));
        answers.collect::<Vec<_>>()
    });
    let mut all = Vec::new();
    for (answer, socket) in asked.await.unwrap_or_default() {
        match answer {
            Ok(found) => all.extend(found),
            Err(error) if is_absent(&error) => {}
            Err(error) => unknown.push(unasked(&socket, &error)),
        }
    }
    all
}

fn unasked(socket: &Path, error: &io::Error) -> String {
    format!(
        "ports that containers have published: {}: {error}",
        socket.display()
    )
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

/// Looks for the sockets of published ports.
fn seen(publications: Vec<Publication>) -> Vec<Published> {
    // Each look asks the kernel, and thousands of ports may be published several times.
    let mut looked = HashMap::new();
    let of = |it: Publication| {
        let look = || {
            let entries = Occupancy::on_port(it.protocol, it.port);
            entries.is_ok_and(|entries| !entries.is_empty())
        };
        Published {
            seen: *looked.entry((it.protocol, it.port)).or_insert_with(look),
            container: it.container,
            protocol: it.protocol,
            port: it.port,
        }
    };
    let mut all: Vec<Published> = publications.into_iter().map(of).collect();
    // Each family has an entry for the port.
    all.dedup_by(|a, b| (&a.container, a.protocol, a.port) == (&b.container, b.protocol, b.port));
    all
}

/// Published ports that a lease is on, or that a pool may grant without noticing.
pub(super) fn clashes(
    published: &[Published],
    pools: &[Arc<Pool>],
    leases: &[LeaseDocument],
) -> Vec<(String, String)> {
    let found = published.iter().filter_map(|it| {
        let lease = leases
            .iter()
            .find(|lease| (lease.protocol, lease.port) == (it.protocol, it.port));
        match lease {
            Some(lease) => leased(it, lease),
            None => grantable(it, pools),
        }
    });
    found.collect()
}

fn leased(it: &Published, lease: &LeaseDocument) -> Option<(String, String)> {
    let owner = lease.owner.as_ref()?;
    // A container may listen on its own lease.
    if lease.state != State::Active || container::is_proxy(&owner.command) {
        return None;
    }
    let message = format!(
        "port {}/{} is leased to {} (pid {}), and container {} has published it: packets go to the container",
        it.port, it.protocol, owner.command, owner.pid, it.container
    );
    Some((
        message,
        format!("docker stop {}", shell_word(&it.container)),
    ))
}

fn grantable(it: &Published, pools: &[Arc<Pool>]) -> Option<(String, String)> {
    if it.seen {
        return None;
    }
    let grants = |pool: &&Arc<Pool>| {
        pool.protocol.each().contains(&it.protocol)
            && pool.ranges.contains(it.port)
            && !pool.exclude.contains(it.port)
    };
    let pool = pools.iter().find(grants)?;
    let message = format!(
        "container {} has published {}/{} without a socket that shows it, and pool {} may grant it",
        it.container, it.port, it.protocol, pool.name
    );
    let command = format!(
        "portbook alloc --pool {} --port {} --name published-{}",
        pool.name, it.port, it.port
    );
    Some((message, command))
}
