//! `portbook explain ALLOCATION|PORT|NAME`: the reasons for a port, as a paragraph and as a table.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::named::{self, Here, Lookup};
use super::table::table;
use super::{Failure, Global, advice, complete, note, with_backend};
use crate::answers::document::{AllocationRecordDocument, AttemptDocument};
use crate::domain::attempt::printable;
use crate::domain::candidate::{Candidate, Weighed};
use crate::domain::explanation::{EXPLICIT, Explanation};
use crate::domain::lease::AllocationId;
use crate::domain::port::{Port, PortSet, Protocol};
use crate::library::backend::Backend;

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// An allocation's id, or a port or name, which means its latest allocation. A name is this
    /// folder's, else your user's; a number is one where no attempt on the port is on record.
    #[arg(value_name = "ALLOCATION|PORT|NAME", add = ArgValueCandidates::new(complete::names))]
    pub(super) what: String,
    /// tcp or udp, for a port.
    #[arg(long, default_value = "tcp")]
    pub(super) protocol: Protocol,
}

pub(super) async fn run(global: &Global, args: &ExplainArgs) -> Result<(), Failure> {
    let loaded = global.load()?;
    let found = with_backend(&loaded, async |backend| {
        let (found, called) = find(backend, args).await?;
        if let Some(said) = &called {
            note(said);
        }
        let mut leases = backend.leases(false).await?;
        leases.retain(|lease| lease.allocation == found.id);
        Ok::<_, Failure>((found, leases))
    });
    let (found, leases) = found.await?;
    global.answer(&found, || text(&found))?;
    if !global.json {
        advice::tell_all(&leases);
    }
    Ok(())
}

/// An allocation, with a note on a lease that is called as the port that was asked about.
pub(super) type Found = (AllocationRecordDocument, Option<String>);

/// Finds the allocation.
pub(super) async fn find(backend: &Backend, args: &ExplainArgs) -> Result<Found, Failure> {
    let (id, called) = if let Ok(id) = args.what.parse::<AllocationId>() {
        (id, None)
    } else if let Ok(port) = args.what.parse::<Port>() {
        of_port(backend, args.protocol, port).await?
    } else {
        (of_name(backend, &args.what).await?, None)
    };
    Ok((backend.allocation(id).await?, called))
}

/// Finds the latest allocation of a port, else that of a lease which is called as the port.
async fn of_port(
    backend: &Backend,
    protocol: Protocol,
    port: Port,
) -> Result<(AllocationId, Option<String>), Failure> {
    let found = backend.port(protocol, port).await?;
    let leased = found.leases.first().map(|lease| lease.allocation);
    let tried = found.attempts.iter().find_map(|attempt| attempt.allocation);
    let called = named::called(backend, port).await?;
    let said = named::note_of_called(port, &called);
    if let Some(id) = leased.or(tried) {
        return Ok((id, said));
    }
    let none = format!("no attempt on {port}/{protocol} is on record");
    match called.first() {
        Some(lease) => {
            let said = said.map(|said| format!("{none}; {said}, and this is its request"));
            Ok((lease.allocation, said))
        }
        None => Err(Failure::not_found(format!(
            "{none}; `portbook who {port}` names the occupant"
        ))),
    }
}

const LOOKUP: Lookup = Lookup {
    command: "explain",
    has_all: false,
    id: |lease| lease.allocation.to_string(),
};

/// Finds the latest allocation of a name, of a living lease if there is one.
async fn of_name(backend: &Backend, name: &str) -> Result<AllocationId, Failure> {
    let mut leases = backend.leases(false).await?;
    leases.extend(backend.leases(true).await?);
    leases.retain(|lease| named::is_named(lease, name));
    if leases.is_empty() {
        return Err(Failure::not_found(format!(
            "\"{}\" is no allocation, no port, and no name of a lease: `portbook list` shows names",
            printable(name)
        )));
    }
    let found = Here::now().find(&leases, name, false, LOOKUP)?;
    let latest = found.iter().min_by_key(|lease| lease.ended_at.is_some());
    latest
        .map(|lease| lease.allocation)
        .ok_or_else(|| Failure::other("there is no such lease"))
}

fn text(found: &AllocationRecordDocument) -> String {
    let explanation = &found.explanation;
    let mut text = format!(
        "allocation {} of {}, pool {}, {}\n\n{}\n",
        found.id,
        found.at,
        found.pool,
        order(explanation),
        found.story
    );
    if let Some(detail) = &found.detail {
        text.push_str("\nrefused: ");
        text.push_str(&printable(detail));
        text.push('\n');
    }
    if !explanation.choices.is_empty() {
        let rows: Vec<Vec<String>> = explanation
            .choices
            .iter()
            .flat_map(|weighed| rows(weighed, &explanation.granted))
            .collect();
        text.push('\n');
        text.push_str(&table(&HEADING, &rows));
    }
    if !found.attempts.is_empty() {
        let row = |attempt: &AttemptDocument| {
            let who = attempt.occupant.as_ref().map(ToString::to_string);
            vec![
                attempt.port.to_string(),
                attempt.address.clone(),
                attempt.outcome.clone(),
                who.unwrap_or_default(),
            ]
        };
        let rows: Vec<Vec<String>> = found.attempts.iter().map(row).collect();
        text.push('\n');
        text.push_str(&table(&["TRIED", "ADDRESS", "OUTCOME", "BY"], &rows));
    }
    text
}

/// Order of the candidates and the ranges that they are from: `learned in 20000-29999`. An explicit port
/// need not be in the ranges of its pool, which are left out then.
fn order(explanation: &Explanation) -> String {
    let Explanation {
        strategy, ranges, ..
    } = explanation;
    let asked = explanation.tried.iter().chain(&explanation.granted).next();
    let is_within = |ranges: &PortSet| asked.is_some_and(|port| ranges.contains(*port));
    if strategy == EXPLICIT && !ranges.parse().is_ok_and(|ranges| is_within(&ranges)) {
        return strategy.clone();
    }
    format!("{strategy} in {ranges}")
}

/// Evidence on each candidate, and its share of the cost.
const HEADING: [&str; 13] = [
    "PORT", "", "COST", "P_BUSY", "SEEN", "LATE", "RELEASED", "RULES", "GOOD", "FAILED", "BUSY",
    "CHECKS", "FOR",
];

/// One row for each candidate and protocol.
fn rows(weighed: &[Candidate], granted: &[Port]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (index, candidate) in weighed.iter().enumerate() {
        let verdict = match (index, granted.contains(&candidate.port)) {
            (0, true) => "chosen",
            (0, false) => "refused",
            _ => "",
        };
        for known in &candidate.weighed {
            rows.push(row(candidate, known, verdict));
        }
    }
    rows
}

fn row(candidate: &Candidate, known: &Weighed, verdict: &str) -> Vec<String> {
    let (evidence, cost) = (&known.evidence, &known.cost);
    let rules: Vec<String> = candidate
        .penalties
        .iter()
        .map(|penalty| format!("{} {:.2}", penalty.reason.as_str(), penalty.cost))
        .collect();
    let some = |value: f64| {
        if value > 0.0 {
            format!("{value:.2}")
        } else {
            String::new()
        }
    };
    vec![
        candidate.port.to_string(),
        verdict.to_owned(),
        format!("{:.4}", candidate.cost),
        format!("{:.4}", cost.p_busy),
        some(cost.seen),
        some(cost.late),
        some(cost.released),
        rules.join(" "),
        some(evidence.good),
        some(evidence.failed),
        some(evidence.busy),
        format!("{:.1}", evidence.checks),
        known.protocol.to_string(),
    ]
}
