//! The story: a request becomes candidates, attempts, a hold, a lease; a lease lives and ends.

pub mod allocator;
pub mod books;
mod commit;
mod grant;
mod holds;
pub mod journal;
mod keeper;
mod learning;
mod name;
mod observer;
mod occupants;
pub mod plan;
mod queue;
pub mod refusal;
pub mod service;
pub mod snapshots;
mod turns;

pub use grant::Allocated;
pub use keeper::Restored;
