//! `portbook renew`: a lease that exists, by id, port or name.

use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde_json::json;

use super::named::{Here, Use};
use super::{Failure, Global, complete, print, print_json};
use crate::api::document::{LeaseDocument, VERSION};
use crate::config::Loaded;
use crate::domain::duration::HumanDuration;
use crate::library::backend::Backend;

/// What `renew` takes.
#[derive(Debug, Args)]
pub struct RenewArgs {
    /// A lease id, port or name; a name is this folder's, else your user's.
    #[arg(value_name = "LEASE", add = ArgValueCandidates::new(complete::names))]
    lease: String,
    /// Those of the name in every folder.
    #[arg(long)]
    all: bool,
    /// How long from now on; the lifetime it was granted with if left out.
    #[arg(long, value_name = "DURATION")]
    ttl: Option<HumanDuration>,
}

/// How `renew` is told which leases it means.
const PURPOSE: Use = Use {
    command: "renew",
    has_all: true,
    id: |lease| lease.id.to_string(),
};

/// Makes a lease last longer.
pub(super) async fn renew(
    global: &Global,
    args: &RenewArgs,
    loaded: Loaded,
) -> Result<ExitCode, Failure> {
    let backend = Backend::open(&loaded).await?;
    let renewed = renew_all(&backend, args).await;
    backend.close().await;
    match &renewed?[..] {
        [only] if global.json => print_json(only)?,
        several if global.json => print_json(&json!({ "version": VERSION, "leases": several }))?,
        all => {
            for until in all.iter().filter_map(|lease| lease.expires_at) {
                print(&format!("{until}\n"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn renew_all(backend: &Backend, args: &RenewArgs) -> Result<Vec<LeaseDocument>, Failure> {
    let living = backend.leases(false).await?;
    let mut renewed = Vec::new();
    for lease in Here::now().meant(&living, &args.lease, args.all, PURPOSE)? {
        renewed.push(backend.renew(lease.id, args.ttl.map(|span| span.0)).await?);
    }
    Ok(renewed)
}
