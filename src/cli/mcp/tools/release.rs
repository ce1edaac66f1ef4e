//! `release_lease`: ends leases of the work tree whose programs do not run.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::answer::Answer;
use super::super::tool::{Call, Effect, Tool};
use super::word;
use crate::answers::document::LeaseDocument;
use crate::answers::problem::Code;
use crate::cli::{Failure, release, with_backend};
use crate::domain::lease::State;
use crate::domain::port::Port;
use crate::domain::words::counted;
use crate::library::backend::Backend;

/// The lease.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cli::mcp) struct Arguments {
    /// Name of a service of this work tree, or id of its lease.
    #[serde(default)]
    name: Option<String>,
    /// Port of its lease, in place of the name.
    #[serde(default)]
    port: Option<Port>,
}

pub(in crate::cli::mcp) struct ReleaseLease;

impl Tool for ReleaseLease {
    type Arguments = Arguments;
    const NAME: &'static str = "release_lease";
    const TITLE: &'static str = "Release a lease";
    const DESCRIPTION: &'static str = "\
Gives back a port of this work tree whose server has ended, and has its name forget the port. There is no need to call \
it between two starts of a server. It is refused while the program runs, which it does not stop, and for leases of \
other work trees.";
    const EFFECT: Effect = Effect::Ends;

    async fn answer(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
        let word = word(arguments.name, arguments.port)?;
        with_backend(&call.global.load()?, async |backend| {
            let chosen = call.tree.find(&backend.leases(false).await?, &word)?;
            let running = running(backend, &chosen).await?;
            if running.is_empty() {
                released(call, backend, chosen).await
            } else {
                Ok(refusal(&running))
            }
        })
        .await
    }
}

async fn released(
    call: &Call,
    backend: &Backend,
    chosen: Vec<LeaseDocument>,
) -> Result<Answer, Failure> {
    let mut told = String::new();
    let tell = |line: &str| told.extend([line, "\n"]);
    let released = release::end(backend, chosen, tell).await?;
    Ok(
        Answer::new(format!("Released: {}.", counted(released.len(), "lease")))
            .seen(&told)
            .next("lease_port gives the name a port again, which may be another one.")
            .with("released", call.tree.briefs(&released)),
    )
}

/// Describes the programs that use these leases, or are about to.
async fn running(backend: &Backend, chosen: &[LeaseDocument]) -> Result<Vec<String>, Failure> {
    let listening = release::listening(backend, chosen).await?;
    if !listening.is_empty() {
        return Ok(listening.iter().map(release::line).collect());
    }
    let starting = chosen.iter().filter(|lease| lease.state != State::Reserved);
    let owners = starting.filter_map(|lease| Some((lease.port, lease.owner.as_ref()?)));
    Ok(owners
        .map(|(port, owner)| format!("{} (pid {}) owns port {port}", owner.command, owner.pid))
        .collect())
}

/// Refuses to release the port of a program that runs: without the lease nothing guards it.
fn refusal(running: &[String]) -> Answer {
    Answer::new("Refused: the program of the lease runs. Nothing was released.")
        .seen(&running.join("\n"))
        .next("If you started that program, stop it and call this again. Else leave both as they are.")
        .with("code", Code::Failed.as_str())
        .failed()
}
