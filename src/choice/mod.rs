//! Pure functions that decide: which ports are eligible, what each would cost, and in which order
//! they are tried.

pub mod assigned;
pub mod bits;
pub mod cost;
pub mod history;
pub mod policy;
pub mod ranks;
pub mod strategy;
pub mod weigh;
