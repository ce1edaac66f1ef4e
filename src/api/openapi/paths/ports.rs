//! Ports, and where they can be had: pools and interfaces.

use crate::api::document::PortDocument;
use crate::api::openapi::operation::{Operation, Tag};
use crate::api::problem::Code;
use crate::api::{exclusions, interfaces, listeners, pools, snapshots};

const WHO: &str = "\
Leases on it, processes on it as the kernel's tables have them right now, what was tried on it, and which \
others snapshots saw there. A process of another user is told of, but not named.";

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
        listeners(),
        list_exclusions(),
        exclude(),
        include(),
        exclude_range(),
        include_range(),
        snapshot(),
        Operation::get("/api/v1/pools", "listPools")
            .about(Tag::Ports, "List pools")
            .says("All of them, with their rules, and how many of their ports are leased.")
            .answers::<pools::List>(200, "The pools.", include_str!("../example/pools.json"))
            .refused(&[Code::InvalidRequest]),
        Operation::get("/api/v1/interfaces", "listInterfaces")
            .about(Tag::Ports, "List interfaces")
            .says("All network interfaces of the host and their addresses, as they are now.")
            .answers::<interfaces::List>(
                200,
                "The interfaces.",
                include_str!("../example/interfaces.json"),
            )
            .refused(&[Code::InvalidRequest, Code::HostError]),
    ]
}

fn port(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::get(path, id)
        .about(Tag::Ports, summary)
        .says(WHO)
        .answers::<PortDocument>(200, "The port.", include_str!("../example/port.json"))
        .refused(&[Code::InvalidRequest, Code::StoreUnavailable])
}

fn listeners() -> Operation {
    Operation::get("/api/v1/listeners", "listListeners")
        .about(Tag::Ports, "List listeners")
        .says(
            "Every process that listens on this host, for a lease or not, as the kernel's tables have them \
             right now. A process of another user is told of, but not named. `next` leads to the next page.",
        )
        .query::<listeners::ListenerQuery>()
        .answers::<listeners::ListenerList>(
            200,
            "The listeners.",
            include_str!("../example/listeners.json"),
        )
        .refused(&[Code::InvalidRequest, Code::HostError])
}

fn list_exclusions() -> Operation {
    Operation::get("/api/v1/exclusions", "listExclusions")
        .about(Tag::Ports, "List ports excluded by hand")
        .says("Beside what the configuration excludes. TCP first, by port; always all of them.")
        .answers::<exclusions::ExclusionList>(
            200,
            "The ports.",
            include_str!("../example/exclusions.json"),
        )
        .refused(&[Code::InvalidRequest])
}

fn exclude() -> Operation {
    Operation::put("/api/v1/ports/{protocol}/{port}/exclusion", "excludePort")
        .about(Tag::Ports, "Exclude a port")
        .says(
            "From now on it is granted to nobody. A name that has it keeps it until its program is \
             started again, and moves then. Only for the user that runs the service.",
        )
        .body::<exclusions::ExclusionRequest>(include_str!("../example/exclusion_request.json"))
        .answers::<exclusions::ExclusionAnswer>(
            201,
            "It is excluded.",
            include_str!("../example/exclusion.json"),
        )
        .answers::<exclusions::ExclusionAnswer>(
            200,
            "It was excluded before; the reason is the new one.",
            include_str!("../example/exclusion.json"),
        )
        .refused(&[Code::InvalidRequest, Code::StoreUnavailable])
}

fn include() -> Operation {
    Operation::delete("/api/v1/ports/{protocol}/{port}/exclusion", "includePort")
        .about(Tag::Ports, "Include a port again")
        .says("Takes back an exclusion by hand. Only for who runs the service.")
        .answers_nothing(204, "It may be granted again.")
        .refused(&[Code::InvalidRequest, Code::NotFound, Code::StoreUnavailable])
}

fn exclude_range() -> Operation {
    Operation::put("/api/v1/exclusions", "excludePorts")
        .about(Tag::Ports, "Exclude several ports")
        .says(
            "All of them or none, on record as one exclusion a protocol and port. Only for the user \
             that runs the service.",
        )
        .body::<exclusions::RangeRequest>(include_str!("../example/exclusion_range.json"))
        .needing_body()
        .answers::<exclusions::RangeAnswer>(
            200,
            "They are excluded.",
            include_str!("../example/exclusion_range_answer.json"),
        )
        .refused(&[Code::InvalidRequest, Code::StoreUnavailable])
}

fn include_range() -> Operation {
    Operation::delete("/api/v1/exclusions", "includePorts")
        .about(Tag::Ports, "Include several ports again")
        .says("Takes back exclusions by hand. Only for the user that runs the service.")
        .query::<exclusions::RangeQuery>()
        .answers_nothing(204, "They may be granted again.")
        .refused(&[Code::InvalidRequest, Code::NotFound, Code::StoreUnavailable])
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
        .refused(&[Code::HostError])
}
