//! The JSON documents, the same in the API and in `--json` of the command line.

mod allocation;
mod interface;
mod lease;
mod map;
mod pool;
mod port;
mod process;
mod request;
mod row;
mod stats;
mod status;

pub use allocation::AllocationDocument;
pub use interface::{InterfaceAddressDocument, InterfaceDocument};
pub use lease::{LeaseDocument, OutsiderDocument, OwnerDocument};
pub use pool::PoolDocument;
pub use port::{
    LeaseLink, ListenerDocument, OccupantDocument, PortDocument, SightingDocument, listener_of,
};
pub use process::ProcessDocument;
pub use request::{LeaseRequest, ScopeWord};
pub use stats::{
    HourStats, InterfaceStats, LifetimeStats, OccupantStats, PoolStats, PortRecord, PortStats,
    PruneDocument, PruneRequest, Saved, StatsDocument,
};
pub use status::{CheckDocument, StatusDocument};

pub use crate::store::{
    AllocationRecord as AllocationRecordDocument, AttemptRecord as AttemptDocument,
    Outcomes as OutcomesDocument,
};

/// The version of the JSON documents.
pub const VERSION: u32 = 1;
