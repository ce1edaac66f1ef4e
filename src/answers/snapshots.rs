//! Snapshots: looking right now at the sockets on all ports.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::{Answered, Context, Description, Method, Operation, Output, Tag};
use super::problem::{Code, Problem};

/// A snapshot of the sockets outside portbook.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct SnapshotDocument {
    /// Number of the snapshot; it grows.
    pub seq: i64,
    /// Time of the snapshot.
    pub at: Timestamp,
    /// Number of sockets on ports that some pool may grant.
    pub sightings: usize,
}

impl Output for SnapshotDocument {
    fn status(&self) -> u16 {
        201
    }
}

pub struct TakeSnapshot;

impl Operation for TakeSnapshot {
    type Input = ();
    type Output = SnapshotDocument;
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/api/v1/snapshots";
    const ID: &'static str = "takeSnapshot";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "Take a snapshot of all ports")
            .says(
                "The service does so by itself at intervals: it records the ports that others use.",
            )
            .answers::<SnapshotDocument>(
                201,
                "The snapshot.",
                include_str!("example/snapshot.json"),
            )
            .refused(&[Code::HostError])
    }
}

impl Answered for TakeSnapshot {
    async fn answer(context: Context<'_>, (): ()) -> Result<SnapshotDocument, Problem> {
        let look = context.service.take_snapshot().await?;
        Ok(SnapshotDocument {
            seq: look.seq,
            at: look.at,
            sightings: look.sightings,
        })
    }
}
