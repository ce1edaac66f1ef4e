//! Blocks of 64 ports: as cells of the drawing, as rows of the table, and one of them port by port.

use std::sync::Arc;

use jiff::Timestamp;

use super::level::{Layer, conflicts, counts, mean_cost};
use super::view::{BLOCKS, View};
use crate::access::Viewer;
use crate::dashboard::format::{moment, relative};
use crate::domain::lease::Lease;
use crate::domain::words::{counted, grouped};
use crate::engine::survey::{BLOCK, PortView, Survey};

/// The first and the last port of a block. There is no port 0.
pub(super) const fn bounds(block: u16) -> (u16, u16) {
    let first = block * BLOCK;
    let last = first + (BLOCK - 1);
    (if first == 0 { 1 } else { first }, last)
}

pub(super) fn ports_of(survey: &Survey, block: u16) -> &[PortView] {
    let (first, last) = bounds(block);
    let range = usize::from(first)..=usize::from(last);
    survey.ports.get(range).unwrap_or_default()
}

/// The value of a block in words.
fn says(layer: Layer, ports: &[PortView], now: Timestamp) -> String {
    let now_ms = now.as_millisecond();
    match layer {
        Layer::Cost => mean_cost(ports).map_or_else(
            || "no port can be chosen".to_owned(),
            |cost| format!("{cost:.2} on average"),
        ),
        Layer::Conflicts => counted(conflicts(ports), "conflict"),
        Layer::Used if layer.of_block(ports, now_ms) == 5 => "in use now".to_owned(),
        Layer::Used => {
            let latest = ports.iter().filter_map(|port| port.news_ms).max();
            latest.map_or_else(|| "never".to_owned(), |at_ms| relative(moment(at_ms), now))
        }
        Layer::State | Layer::Policy => {
            let counts = counts(ports.iter().map(|port| layer.of_port(port, now_ms)));
            let said = counts.iter().zip(layer.meanings());
            let said = said.filter(|(count, _)| **count > 0);
            let said: Vec<String> = said
                .map(|(count, means)| format!("{count} {means}"))
                .collect();
            said.join(", ")
        }
    }
}

/// One block in the drawing.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) block: u16,
    pub(super) level: usize,
    /// The value of the block in words.
    pub(super) title: String,
    pub(super) shown: bool,
    /// Place in the drawing.
    pub(super) x: u16,
    pub(super) y: u16,
}

impl Cell {
    pub(super) fn of(view: &View, block: u16, survey: &Survey) -> Self {
        let ports = ports_of(survey, block);
        let level = view.layer.of_block(ports, survey.at.as_millisecond());
        Self {
            block,
            title: says(view.layer, ports, survey.at),
            level,
            shown: view.shows(level),
            x: 0,
            y: 0,
        }
    }

    pub(super) const fn first(&self) -> u16 {
        bounds(self.block).0
    }

    pub(super) const fn last(&self) -> u16 {
        bounds(self.block).1
    }
}

/// Neighbouring blocks with one value, as a row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) level: usize,
    pub(super) says: String,
}

/// The blocks as rows. Blocks of the lowest level are left out unless they are asked for.
pub(super) fn runs(cells: &[Cell], view: &View) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for cell in cells {
        if !cell.shown || (cell.level == 0 && view.only.is_none()) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.continues_with(cell) => run.last = cell.last(),
            _ => runs.push(Run {
                first: cell.first(),
                last: cell.last(),
                level: cell.level,
                says: cell.title.clone(),
            }),
        }
    }
    runs
}

impl Run {
    fn continues_with(&self, cell: &Cell) -> bool {
        self.last.checked_add(1) == Some(cell.first())
            && (self.level, &self.says) == (cell.level, &cell.title)
    }

    pub(super) const fn block(&self) -> u16 {
        self.first / BLOCK
    }

    /// The number of blocks in words. `None` if it is one.
    pub(super) fn each(&self) -> Option<String> {
        let blocks = usize::from(self.last / BLOCK - self.block()) + 1;
        (blocks > 1).then(|| format!("in each of {} blocks", grouped(blocks)))
    }
}

/// The chosen block, port by port.
#[derive(Debug)]
pub(super) struct BlockView {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) says: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    pub(super) ports: Vec<PortCell>,
}

#[derive(Debug)]
pub(super) struct PortCell {
    pub(super) number: u16,
    pub(super) level: usize,
    pub(super) says: String,
}

impl BlockView {
    pub(super) fn of(
        view: &View,
        block: u16,
        survey: &Survey,
        leases: &[&Arc<Lease>],
        viewer: &Viewer,
    ) -> Self {
        let ports = ports_of(survey, block);
        let (first, last) = bounds(block);
        let cell = |(number, port): (u16, &PortView)| {
            let on_it = leases.iter().find(|lease| lease.port.get() == number);
            PortCell {
                number,
                level: view.layer.of_port(port, survey.at.as_millisecond()),
                says: port_says(port, on_it.map(|lease| whose(lease, viewer)), survey.at),
            }
        };
        let before = block.checked_sub(1);
        let after = Some(block + 1).filter(|after| *after < BLOCKS);
        Self {
            first,
            last,
            says: says(view.layer, ports, survey.at),
            before: before.map(|block| view.of_block(block)),
            after: after.map(|block| view.of_block(block)),
            ports: (first..=last).zip(ports).map(cell).collect(),
        }
    }
}

/// The name of a lease, or its user if the viewer may not see the name.
fn whose(lease: &Lease, viewer: &Viewer) -> String {
    match &lease.name {
        Some(name) if viewer.sees(lease.uid) => format!("by {name}"),
        _ => format!("by uid {}", lease.uid),
    }
}

/// All values of a port in one line.
fn port_says(port: &PortView, whose: Option<String>, now: Timestamp) -> String {
    let level = Layer::State.of_port(port, now.as_millisecond());
    let mut said = vec![Layer::State.meanings()[level].to_owned()];
    said.extend(whose);
    said.extend(port.excluded.map(|reason| reason.describe().to_owned()));
    if port.in_pool {
        said.push(format!("cost {:.2}", port.cost));
    }
    if port.conflicts > 0 {
        said.push(counted(port.conflicts, "conflict"));
    }
    if let Some(at_ms) = port.news_ms {
        said.push(format!("last news {}", relative(moment(at_ms), now)));
    }
    said.join(", ")
}
