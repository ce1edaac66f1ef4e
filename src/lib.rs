//! portbook: book a port, keep it, and know why it was chosen.

pub mod access;
pub mod api;
pub mod choice;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod dashboard;
pub mod domain;
pub mod engine;
pub mod host;
pub mod store;
pub mod telemetry;
