//! One search for ports.

use std::sync::Arc;

use crate::domain::attempt::Attempt;
use crate::domain::explanation::Explanation;
use crate::engine::{
    allocator::Found, allocator::Search, allocator::Wish, context::RequestContext, engine::Engine,
    refusal::Refusal,
};
use crate::telemetry::span;

/// The result of one search.
pub(super) struct Searched {
    pub(super) result: Result<Vec<Option<Found>>, Refusal>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) explanation: Explanation,
}

/// Searches once for the wanted ports.
pub(super) fn search(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    wishes: &[Wish],
) -> Searched {
    let rules = engine.rules.now();
    let mut occupants = engine.learning.occupants();
    let mut rng = engine.rng();
    let choosing = span::choose();
    let searched = choosing.in_scope(|| {
        let mut search = Search::new(
            asked.plan,
            &engine.leases,
            &engine.learning,
            &engine.clock,
            &rules.kernel,
            &mut occupants,
            asked.caller,
        );
        if asked.request.dry_run {
            search = search.without_marks();
        }
        let result = match asked.request.block.map(|block| u16::try_from(block.get())) {
            Some(Ok(length)) => {
                let block = search.find_block(length, wishes, &mut rng);
                block.map(|found| found.into_iter().map(Some).collect())
            }
            _ => search.find(wishes, &mut rng),
        };
        Searched {
            result,
            attempts: search.attempts,
            explanation: search.explanation,
        }
    });
    span::chosen(&choosing, searched.explanation.tried.len());
    searched
}
