//! `who_is_on_port`: the occupants of a port, now and before.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::outside::without_nulls;
use super::super::tool::{Call, Effect, Tool};
use super::super::work_tree::WorkTree;
use crate::answers::document::PortDocument;
use crate::cli::{Failure, named, who, with_backend};
use crate::domain::port::{Port, Protocol};

/// The port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cli::mcp) struct Arguments {
    /// The port.
    #[serde(default)]
    port: Option<Port>,
    /// Name of a service, in place of the port. A name is that of this work tree, else that of the user.
    #[serde(default)]
    name: Option<String>,
    /// Only tcp or udp; default: both.
    #[serde(default)]
    protocol: Option<Protocol>,
}

pub(in crate::cli::mcp) struct WhoIsOnPort;

impl Tool for WhoIsOnPort {
    type Arguments = Arguments;
    const NAME: &'static str = "who_is_on_port";
    const TITLE: &'static str = "Occupants of a port";
    const DESCRIPTION: &'static str = "\
Tells which program has a port now (name, process id, folder, user), whose lease it is, and who had it before. Use it \
when a server says EADDRINUSE or an address answers with something unexpected. It only looks: do not stop a program \
that is not yours.";
    const EFFECT: Effect = Effect::Reads;

    async fn answer(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
        let Arguments {
            port,
            name,
            protocol,
        } = arguments;
        let loaded = call.global.load()?;
        let found = with_backend(&loaded, async |backend| match (port, name) {
            (Some(port), None) => {
                let called = named::called(backend, port).await?;
                let found = who::on_port(backend, port, protocol).await?;
                Ok((found, named::note_of_called(port, &called)))
            }
            (None, Some(name)) => Ok((who::of_lease(backend, &name, protocol).await?, None)),
            _ => Err(Failure::usage("give either `port` or `name`")),
        });
        let (found, called) = found.await?;
        let places: Vec<&PortDocument> = found.iter().collect();
        let (says, next) = verdict(&call.tree, &found);
        let facts: Value = found.iter().map(|one| facts(&call.tree, one)).collect();
        Ok(Answer::new(says)
            .seen(&who::text(&places))
            .seen(called.as_deref().unwrap_or_default())
            .next(next)
            .with("ports", facts))
    }
}

/// The relation of the ports to this work tree, and the next step.
fn verdict(tree: &WorkTree, found: &[PortDocument]) -> (&'static str, &'static str) {
    let mut leases = found.iter().flat_map(|one| &one.leases).peekable();
    let is_leased = leases.peek().is_some();
    if is_leased && leases.all(|lease| tree.has(lease)) {
        (
            "The port is leased to this work tree.",
            "service_url has its address; release_lease gives it back once its server has ended.",
        )
    } else if is_leased {
        (
            "The port is leased to others, not to this work tree.",
            "Leave that program and its lease alone: lease_port gives this work tree a port of its own.",
        )
    } else if found.iter().any(|one| !one.occupants.is_empty()) {
        (
            "The port has no lease, and a program has it.",
            "Do not stop that program unless you started it: lease_port with `prefer` gets the next free port.",
        )
    } else {
        (
            "The port has no lease, and no program has it now.",
            "lease_port with `prefer` gets it, unless another program comes first or a rule excludes it.",
        )
    }
}

fn facts(tree: &WorkTree, found: &PortDocument) -> Value {
    without_nulls(json!({
        "port": found.port,
        "protocol": found.protocol,
        "leases": tree.briefs(&found.leases),
        "occupants": found.occupants,
        "exclusion": found.exclusion,
        "redirected": found.redirected,
    }))
}
