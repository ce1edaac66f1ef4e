//! Pure functions that decide which ports are eligible and in which order they are tried.

pub mod bits;
pub mod policy;
pub mod strategy;
