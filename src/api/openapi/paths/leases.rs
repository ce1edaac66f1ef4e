//! Leases and the allocations that grant them.

use serde_json::json;

use crate::api::document::{
    AllocationDocument, AllocationRecordDocument, LeaseDocument, LeaseRequest,
};
use crate::api::leases::{IDEMPOTENCY_KEY, LeaseList, LeaseQuery, ReleaseQuery, Renewal};
use crate::api::openapi::operation::{Operation, Tag};
use crate::api::problem::Code;

/// What [`RetryKey`](crate::domain::retry::RetryKey) takes.
const KEY_PATTERN: &str = "^([!#-~]{1,128}|\"[!#-~]{1,128}\")$";

/// What may be wrong with the ports that are asked for.
const REFUSED: [Code; 14] = [
    Code::PrivilegedPort,
    Code::NotFound,
    Code::PortInUse,
    Code::PortLeased,
    Code::NameTaken,
    Code::OtherNetworkNamespace,
    Code::PortExcluded,
    Code::AddressNotAvailable,
    Code::NoSuchInterface,
    Code::NoSuchPool,
    Code::QuotaExceeded,
    Code::AttemptsExhausted,
    Code::PoolExhausted,
    Code::TimedOut,
];

pub(super) fn operations() -> Vec<Operation> {
    vec![list(), create(), show(), release(), renew(), allocation()]
}

fn list() -> Operation {
    Operation::get("/api/v1/leases", "listLeases")
        .about(Tag::Leases, "List leases")
        .says(
            "Living leases, or ended ones where an end state or `ended` is asked for; newest first. Of \
             the leases of others it tells where they are and whose, and nothing that they wrote.",
        )
        .query::<LeaseQuery>()
        .answers::<LeaseList>(
            200,
            "The leases.",
            include_str!("../example/leases.json"),
        )
        .refused(&[Code::StoreUnavailable])
}

fn create() -> Operation {
    Operation::post("/api/v1/leases", "createLeases")
        .about(Tag::Leases, "Ask for ports")
        .says(
            "All fields may be left out: an empty object gets one port of the default pool. The ports \
             are bound before the answer is sent, all or none. A name that lives already gets its own \
             port again. A refusal tells what was tried and who was in the way.",
        )
        .parameter_of(
            "header",
            IDEMPOTENCY_KEY,
            "A word of the client's own for a request without names, such as a fresh UUID. Asked again \
             with the same one, it gets the same leases as long as they live.",
            json!({"type": "string", "pattern": KEY_PATTERN}),
        )
        .body::<LeaseRequest>(include_str!("../example/lease_request.json"))
        .answers::<AllocationDocument>(
            201,
            "Something new was granted.",
            include_str!("../example/allocation.json"),
        )
        .with_header("Location", "The first lease.")
        .answers::<AllocationDocument>(
            200,
            "Every name lived already, the key was known, or nothing was to be granted (`dry_run`).",
            include_str!("../example/allocation_again.json"),
        )
        .refused(&REFUSED)
        .refused(&[Code::HostError, Code::StoreUnavailable])
}

fn show() -> Operation {
    Operation::get("/api/v1/leases/{id}", "showLease")
        .about(Tag::Leases, "Show a lease")
        .says("Living or ended: one that has ended says how in `state`, and when in `ended_at`.")
        .answers::<LeaseDocument>(200, "The lease.", include_str!("../example/lease.json"))
        .refused(&[Code::StoreUnavailable])
}

fn release() -> Operation {
    Operation::delete("/api/v1/leases/{id}", "releaseLease")
        .about(Tag::Leases, "Give a lease back")
        .says(
            "The port is free at once, and a name forgets it. The lease stays on record with its end \
             state.",
        )
        .query::<ReleaseQuery>()
        .answers_nothing(204, "It is given back.")
        .refused(&[Code::StoreUnavailable])
}

fn renew() -> Operation {
    Operation::post("/api/v1/leases/{id}/renew", "renewLease")
        .about(Tag::Leases, "Make a lease last longer")
        .says("From now on for `ttl`, or for as long as it was granted for.")
        .body::<Renewal>(include_str!("../example/renewal.json"))
        .answers::<LeaseDocument>(200, "The lease.", include_str!("../example/lease.json"))
        .refused(&[Code::QuotaExceeded, Code::StoreUnavailable])
}

fn allocation() -> Operation {
    Operation::get("/api/v1/allocations/{id}", "explainAllocation")
        .about(Tag::Leases, "Explain an allocation")
        .says("Granted or refused: what was ruled out and why, what was weighed, what was tried.")
        .answers::<AllocationRecordDocument>(
            200,
            "The allocation with its reasons.",
            include_str!("../example/allocation_record.json"),
        )
        .refused(&[Code::StoreUnavailable])
}
