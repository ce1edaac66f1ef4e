//! Everything with a socket: real processes of the real binary, on a real record, through the
//! real start-up path.

mod access;
mod api;
mod cli;
mod concurrency;
mod console;
mod limits;
mod support;
mod tools;
