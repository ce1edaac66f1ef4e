//! `portbook renew`: a lease that exists, by id, port or name.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::named::{Here, Lookup};
use super::{Failure, Global, complete, number, traced};
use crate::answers::document::LeaseDocument;
use crate::domain::duration::HumanDuration;
use crate::library::backend::Backend;

#[derive(Debug, Args)]
pub struct RenewArgs {
    /// A lease id, port or name; a name is this folder's, else your user's.
    #[arg(value_name = "LEASE", add = ArgValueCandidates::new(complete::names))]
    lease: String,
    /// Leases of the name in every folder.
    #[arg(long)]
    all: bool,
    /// New lifetime from now on; default: the lifetime at the grant.
    #[arg(long, value_name = "DURATION", value_parser = number::lasting(number::TOO_SHORT))]
    ttl: Option<HumanDuration>,
}

const LOOKUP: Lookup = Lookup {
    command: "renew",
    has_all: true,
    id: |lease| lease.id.to_string(),
};

pub(super) fn run(global: &Global, args: &RenewArgs) -> Result<(), Failure> {
    let renewed = traced(global, "portbook renew", async |backend| {
        renew_all(backend, args).await
    })?;
    global.answer_each("leases", &renewed, |lease| {
        let until = lease.expires_at.map(|until| format!("{until}\n"));
        until.unwrap_or_default()
    })
}

async fn renew_all(backend: &Backend, args: &RenewArgs) -> Result<Vec<LeaseDocument>, Failure> {
    let living = backend.leases(false).await?;
    let mut renewed = Vec::new();
    for lease in Here::now().find(&living, &args.lease, args.all, LOOKUP)? {
        renewed.push(backend.renew(lease.id, args.ttl.map(|span| span.0)).await?);
    }
    Ok(renewed)
}
