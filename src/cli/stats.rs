//! `portbook stats`: what the past adds up to.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::table::table;
use super::{Failure, Global, complete, number, print, print_json};
use crate::api::document::{OccupantStats, OutcomesDocument, PortStats, Saved, StatsDocument};
use crate::api::stats::StatsQuery;
use crate::domain::moment::Moment;
use crate::library::backend::Backend;

/// What `stats` takes.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// From then on, by whole UTC days: so long ago, or a time.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: Moment,
    /// Of this pool alone.
    #[arg(long, add = ArgValueCandidates::new(complete::pools))]
    pool: Option<String>,
    /// How many of the busiest ports to show, at most 1000.
    #[arg(long, value_name = "PORTS", default_value_t = 10, value_parser = limit)]
    limit: u32,
}

fn limit(text: &str) -> Result<u32, String> {
    match number::at_least_one::<u32>("ask for one port at least")(text)? {
        ports @ ..=1000 => Ok(ports),
        _ => {
            Err("ask for 1000 ports at most; `portbook history export --kind days` has all".into())
        }
    }
}

/// Tells what the past adds up to.
pub(super) async fn run(global: &Global, args: &StatsArgs) -> Result<ExitCode, Failure> {
    let loaded = global.load()?;
    let backend = Backend::open(&loaded).await?;
    let wanted = StatsQuery {
        since: Some(args.since),
        pool: args.pool.clone(),
        limit: Some(args.limit),
    };
    let stats = backend.stats(&wanted).await;
    backend.close().await;
    let stats = stats?;
    if global.json {
        print_json(&stats)?;
    } else {
        print(&text(&stats))?;
        if stats.more_ports || stats.more_conflicts {
            let more = format!("the {} busiest ports; --limit shows more", args.limit);
            super::note(&more);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(stats: &StatsDocument) -> String {
    let since = stats.since.strftime("%Y-%m-%d");
    let mut text = format!("since {since} (UTC)\n");
    if stats.total.attempts == 0 && stats.hours.is_empty() {
        text.push_str("nothing is on record\n");
        return text;
    }
    let rows = stats.pools.iter().map(|pool| {
        let allocations = vec![
            pool.granted.to_string(),
            pool.refused.to_string(),
            rate(pool.allocations_per_hour),
        ];
        [
            vec![pool.pool.clone()],
            outcomes(&pool.outcomes),
            allocations,
        ]
        .concat()
    });
    let heading = [
        "POOL", "ATTEMPTS", "GOT", "IN USE", "OTHER", "GRANTED", "REFUSED", "PER HOUR",
    ];
    part(&mut text, &heading, rows);
    let rows = stats
        .interfaces
        .iter()
        .map(|one| [vec![one.interface.clone()], outcomes(&one.outcomes)].concat());
    let heading = ["INTERFACE", "ATTEMPTS", "GOT", "IN USE", "OTHER"];
    part(&mut text, &heading, rows);
    let heading = ["PORT", "ATTEMPTS", "GOT", "IN USE", "OTHER"];
    let rows = stats.ports.iter().map(port);
    part(&mut text, &heading, rows);
    let heading = ["CONFLICTS ON", "ATTEMPTS", "GOT", "IN USE", "OTHER", "BY"];
    let rows = stats
        .conflicts
        .iter()
        .map(|one| [port(one), vec![whom(&one.occupants)]].concat());
    part(&mut text, &heading, rows);
    let rows = stats.leases.iter().map(|one| {
        vec![
            one.state.clone(),
            one.leases.to_string(),
            one.median.to_string(),
            one.p90.to_string(),
        ]
    });
    part(
        &mut text,
        &["ENDED AS", "LEASES", "HALF WITHIN", "9 IN 10 WITHIN"],
        rows,
    );
    if let Some(saved) = &stats.saved {
        let _ = writeln!(text, "\n{}", sentence(saved));
    }
    text
}

fn part(text: &mut String, heading: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(heading, &rows));
    }
}

fn outcomes(outcomes: &OutcomesDocument) -> Vec<String> {
    let other = outcomes.not_permitted + outcomes.address_not_available + outcomes.failed;
    vec![
        outcomes.attempts.to_string(),
        outcomes
            .success_rate
            .map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0)),
        outcomes.in_use.to_string(),
        other.to_string(),
    ]
}

fn port(stats: &PortStats) -> Vec<String> {
    let at = format!("{}/{}", stats.port, stats.protocol);
    [vec![at], outcomes(&stats.outcomes)].concat()
}

/// `node 12×, java 3×`.
pub(super) fn whom(occupants: &[OccupantStats]) -> String {
    let told = occupants.iter().map(|one| {
        let who = match (&one.command, one.uid) {
            (Some(command), _) => command.clone(),
            (None, Some(uid)) => format!("a process of uid {uid}"),
            (None, None) => "unknown".to_owned(),
        };
        format!("{who} {}×", one.attempts)
    });
    told.collect::<Vec<_>>().join(", ")
}

fn rate(rate: f64) -> String {
    format!("{rate:.1}")
}

fn sentence(saved: &Saved) -> String {
    let (random, met) = (saved.random_would_meet, saved.met);
    let of = format!(
        "random would have met {random:.1} in {} allocations, {met} were met",
        saved.allocations
    );
    if saved.conflicts < 0.5 {
        return format!("no conflicts saved: {of}");
    }
    format!("saved about {:.0} conflicts: {of}", saved.conflicts)
}
