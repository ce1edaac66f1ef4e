//! Signals: stop in order, stop at once, read the configuration again.

use std::io;
use std::sync::{Arc, OnceLock};

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::api::AppState;
use crate::config::{self, Settings, Sources};
use crate::domain::event::EventKind;
use crate::protocol::portserver::Portserver;

use super::notify::{ready, tell};
use super::portserver::log_statistics;
use crate::host::supervisor::Supervisor;

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
    async fn stop(&mut self, mut on_hang_up: impl FnMut(), mut on_user: impl FnMut()) {
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

/// The connection of the service that takes over, if one does.
pub(super) type Successor = Arc<OnceLock<UnixStream>>;

/// Ways to stop the service, beside signals.
pub(super) struct Stop {
    pub(super) server: ServerHandle,
    pub(super) takeovers: mpsc::Receiver<UnixStream>,
    pub(super) successor: Successor,
    /// Port server whose statistics SIGUSR1 logs.
    pub(super) portserver: Option<Portserver>,
    /// Supervisor to tell of a new configuration.
    pub(super) supervisor: Option<Supervisor>,
}

pub(super) async fn obey(
    mut signals: Signals,
    mut stop: Stop,
    state: Data<AppState>,
    sources: Sources,
) {
    let statistics = || log_statistics(stop.portserver.as_ref());
    let reload = || {
        tell(stop.supervisor.as_ref(), "RELOADING=1");
        reload(&state, &sources);
        tell(stop.supervisor.as_ref(), &ready(&state));
    };
    tokio::select! {
        () = signals.stop(reload, statistics) => {
            tracing::info!("stopping; requests under way are answered, unless a second signal comes");
        }
        Some(successor) = stop.takeovers.recv() => {
            tracing::info!("stopping, since another service takes over");
            // Set once, here.
            let _ = stop.successor.set(successor);
        }
    }
    state.service.journal().close();
    let graceful = tokio::spawn(stop.server.stop(true));
    signals.stop(|| {}, || {}).await;
    graceful.abort();
    stop.server.stop(false).await;
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
