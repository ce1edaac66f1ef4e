//! The fleet of this host, as its service sees it.

use crate::answers::fleet::{FleetStatusDocument, ShowFleet};
use crate::config::Loaded;
use crate::domain::fleet::FleetState;
use crate::library::find;

/// Says why this host is not in the fleet of its settings.
pub(super) async fn absent(loaded: &Loaded) -> Vec<(String, String)> {
    let Ok(Some(client)) = find::find(loaded).await else {
        return Vec::new();
    };
    match client.call::<ShowFleet>(&()).await {
        Ok(status) => told(&status),
        // A silent service is a finding of its own.
        Err(_) => Vec::new(),
    }
}

fn told(status: &FleetStatusDocument) -> Vec<(String, String)> {
    let why = status.why.as_deref().unwrap_or_default();
    let finding = match status.state {
        FleetState::Joined | FleetState::Joining => return Vec::new(),
        FleetState::Off if status.host.is_none() => (
            "the settings name a fleet, and the running service is in none".to_owned(),
            "portbook serve --takeover".to_owned(),
        ),
        state => (
            format!("this host is {} in its fleet: {why}", state.as_str()),
            "portbook fleet join --check".to_owned(),
        ),
    };
    vec![finding]
}
