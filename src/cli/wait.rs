//! `portbook wait PORT`: until something listens there, or until it is free.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Failure, Global, note};
use crate::domain::attempt::SocketState;
use crate::domain::duration::Span;
use crate::domain::port::{Port, Protocol};
use crate::host::closing::ClosingSockets;
use crate::host::occupancy::Occupancy;
use crate::host::readiness::Readiness;

/// As timeout(1) has it.
const TIMED_OUT: u8 = 124;

/// For "somebody began to listen" the kernel has no event, so it is looked for so often.
const ROUND: Duration = Duration::from_millis(100);

/// How long to rely on news of closing sockets.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// What `wait` takes.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 124 if the time is up, as with timeout(1).")]
pub struct WaitArgs {
    /// The port.
    port: Port,
    /// tcp or udp.
    #[arg(long, default_value = "tcp")]
    protocol: Protocol,
    /// Wait until nothing is on the port any more, rather than until something listens.
    #[arg(long)]
    free: bool,
    /// How long to wait; for ever if left out.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
}

/// Waits.
pub(super) async fn run(_global: &Global, args: &WaitArgs) -> Result<ExitCode, Failure> {
    let waiting = async {
        if args.free {
            until_free(args).await
        } else {
            until_listening(args).await
        }
    };
    let Some(limit) = args.timeout else {
        return waiting.await;
    };
    if let Ok(done) = tokio::time::timeout(limit.0, waiting).await {
        return done;
    }
    let what = if args.free {
        "still in use"
    } else {
        "still without a listener"
    };
    note(&format!("port {}/{} is {what}", args.port, args.protocol));
    Ok(ExitCode::from(TIMED_OUT))
}

async fn until_listening(args: &WaitArgs) -> Result<ExitCode, Failure> {
    let mut rounds = tokio::time::interval(ROUND);
    loop {
        rounds.tick().await;
        if states(args)?.contains(&SocketState::Listening) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

async fn until_free(args: &WaitArgs) -> Result<ExitCode, Failure> {
    let failed = |error: std::io::Error| Failure::other(format!("news of sockets: {error}"));
    // Listened to before looking, so that nothing closes in between unheard. Only TCP is told of.
    let news = ClosingSockets::open().map_err(failed)?;
    let closing = Readiness::of(news.descriptor().map_err(failed)?).map_err(failed)?;
    let mut rounds = tokio::time::interval(ROUND);
    while !states(args)?.is_empty() {
        match args.protocol {
            Protocol::Tcp => {
                // TIME_WAIT ends without news, so look now and then all the same.
                let heard = tokio::time::timeout(SECOND_LOOK, closing.readable());
                heard.await.unwrap_or(Ok(())).map_err(failed)?;
                news.drain();
            }
            Protocol::Udp => drop(rounds.tick().await),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn states(args: &WaitArgs) -> Result<Vec<SocketState>, Failure> {
    let entries = Occupancy::on_port(args.protocol, args.port)
        .map_err(|error| Failure::other(format!("the socket tables: {error}")))?;
    Ok(entries.into_iter().map(|entry| entry.state).collect())
}
