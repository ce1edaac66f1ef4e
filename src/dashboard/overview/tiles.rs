//! The numbers at the top of the overview, each with a link to the list that it counts.

use std::sync::Arc;
use std::time::Duration;

use super::facts::Facts;
use super::past::Past;
use crate::dashboard::format::{per_mille, percent};
use crate::dashboard::frame::Params;
use crate::domain::health::{Check, Condition};
use crate::domain::lease::{BootTime, Lease, State};
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::words::{counted, grouped};
use crate::engine::capacity::Capacity;

/// Leases that end within this time are counted; the word is the same time in an address.
const SOON: Duration = Duration::from_mins(10);
const SOON_WORD: &str = "10m";

#[derive(Debug, Clone, Default)]
pub(super) struct Tile {
    pub(super) label: String,
    pub(super) value: String,
    /// The number in context.
    pub(super) note: String,
    pub(super) href: String,
    /// Whether the tile is highlighted.
    pub(super) alarming: bool,
    /// The number as a length from 0 to 1000, if it is a share.
    pub(super) bar: Option<u64>,
}

/// The tiles, in the order of the page.
pub(super) fn tiles(facts: &Facts<'_>) -> Vec<Tile> {
    let mut tiles = vec![active(facts.leases)];
    tiles.extend(free(facts.capacities));
    tiles.push(conflicts(facts.past));
    tiles.push(expiring(facts.leases, facts.boot));
    tiles.push(owners_away(facts.leases));
    tiles.push(health(facts.checks));
    tiles
}

fn in_state(leases: &[Arc<Lease>], state: State) -> usize {
    leases.iter().filter(|lease| lease.state == state).count()
}

fn active(leases: &[Arc<Lease>]) -> Tile {
    let others = leases.len() - in_state(leases, State::Active);
    Tile {
        label: "Active leases".to_owned(),
        value: grouped(in_state(leases, State::Active)),
        note: match others {
            0 => "there are no others".to_owned(),
            _ => format!("{} without a listener", counted(others, "other lease")),
        },
        href: "/leases?state=active".to_owned(),
        ..Tile::default()
    }
}

/// Free ports of the default pool, which most requests use.
fn free(capacities: &[Capacity]) -> Option<Tile> {
    let of = capacities.iter().find(|pool| &*pool.pool == DEFAULT_POOL)?;
    let shares = of.whole.as_ref().ok()?.shares;
    let (free, all) = (shares.free, shares.grantable());
    Some(Tile {
        label: format!("Free in pool {}", of.pool),
        value: percent(free, all),
        note: format!("{} of {}", grouped(free), counted(all, "port")),
        href: "/map?only=1".to_owned(),
        alarming: free * 20 < all,
        bar: Some(per_mille(free, all)),
    })
}

fn conflicts(past: &Past) -> Tile {
    let (attempts, met) = past.attempts_of_day();
    let conflicts = Params::default()
        .with("outcome", "in_use")
        .with("since", &past.since());
    Tile {
        label: "Conflicts in 24 hours".to_owned(),
        value: grouped(met),
        note: match (attempts, past.late.found) {
            (0, 0) => "nothing was tried".to_owned(),
            (_, 0) => format!(
                "{} of {}",
                percent(met, attempts),
                counted(attempts, "attempt")
            ),
            (_, late) => format!("and {} on leased ports", counted(late, "outsider")),
        },
        href: conflicts.link("/attempts"),
        alarming: past.late.found > 0,
        ..Tile::default()
    }
}

fn expiring(leases: &[Arc<Lease>], now: BootTime) -> Tile {
    let last = now.after(SOON);
    let is_near = |end: &Option<BootTime>| end.is_some_and(|end| end <= last);
    let unclaimed = leases.iter().filter(|lease| is_near(&lease.claim_by));
    let ending = leases
        .iter()
        .filter(|lease| is_near(&lease.claim_by) || is_near(&lease.expires));
    Tile {
        label: "Expiring soon".to_owned(),
        value: grouped(ending.count()),
        note: match unclaimed.count() {
            0 => "within 10 minutes".to_owned(),
            waiting => format!("within 10 minutes, {} unless claimed", grouped(waiting)),
        },
        href: format!("/leases?ends={SOON_WORD}"),
        ..Tile::default()
    }
}

/// Leases kept for their names. Leases without a name end with their owners.
fn owners_away(leases: &[Arc<Lease>]) -> Tile {
    Tile {
        label: "Owners away".to_owned(),
        value: grouped(in_state(leases, State::Reserved)),
        note: "their names keep the ports".to_owned(),
        href: "/leases?state=reserved".to_owned(),
        ..Tile::default()
    }
}

