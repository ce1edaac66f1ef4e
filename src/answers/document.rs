//! The JSON documents, the same in the API and in `--json` of the command line.

mod allocation;
mod attempt;
mod interface;
mod lease;
mod pool;
mod port;
mod process;
mod request;
mod row;
mod stats;
mod status;

pub use allocation::{AllocationDocument, AllocationRecordDocument};
pub use attempt::AttemptDocument;
pub use interface::{InterfaceAddressDocument, InterfaceDocument};
pub use lease::{LeaseDocument, OwnerDocument};
pub use pool::PoolDocument;
pub use port::{
    LeaseLink, ListenerDocument, OccupantDocument, PortDocument, SightingDocument, listener_of,
};
pub use process::ProcessDocument;
pub use request::{LeaseRequest, ScopeWord};
pub use stats::{
    HourStats, InterfaceStats, LifetimeStats, OccupantStats, OutcomesDocument, PoolStats,
    PortRecord, PortStats, PruneDocument, PruneRequest, Saved, StatsDocument,
};
pub use status::{CheckDocument, StatusDocument};

/// The version of the JSON documents.
pub const VERSION: u32 = 1;
