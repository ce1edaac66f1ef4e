//! State, hosts and names of the fleet as tables.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::super::table::table;
use super::super::{Failure, Global, note, print_json, with_backend};
use crate::answers::document::VERSION;
use crate::answers::fleet::{
    FleetClaimsDocument, FleetClaimsQuery, FleetHostsDocument, FleetNamesDocument, FleetNamesQuery,
    FleetStatusDocument, ListFleetClaims, ListFleetHosts, ListFleetNames, ShowFleet, prometheus,
};
use crate::answers::operation::Query;
use crate::config::Loaded;
use crate::domain::claim::{ClaimCounts, FleetClaim};
use crate::domain::duration::coarse;
use crate::domain::fleet::{FleetHost, FleetName, FleetState};
use crate::domain::port::{PortSet, Protocol};
use crate::library::Error;
use crate::library::backend::Backend;

/// Exit code of an answer that does not come from the engine.
const NOT_FRESH: u8 = 3;

#[derive(Debug, Args)]
pub struct NamesArgs {
    /// Only those of this host.
    #[arg(long)]
    host: Option<String>,
    /// Only those whose host lives.
    #[arg(long)]
    live: bool,
    /// Fail with exit code 3 if the fleet does not answer, instead of telling what is known from before.
    #[arg(long)]
    fresh: bool,
}

#[derive(Debug, Args)]
pub struct ClaimsArgs {
    /// Only those of this host.
    #[arg(long)]
    host: Option<String>,
    /// Only these ports, such as 9100 or 9000-9100.
    ports: Option<PortSet>,
}

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

/// This host in its fleet, by its service or, if there is none, by the record alone.
pub(super) struct Standing {
    pub(super) status: FleetStatusDocument,
    pub(super) has_service: bool,
}

pub(super) async fn standing(loaded: &Loaded) -> Result<Standing, Failure> {
    with_backend(loaded, async |backend: &Backend| {
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
        "engine",
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

pub(super) async fn hosts(global: &Global) -> Result<(), Failure> {
    let loaded = global.load()?;
    let hosts = with_backend(&loaded, async |backend| {
        backend.call::<ListFleetHosts>(()).await
    })
    .await?;
    if hosts.more {
        note("there are more hosts than one answer has");
    }
    tell_age(hosts.fresh, hosts.age_ms);
    global.answer(&hosts, || hosts_text(&hosts))
}

fn hosts_text(document: &FleetHostsDocument) -> String {
    let row = |host: &FleetHost| {
        let own = if host.own { "this host" } else { "" };
        let addresses = host.addresses.join(" ");
        vec![
            host.host.clone(),
            host.version.clone(),
            since(host.since_ms),
            addresses,
            own.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = document.hosts.iter().map(row).collect();
    table(&["HOST", "VERSION", "SINCE", "ADDRESSES", ""], &rows)
}

/// A time of another host's clock, which is compared with none of this host.
fn since(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms);
    at.map_or_else(
        |_| "-".to_owned(),
        |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

pub(super) async fn claims(global: &Global, args: &ClaimsArgs) -> Result<(), Failure> {
    let loaded = global.load()?;
    let query = FleetClaimsQuery {
        host: args.host.clone(),
        ports: args.ports.clone(),
    };
    let claims = with_backend(&loaded, async |backend| {
        backend.call::<ListFleetClaims>(Query(query)).await
    })
    .await?;
    if claims.more {
        note("there are more numbers than one answer has");
    }
    tell_age(claims.fresh, claims.age_ms);
    global.answer(&claims, || claims_text(&claims))
}

fn claims_text(document: &FleetClaimsDocument) -> String {
    let row = |claim: &FleetClaim| {
        let live = if claim.live { "yes" } else { "no" };
        vec![
            claim.port.to_string(),
            claim.protocol.to_string(),
            claim.host.clone(),
            live.to_owned(),
            claim.pool.clone(),
            claim.fence.clone(),
            claim.fence_token.to_string(),
            claim.name.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<Vec<String>> = document.claims.iter().map(row).collect();
    let head = [
        "PORT", "PROTO", "HOST", "LIVE", "POOL", "FENCE", "TOKEN", "NAME",
    ];
    table(&head, &rows)
}

pub(super) async fn names(global: &Global, args: &NamesArgs) -> Result<(), Failure> {
    let query = FleetNamesQuery {
        host: args.host.clone(),
        live: args.live,
        ..FleetNamesQuery::default()
    };
    let names = ask(global, query).await?;
    tell(global, &names, args.fresh)
}

/// `portbook list --fleet`: all names, or the targets of Prometheus.
pub(in crate::cli) async fn list(global: &Global, as_targets: bool) -> Result<(), Failure> {
    let names = ask(global, FleetNamesQuery::default()).await?;
    if as_targets {
        tell_age(names.fresh, names.age_ms);
        return print_json(&prometheus(&names.names));
    }
    tell(global, &names, false)
}

/// `portbook who --fleet`: published names on these ports.
pub(in crate::cli) async fn on_ports(
    global: &Global,
    ports: Option<PortSet>,
    protocol: Option<Protocol>,
) -> Result<(), Failure> {
    let query = FleetNamesQuery {
        ports,
        protocol,
        ..FleetNamesQuery::default()
    };
    let names = ask(global, query).await?;
    tell(global, &names, false)
}

async fn ask(global: &Global, query: FleetNamesQuery) -> Result<FleetNamesDocument, Failure> {
    let loaded = global.load()?;
    with_backend(&loaded, async |backend| {
        backend.call::<ListFleetNames>(Query(query)).await
    })
    .await
}

/// Prints names. `is_strict`: it is a failure that they are not fresh.
pub(super) fn tell(
    global: &Global,
    names: &FleetNamesDocument,
    is_strict: bool,
) -> Result<(), Failure> {
    if names.more {
        note("there are more names than one answer has; narrow it with portbook resolve NAME");
    }
    let document = json!({
        "version": VERSION, "names": names.names, "fresh": names.fresh, "age_ms": names.age_ms,
        "more": names.more,
    });
    global.answer(&document, || text(&names.names))?;
    if is_strict && !names.fresh {
        let age = coarse(Duration::from_millis(names.age_ms));
        let message = format!("the fleet does not answer; this was read {age} ago");
        return Err(Failure::other(message)
            .with_code(NOT_FRESH)
            .already_printed());
    }
    tell_age(names.fresh, names.age_ms);
    Ok(())
}

pub(super) fn tell_age(is_fresh: bool, age_ms: u64) {
    if !is_fresh {
        let age = coarse(Duration::from_millis(age_ms));
        note(&format!(
            "the fleet does not answer; this was read {age} ago"
        ));
    }
}

/// Table of names.
pub(super) fn text(names: &[FleetName]) -> String {
    let row = |name: &FleetName| {
        let live = if name.live { "yes" } else { "no" };
        let addresses = if name.addresses.is_empty() {
            "-".to_owned()
        } else {
            name.addresses.join(" ")
        };
        vec![
            name.host.clone(),
            name.port.to_string(),
            name.protocol.to_string(),
            name.state.clone(),
            live.to_owned(),
            name.name.clone(),
            addresses,
        ]
    };
    let rows: Vec<Vec<String>> = names.iter().map(row).collect();
    table(
        &[
            "HOST",
            "PORT",
            "PROTO",
            "STATE",
            "LIVE",
            "NAME",
            "ADDRESSES",
        ],
        &rows,
    )
}
