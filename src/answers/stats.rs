//! Statistics: the totals of the past.

mod lifetime;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{
    HourStats, InterfaceStats, OccupantStats, OutcomesDocument, PoolStats, PortRecord, PortStats,
    Saved, StatsDocument, VERSION,
};
use super::operation::{Answered, Context, Description, Method, Operation, Output, Query, Tag};
use super::paging;
use super::problem::{Code, Problem};
use super::viewer::Viewer;
use crate::domain::duration::HumanDuration;
use crate::domain::moment::Moment;
use crate::engine::service::Service;
use crate::store::{AllocationTotal, AttemptTotal, OccupantTotal, Reader, StatsFilter, StoreError};

/// Number of ports without `limit`, and its maximum.
const PORTS: u32 = 10;
const MOST_PORTS: u32 = 1000;

/// Maximum number of occupants of a port.
const OCCUPANTS: usize = 5;

/// Begin of the statistics without `since`: a week ago.
const SINCE: Moment = Moment::Ago(HumanDuration(std::time::Duration::from_hours(7 * 24)));

const DAY_SECONDS: i64 = 86_400;
const HOUR_SECONDS: i64 = 3600;

/// Filters of statistics.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatsQuery {
    /// From the beginning of this day on; a week ago if left out.
    pub since: Option<Moment>,
    /// Of this pool alone.
    pub pool: Option<String>,
    /// Maximum number of ports in `ports` and in `conflicts`, from 1 to 1000; 10 if left out.
    #[schemars(range(min = 1, max = MOST_PORTS))]
    pub limit: Option<u32>,
}

impl Output for StatsDocument {}

pub struct ShowStats;

impl Operation for ShowStats {
    type Input = Query<StatsQuery>;
    type Output = StatsDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/stats";
    const ID: &'static str = "showStats";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::History, "Show statistics")
            .says("Attempts and success by pool, interface and port, occupants met, lifetimes of leases.")
            .answers::<StatsDocument>(200, "The numbers.", include_str!("example/stats.json"))
            .refused(&[Code::StoreUnavailable])
    }
}

impl Answered for ShowStats {
    async fn answer(
        Context { service, viewer }: Context<'_>,
        Query(query): Query<StatsQuery>,
    ) -> Result<StatsDocument, Problem> {
        let limit = paging::limit_within(query.limit, PORTS, MOST_PORTS)?;
        service.count_attempts().await?;
        let now = service.clock().now();
        let since = query.since.unwrap_or(SINCE).from(now);
        let mut filter = filter(viewer, since, query.pool.clone());
        // One more than is shown, to know whether there are more.
        filter.ports = limit + 1;
        let first_day = filter.first_day;
        let reader = service.store().reader();
        let attempts = reader.attempt_totals(&filter).await?;
        let hours = reader.allocation_totals(&filter).await?;
        let since = second(first_day * DAY_SECONDS);
        let (ports, more_ports) = paging::page(attempts.ports, limit);
        let (conflicts, more_conflicts) = paging::page(attempts.conflicts, limit);
        Ok(StatsDocument {
            version: VERSION,
            since,
            until: now,
            total: sum(&attempts.places),
            pools: pools(&attempts.places, &hours, hours_of(since, now)),
            interfaces: interfaces(&attempts.places),
            ports: with_occupants(&reader, &filter, ports, viewer).await?,
            more_ports,
            conflicts: with_occupants(&reader, &filter, conflicts, viewer).await?,
            more_conflicts,
            hours: by_hour(&hours),
            leases: lifetime::lifetimes(&reader.lease_totals(&filter).await?),
            saved: saved(hours.iter()),
        })
    }
}

fn filter(viewer: &Viewer, since: Timestamp, pool: Option<String>) -> StatsFilter {
    StatsFilter {
        first_day: since.as_second().div_euclid(DAY_SECONDS),
        pool,
        uid: viewer.only_user(),
        ports: PORTS,
    }
}

/// Totals of the attempts of one week, by interface.
pub async fn of_interfaces(
    service: &Service,
    viewer: &Viewer,
) -> Result<Vec<InterfaceStats>, StoreError> {
    service.count_attempts().await?;
    let since = SINCE.from(service.clock().now());
    let reader = service.store().reader();
    let places = reader.place_totals(&filter(viewer, since, None)).await?;
    Ok(interfaces(&places))
}

/// Totals of the attempts on one port over all days, as this viewer may see them.
pub(super) async fn of_port(
    service: &Service,
    viewer: &Viewer,
    protocol: &str,
    port: u16,
) -> Result<Option<PortRecord>, StoreError> {
    service.count_attempts().await?;
    let reader = service.store().reader();
    let filter = StatsFilter {
        first_day: i64::MIN,
        pool: None,
        uid: viewer.only_user(),
        ports: 1,
    };
    let total = reader.port_total(protocol, port, filter.uid).await?;
    let stats = with_occupants(&reader, &filter, total.into_iter().collect(), viewer).await?;
    Ok(stats.into_iter().next().map(|stats| stats.record))
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MIN)
}

