//! Operations on the record of the past.

use super::serve::{Served, answered, described};
use crate::answers::operation::{Description, Method, Tag};
use crate::answers::paging::MAX_LIMIT;
use crate::answers::problem::Code;
use crate::answers::{prune, stats};
use crate::api::attempts::{self, AttemptQuery, List};
use crate::api::history;

pub(super) fn operations() -> Vec<Served> {
    vec![
        described(list(), attempts::list),
        answered::<stats::ShowStats>(),
        described(export_attempts(), history::attempts),
        described(export_days(), history::days),
        described(export_others(), history::export),
        answered::<prune::PruneHistory>(),
    ]
}

fn list() -> Description {
    Description::new(Method::Get, "/api/v1/attempts", "listAttempts")
        .about(Tag::History, "List attempts")
        .says("Single tries to bind an address and a port, newest first.")
        .query_of::<AttemptQuery>(|name| !matches!(name, "format" | "after"))
        .at_most(MAX_LIMIT)
        .answers::<List>(
            200,
            "The attempts.",
            include_str!("../../answers/example/attempts.json"),
        )
        .refused(&[Code::Forbidden, Code::StoreUnavailable])
}

fn export_attempts() -> Description {
    let operation = Description::new(Method::Get, "/api/v1/history/attempts", "exportAttempts")
        .about(Tag::History, "Export attempts")
        .says("All that match, as a stream, newest first.")
        .query_of::<AttemptQuery>(|name| name != "after");
    rows(operation)
}

fn export_days() -> Description {
    let of_one_attempt = |name: &str| {
        !matches!(
            name,
            "allocation" | "before" | "errno" | "name" | "outcome" | "strategy"
        )
    };
    let operation = Description::new(Method::Get, "/api/v1/history/days", "exportDays")
        .about(Tag::History, "Export days")
        .says("Totals of attempts for each day, pool, interface, protocol, port and user.")
        .query_of::<AttemptQuery>(of_one_attempt);
    rows(operation)
}

fn export_others() -> Description {
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
    let operation = Description::new(Method::Get, "/api/v1/history/{kind}", "exportHistory")
        .about(Tag::History, "Export other rows")
        .says(
            "Snapshots of the sockets outside portbook (`snapshots`) and the programs seen there (`sightings`), \
             outsiders on leased ports (`conflicts`), ends of leases (`endings`); oldest first. A filter that the \
             rows do not have is refused: `snapshots` have times alone, `sightings` no pool and no name.",
        )
        .query_of::<AttemptQuery>(of_lease);
    rows(operation)
}

fn rows(operation: Description) -> Description {
    operation
        .answers_text(
            200,
            "The rows. Where `limit` leaves some out, the header `Link` leads to them (`rel=\"next\"`).",
            &[
                (
                    "text/csv; charset=utf-8; header=present",
                    include_str!("../../answers/example/attempts.csv"),
                ),
                (
                    "application/jsonl",
                    include_str!("../../answers/example/attempts.jsonl"),
                ),
            ],
        )
        .refused(&[Code::Forbidden, Code::StoreUnavailable])
}
