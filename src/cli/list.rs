//! `portbook list`: leases.

use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use serde_json::json;

use super::table::table;
use super::{Failure, Global, complete, folder, print, print_json};
use crate::api::document::{LeaseDocument, VERSION};
use crate::domain::duration::coarse;
use crate::host::clock::Clock;
use crate::library::backend::Backend;

/// What `list` takes.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Ended leases as well, newest first.
    #[arg(long, short)]
    all: bool,
    /// Only those of this pool.
    #[arg(long, value_name = "POOL", add = ArgValueCandidates::new(complete::pools))]
    pool: Option<String>,
    /// Only those with this label.
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Option<String>,
}

/// Lists leases.
pub(super) async fn run(global: &Global, args: &ListArgs) -> Result<ExitCode, Failure> {
    let loaded = global.load()?;
    let backend = Backend::open(&loaded).await?;
    let leases = all(&backend, args.all).await;
    backend.close().await;
    let mut leases = leases?;
    leases.retain(|lease| matches(args, lease));
    if global.json {
        print_json(&json!({ "version": VERSION, "leases": leases }))?;
    } else if leases.is_empty() {
        super::note("no leases; `portbook run -- CMD` or `portbook alloc` makes one");
    } else {
        let now = Clock::system().now();
        let rows: Vec<Vec<String>> = leases.iter().map(|lease| row(lease, now)).collect();
        let heading = [
            "PORT", "PROTO", "NAME", "FOLDER", "STATE", "GUARD", "OWNER", "POOL", "HELD ON", "AGE",
            "ID",
        ];
        print(&table(&heading, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn all(backend: &Backend, ended: bool) -> Result<Vec<LeaseDocument>, Failure> {
    let mut leases = backend.leases(false).await?;
    if ended {
        leases.extend(backend.leases(true).await?);
    }
    Ok(leases)
}

fn matches(args: &ListArgs, lease: &LeaseDocument) -> bool {
    let labelled = args
        .label
        .as_deref()
        .is_none_or(|wanted| match wanted.split_once('=') {
            Some((key, value)) => lease.labels.get(key).is_some_and(|is| is == value),
            None => lease.labels.contains_key(wanted),
        });
    labelled && args.pool.as_ref().is_none_or(|pool| *pool == lease.pool)
}

fn row(lease: &LeaseDocument, now: Timestamp) -> Vec<String> {
    let owner = lease.owner.as_ref();
    let addresses: Vec<&str> = lease
        .addresses
        .iter()
        .map(|address| {
            address
                .rsplit_once(':')
                .map_or(&**address, |(host, _)| host)
        })
        .collect();
    vec![
        lease.port.to_string(),
        lease.protocol.to_string(),
        lease
            .name
            .as_ref()
            .map_or_else(|| "-".to_owned(), ToString::to_string),
        folder::cell(lease),
        lease.state.as_str().to_owned(),
        lease.guard.as_str().to_owned(),
        owner.map_or_else(
            || "-".to_owned(),
            |owner| format!("{}/{}", owner.command, owner.pid),
        ),
        lease.pool.clone(),
        addresses.join(" "),
        age(lease, now),
        lease.id.to_string(),
    ]
}

/// How long ago it was granted: "3d", "2h".
fn age(lease: &LeaseDocument, now: Timestamp) -> String {
    let age = now.duration_since(lease.granted_at);
    coarse(age.try_into().unwrap_or_default())
}
