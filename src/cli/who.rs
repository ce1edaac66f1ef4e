//! `portbook who PORT`: who is on a port, and what was tried on it.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;

use super::stats::whom;
use super::{Failure, Global, folder, print, print_json};
use crate::api::document::{PortDocument, PortRecord, ProcessDocument};
use crate::domain::attempt::printable;
use crate::domain::port::{Port, Protocol};
use crate::library::backend::Backend;

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
    if let Some(exclusion) = &found.exclusion {
        let _ = writeln!(text, "{at} is excluded by {exclusion}");
    }
    for lease in &found.leases {
        let name = lease.name.as_ref().map_or_else(String::new, |_| {
            format!(" to {}", printable(&folder::title(lease)))
        });
        let owner = lease.owner.as_ref().map_or_else(String::new, |owner| {
            let command = printable(&owner.command);
            format!(", owned by {command} (pid {})", owner.pid)
        });
        let (state, uid) = (lease.state.as_str(), lease.uid);
        let _ = writeln!(text, "{at} is leased{name}: {state}, uid {uid}{owner}");
        text.extend(lease.owner.as_ref().map(|owner| more(&owner.process)));
    }
    for found in &found.occupants {
        let (state, occupant) = (found.occupant.state.as_str(), &found.occupant);
        let _ = writeln!(text, "{at} is occupied: {state} by {occupant}");
        text.push_str(&more(&found.process));
    }
    if found.leases.is_empty() && found.occupants.is_empty() {
        let _ = writeln!(text, "{at} is free");
    }
    text.extend(found.record.as_ref().map(record));
    for attempt in found.attempts.iter().take(ATTEMPTS) {
        let occupant = attempt.occupant.as_ref();
        let whom = occupant.map_or_else(String::new, |occupant| format!(" by {occupant}"));
        let (outcome, address) = (&attempt.outcome, &attempt.address);
        let _ = writeln!(text, "  {}  {outcome} on {address}{whom}", attempt.at);
    }
    text
}

/// What else is known of a process, on a line of its own.
fn more(process: &ProcessDocument) -> String {
    let executable = process.executable.as_ref();
    let parts = [
        ("program", executable.map(|path| path.display().to_string())),
        ("user", process.user.clone()),
        ("container", process.container.clone()),
        ("unit", process.unit.clone()),
    ];
    let told = parts.into_iter().filter_map(|(what, value)| {
        let value = value?;
        Some(format!("{what} {}", printable(&value)))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        return String::new();
    }
    format!("  {}\n", told.join(", "))
}

fn record(record: &PortRecord) -> String {
    let outcomes = &record.outcomes;
    let rate = outcomes.success_rate.unwrap_or_default() * 100.0;
    let mut text = format!(
        "  on record: {} attempts, {rate:.1} % got it",
        outcomes.attempts
    );
    if let Some(at) = record.last_at {
        let _ = write!(text, ", last at {at}");
    }
    if !record.occupants.is_empty() {
        let whom = printable(&whom(&record.occupants));
        let _ = write!(text, "; in the way: {whom}");
    }
    text.push('\n');
    text
}