fn millisecond(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}

fn hours_of(since: Timestamp, until: Timestamp) -> f64 {
    until.duration_since(since).as_secs_f64() / 3600.0
}

fn sum<'a>(totals: impl IntoIterator<Item = &'a AttemptTotal>) -> OutcomesDocument {
    let mut sum = OutcomesDocument::default();
    for total in totals {
        sum.add(&total.outcomes);
    }
    sum
}

#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
fn pools(places: &[AttemptTotal], hours: &[AllocationTotal], length: f64) -> Vec<PoolStats> {
    let mut pools: BTreeMap<&str, PoolStats> = BTreeMap::new();
    for place in places {
        let pool = pools.entry(&place.pool).or_default();
        pool.outcomes.add(&place.outcomes);
    }
    for hour in hours {
        let pool = pools.entry(&hour.pool).or_default();
        pool.granted += hour.granted.unsigned_abs();
        pool.refused += hour.refused.unsigned_abs();
    }
    let named = pools.into_iter().map(|(name, pool)| PoolStats {
        pool: name.to_owned(),
        allocations_per_hour: (pool.granted + pool.refused) as f64 / length.max(1.0),
        ..pool
    });
    named.collect()
}

fn interfaces(places: &[AttemptTotal]) -> Vec<InterfaceStats> {
    let mut interfaces: BTreeMap<&str, OutcomesDocument> = BTreeMap::new();
    for place in places {
        let outcomes = interfaces.entry(&place.interface).or_default();
        outcomes.add(&place.outcomes);
    }
    let named = interfaces
        .into_iter()
        .map(|(interface, outcomes)| InterfaceStats {
            interface: interface.to_owned(),
            outcomes,
        });
    named.collect()
}

async fn with_occupants(
    reader: &Reader,
    filter: &StatsFilter,
    totals: Vec<AttemptTotal>,
    viewer: &Viewer,
) -> Result<Vec<PortStats>, StoreError> {
    let keys: Vec<(u16, &str)> = totals
        .iter()
        .map(|total| (total.port, &*total.protocol))
        .collect();
    let occupants = reader.occupant_totals(&keys, filter).await?;
    let ports = totals.iter().map(|total| {
        let theirs = occupants
            .iter()
            .filter(|one| (one.port, &one.protocol) == (total.port, &total.protocol));
        PortStats {
            protocol: total.protocol.clone(),
            port: total.port,
            record: PortRecord {
                outcomes: total.outcomes,
                last_at: millisecond(total.last_ms),
                last_refused_at: total.last_refused_ms.and_then(millisecond),
                occupants: named(theirs, viewer),
            },
        }
    });
    Ok(ports.collect())
}

/// Occupants by name; those that this viewer may not name are added up by user.
fn named<'a>(
    totals: impl Iterator<Item = &'a OccupantTotal>,
    viewer: &Viewer,
) -> Vec<OccupantStats> {
    let mut named: Vec<OccupantStats> = Vec::new();
    for total in totals {
        let uid = u32::try_from(total.occupant_uid).ok();
        let is_shown = uid.is_none_or(|uid| viewer.sees(uid)) && !total.command.is_empty();
        let command = is_shown.then(|| total.command.clone());
        let attempts = total.attempts.unsigned_abs();
        match named
            .iter_mut()
            .find(|known| known.command == command && known.uid == uid)
        {
            Some(known) => known.attempts += attempts,
            None => named.push(OccupantStats {
                command,
                uid,
                attempts,
            }),
        }
    }
    named.sort_by(|a, b| b.attempts.cmp(&a.attempts));
    named.truncate(OCCUPANTS);
    named
}

fn by_hour(totals: &[AllocationTotal]) -> Vec<HourStats> {
    let mut hours: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for total in totals {
        let (granted, refused) = hours.entry(total.hour).or_default();
        *granted += total.granted.unsigned_abs();
        *refused += total.refused.unsigned_abs();
    }
    let told = hours
        .into_iter()
        .map(|(hour, (granted, refused))| HourStats {
            at: second(hour * HOUR_SECONDS),
            granted,
            refused,
        });
    told.collect()
}

/// Conflicts saved by the choice in these hours. `None` if no allocation weighed its candidates.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
pub fn saved<'a>(hours: impl Iterator<Item = &'a AllocationTotal> + Clone) -> Option<Saved> {
    let allocations: i64 = hours.clone().map(|hour| hour.weighed).sum();
    let random_would_meet: f64 = hours.clone().map(|hour| hour.random_would_meet).sum();
    let met: i64 = hours.map(|hour| hour.met).sum();
    (allocations > 0).then(|| Saved {
        allocations: allocations.unsigned_abs(),
        random_would_meet,
        met: met.unsigned_abs(),
        conflicts: random_would_meet - met as f64,
    })
}
