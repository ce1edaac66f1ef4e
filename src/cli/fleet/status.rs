//! `portbook fleet status`: this host in its fleet, and what brings its settings into force.

use std::time::Duration;

use super::super::{Failure, Global, with_service};
use super::show::NOT_FRESH;
use crate::answers::fleet::{FleetStatusDocument, ShowFleet};
use crate::config::Loaded;
use crate::domain::attempt::printable;
use crate::domain::claim::ClaimCounts;
use crate::domain::duration::coarse;
use crate::domain::fleet::FleetState;
use crate::library::Error;
use crate::library::backend::Backend;

pub(super) async fn status(global: &Global) -> Result<(), Failure> {
    let loaded = global.load()?;
    let Standing {
        mut status,
        has_service,
    } = standing(&loaded).await?;
    if status.state == FleetState::Off {
        status.why.get_or_insert_with(|| off(&loaded, has_service));
    }
    global.answer(&status, || status_text(&status))?;
    match status.state {
        FleetState::Joined | FleetState::Quarantined if status.refused => {
            let message = refused(status.host.as_deref().unwrap_or("HOST"));
            Err(Failure::other(message)
                .with_code(NOT_FRESH)
                .already_printed())
        }
        FleetState::Joined | FleetState::Quarantined => Ok(()),
        state => {
            let why = status.why.as_deref().unwrap_or("no session is open yet");
            let message = format!("the fleet is {}: {why}", state.as_str());
            Err(Failure::other(message)
                .with_code(NOT_FRESH)
                .already_printed())
        }
    }
}

/// Says how a host gets its rights.
fn refused(host: &str) -> String {
    format!(
        "etcd refuses this host, see its trouble: `portbook fleet role {host} | bash`, as root of etcd, gives it its rights"
    )
}

/// This host in its fleet, by its service or, if there is none, by the record alone.
pub(super) struct Standing {
    pub(super) status: FleetStatusDocument,
    pub(super) has_service: bool,
}

pub(super) async fn standing(loaded: &Loaded) -> Result<Standing, Failure> {
    with_service(loaded, async |backend: &Backend| {
        let status = backend.call::<ShowFleet>(()).await?;
        let has_service = matches!(backend, Backend::Service(_));
        Ok::<_, Error>(Standing {
            status,
            has_service,
        })
    })
    .await
}

/// Reason for which this host never was in a fleet.
fn off(loaded: &Loaded, has_service: bool) -> String {
    if loaded.settings.fleet.engine.is_empty() {
        return "fleet.engine is not set".to_owned();
    }
    let source = loaded.provenance.source("fleet.engine");
    let next = next_step(has_service);
    format!("the settings name a fleet ({source}), which a service reads at its start: {next}")
}

/// Words for what brings settings of the fleet into force.
pub(super) const fn next_step(has_service: bool) -> &'static str {
    if has_service {
        "restart the one that runs with `systemctl restart portbook`, or `portbook serve --takeover`"
    } else {
        "none runs, so start it with `systemctl start portbook`, or `portbook serve`"
    }
}

fn status_text(status: &FleetStatusDocument) -> String {
    let age = |ms: u64| coarse(Duration::from_millis(ms));
    let state = status.state.as_str();
    let mut lines = vec![match status.host {
        Some(_) if status.refused => {
            let age = age(status.for_ms);
            format!("state: {state} for {age}, but etcd refuses this host")
        }
        Some(_) => format!("state: {state} for {}", age(status.for_ms)),
        // It has no age: it was never in one.
        None => format!("state: {state}"),
    }];
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name}: {value}"));
        }
    };
    line("why", status.why.clone());
    line("host", status.host.clone());
    let addresses: Vec<String> = status.addresses.iter().map(ToString::to_string).collect();
    line(
        "addresses",
        (!addresses.is_empty()).then(|| addresses.join(" ")),
    );
    line(
        "etcd",
        (!status.engine.is_empty()).then(|| status.engine.join(" ")),
    );
    line("session", status.session.clone());
    line(
        "renewed",
        status.renewed_ms.map(|ms| format!("{} ago", age(ms))),
    );
    if status.host.is_some() {
        let names = format!(
            "{} published, {} to be sent",
            status.published, status.pending
        );
        lines.push(format!("names: {names}"));
        lines.extend(claims_line(&status.claims));
        lines.extend(status.fence.as_ref().map(|fence| format!("fence: {fence}")));
        lines.extend(status.shut_in_words());
        let troubles = status.troubles.iter();
        lines.extend(troubles.map(|trouble| format!("trouble: {}", printable(trouble))));
    }
    lines.extend(status.fence_warning.clone());
    lines.join("\n") + "\n"
}

/// Unique numbers of this host by state. `None` if it has none.
fn claims_line(claims: &ClaimCounts) -> Option<String> {
    let counts = [
        (claims.held, "held"),
        (claims.asked, "asked for"),
        (claims.releasing, "to be given back"),
        (claims.lost, "lost"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    (!counts.is_empty()).then(|| format!("unique numbers: {}", counts.join(", ")))
}
