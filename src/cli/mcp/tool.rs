//! The form of a tool: name, description, schema of its arguments, effect, and work.

use std::sync::Arc;

use rmcp::model::{self, JsonObject, ToolAnnotations};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::schema::schema;
use super::work_tree::WorkTree;
use crate::cli::running::block_on;
use crate::cli::{Failure, Global};

/// Circumstances of one call.
pub(super) struct Call {
    pub(super) global: Global,
    pub(super) tree: WorkTree,
    /// Cancelled once the client no longer wants the answer.
    pub(super) cancelled: CancellationToken,
}

/// Effect of a tool on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It changes nothing.
    Reads,
    /// It adds leases.
    Adds,
    /// It ends leases.
    Ends,
}

/// A tool, declared once.
pub(super) trait Tool {
    /// Its arguments. Unknown ones are refused, so that a misspelt one is noticed.
    type Arguments: DeserializeOwned + JsonSchema;
    const NAME: &'static str;
    const TITLE: &'static str;
    /// Use, effect and limits, for an agent.
    const DESCRIPTION: &'static str;
    const EFFECT: Effect;

    async fn answer(call: &Call, arguments: Self::Arguments) -> Result<Answer, Failure>;
}

/// A row in the table of tools.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    describe: fn() -> model::Tool,
    work: fn(&Global, JsonObject, CancellationToken) -> Result<Answer, Failure>,
}

impl Entry {
    pub(super) const fn of<T: Tool>() -> Self {
        Self {
            name: T::NAME,
            describe: describe::<T>,
            work: work::<T>,
        }
    }

    pub(super) fn describe(self) -> model::Tool {
        (self.describe)()
    }

    /// Does the work on this thread.
    pub(super) fn answer(
        self,
        global: &Global,
        arguments: JsonObject,
        cancelled: CancellationToken,
    ) -> Answer {
        let done = (self.work)(global, arguments, cancelled);
        done.unwrap_or_else(|failure| Answer::of(&failure))
    }
}

fn describe<T: Tool>() -> model::Tool {
    let effect = T::EFFECT;
    let annotations = ToolAnnotations::with_title(T::TITLE)
        .read_only(effect == Effect::Reads)
        .destructive(effect == Effect::Ends)
        .idempotent(true)
        // Ports are those of one host.
        .open_world(false);
    model::Tool::new(T::NAME, T::DESCRIPTION, Arc::new(schema::<T::Arguments>()))
        .with_title(T::TITLE)
        .with_annotations(annotations)
}

fn work<T: Tool>(
    global: &Global,
    arguments: JsonObject,
    cancelled: CancellationToken,
) -> Result<Answer, Failure> {
    let arguments = serde_json::from_value(Value::Object(arguments))
        .map_err(|error| Failure::usage(format!("the arguments of {}: {error}", T::NAME)))?;
    let call = Call {
        global: global.clone(),
        tree: WorkTree::now()?,
        cancelled,
    };
    block_on(T::answer(&call, arguments))
}
