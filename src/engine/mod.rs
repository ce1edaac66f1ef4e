//! The story: a request becomes candidates, attempts, a hold, a lease; a lease lives and ends.

pub mod allocator;
pub mod books;
mod caller;
pub mod capacity;
mod commit;
pub mod exclusion;
mod giveway;
mod grant;
mod health;
mod holds;
mod instance;
pub mod journal;
mod keeper;
pub mod kin;
mod known;
mod learning;
mod lock;
mod measures;
mod name;
mod observer;
pub mod plan;
mod queue;
mod quota;
pub mod refusal;
mod retention;
mod retry;
mod row;
mod rules;
pub mod service;
pub mod snapshots;
pub mod survey;
mod told;
mod turns;

pub use grant::Allocated;
pub use holds::HoldNews;
pub use retention::Limits;
