//! Deleting old rows of the record.

use super::document::{PruneDocument, PruneRequest, VERSION};
use super::operation::{Answered, Body, Context, Description, Method, Operation, Output, Tag};
use super::problem::{Code, Problem};
use crate::engine::Limits;

pub struct PruneHistory;

impl Operation for PruneHistory {
    type Input = Body<PruneRequest>;
    type Output = PruneDocument;
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/api/v1/history/prune";
    const ID: &'static str = "pruneHistory";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::History, "Delete old rows")
            .says("By the limits in the settings, or by those given. The totals of attempts stay.")
            .body_example(include_str!("example/prune_request.json"))
            .answers::<PruneDocument>(
                200,
                "The number of rows deleted, or to be deleted.",
                include_str!("example/pruned.json"),
            )
            .refused(&[Code::StoreUnavailable])
    }
}

impl Output for PruneDocument {}

impl Answered for PruneHistory {
    async fn answer(
        context: Context<'_>,
        Body(request): Body<PruneRequest>,
    ) -> Result<PruneDocument, Problem> {
        let limits = Limits {
            older_than: request.older_than.map(|age| age.0),
            keep: request.keep,
        };
        let caller = context.viewer.caller()?;
        let removed = context.service.prune(caller, limits, request.dry_run);
        Ok(PruneDocument {
            version: VERSION,
            dry_run: request.dry_run,
            removed: removed.await?,
        })
    }
}
