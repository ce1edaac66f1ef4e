//! Answers: what portbook tells and does for a viewer, free of HTTP. The API, the pages, the command
//! line and the library share it.

pub mod document;
pub mod problem;
mod schema;
pub mod viewer;
