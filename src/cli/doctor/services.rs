//! The services that run on this host. Each knows its own leases alone, so there should be one.

use crate::answers::document::{LeaseDocument, StatusDocument};
use crate::config::Loaded;
use crate::library::backend::Backend;
use crate::library::find;

/// Every service that answers; the first is the one that commands use.
pub(super) async fn running(loaded: &Loaded) -> Vec<StatusDocument> {
    let mut found: Vec<StatusDocument> = Vec::new();
    for client in find::all(loaded).await {
        if let Ok(status) = client.get::<StatusDocument>("/api/v1/status").await
            && found.iter().all(|known| known.pid != status.pid)
        {
            found.push(status);
        }
    }
    found
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
