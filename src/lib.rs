//! portbook: book a port, keep it, and know why it was chosen.

pub mod cli;
pub mod config;
pub mod domain;
