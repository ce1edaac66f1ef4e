//! Tests with sockets: real processes of the real binary, on a real record, through the real start-up
//! path.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod access;
mod api;
mod browser;
mod cli;
mod clock;
mod collector;
mod concurrency;
mod console;
mod crash;
mod deb;
mod doctor;
mod env;
mod ephemeral;
mod events;
mod everyday;
mod exclusion;
mod fault;
mod gone;
mod history;
mod host;
mod host_error;
mod hostile;
mod jaeger;
mod json;
mod layers;
mod learning;
mod library;
mod limits;
mod lists;
mod logs;
mod metrics;
mod moves;
mod multi_nic;
mod names;
mod openapi;
mod overview;
mod owner;
mod pages;
mod portserver;
mod preference;
mod probe;
mod project;
mod python;
mod readme;
mod receiver;
mod recipes;
mod recording;
mod regain;
mod releasing;
mod replacing;
mod restarts;
mod retry;
mod rotel;
mod schemathesis;
mod scopes;
mod several;
mod shell;
mod sockets;
mod stalled;
mod succession;
mod support;
mod tools;
mod traces;
mod units;
mod variables;
mod veil;
mod wait;
mod watcher;
mod who;
mod words;
