//! `portbook report`: contention on ports, such as that of a CI job, for its page.

mod markdown;
mod tally;

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use serde::Deserialize;

use self::tally::{Asked, Report};
use super::history;
use super::{Failure, Global, complete, note, print, print_json, with_backend};
use crate::answers::document::{AllocationRecordDocument, LeaseDocument};
use crate::answers::leases::LeaseQuery;
use crate::api::attempts::AttemptQuery;
use crate::api::export::{Format as Rows, Kind};
use crate::config::Loaded;
use crate::domain::lease::AllocationId;
use crate::domain::moment::Moment;
use crate::host::clock::Clock;
use crate::library::Error;
use crate::library::backend::Backend;

#[derive(Debug, Args)]
#[command(after_help = "\
Tells how many requests were granted and refused, how long the search took, which ports met whom and
how often, and which names moved:
  portbook report --since 1h
  portbook report --label job=1234 >> \"$GITHUB_STEP_SUMMARY\"
With --label it tells of the leases with that label, living and ended; a request that was refused has
no lease, so it is told of without --label alone.")]
pub struct ReportArgs {
    /// From this time on: an age (2h) or a time. Default: all on record with --label, else one day.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only leases with this label.
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Option<String>,
    /// Only of this pool.
    #[arg(long, value_name = "POOL", add = ArgValueCandidates::new(complete::pools))]
    pool: Option<String>,
    /// Format of the report; default: markdown. --json stands for json.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables that hosts of CI jobs show, and that people can read as they are.
    Markdown,
    /// One document.
    Json,
}

/// Maximum number of requests in a report. Each costs a question to the service.
const MOST: usize = 10_000;

/// Maximum number of attempts that are read to find the requests of a time.
const MOST_ATTEMPTS: u32 = 200_000;

/// Begin of a report without `--since` and `--label`.
const SINCE: Moment = Moment::Ago(crate::domain::duration::HumanDuration(
    std::time::Duration::from_hours(24),
));

pub(super) async fn run(global: &Global, args: &ReportArgs) -> Result<(), Failure> {
    let is_json = args.format == Some(Format::Json);
    global.check_format(args.format.as_ref().filter(|_| !is_json))?;
    let loaded = global.load()?;
    let until = Clock::system().now();
    let default = args.label.is_none().then_some(SINCE);
    let since = args.since.or(default).map(|since| since.from(until));
    let of_attempts = attempts(&loaded, args, since).await?;
    let asked = with_backend(&loaded, async |backend| {
        find(backend, args, since, of_attempts).await
    });
    let asked = asked.await?;
    if asked.more {
        note(&format!(
            "the latest {MOST} requests; a later --since leaves out none"
        ));
    }
    let report = Report::of(&asked, since, until, args.label.clone());
    if global.json || is_json {
        return print_json(&report);
    }
    print(&markdown::text(&report))
}

/// Requests of a time that made attempts, granted or not. None with a label, which refused requests do
/// not have.
async fn attempts(
    loaded: &Loaded,
    args: &ReportArgs,
    since: Option<Timestamp>,
) -> Result<BTreeSet<AllocationId>, Failure> {
    #[derive(Deserialize)]
    struct Row {
        allocation: Option<AllocationId>,
    }
    let mut found = BTreeSet::new();
    if args.label.is_some() {
        return Ok(found);
    }
    let wanted = AttemptQuery {
        pool: args.pool.clone(),
        since: since.map(Moment::At),
        limit: Some(MOST_ATTEMPTS),
        format: Some(Rows::Jsonl),
        ..AttemptQuery::default()
    };
    let mut text = Vec::new();
    let take = |piece: &[u8]| {
        text.extend_from_slice(piece);
        Ok(true)
    };
    history::rows(loaded, Kind::Attempts, &wanted, take).await?;
    for line in text.split(|byte| *byte == b'\n') {
        let row: Option<Row> = serde_json::from_slice(line).ok();
        found.extend(row.and_then(|row| row.allocation));
    }
    Ok(found)
}

/// The requests of a report, with their leases.
async fn find(
    backend: &Backend,
    args: &ReportArgs,
    since: Option<Timestamp>,
    mut ids: BTreeSet<AllocationId>,
) -> Result<Asked, Failure> {
    let leases = leases(backend, args, since).await?;
    ids.extend(leases.iter().map(|lease| lease.allocation));
    let mut asked = Asked {
        leases,
        allocations: Vec::new(),
        more: ids.len() > MOST,
    };
    // Ids count up with time.
    for id in ids.into_iter().rev().take(MOST) {
        asked.allocations.extend(allocation(backend, id).await?);
    }
    // Requests of other users are not shown, and their leases do not count.
    let shown: BTreeSet<AllocationId> = asked.allocations.iter().map(|one| one.id).collect();
    let leases = &mut asked.leases;
    leases.retain(|lease| shown.contains(&lease.allocation));
    Ok(asked)
}

/// A request on record. `None` if it has been deleted meanwhile.
async fn allocation(
    backend: &Backend,
    id: AllocationId,
) -> Result<Option<AllocationRecordDocument>, Failure> {
    match backend.allocation(id).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::Refused(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Leases granted since that time, living and ended, newest first.
async fn leases(
    backend: &Backend,
    args: &ReportArgs,
    since: Option<Timestamp>,
) -> Result<Vec<LeaseDocument>, Failure> {
    let mut all: Vec<LeaseDocument> = Vec::new();
    for state in [None, Some("ended".to_owned())] {
        let query = LeaseQuery {
            pool: args.pool.clone(),
            label: args.label.clone(),
            state,
            ..LeaseQuery::default()
        };
        let (found, _) = backend.leases_like(query, MOST).await?;
        all.extend(found);
    }
    // A lease that ended between the two questions is in both answers.
    let mut seen = BTreeSet::new();
    all.retain(|lease| {
        since.is_none_or(|since| lease.granted_at >= since) && seen.insert(lease.id)
    });
    Ok(all)
}
