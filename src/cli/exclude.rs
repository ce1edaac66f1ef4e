//! `portbook exclude` and `portbook include`: ports that are never granted.

use clap::Args;
use serde_json::json;

use super::table::table;
use super::{Failure, Global, note, print_json, traced};
use crate::answers::document::VERSION;
use crate::answers::exclusions::{ExclusionAnswer, RangeAnswer};
use crate::domain::exclusion::Exclusion;
use crate::domain::port::{PortSet, Protocols};

#[derive(Debug, Args)]
#[command(after_help = "\
From then on the ports are never granted, not even by number. A name that has one of them keeps
it while its program runs, and moves at its next start; `exclude` tells which names do.
  portbook exclude 5000-5010,6000 --reason 'test bench'
  portbook exclude                                what is excluded by hand
  portbook include 5000-5010                      takes it back")]
pub struct ExcludeArgs {
    /// The ports, such as 5000-5010,6000. Without them, list those excluded by hand.
    #[arg(value_name = "PORTS")]
    ports: Option<PortSet>,
    /// tcp, udp or both.
    #[arg(long, default_value = "tcp")]
    protocol: Protocols,
    /// Reason, shown to every user.
    #[arg(long, value_name = "TEXT", requires = "ports")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct IncludeArgs {
    /// The ports, such as 5000-5010,6000.
    #[arg(value_name = "PORTS")]
    ports: PortSet,
    /// tcp, udp or both.
    #[arg(long, default_value = "tcp")]
    protocol: Protocols,
}

pub(super) fn exclude(global: &Global, args: &ExcludeArgs) -> Result<(), Failure> {
    let Some(ports) = &args.ports else {
        let all = traced(global, "portbook exclude", async |backend| {
            Ok(backend.exclusions().await?)
        })?;
        return global.answer(&all, || text(&all));
    };
    let (excluded, all) = traced(global, "portbook exclude", async |backend| {
        let reason = args.reason.clone();
        let excluded = backend.exclude(args.protocol, ports, reason).await?;
        Ok((excluded, backend.exclusions().await?))
    })?;
    if global.json {
        print_excluded(ports, args.protocol, &excluded, &all)?;
    } else {
        tell(ports, args.protocol, "excluded");
    }
    excluded.notes.iter().for_each(|text| note(text));
    Ok(())
}

pub(super) fn include(global: &Global, args: &IncludeArgs) -> Result<(), Failure> {
    let (ports, protocol) = (&args.ports, args.protocol);
    traced(global, "portbook include", async |backend| {
        Ok(backend.include(protocol, ports).await?)
    })?;
    if global.json {
        let included = json!({ "ports": ports, "protocol": protocol });
        return print_json(&json!({ "version": VERSION, "included": included }));
    }
    tell(ports, protocol, "included");
    Ok(())
}

fn tell(ports: &PortSet, protocol: Protocols, done: &str) {
    let verb = if ports.len() == 1 { "is" } else { "are" };
    note(&format!("{}/{protocol} {verb} {done}", ports.in_words()));
}

/// Prints one port as the API's document of one exclusion, several as that of a range.
fn print_excluded(
    ports: &PortSet,
    protocol: Protocols,
    excluded: &RangeAnswer,
    all: &[Exclusion],
) -> Result<(), Failure> {
    let is_it = |one: &&Exclusion| {
        Some(one.port) == ports.first() && Protocols::from(one.protocol) == protocol
    };
    match all.iter().find(is_it).filter(|_| ports.len() == 1) {
        Some(one) => print_json(&ExclusionAnswer {
            exclusion: one.clone(),
            is_new: excluded.added > 0,
            notes: excluded.notes.clone(),
        }),
        None => print_json(excluded),
    }
}

/// Makes one row of ports in a row that were excluded together.
fn text(exclusions: &[Exclusion]) -> String {
    let together = |one: &Exclusion, next: &Exclusion| {
        let ports_in_a_row = one.port.get().checked_add(1) == Some(next.port.get());
        ports_in_a_row
            && (one.protocol, one.uid, one.at, &one.reason)
                == (next.protocol, next.uid, next.at, &next.reason)
    };
    let row = |run: &[Exclusion]| {
        let ports: PortSet = run.iter().map(|exclusion| exclusion.port).collect();
        let exclusion = &run[0];
        vec![
            ports.to_string(),
            exclusion.protocol.to_string(),
            exclusion.uid.to_string(),
            exclusion.at.strftime("%F %R").to_string(),
            exclusion.reason.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = exclusions.chunk_by(together).map(row).collect();
    table(&["PORT", "PROTOCOL", "UID", "SINCE (UTC)", "REASON"], &rows)
}
