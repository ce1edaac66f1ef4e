//! Pure functions that choose ports: eligibility, expected cost, and the order of tries.

pub mod assigned;
pub mod bits;
pub mod cost;
pub mod history;
pub mod policy;
pub mod ranks;
pub mod strategy;
pub mod weigh;
