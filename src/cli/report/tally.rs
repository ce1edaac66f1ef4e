//! Counting for a report: requests, their search, the ports that were in the way, and moves.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::answers::document::{AllocationRecordDocument, AttemptDocument, LeaseDocument, VERSION};
use crate::domain::attempt::{Occupant, Outcome, SocketState};
use crate::domain::lease::State;
use crate::domain::precedence::Skipped;
use crate::domain::reason::Reason;

/// Requests of a report and their leases, as they are on record.
pub(super) struct Asked {
    /// Requests, newest first.
    pub allocations: Vec<AllocationRecordDocument>,
    /// Leases, newest first.
    pub leases: Vec<LeaseDocument>,
    /// Whether older requests are left out.
    pub more: bool,
}

/// A report on contention.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Report {
    version: u32,
    /// Begin of the report. `None` if it has all that is on record.
    pub since: Option<Timestamp>,
    pub until: Timestamp,
    /// Label of the leases. `None` for all leases.
    pub label: Option<String>,
    /// Whether older requests are left out.
    pub more: bool,
    /// Number of requests that were granted.
    pub granted: usize,
    /// Number of requests that were refused.
    pub refused: usize,
    /// Number of leases.
    pub leases: usize,
    /// Number of tries to bind.
    pub attempts: usize,
    /// Duration of the requests. `None` without requests.
    pub search: Option<Search>,
    /// Ports in the way, the most frequent first.
    pub met: Vec<Met>,
    /// Leases that did not get the port they wanted or had.
    pub moved: Vec<MovedLease>,
    /// Refusals, the most frequent first.
    pub refusals: Vec<Refusal>,
    /// Leases whose port another program has taken.
    pub lost: Vec<LostLease>,
}

/// Time from request to commit, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "each has its unit")]
pub(super) struct Search {
    pub median_us: u64,
    pub p90_us: u64,
    pub longest_us: u64,
    pub total_us: u64,
}

/// Ports that were passed over, and the occupant or lease on them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Met {
    /// Number of requests that met it.
    pub times: usize,
    /// One port, or several in a row.
    pub ports: String,
    pub protocol: String,
    /// Outcome of the attempt, or reason to make none.
    pub how: &'static str,
    /// Occupant or lease. `None` if it is not known.
    pub by: Option<String>,
}

/// A lease on another port than it wanted.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct MovedLease {
    pub name: Option<String>,
    pub from: u16,
    pub to: u16,
    /// The move in words.
    pub why: String,
}

/// Refusals of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Refusal {
    pub times: usize,
    pub pool: String,
    pub code: String,
    pub detail: String,
}

/// A lease whose port another program has.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct LostLease {
    pub name: Option<String>,
    pub port: u16,
    /// Programs that listen on it.
    pub by: Vec<String>,
}

impl Report {
    /// Counts what is on record.
    pub(super) fn of(
        asked: &Asked,
        since: Option<Timestamp>,
        until: Timestamp,
        label: Option<String>,
    ) -> Self {
        let all = &asked.allocations;
        let refused = all.iter().filter(|one| one.refusal.is_some()).count();
        let name = |lease: &LeaseDocument| lease.name.as_ref().map(ToString::to_string);
        let moved = asked.leases.iter().filter_map(|lease| {
            let moved = lease.moved.as_ref()?;
            Some(MovedLease {
                name: name(lease),
                from: moved.from.get(),
                to: moved.to.get(),
                why: moved.to_string(),
            })
        });
        let lost = asked
            .leases
            .iter()
            .filter(|lease| lease.state == State::Lost);
        Self {
            version: VERSION,
            since,
            until,
            label,
            more: asked.more,
            granted: all.len() - refused,
            refused,
            leases: asked.leases.len(),
            attempts: all.iter().map(|one| one.attempts.len()).sum(),
            search: Search::of(all),
            met: met(all),
            moved: moved.collect(),
            refusals: refusals(all),
            lost: lost
                .map(|lease| LostLease {
                    name: name(lease),
                    port: lease.port.get(),
                    by: lease.outsiders.iter().map(ToString::to_string).collect(),
                })
                .collect(),
        }
    }
}

impl Search {
    fn of(all: &[AllocationRecordDocument]) -> Option<Self> {
        let mut durations: Vec<u64> = all.iter().map(|one| one.duration_us).collect();
        durations.sort_unstable();
        // The smallest duration that this many hundredths of the requests do not exceed.
        let within = |percent: usize| {
            let rank = (durations.len() * percent).div_ceil(100);
            durations.get(rank.saturating_sub(1)).copied()
        };
        Some(Self {
            median_us: within(50)?,
            p90_us: within(90)?,
            longest_us: durations.last().copied()?,
            total_us: durations.iter().sum(),
        })
    }
}

