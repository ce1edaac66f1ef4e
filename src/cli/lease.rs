//! `portbook release` and `portbook renew`: leases that exist, by id, port or name.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::{Failure, Global, complete, note, print, print_json};
use crate::api::document::LeaseDocument;
use crate::config::Loaded;
use crate::domain::duration::Span;
use crate::library::backend::Backend;

/// What `release` takes.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Lease ids, ports or names.
    #[arg(required = true, value_name = "LEASE", add = ArgValueCandidates::new(complete::names))]
    leases: Vec<String>,
}

/// What `renew` takes.
#[derive(Debug, Args)]
pub struct RenewArgs {
    /// A lease id, port or name.
    #[arg(value_name = "LEASE", add = ArgValueCandidates::new(complete::names))]
    lease: String,
    /// How long from now on; the lifetime it was granted with if left out.
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,
}

/// Gives leases back.
pub(super) async fn release(args: &ReleaseArgs, loaded: Loaded) -> Result<ExitCode, Failure> {
    let backend = Backend::open(&loaded).await?;
    let released = release_all(&backend, &args.leases).await;
    backend.close().await;
    for lease in &released? {
        note(&format!("released {}/{}", lease.port, lease.protocol));
    }
    Ok(ExitCode::SUCCESS)
}

async fn release_all(backend: &Backend, wanted: &[String]) -> Result<Vec<LeaseDocument>, Failure> {
    let living = backend.leases(false).await?;
    let mut chosen = Vec::new();
    for word in wanted {
        chosen.extend(named(&living, word)?);
    }
    for lease in &chosen {
        backend.release(lease.id).await?;
    }
    Ok(chosen)
}

/// The living leases that a word means: one id, or all of a name or port.
fn named(living: &[LeaseDocument], word: &str) -> Result<Vec<LeaseDocument>, Failure> {
    let is_named =
        |lease: &LeaseDocument| lease.name.as_ref().is_some_and(|it| it.as_str() == word);
    let is_meant = |lease: &&LeaseDocument| {
        lease.id.to_string() == word
            || lease.port.to_string() == word
            || is_named(lease)
            || living
                .iter()
                .any(|first| is_named(first) && is_in_row_of(lease, first))
    };
    let mut meant: Vec<LeaseDocument> = living.iter().filter(is_meant).cloned().collect();
    // Root sees everybody's leases, but means its own where it has one of the name.
    let me = rustix::process::geteuid().as_raw();
    if meant.iter().any(|lease| lease.uid == me) {
        meant.retain(|lease| lease.uid == me);
    }
    nearest(&mut meant, super::project::work_tree().ok().as_deref());
    if meant.is_empty() {
        let message = format!(
            "no living lease has the id, port or name \"{word}\"; `portbook list` shows them"
        );
        return Err(Failure::other(message));
    }
    Ok(meant)
}

/// Whether a lease has another of the ports that one name was granted at once: `ray.1` beside `ray`.
fn is_in_row_of(lease: &LeaseDocument, first: &LeaseDocument) -> bool {
    let (Some(name), Some(first_name)) = (&lease.name, &first.name) else {
        return false;
    };
    let index = name.as_str().strip_prefix(first_name.as_str());
    let index = index.and_then(|rest| rest.strip_prefix('.'));
    lease.allocation == first.allocation && index.is_some_and(|it| it.parse::<u16>().is_ok())
}

/// Of leases of one name in several work trees those of this tree, or else those of no tree: another
/// project's are not meant as long as there is one of these.
fn nearest(meant: &mut Vec<LeaseDocument>, tree: Option<&Path>) {
    for wanted in [tree, None] {
        if meant
            .iter()
            .any(|lease| lease.directory.as_deref() == wanted)
        {
            meant.retain(|lease| lease.directory.as_deref() == wanted);
            return;
        }
    }
}

/// Makes a lease last longer.
pub(super) async fn renew(
    global: &Global,
    args: &RenewArgs,
    loaded: Loaded,
) -> Result<ExitCode, Failure> {
    let backend = Backend::open(&loaded).await?;
    let renewed = renew_all(&backend, args).await;
    backend.close().await;
    for lease in renewed? {
        match lease.expires_at {
            _ if global.json => print_json(&lease)?,
            Some(until) => print(&format!("{until}\n"))?,
            None => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn renew_all(backend: &Backend, args: &RenewArgs) -> Result<Vec<LeaseDocument>, Failure> {
    let living = backend.leases(false).await?;
    let mut renewed = Vec::new();
    for lease in named(&living, &args.lease)? {
        renewed.push(backend.renew(lease.id, args.ttl.map(|span| span.0)).await?);
    }
    Ok(renewed)
}
