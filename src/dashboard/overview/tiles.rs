//! The numbers at the top of the overview, each a way to what is behind it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::dashboard::format::{count, grouped, per_mille, percent};
use crate::dashboard::part::badge::Tone;
use crate::dashboard::part::interface::InterfaceRow;
use crate::dashboard::part::lease::urgency;
use crate::domain::lease::{Lease, State};
use crate::domain::pool::Pool;
use crate::domain::port::Port;

/// One number with what it means.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    /// What is counted.
    pub(super) label: String,
    /// The number.
    pub(super) value: String,
    /// The rest of the sentence.
    pub(super) note: String,
    /// Where the rows behind it are.
    pub(super) href: &'static str,
    /// Whether the note asks for a look.
    pub(super) alarming: bool,
    /// A bar from 0 to 1000, where the number is a share.
    pub(super) bar: Option<usize>,
}

/// What the tiles are made of.
pub(super) struct Counts<'a> {
    /// The living leases.
    pub(super) leases: &'a [Arc<Lease>],
    /// The pool that most requests use.
    pub(super) default_pool: Option<&'a Pool>,
    /// How many of the events are refusals.
    pub(super) refused: usize,
    /// How many events the journal keeps.
    pub(super) events: usize,
    /// The host's interfaces.
    pub(super) interfaces: &'a [InterfaceRow],
}

/// The tiles, in the order of the page.
pub(super) fn tiles(counts: &Counts<'_>) -> Vec<Tile> {
    let pool = counts
        .default_pool
        .map(|pool| pool_tile(pool, counts.leases));
    let mut tiles = vec![lease_tile(counts.leases)];
    tiles.extend(pool);
    tiles.push(refused_tile(counts.refused, counts.events));
    tiles.push(interface_tile(counts.interfaces));
    tiles
}

fn lease_tile(leases: &[Arc<Lease>]) -> Tile {
    let of = |state| leases.iter().filter(|lease| lease.state == state).count();
    let trouble = leases
        .iter()
        .filter(|lease| urgency(lease.state) < 2)
        .count();
    let note = match trouble {
        0 => format!(
            "{} with a listener, {} waiting for one",
            of(State::Active),
            of(State::Handed)
        ),
        1 => "1 needs a look".to_owned(),
        _ => format!("{trouble} need a look"),
    };
    Tile {
        label: "Living leases".to_owned(),
        value: grouped(leases.len()),
        note,
        href: "#leases",
        alarming: trouble > 0,
        bar: None,
    }
}

/// Counts what portbook itself gave away. Who else is on a port shows only when it is tried.
fn pool_tile(pool: &Pool, leases: &[Arc<Lease>]) -> Tile {
    let excluded = pool.ranges.intersection(&pool.exclude).len();
    let ports = pool.ranges.len() - excluded;
    // A port leased for TCP and UDP, or on several interfaces, is one port all the same.
    let granted: BTreeSet<Port> = leases
        .iter()
        .filter(|lease| lease.pool == pool.name)
        .map(|lease| lease.port)
        .collect();
    let left = ports.saturating_sub(granted.len());
    Tile {
        label: format!("Pool {}, not leased", pool.name),
        value: percent(left, ports),
        note: format!(
            "{} of {} in {}",
            grouped(left),
            count(ports, "port"),
            pool.ranges
        ),
        href: "#leases",
        alarming: left * 20 < ports,
        bar: Some(per_mille(granted.len(), ports)),
    }
}

fn refused_tile(refused: usize, events: usize) -> Tile {
    Tile {
        label: "Refused requests".to_owned(),
        value: grouped(refused),
        note: match events {
            0 => "nothing has happened yet".to_owned(),
            1 => "in the only event so far".to_owned(),
            _ => format!("in the latest {}", count(events, "event")),
        },
        href: "#events",
        alarming: refused > 0,
        bar: None,
    }
}

fn interface_tile(interfaces: &[InterfaceRow]) -> Tile {
    let is_up = |interface: &&InterfaceRow| interface.state.tone == Tone::Good;
    let up: Vec<&InterfaceRow> = interfaces.iter().filter(is_up).collect();
    let addresses = up.iter().map(|interface| interface.addresses.len()).sum();
    Tile {
        label: "Interfaces up".to_owned(),
        value: format!("{} of {}", up.len(), interfaces.len()),
        note: format!("with {}", addresses_in_words(addresses)),
        href: "#interfaces",
        alarming: up.is_empty(),
        bar: None,
    }
}

fn addresses_in_words(addresses: usize) -> String {
    match addresses {
        1 => "1 address".to_owned(),
        _ => format!("{} addresses", grouped(addresses)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support::lease;

    #[test]
    fn trouble_comes_before_everything_else() {
        let mut lost = lease(20_000);
        lost.state = State::Lost;
        let tile = lease_tile(&[Arc::new(lost), Arc::new(lease(20_001))]);
        assert_eq!((&*tile.value, &*tile.note), ("2", "1 needs a look"));
        assert!(tile.alarming);
    }
}
