//! What is spoken beside HTTP.

pub mod descriptor;
pub mod portserver;
