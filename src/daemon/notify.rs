//! News for the supervisor, by its protocol (`sd_notify(3)`).

use crate::api::AppState;
use crate::host::supervisor::Supervisor;

/// Sends the supervisor some assignments, if there is one.
pub(super) fn tell(supervisor: Option<&Supervisor>, text: &str) {
    if let Some(supervisor) = supervisor {
        supervisor.tell(text);
    }
}

/// Assignments for a service that answers: it is ready, and its console listens there.
pub(super) fn ready(state: &AppState) -> String {
    let status = state.console.get().map_or_else(
        || "no console".to_owned(),
        |url| format!("the console listens at {url}"),
    );
    format!("READY=1\nSTATUS={status}")
}

/// Tells the supervisor's watchdog, if there is one, that the service runs. A service that polls
/// this no more is started anew.
pub(super) async fn keep_alive(supervisor: Option<Supervisor>) {
    let (Some(supervisor), Some(interval)) = (supervisor, Supervisor::watchdog_interval()) else {
        return;
    };
    let mut rounds = tokio::time::interval(interval);
    loop {
        rounds.tick().await;
        supervisor.tell("WATCHDOG=1");
    }
}