/// Ports, protocol, way and occupant of a port in the way.
type MetKey = (String, String, &'static str, Option<String>);

fn met(all: &[AllocationRecordDocument]) -> Vec<Met> {
    let mut times: BTreeMap<MetKey, usize> = BTreeMap::new();
    for one in all {
        let tried = one.attempts.iter().filter_map(tried);
        for key in tried.chain(passed_over(one)) {
            *times.entry(key).or_default() += 1;
        }
    }
    let met = times
        .into_iter()
        .map(|((ports, protocol, how, by), times)| Met {
            times,
            ports,
            protocol,
            how,
            by,
        });
    most_frequent_first(met, |met| met.times)
}

/// A refused attempt. `None` if it bound the port.
fn tried(attempt: &AttemptDocument) -> Option<MetKey> {
    let outcome: Outcome = attempt.outcome.parse().ok()?;
    let by = attempt.occupant.as_ref().map(without_pid);
    let ports = attempt.port.to_string();
    (!outcome.is_success()).then(|| (ports, attempt.protocol.clone(), outcome.as_str(), by))
}

/// Ports that a lease, or an occupant known before, kept from being tried. Those that were tried are among
/// the attempts.
fn passed_over(one: &AllocationRecordDocument) -> impl Iterator<Item = MetKey> + '_ {
    let protocol = one.attempts.first().map(|tried| tried.protocol.clone());
    let protocol = protocol.unwrap_or_default();
    let skipped = one.explanation.skipped.iter().filter(|skipped| {
        matches!(
            skipped.reason,
            Reason::Leased
                | Reason::Reserved
                | Reason::BeingGranted
                | Reason::CoolingDown
                | Reason::Listed
        )
    });
    skipped.map(move |skipped: &Skipped| {
        let ports = skipped.ports.to_string();
        let by = skipped.by.clone();
        (ports, protocol.clone(), skipped.reason.as_str(), by)
    })
}

/// Words for an occupant that are the same for each process of one program.
fn without_pid(occupant: &Occupant) -> String {
    let program = occupant.command.clone().unwrap_or_else(|| {
        let words = match occupant.state {
            SocketState::Lingering => "a closing connection",
            SocketState::Connected => "a connection",
            _ => "a program",
        };
        let user = occupant.uid.map(|uid| format!(" of uid {uid}"));
        format!("{words}{}", user.unwrap_or_default())
    });
    match occupant.state {
        SocketState::Connected if occupant.command.is_some() => format!("{program}, as a client"),
        _ => program,
    }
}

fn refusals(all: &[AllocationRecordDocument]) -> Vec<Refusal> {
    let mut times: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for one in all {
        if let Some(code) = &one.refusal {
            let detail = one.detail.clone().unwrap_or_default();
            let key = (one.pool.clone(), code.clone(), detail);
            *times.entry(key).or_default() += 1;
        }
    }
    let refusals = times
        .into_iter()
        .map(|((pool, code, detail), times)| Refusal {
            times,
            pool,
            code,
            detail,
        });
    most_frequent_first(refusals, |refusal| refusal.times)
}

fn most_frequent_first<T>(rows: impl Iterator<Item = T>, times: impl Fn(&T) -> usize) -> Vec<T> {
    let mut rows: Vec<T> = rows.collect();
    rows.sort_by_key(|row| std::cmp::Reverse(times(row)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocation() -> AllocationRecordDocument {
        serde_json::from_str(include_str!("../../answers/example/allocation_record.json")).unwrap()
    }

    fn report(allocations: Vec<AllocationRecordDocument>) -> Report {
        let asked = Asked {
            allocations,
            leases: Vec::new(),
            more: false,
        };
        Report::of(&asked, None, Timestamp::UNIX_EPOCH, None)
    }

    #[test]
    fn occupants_of_one_program_are_counted_together() {
        let mut other = allocation();
        other.attempts[0].occupant.as_mut().unwrap().pid = Some(1);
        let report = report(vec![allocation(), other]);
        let [met] = &report.met[..] else {
            panic!("{:?}", report.met);
        };
        assert_eq!((met.times, &*met.ports, met.how), (2, "21000", "in_use"));
        assert_eq!(met.by.as_deref(), Some("python3"));
        assert_eq!((report.granted, report.attempts), (2, 6));
    }

    #[test]
    fn ports_of_other_leases_are_met_without_an_attempt() {
        let mut one = allocation();
        let port = "3000".parse().unwrap();
        let skip = |reason| Skipped::new(port, reason, Some("web".to_owned()));
        one.explanation.skipped = vec![skip(Reason::Leased), skip(Reason::InUse)];
        let report = report(vec![one]);
        let how: Vec<_> = report
            .met
            .iter()
            .map(|met| (&*met.ports, met.how))
            .collect();
        assert_eq!(how, [("21000", "in_use"), ("3000", "leased")]);
    }

    #[test]
    fn durations_are_ranked() {
        let all = (1..=10).map(|n| AllocationRecordDocument {
            duration_us: n * 100,
            ..allocation()
        });
        let search = Search::of(&all.collect::<Vec<_>>()).unwrap();
        assert_eq!((search.median_us, search.p90_us), (500, 900));
        assert_eq!((search.longest_us, search.total_us), (1000, 5500));
        assert_eq!(Search::of(&[]), None);
    }

    #[test]
    fn refusals_of_one_kind_are_one_row() {
        let refused = AllocationRecordDocument {
            refusal: Some("pool_exhausted".to_owned()),
            detail: Some("no port is left".to_owned()),
            ..allocation()
        };
        let report = report(vec![refused.clone(), refused, allocation()]);
        assert_eq!((report.granted, report.refused), (1, 2));
        assert_eq!(report.refusals.len(), 1);
        assert_eq!(report.refusals[0].times, 2);
    }
}
