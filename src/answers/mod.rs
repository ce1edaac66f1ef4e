//! Answers: what portbook tells and does for a viewer, free of HTTP. The API, the pages, the command
//! line and the library share it.

pub mod allocations;
pub mod configuration;
pub mod discovery;
pub mod document;
pub mod exclusions;
#[cfg(feature = "fleet")]
pub mod fleet;
pub mod interfaces;
pub mod leases;
pub mod listeners;
pub mod logins;
mod occupants;
pub mod operation;
pub mod paging;
pub mod pools;
pub mod ports;
pub mod problem;
pub mod prune;
mod schema;
pub mod snapshots;
pub mod stats;
pub mod status;
pub mod veil;
pub mod viewer;
