//! The engine: a request becomes candidates, attempts, a hold, a lease; a lease lives and ends.
//!
//! Four owners keep the state, each with one lock: [`rules`], [`learning`], [`journal`] and
//! [`leases`], where the order of locks and of changes is written. [`engine`] puts them side by side.
//! Requests (from [`queue`] down) and the life of leases ([`keeper`], [`observer`]) are functions over
//! them, and [`service`] is the façade.

mod allocated;
mod allocator;
mod at_work;
mod caller;
pub mod capacity;
pub mod claims;
mod commit;
mod containers;
mod context;
mod draft;
mod elsewhere;
#[expect(clippy::module_inception, reason = "the engine's one struct of owners")]
mod engine;
mod everywhere;
pub mod exclusion;
mod fate;
#[cfg(feature = "fleet")]
pub mod fence;
pub mod fleet;
mod giveway;
mod grant;
mod health;
mod heir;
mod ignored;
mod instance;
pub mod journal;
mod keeper;
#[cfg(feature = "fleet")]
mod kept;
pub mod kin;
mod known;
mod learning;
mod leases;
mod line;
mod lock;
mod look;
mod looked;
mod measures;
mod name;
mod observer;
pub mod plan;
mod publications;
mod queue;
mod quota;
pub mod refusal;
mod remembered;
mod retake;
mod retention;
mod retry;
mod row;
mod rules;
mod search;
pub mod service;
mod sight;
mod slot;
pub mod snapshots;
pub mod survey;
mod tables;
mod taking;
mod told;
#[cfg(feature = "fleet")]
pub mod troubles;
mod unique;
mod whose;

pub use allocated::Allocated;
pub use engine::KEPT_FREE;
pub use leases::HoldNews;
pub use retention::Limits;
