//! **portbook**: book a port, keep it, and know why it was chosen.
//!
//! A port allocation service for one host. A program asks for a port and gets one that is free on
//! the network interfaces it wants, that nobody else can take before it starts, and that it gets
//! back next time. Everything that was tried is on record.
//!
//! # The life of a request
//!
//! 1. It arrives over HTTP at one of two doors ([`access`] tells who asks), or from a command that
//!    runs the same engine itself because no service does ([`cli`]).
//! 2. [`api`] reads it into a [`domain::request::Request`] and hands it to the one façade,
//!    [`engine::service::Service`].
//! 3. [`engine::plan`] fills the blanks from the pool's rules ([`config`]) and finds out which bind
//!    addresses the interfaces mean right now ([`host::interface`]).
//! 4. [`engine::allocator`] asks [`choice`] which ports are eligible and which comes next, reserves
//!    it in the [`engine::books`], and binds it on every address ([`host::hold`]): the bind is the
//!    check and the lock in one. Each attempt is noted, with who was in the way.
//! 5. [`store`] commits leases and attempts, together with whatever else waits. Only then is the
//!    gate opened and the answer sent.
//! 6. From then on the keeper in [`engine`] ends the lease when its owner is gone, its time is up or
//!    nobody came to listen, and the journal tells whoever listens.
//!
//! # Layers
//!
//! A module imports only from layers below its own; a test holds the code to it.
//!
//! | layer | what it is |
//! | --- | --- |
//! | [`domain`] | plain values: no I/O, no clock, no randomness |
//! | [`telemetry`] | spans, logs, export |
//! | [`config`], [`host`], [`store`] | what is allowed, what the machine offers, what is on record |
//! | [`choice`] | pure functions that decide |
//! | [`engine`] | the story: books, allocator, keeper, observer, journal |
//! | [`access`], [`api`], [`dashboard`], [`protocol`], [`client`] | the edges |
//! | [`daemon`], [`cli`] | assembly |

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
pub mod library;
pub mod protocol;
pub mod store;
pub mod telemetry;
