//! `explain_port`: the reasons for a port.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::outside::without_nulls;
use super::super::tool::{Call, Effect, Tool};
use super::word;
use crate::answers::document::{AllocationRecordDocument, AttemptDocument};
use crate::cli::explain::{self, ExplainArgs};
use crate::cli::{Failure, with_backend};
use crate::domain::port::{Port, Protocol};

/// The port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cli::mcp) struct Arguments {
    /// Name of the service. A name is that of this work tree, else that of the user.
    #[serde(default)]
    name: Option<String>,
    /// A port, in place of the name.
    #[serde(default)]
    port: Option<Port>,
    /// Protocol of the port; default: tcp.
    #[serde(default)]
    protocol: Option<Protocol>,
}

pub(in crate::cli::mcp) struct ExplainPort;

impl Tool for ExplainPort {
    type Arguments = Arguments;
    const NAME: &'static str = "explain_port";
    const TITLE: &'static str = "Reasons for a port";
    const DESCRIPTION: &'static str = "\
Tells why a service got its port and not another one, or why a port was refused: each port that was passed over, with \
the program or rule in the way. Use it to answer \"why is it not on 3000?\".";
    const EFFECT: Effect = Effect::Reads;

    async fn answer(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
        let args = ExplainArgs {
            what: word(arguments.name, arguments.port)?,
            protocol: arguments.protocol.unwrap_or(Protocol::Tcp),
        };
        let loaded = call.global.load()?;
        let found = with_backend(&loaded, async |backend| explain::find(backend, &args).await);
        let (found, called) = found.await?;
        let refused = found.detail.as_deref().unwrap_or_default();
        Ok(Answer::new("The reasons of the latest request for it:")
            .seen(&sentences(&found).join("\n"))
            .seen(refused)
            .seen(called.as_deref().unwrap_or_default())
            .next("If the program in the way ends, the next start of the service gets its preferred port again.")
            .with("allocation", facts(&found)))
    }
}

/// Sentences of the explanation, as one of them alone has a bounded length.
fn sentences(found: &AllocationRecordDocument) -> Vec<&str> {
    found.story.split_inclusive(". ").map(str::trim).collect()
}

fn facts(found: &AllocationRecordDocument) -> Value {
    let attempts = found.attempts.iter().map(|attempt: &AttemptDocument| {
        let occupant = attempt.occupant.as_ref().map(ToString::to_string);
        without_nulls(json!({
            "port": attempt.port,
            "address": attempt.address,
            "outcome": attempt.outcome,
            "occupant": occupant,
        }))
    });
    without_nulls(json!({
        "id": found.id,
        "at": found.at,
        "pool": found.pool,
        "granted": found.explanation.granted,
        "story": sentences(found),
        "refused": found.detail,
        "attempts": attempts.collect::<Value>(),
    }))
}
