//! `portbook who PORT`: who is on a port, and what was tried on it.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;

use super::backend::Backend;
use super::{Failure, Global, print, print_json};
use crate::api::document::PortDocument;
use crate::domain::attempt::printable;
use crate::domain::port::{Port, Protocol};

/// How many attempts are told.
const ATTEMPTS: usize = 5;

/// What `who` takes.
#[derive(Debug, Args)]
pub struct WhoArgs {
    /// The port.
    port: Port,
    /// tcp or udp.
    #[arg(long, default_value = "tcp")]
    protocol: Protocol,
}

/// Tells who is on a port.
pub(super) async fn run(global: &Global, args: &WhoArgs) -> Result<ExitCode, Failure> {
    let loaded = global.load()?;
    let backend = Backend::open(&loaded).await?;
    let found = backend.port(args.protocol, args.port).await;
    backend.close().await;
    let found = found?;
    if global.json {
        print_json(&found)?;
    } else {
        print(&text(&found))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(found: &PortDocument) -> String {
    let mut text = String::new();
    let at = format!("{}/{}", found.port, found.protocol);
    for lease in &found.leases {
        let name = lease
            .name
            .as_ref()
            .map_or_else(String::new, |name| format!(" to {name}"));
        let owner = lease.owner.as_ref().map_or_else(String::new, |owner| {
            format!(
                ", owned by {} (pid {})",
                printable(&owner.command),
                owner.pid
            )
        });
        let (state, uid) = (lease.state.as_str(), lease.uid);
        let _ = writeln!(text, "{at} is leased{name}: {state}, uid {uid}{owner}");
    }
    for occupant in &found.occupants {
        let _ = writeln!(
            text,
            "{at} is occupied: {} by {occupant}",
            occupant.state.as_str()
        );
    }
    if found.leases.is_empty() && found.occupants.is_empty() {
        let _ = writeln!(text, "{at} is free");
    }
    for attempt in found.attempts.iter().take(ATTEMPTS) {
        let occupant = attempt.occupant.as_ref();
        let whom = occupant.map_or_else(String::new, |occupant| format!(" by {occupant}"));
        let (outcome, address) = (&attempt.outcome, &attempt.address);
        let _ = writeln!(text, "  {}  {outcome} on {address}{whom}", attempt.at);
    }
    text
}
