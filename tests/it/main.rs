//! Tests with sockets: real processes of the real binary, on a real record, through the real start-up
//! path.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod access;
mod api;
mod bpf;
mod browser;
mod ci;
mod claims;
mod cli;
mod clock;
mod collector;
mod compose;
mod concurrency;
mod console;
mod containers;
mod conversion;
mod crash;
mod crowd;
mod damage;
mod deb;
mod devcontainer;
mod discovery;
mod docker;
mod doctor;
mod emptied;
mod engine;
mod env;
mod ephemeral;
mod events;
mod everyday;
mod exclusion;
mod fault;
mod fault_client;
mod fault_files;
mod fault_log;
mod fault_starts;
#[cfg(feature = "fleet")]
mod fleet;
mod full_disk;
mod gone;
mod hints;
mod history;
mod host;
mod host_error;
mod hostile;
mod interrupted;
mod jaeger;
mod json;
mod layers;
mod learning;
mod library;
mod limits;
mod lists;
mod logs;
mod lost_page;
mod lost_record;
#[cfg(feature = "mcp")]
mod mcp;
mod metrics;
mod moves;
mod multi_nic;
mod names;
#[cfg(not(feature = "fleet"))]
mod no_fleet;
#[cfg(not(feature = "mcp"))]
mod no_mcp;
mod note;
mod openapi;
mod overview;
mod owner;
mod pages;
mod portserver;
mod preference;
mod probe;
mod project;
mod python;
mod reading;
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
mod space;
mod stalled;
mod strangers;
mod succession;
mod support;
mod survivors;
mod takeover;
mod tools;
mod traces;
mod udp;
mod units;
mod unnamed;
mod variables;
mod veil;
mod wait;
mod watcher;
mod who;
mod words;
