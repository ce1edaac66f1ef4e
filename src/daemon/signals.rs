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
    face: Data<AppState>,
    sources: Sources,
) {
    let statistics = || log_statistics(stop.portserver.as_ref());
    let reload = || {
        tell(stop.supervisor.as_ref(), "RELOADING=1");
        reload(&face, &sources);
        tell(stop.supervisor.as_ref(), &ready(&face));
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
    face.service.journal().close();
    let graceful = tokio::spawn(stop.server.stop(true));
    signals.stop(|| {}, || {}).await;
    graceful.abort();
    stop.server.stop(false).await;
}

/// Reads the configuration again. An invalid one changes nothing and is logged.
fn reload(face: &AppState, sources: &Sources) {
    let mut loaded = match config::load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(%error, "could not read the configuration again; the running settings stay");
            return;
        }
    };
    let running = face.loaded();
    keep_what_needs_a_restart(&mut loaded.settings, &running.settings);
    // The settings that are shown are those in force.
    loaded.provenance.keep(&running.provenance, needs_a_restart);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    face.service.reconfigure(Arc::new(loaded.settings.clone()));
    face.service.reread_kernel_rules();
    let mut current = face
        .loaded
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    *current = Arc::new(loaded);
    drop(current);
    tracing::info!("configuration read again");
    face.service
        .journal()
        .other(EventKind::Reloaded, None, "configuration read again");
}

/// Whether a setting is read at the start of the service only.
fn needs_a_restart(key: &str) -> bool {
    !["pools.", "interfaces.", "history."]
        .iter()
        .any(|table| key.starts_with(table))
}

fn keep_what_needs_a_restart(new: &mut Settings, running: &Settings) {
    let moved = new.console != running.console
        || new.data_dir != running.data_dir
        || new.socket != running.socket
        || new.socket_mode != running.socket_mode
        || new.portserver != running.portserver
        || new.store != running.store
        || new.telemetry != running.telemetry;
    if moved {
        tracing::warn!(
            "console, portserver, data_dir, socket, store and telemetry change at a restart only; pools, interfaces and history have changed now"
        );
    }
    new.console = running.console.clone();
    new.portserver = running.portserver.clone();
    new.data_dir.clone_from(&running.data_dir);
    new.socket.clone_from(&running.socket);
    new.socket_mode = running.socket_mode;
    new.store = running.store.clone();
    new.telemetry = running.telemetry.clone();
}
