//! `portbook exclude` and `portbook include`: ports that are granted to nobody.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::table::table;
use super::{Failure, Global, note, print, print_json};
use crate::api::document::VERSION;
use crate::config::Loaded;
use crate::domain::exclusion::Exclusion;
use crate::domain::port::{Port, Protocol};
use crate::library::backend::Backend;

/// What `exclude` takes.
#[derive(Debug, Args)]
pub struct ExcludeArgs {
    /// The port; without one what is excluded by hand is listed.
    port: Option<Port>,
    /// tcp or udp.
    #[arg(long, default_value = "tcp")]
    protocol: Protocol,
    /// Why, for whoever meets it.
    #[arg(long, value_name = "TEXT", requires = "port")]
    reason: Option<String>,
}

/// What `include` takes.
#[derive(Debug, Args)]
pub struct IncludeArgs {
    /// The port.
    port: Port,
    /// tcp or udp.
    #[arg(long, default_value = "tcp")]
    protocol: Protocol,
}

/// Excludes a port, or lists what is excluded.
pub(super) async fn exclude(
    global: &Global,
    args: &ExcludeArgs,
    loaded: Loaded,
) -> Result<ExitCode, Failure> {
    let backend = Backend::open(&loaded).await?;
    let done = match args.port {
        Some(port) => {
            let (protocol, reason) = (args.protocol, args.reason.clone());
            let excluded = backend.exclude(protocol, port, reason).await;
            excluded.map(|exclusion| vec![exclusion])
        }
        None => backend.exclusions().await,
    };
    backend.close().await;
    tell(global, args.port, &done?)?;
    Ok(ExitCode::SUCCESS)
}

fn tell(global: &Global, port: Option<Port>, exclusions: &[Exclusion]) -> Result<(), Failure> {
    match (port, exclusions) {
        (Some(_), [one]) if global.json => print_json(one),
        (Some(port), [one]) => {
            note(&format!("{port}/{} is excluded", one.protocol));
            Ok(())
        }
        _ if global.json => print_json(&exclusions),
        _ => print(&text(exclusions)),
    }
}

fn text(exclusions: &[Exclusion]) -> String {
    let row = |exclusion: &Exclusion| {
        vec![
            exclusion.port.to_string(),
            exclusion.protocol.to_string(),
            exclusion.uid.to_string(),
            exclusion.at.strftime("%F %R").to_string(),
            exclusion.reason.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = exclusions.iter().map(row).collect();
    table(&["PORT", "PROTOCOL", "UID", "SINCE (UTC)", "REASON"], &rows)
}

/// Takes an exclusion back.
pub(super) async fn include(
    global: &Global,
    args: &IncludeArgs,
    loaded: Loaded,
) -> Result<ExitCode, Failure> {
    let backend = Backend::open(&loaded).await?;
    let included = backend.include(args.protocol, args.port).await;
    backend.close().await;
    included?;
    let (port, protocol) = (args.port, args.protocol);
    if global.json {
        print_json(
            &json!({ "version": VERSION, "included": { "port": port, "protocol": protocol } }),
        )?;
    } else {
        note(&format!("{port}/{protocol} is included"));
    }
    Ok(ExitCode::SUCCESS)
}
