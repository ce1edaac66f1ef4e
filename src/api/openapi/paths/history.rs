//! The record of the past.

use crate::api::attempts::{AttemptQuery, List};
use crate::api::document::{PruneDocument, PruneRequest, StatsDocument};
use crate::api::openapi::operation::{Operation, Tag};
use crate::api::paging::MAX_LIMIT;
use crate::api::problem::Code;
use crate::api::stats;

pub(super) fn operations() -> Vec<Operation> {
    vec![list(), totals(), attempts(), days(), others(), prune()]
}

fn list() -> Operation {
    Operation::get("/api/v1/attempts", "listAttempts")
        .about(Tag::History, "List attempts")
        .says("Every single try to bind an address and a port, newest first.")
        .query_of::<AttemptQuery>(|name| !matches!(name, "format" | "after"))
        .at_most(MAX_LIMIT)
        .answers::<List>(
            200,
            "The attempts.",
            include_str!("../example/attempts.json"),
        )
        .refused(&[Code::Forbidden, Code::StoreUnavailable])
}

fn totals() -> Operation {
    Operation::get("/api/v1/stats", "showStats")
        .about(Tag::History, "What the past adds up to")
        .says("Attempts and success by pool, interface and port, who was in the way, how long leases lived.")
        .query::<stats::StatsQuery>()
        .answers::<StatsDocument>(200, "The numbers.", include_str!("../example/stats.json"))
        .refused(&[Code::StoreUnavailable])
}

fn attempts() -> Operation {
    let operation = Operation::get("/api/v1/history/attempts", "exportAttempts")
        .about(Tag::History, "Export attempts")
        .says("All that are wanted as a stream, newest first.")
        .query_of::<AttemptQuery>(|name| name != "after");
    rows(operation)
}

fn days() -> Operation {
    let of_one_attempt = |name: &str| {
        !matches!(
            name,
            "allocation" | "before" | "errno" | "name" | "outcome" | "strategy"
        )
    };
    let operation = Operation::get("/api/v1/history/days", "exportDays")
        .about(Tag::History, "Export days")
        .says("What attempts add up to for each day, pool, interface, protocol, port and user.")
        .query_of::<AttemptQuery>(of_one_attempt);
    rows(operation)
}

fn others() -> Operation {
    let of_lease = |name: &str| {
        matches!(
            name,
            "after"
                | "format"
                | "limit"
                | "name"
                | "pool"
                | "port"
                | "protocol"
                | "since"
                | "uid"
                | "until"
        )
    };
    let operation = Operation::get("/api/v1/history/{kind}", "exportHistory")
        .about(Tag::History, "Export other rows")
        .says(
            "SnapshotLog at the sockets of others (`snapshots`) and who was seen there (`sightings`), outsiders \
             found on leased ports (`conflicts`), ends of leases (`endings`); oldest first. A filter that the \
             rows do not have is refused: `snapshots` have times alone, `sightings` no pool and no name.",
        )
        .query_of::<AttemptQuery>(of_lease);
    rows(operation)
}

fn rows(operation: Operation) -> Operation {
    operation
        .answers_text(
            200,
            "The rows. Where `limit` leaves some out, the header `Link` leads to them (`rel=\"next\"`).",
            &[
                (
                    "text/csv; charset=utf-8; header=present",
                    include_str!("../example/attempts.csv"),
                ),
                (
                    "application/jsonl",
                    include_str!("../example/attempts.jsonl"),
                ),
            ],
        )
        .refused(&[Code::Forbidden, Code::StoreUnavailable])
}

fn prune() -> Operation {
    Operation::post("/api/v1/history/prune", "pruneHistory")
        .about(Tag::History, "Delete what is old")
        .says("By the limits in the settings, or by those given. What attempts add up to stays.")
        .body::<PruneRequest>(include_str!("../example/prune_request.json"))
        .answers::<PruneDocument>(
            200,
            "What was deleted, or would be.",
            include_str!("../example/pruned.json"),
        )
        .refused(&[Code::StoreUnavailable])
}
