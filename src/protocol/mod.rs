//! What is spoken beside HTTP.

pub mod descriptor;
