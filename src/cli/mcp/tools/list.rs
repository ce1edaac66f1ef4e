//! `list_leases`: the leases of the work tree, or of the host.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::answer::Answer;
use super::super::tool::{Call, Effect, Tool};
use crate::cli::{Failure, list, with_backend};
use crate::domain::words::counted;

/// The leases to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cli::mcp) struct Arguments {
    /// Whether to list those of other work trees and users as well; default: those of this work tree.
    #[serde(default)]
    everywhere: Option<bool>,
}

pub(in crate::cli::mcp) struct ListLeases;

impl Tool for ListLeases {
    type Arguments = Arguments;
    const NAME: &'static str = "list_leases";
    const TITLE: &'static str = "List leases";
    const DESCRIPTION: &'static str = "\
Lists the leases of this work tree: name, port, state, program. Use it first when you come to a project, to see which \
services run already.";
    const EFFECT: Effect = Effect::Reads;

    async fn answer(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
        let loaded = call.global.load()?;
        let living = with_backend(&loaded, async |backend| backend.leases(false).await);
        let mut leases = living.await?;
        let everywhere = arguments.everywhere.unwrap_or_default();
        if !everywhere {
            leases = call.tree.own(&leases);
        }
        let place = if everywhere {
            "on this host"
        } else {
            "of this work tree"
        };
        let answer = Answer::new(format!("{} {place}.", counted(leases.len(), "lease")))
            .with("work_tree", call.tree.folder().display().to_string())
            .with("leases", call.tree.briefs(&leases));
        if leases.is_empty() {
            return Ok(answer.next("lease_port makes one."));
        }
        Ok(answer.seen(&list::text(&leases)))
    }
}
