//! portbook: book a port, keep it, and know why it was chosen.

pub mod choice;
pub mod domain;
pub mod engine;
pub mod host;
pub mod store;
