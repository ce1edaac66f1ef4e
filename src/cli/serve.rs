//! `portbook serve`: the service.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use clap::Args;

use super::{Failure, Global, number, print, print_json, trace};
use crate::config::{Flags, Loaded, Sources};
use crate::daemon::{Daemon, Given, StartError};
use crate::host::{handover, kernel};
use crate::protocol::succession;
use crate::telemetry::{self, FLUSH_TIMEOUT, LogFormat};

#[derive(Debug, Args)]
#[command(after_help = "\
Prints the console's URL on stdout once it is ready. The console tries port 8888 first, then 8889,
8890, … up to 8988, and comes back on the port it had; --listen is strict.
SIGTERM and SIGINT stop it; SIGHUP reads the configuration again.
--takeover replaces a running service without letting go of a single port: it answers what is under
way, hands its holds over and ends once the new one answers. If that fails, it goes on.")]
pub struct ServeArgs {
    /// The console's address and port, strictly, such as 127.0.0.1:9000.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Maximum number of ports for the console to try.
    #[arg(long, value_name = "N",
        value_parser = number::at_least_one::<NonZeroU32>("allow one port at least"))]
    max_attempts: Option<NonZeroU32>,
    /// Collector to send traces to, such as http://127.0.0.1:4318 (OTLP over HTTP).
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Logs to write, such as info or portbook=debug.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Format of logs: text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Replace the running service, and take its holds over.
    #[arg(long)]
    takeover: bool,
}

pub(super) fn run(global: &Global, args: &ServeArgs) -> Result<(), Failure> {
    let flags = Flags {
        listen: args.listen,
        max_attempts: args.max_attempts,
        otlp_endpoint: args.otlp_endpoint.clone(),
        log: args.log.clone(),
        log_format: args.log_format,
        ..global.flags()
    };
    let start = if args.takeover {
        Start::TakingOver
    } else {
        Start::Alone
    };
    with(flags, start, global.json)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Start {
    #[default]
    Alone,
    TakingOver,
}

/// Serves with these flags until told to stop.
pub(super) fn with(flags: Flags, start: Start, json: bool) -> Result<(), Failure> {
    // First, since anything opened before would take the numbers of these sockets.
    let by_supervisor = handover::given_by_supervisor();
    let sources = Sources::from_process(flags);
    let loaded = crate::config::load(&sources)?;
    // Before the first thread: a table that threads share takes milliseconds to grow.
    if let Ok(limit) = kernel::raise_fd_limit() {
        kernel::enlarge_fd_table(limit);
    }
    // Started before any runtime, and shut down after it: the exporter has a thread of its own.
    let telemetry = telemetry::start(&trace::options(&loaded))
        .map_err(|error| Failure::usage(error.to_string()))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut given = Given {
        by_supervisor,
        ..Given::default()
    };
    if start == Start::TakingOver {
        take_over(&loaded, &mut given)?;
    }
    let served = actix_web::rt::System::new().block_on(serve(sources, loaded, given, json));
    telemetry.shutdown(FLUSH_TIMEOUT);
    served
}

/// Gets the sockets of the service that this one takes over from, if one runs.
fn take_over(loaded: &Loaded, given: &mut Given) -> Result<(), Failure> {
    let limit = kernel::raise_fd_limit().unwrap_or(0);
    tracing::info!("asks the running service to hand over");
    match succession::ask(&loaded.settings.socket, limit) {
        Ok(inheritance) => {
            let sockets = inheritance.sockets.len();
            tracing::info!(sockets, "took the sockets of the running service over");
            given.inherit(inheritance);
            Ok(())
        }
        Err(error) if error.is_nobody() => {
            tracing::info!("no service runs, so there is nothing to take over");
            Ok(())
        }
        Err(error) => Err(Failure::other(error.to_string())),
    }
}

async fn serve(sources: Sources, loaded: Loaded, given: Given, json: bool) -> Result<(), Failure> {
    let failed = |error: StartError| Failure::other(error.to_string());
    let daemon = Daemon::build(sources, loaded, given)
        .await
        .map_err(failed)?;
    match daemon.console() {
        Some(url) if json => print_json(&serde_json::json!({ "console": url }))?,
        Some(url) => print(&format!("{url}\n"))?,
        None => {}
    }
    daemon.run().await.map_err(failed)
}