fn health(checks: &[Check]) -> Tile {
    let is_well = |check: &&Check| check.condition == Condition::Ok;
    let well = checks.iter().filter(is_well).count();
    let wrong: Vec<&str> = checks
        .iter()
        .filter(|check| !is_well(check))
        .map(|check| check.name)
        .collect();
    let failed = checks
        .iter()
        .any(|check| check.condition == Condition::Fail);
    let (value, note) = match (checks.len(), wrong.is_empty()) {
        (0, _) => ("No answer", "the record does not answer".to_owned()),
        (_, true) => ("Good", format!("all of {}", counted(well, "check"))),
        _ if failed => ("Problem", format!("in {}", wrong.join(", "))),
        _ => ("Warning", format!("about {}", wrong.join(", "))),
    };
    Tile {
        label: "Health".to_owned(),
        value: value.to_owned(),
        note,
        href: "/status".to_owned(),
        alarming: well < checks.len() || checks.is_empty(),
        ..Tile::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support::lease;
    use crate::engine::capacity::{Place, Shares};
    use crate::store::HourTotal;

    fn in_states(states: &[State]) -> Vec<Arc<Lease>> {
        let one = |(state, port): (&State, u16)| {
            let mut lease = lease(port);
            lease.state = *state;
            Arc::new(lease)
        };
        states.iter().zip(20_000..).map(one).collect()
    }

    #[test]
    fn numbers_link_to_their_lists() {
        let leases = in_states(&[State::Active, State::Reserved, State::Active, State::Lost]);
        let tile = active(&leases);
        assert_eq!((&*tile.value, &*tile.href), ("2", "/leases?state=active"));
        assert!(
            tile.note.contains("2 other leases without"),
            "{}",
            tile.note
        );
        let tile = owners_away(&leases);
        assert_eq!((&*tile.value, &*tile.href), ("1", "/leases?state=reserved"));
        assert_eq!(tile.label, "Owners away");
    }

    #[test]
    fn leases_ending_within_ten_minutes_are_counted() {
        let now = BootTime(Duration::from_secs(100));
        let mut leases = [lease(1), lease(2), lease(3), lease(4)];
        leases[0].claim_by = Some(now.after(SOON));
        leases[0].expires = Some(now.after(Duration::from_secs(1)));
        leases[1].expires = Some(now.after(SOON + Duration::from_secs(1)));
        leases[2].expires = Some(now.after(SOON));
        let tile = expiring(&leases.map(Arc::new), now);
        assert_eq!(tile.value, "2");
        assert!(tile.note.ends_with("1 unless claimed"), "{}", tile.note);
    }

    #[test]
    fn free_share_leaves_out_excluded_ports() {
        let shares = Shares {
            leased: 1,
            others: 1,
            excluded: 90,
            free: 8,
            held: 0,
        };
        let whole = Ok(Place {
            interface: "".into(),
            group: crate::domain::address::AddressGroup::new([]),
            shares,
        });
        let mut pool = Capacity {
            pool: DEFAULT_POOL.into(),
            whole,
            interfaces: Vec::new(),
        };
        let tile = free(std::slice::from_ref(&pool)).unwrap();
        assert_eq!((&*tile.value, &*tile.note), ("80 %", "8 of 10 ports"));
        assert_eq!((tile.bar, tile.alarming), (Some(800), false));
        pool.whole = Err("no such interface".to_owned());
        assert!(free(&[pool]).is_none());
    }

    #[test]
    fn conflicts_are_a_share_of_attempts() {
        let past = Past {
            first_hour: 1,
            attempts: vec![
                HourTotal {
                    hour: 1,
                    attempts: 30,
                    in_use: 1,
                },
                HourTotal {
                    hour: 2,
                    attempts: 10,
                    in_use: 1,
                },
            ],
            ..Past::default()
        };
        let tile = conflicts(&past);
        assert_eq!((&*tile.value, &*tile.note), ("2", "5 % of 40 attempts"));
        let query = "outcome=in_use&since=1970-01-01T01%3A00%3A00Z";
        assert_eq!(tile.href, format!("/attempts?{query}"));
    }

    #[test]
    fn health_names_failed_checks() {
        let mut checks = vec![Check::ok("record", ""), Check::ok("disk", "")];
        assert!(!health(&checks).alarming);
        checks[1].condition = Condition::Fail;
        let tile = health(&checks);
        assert_eq!((&*tile.value, &*tile.note), ("Problem", "in disk"));
        assert!(tile.alarming && health(&[]).alarming);
    }
}
