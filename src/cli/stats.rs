//! `portbook stats`: a summary of the history.

use std::fmt::Write;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::table::table;
use super::{Failure, Global, complete, note, number, with_backend};
use crate::answers::document::{OccupantStats, OutcomesDocument, PortStats, Saved, StatsDocument};
use crate::answers::stats::StatsQuery;
use crate::domain::moment::Moment;

#[derive(Debug, Args)]
pub struct StatsArgs {
    /// From this time on, in whole UTC days: an age or a time.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: Moment,
    /// Only of this pool.
    #[arg(long, add = ArgValueCandidates::new(complete::pools))]
    pool: Option<String>,
    /// Number of the busiest ports to show, at most 1000.
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

pub(super) async fn run(global: &Global, args: &StatsArgs) -> Result<(), Failure> {
    let loaded = global.load()?;
    let wanted = StatsQuery {
        since: Some(args.since),
        pool: args.pool.clone(),
        limit: Some(args.limit),
    };
    let stats = with_backend(&loaded, async |backend| backend.stats(&wanted).await).await?;
    global.answer(&stats, || text(&stats))?;
    if !global.json && (stats.more_ports || stats.more_conflicts) {
        note(&format!(
            "the {} busiest ports; --limit shows more",
            args.limit
        ));
    }
    Ok(())
}

fn text(stats: &StatsDocument) -> String {
    let since = stats.since.strftime("%Y-%m-%d");
    let mut text = format!("since {since} (UTC)\n");
    if stats.total.attempts == 0 && stats.hours.is_empty() {
        text.push_str("nothing is on record\n");
        return text;
    }
    text += &pools(stats);
    text += &interfaces(stats);
    text += &ports(stats);
    text += &conflicts(stats);
    text += &lifetimes(stats);
    if let Some(saved) = &stats.saved {
        let _ = writeln!(text, "\n{}", sentence(saved));
    }
    text
}

fn pools(stats: &StatsDocument) -> String {
    let heading = [
        "POOL", "ATTEMPTS", "GOT", "IN USE", "OTHER", "GRANTED", "REFUSED", "PER HOUR",
    ];
    let rows = stats.pools.iter().map(|pool| {
        let mut row = outcomes(pool.pool.clone(), &pool.outcomes);
        row.push(pool.granted.to_string());
        row.push(pool.refused.to_string());
        row.push(format!("{:.1}", pool.allocations_per_hour));
        row
    });
    part(&heading, rows)
}

fn interfaces(stats: &StatsDocument) -> String {
    let heading = ["INTERFACE", "ATTEMPTS", "GOT", "IN USE", "OTHER"];
    let interfaces = stats.interfaces.iter();
    part(
        &heading,
        interfaces.map(|one| outcomes(one.interface.clone(), &one.outcomes)),
    )
}

fn ports(stats: &StatsDocument) -> String {
    let heading = ["PORT", "ATTEMPTS", "GOT", "IN USE", "OTHER"];
    part(&heading, stats.ports.iter().map(port))
}

fn conflicts(stats: &StatsDocument) -> String {
    let heading = ["CONFLICTS ON", "ATTEMPTS", "GOT", "IN USE", "OTHER", "BY"];
    let rows = stats.conflicts.iter().map(|one| {
        let mut row = port(one);
        row.push(by(&one.record.occupants));
        row
    });
    part(&heading, rows)
}

fn lifetimes(stats: &StatsDocument) -> String {
    let heading = ["ENDED AS", "LEASES", "HALF WITHIN", "9 IN 10 WITHIN"];
    let rows = stats.leases.iter().map(|one| {
        vec![
            one.state.clone(),
            one.leases.to_string(),
            one.median.to_string(),
            one.p90.to_string(),
        ]
    });
    part(&heading, rows)
}

/// A table below an empty line, if it has rows.
fn part(heading: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table(heading, &rows))
}

/// A row that begins with `first`, followed by the counts of outcomes.
fn outcomes(first: String, outcomes: &OutcomesDocument) -> Vec<String> {
    let other = outcomes.not_permitted + outcomes.address_not_available + outcomes.failed;
    let rate = outcomes.success_rate;
    vec![
        first,
        outcomes.attempts.to_string(),
        rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0)),
        outcomes.in_use.to_string(),
        other.to_string(),
    ]
}

fn port(stats: &PortStats) -> Vec<String> {
    let at = format!("{}/{}", stats.port, stats.protocol);
    outcomes(at, &stats.record.outcomes)
}

/// `node 12×, java 3×`.
pub(super) fn by(occupants: &[OccupantStats]) -> String {
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
