//! Hosts, claims and names of the fleet as tables.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::super::table::table;
use super::super::{Failure, Global, note, print_json, with_service};
use crate::answers::document::VERSION;
use crate::answers::fleet::{
    FleetClaimsDocument, FleetClaimsQuery, FleetHostsDocument, FleetNamesDocument, FleetNamesQuery,
    ListFleetClaims, ListFleetHosts, ListFleetNames, prometheus,
};
use crate::answers::operation::Query;
use crate::domain::claim::{EVICT_UNREADABLE, FleetClaim, unreadable_told};
use crate::domain::duration::coarse;
use crate::domain::fleet::{FleetHost, FleetName};
use crate::domain::port::{PortSet, Protocol};

/// Exit code of an answer that does not come from etcd.
pub(super) const NOT_FRESH: u8 = 3;

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

pub(super) async fn hosts(global: &Global) -> Result<(), Failure> {
    let loaded = global.load()?;
    let hosts = with_service(&loaded, async |backend| {
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
    let claims = with_service(&loaded, async |backend| {
        backend.call::<ListFleetClaims>(Query(query)).await
    })
    .await?;
    if claims.more {
        note("there are more numbers than one answer has");
    }
    tell_age(claims.fresh, claims.age_ms);
    if let Some(unreadable) = unreadable_told(&claims.claims) {
        note(&format!(
            "{unreadable}; `{EVICT_UNREADABLE}` deletes such claims"
        ));
    }
    let nothing = "no number of the fleet is like this";
    answer_rows(global, &claims, claims.claims.is_empty(), nothing, || {
        claims_text(&claims)
    })
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

/// Prints a table, or a note instead of an empty one.
pub(super) fn answer_rows(
    global: &Global,
    document: &impl Serialize,
    is_empty: bool,
    nothing: &str,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if is_empty && !global.json {
        note(nothing);
        return Ok(());
    }
    global.answer(document, text)
}

async fn ask(global: &Global, query: FleetNamesQuery) -> Result<FleetNamesDocument, Failure> {
    let loaded = global.load()?;
    with_service(&loaded, async |backend| {
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
    let nothing = "no host of the fleet publishes such a lease";
    answer_rows(global, &document, names.names.is_empty(), nothing, || {
        text(&names.names)
    })?;
    judge_age(names.fresh, names.age_ms, is_strict)
}

/// Tells the age of an answer that is not fresh. `is_strict`: such an answer is a failure.
pub(super) fn judge_age(is_fresh: bool, age_ms: u64, is_strict: bool) -> Result<(), Failure> {
    if is_strict && !is_fresh {
        let age = coarse(Duration::from_millis(age_ms));
        let message = format!("the fleet does not answer; this was read {age} ago");
        return Err(Failure::other(message)
            .with_code(NOT_FRESH)
            .already_printed());
    }
    if !is_fresh {
        let age = coarse(Duration::from_millis(age_ms));
        note(&format!(
            "the fleet does not answer; this was read {age} ago, but the leases of this host are those of now"
        ));
    }
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
