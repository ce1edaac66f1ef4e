//! Ports, and where they can be had: pools and interfaces.

use crate::api::document::PortDocument;
use crate::api::openapi::operation::{Operation, Tag};
use crate::api::problem::Code;
use crate::api::{interfaces, pools, snapshots};

const WHO: &str = "\
Leases on it, processes of others as the kernel's tables have them right now, and what was tried on it. \
A process of another user is told of, but not named.";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        port(
            "/api/v1/ports/{protocol}/{port}",
            "showPort",
            "Who is on a port",
        ),
        port(
            "/api/v1/ports/{port}",
            "showTcpPort",
            "Who is on a TCP port",
        ),
        snapshot(),
        Operation::get("/api/v1/pools", "listPools")
            .about(Tag::Ports, "List pools")
            .says("With their rules, and how many of their ports are leased.")
            .answers::<pools::List>(200, "The pools.", include_str!("../example/pools.json")),
        Operation::get("/api/v1/interfaces", "listInterfaces")
            .about(Tag::Ports, "List interfaces")
            .says("The host's network interfaces and their addresses, as they are now.")
            .answers::<interfaces::List>(
                200,
                "The interfaces.",
                include_str!("../example/interfaces.json"),
            )
            .refused(&[Code::StoreUnavailable]),
    ]
}

fn port(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::get(path, id)
        .about(Tag::Ports, summary)
        .says(WHO)
        .answers::<PortDocument>(200, "The port.", include_str!("../example/port.json"))
        .refused(&[Code::InvalidRequest, Code::StoreUnavailable])
}

fn snapshot() -> Operation {
    Operation::post("/api/v1/snapshots", "takeSnapshot")
        .about(Tag::Ports, "Look at all ports now")
        .says("What the service does by itself every so often: it notes which ports others are on.")
        .answers::<snapshots::SnapshotDocument>(
            201,
            "What was seen.",
            include_str!("../example/snapshot.json"),
        )
        .refused(&[Code::StoreUnavailable])
}
