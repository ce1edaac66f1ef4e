//! Protocols beside HTTP.

pub mod descriptor;
pub mod portserver;
pub mod succession;
