//! portbook: book a port, keep it, and know why it was chosen.

pub mod domain;
pub mod host;
