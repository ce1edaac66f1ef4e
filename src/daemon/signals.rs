//! Signals: stop in order, stop at once, read the configuration again.

use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::AppState;
use crate::config::{self, Settings, Sources};
use crate::domain::event::EventKind;
use crate::protocol::succession::Link;
use crate::store::Paused;

use super::notify::{ready, tell};
use super::portserver::log_statistics;
use super::{Daemon, GRACE, predecessor};

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Returns at SIGTERM or SIGINT; handles SIGHUP and SIGUSR1 meanwhile.
    pub(super) async fn stop(&mut self, mut on_hang_up: impl FnMut(), mut on_user: impl FnMut()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => on_hang_up(),
                _ = self.user.recv() => on_user(),
            }
        }
    }
}

/// Reasons for a service to end.
pub(super) enum End {
    /// It was told to stop.
    Stopped,
    /// Its successor answers, and has the record, to which this service must not write.
    Succeeded(Paused),
}

/// Runs until the service is to end, and has answered what was asked by then.
pub(super) async fn obey(daemon: &mut Daemon) -> End {
    let end = until_end(daemon).await;
    if !matches!(end, End::Succeeded(_)) {
        daemon.lock.mark_ending();
    }
    daemon.state.service.end_line();
    daemon.state.service.journal().close();
    daemon.state.service.fleet().leave_waiting(true);
    daemon.entrance.doors.close().await;
    daemon.entrance.workers.end_connections();
    let closed = tokio::time::timeout(GRACE, daemon.entrance.doors.traffic().closed());
    tokio::select! {
        _ = closed => {}
        () = daemon.signals.stop(|| {}, || {}) => {}
    }
    daemon.entrance.workers.stop();
    end
}

async fn until_end(daemon: &mut Daemon) -> End {
    loop {
        match asked_to_end(daemon).await {
            None => {
                tracing::info!(
                    "stopping; requests under way are answered, unless a second signal comes"
                );
                return End::Stopped;
            }
            // A signal that comes meanwhile counts once it is decided which service goes on.
            Some(successor) => {
                if let Some(paused) = predecessor::hand_over(daemon, Link::new(successor)).await {
                    return End::Succeeded(paused);
                }
            }
        }
    }
}

/// Returns the process that is to take over. `None` at a signal to stop.
async fn asked_to_end(daemon: &mut Daemon) -> Option<UnixStream> {
    let Daemon {
        state,
        sources,
        signals,
        entrance,
        supervisor,
        ..
    } = daemon;
    let statistics = || log_statistics(entrance.portserver.as_ref());
    let reload = || {
        tell(supervisor.as_ref(), "RELOADING=1");
        reload(state, sources);
        tell(supervisor.as_ref(), &ready(state));
    };
    tokio::select! {
        () = signals.stop(reload, statistics) => None,
        Some(successor) = entrance.takeovers.recv() => Some(successor),
    }
}

/// Reads the configuration again. An invalid one changes nothing and is logged.
fn reload(state: &AppState, sources: &Sources) {
    let mut loaded = match config::load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(%error, "could not read the configuration again; the running settings stay");
            return;
        }
    };
    let running = state.loaded();
    keep_what_needs_a_restart(&mut loaded.settings, &running.settings);
    // The settings that are shown are those in force.
    loaded.provenance.keep(&running.provenance, needs_a_restart);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    state.service.reconfigure(Arc::new(loaded.settings.clone()));
    state.service.reread_kernel_rules();
    let mut current = state
        .loaded
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    *current = Arc::new(loaded);
    drop(current);
    tracing::info!("configuration read again");
    state
        .service
        .journal()
        .other(EventKind::Reloaded, None, "configuration read again");
}

/// Tables of settings that a running service applies.
const APPLIED: [&str; 3] = ["pools.", "interfaces.", "history."];

/// Whether a setting is read at the start of the service only.
fn needs_a_restart(key: &str) -> bool {
    !APPLIED.iter().any(|table| key.starts_with(table))
}

/// Takes from `new` the settings that a running service applies, and from `running` all others.
fn keep_what_needs_a_restart(new: &mut Settings, running: &Settings) {
    let in_force = Settings {
        pools: new.pools.clone(),
        interfaces: new.interfaces.clone(),
        history: new.history.clone(),
        ..running.clone()
    };
    if in_force != *new {
        tracing::warn!(
            "some changed settings wait for a restart: only pools, interfaces and history have changed now"
        );
    }
    *new = in_force;
}
