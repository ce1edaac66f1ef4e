//! Ports that Docker or Podman have published. Both rewrite packets before any socket sees them, so
//! a bind does not notice them, and their API has to be asked.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::quoted;
use crate::answers::document::LeaseDocument;
use crate::client::{Client, ClientError};
use crate::config::Pool;
use crate::domain::lease::State;
use crate::domain::port::{Port, Protocol};
use crate::host::occupancy::Occupancy;

/// Limit on an engine's answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Maximum answer in bytes: more than a thousand containers need.
const LONGEST_BYTES: usize = 8 << 20;

/// Programs that listen on behalf of a container.
const PROXIES: [&str; 3] = ["docker-proxy", "dockerd", "rootlesskit"];

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    container: String,
    protocol: Protocol,
    port: Port,
    /// Whether a socket on the host shows it, such as that of the engine's proxy.
    seen: bool,
}

/// Members of `GET /containers/json` that matter here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    ports: Option<Vec<Mapping>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mapping {
    public_port: Option<u16>,
    r#type: String,
}

/// Ports that the engines have published. An engine that does not let us look is noted in
/// `unknown`.
pub(super) async fn published(unknown: &mut Vec<String>) -> Vec<Published> {
    let mut all = Vec::new();
    for socket in sockets() {
        let client = Client::new(&socket).at_most(LONGEST_BYTES);
        let asked = client.get::<Vec<Container>>("/containers/json");
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(containers)) => all.extend(of(&containers)),
            Ok(Err(ClientError::Unreachable { source, .. })) if is_absent(&source) => {}
            Ok(Err(error)) => unknown.push(format!(
                "ports that containers have published: {}: {}",
                socket.display(),
                reason(&error)
            )),
            Err(_) => unknown.push(format!("{} does not answer", socket.display())),
        }
    }
    all
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn reason(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable { source, .. } => source.to_string(),
        ClientError::Refused(problem) => problem.to_string(),
    }
}

/// Sockets of the engines: from their own variables, and the customary ones.
fn sockets() -> Vec<PathBuf> {
    let of_variable = |name| {
        let value = std::env::var(name).ok()?;
        value.strip_prefix("unix://").map(PathBuf::from)
    };
    let mut sockets: Vec<PathBuf> = ["DOCKER_HOST", "CONTAINER_HOST"]
        .into_iter()
        .filter_map(of_variable)
        .collect();
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        sockets.extend([
            runtime.join("docker.sock"),
            runtime.join("podman/podman.sock"),
        ]);
    }
    sockets.extend([
        "/var/run/docker.sock".into(),
        "/run/podman/podman.sock".into(),
    ]);
    let mut known = Vec::new();
    sockets.retain(|socket| {
        let real = socket.canonicalize().unwrap_or_else(|_| socket.clone());
        let new = !known.contains(&real);
        known.push(real);
        new
    });
    sockets
}

fn of(containers: &[Container]) -> Vec<Published> {
    let mut all = Vec::new();
    // Each look asks the kernel, and thousands of ports may be published several times.
    let mut looked = HashMap::new();
    for container in containers {
        let name = container
            .names
            .first()
            .map_or("", |name| name.trim_start_matches('/'));
        for mapping in container.ports.iter().flatten() {
            let port = mapping.public_port.and_then(Port::new);
            let (Some(port), Ok(protocol)) = (port, mapping.r#type.parse::<Protocol>()) else {
                continue;
            };
            let look = || {
                let entries = Occupancy::on_port(protocol, port);
                entries.is_ok_and(|entries| !entries.is_empty())
            };
            let seen = *looked.entry((protocol, port)).or_insert_with(look);
            all.push(Published {
                container: name.to_owned(),
                protocol,
                port,
                seen,
            });
        }
    }
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
    if lease.state != State::Active || PROXIES.contains(&&*owner.command) {
        return None;
    }
    let message = format!(
        "port {}/{} is leased to {} (pid {}), and container {} has published it: packets go to the container",
        it.port, it.protocol, owner.command, owner.pid, it.container
    );
    Some((message, format!("docker stop {}", quoted(&it.container))))
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
