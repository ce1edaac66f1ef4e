//! portbook inside another program.

pub(crate) mod backend;
mod error;
pub(crate) mod find;

pub use error::Error;
