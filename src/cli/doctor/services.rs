//! The services that run on this host. Each knows its own leases alone, so there should be one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::answers::document::{LeaseDocument, StatusDocument};
use crate::client::{Client, ClientError};
use crate::config::Loaded;
use crate::host::process;
use crate::library::backend::Backend;
use crate::library::find;

/// The services of this host.
#[derive(Default)]
pub(super) struct Services {
    /// Those that answer; the first is the one that commands use.
    pub running: Vec<StatusDocument>,
    /// Modes that those give their sockets.
    pub socket_modes: BTreeMap<PathBuf, u32>,
    /// Those that do not, with the command that helps.
    pub silent: Vec<(String, String)>,
}

/// Asks every service that can be found.
pub(super) async fn ask(loaded: &Loaded) -> Services {
    let mut services = Services::default();
    for client in find::all(loaded).await {
        match client.get::<StatusDocument>("/api/v1/status").await {
            Ok(status) => {
                if services.running.iter().all(|it| it.pid != status.pid) {
                    let mode = socket_mode(&client).await;
                    let mode = mode.map(|mode| (status.socket.clone(), mode));
                    services.socket_modes.extend(mode);
                    services.running.push(status);
                }
            }
            Err(error @ ClientError::Silent { pid, .. }) => {
                let command = match pid {
                    Some(pid) if process::is_stopped(pid) => format!("kill -CONT {pid}"),
                    _ => "portbook --timeout 2m status".to_owned(),
                };
                services.silent.push((error.to_string(), command));
            }
            // Nothing that commands would use.
            Err(_) => {}
        }
    }
    if services.running.is_empty()
        && services.silent.is_empty()
        && let Some(error) = find::not_admitted(loaded)
    {
        // As the administrator, who sees whether it runs.
        let command = "sudo portbook status".to_owned();
        services.silent.push((error.to_string(), command));
    }
    services
}

/// The mode that a service gives its socket. `None` if it does not say so.
async fn socket_mode(client: &Client) -> Option<u32> {
    let configuration = client.get::<Value>("/api/v1/config").await.ok()?;
    let mut settings = configuration["settings"].as_array()?.iter();
    let mode = settings.find(|setting| setting["key"] == "socket_mode")?;
    u32::from_str_radix(mode["value"].as_str()?, 8).ok()
}

pub(super) fn several(running: &[StatusDocument]) -> Vec<(String, String)> {
    let Some((first, others)) = running.split_first() else {
        return Vec::new();
    };
    let me = rustix::process::geteuid().as_raw();
    let found = others.iter().map(|other| {
        let message = format!(
            "services {} ({}) and {} ({}) both run, and neither knows of the other's leases",
            first.pid,
            first.data_dir.display(),
            other.pid,
            other.data_dir.display()
        );
        let sudo = if me == 0 || other.uid == me {
            ""
        } else {
            "sudo "
        };
        (message, format!("{sudo}kill {}", other.pid))
    });
    found.collect()
}

/// Living leases of the service that commands use; none without a service.
pub(super) async fn leases(loaded: &Loaded) -> Vec<LeaseDocument> {
    match find::find(loaded).await {
        Ok(Some(client)) => {
            let living = Backend::Service(client).leases(false).await;
            living.unwrap_or_default()
        }
        _ => Vec::new(),
    }
}
