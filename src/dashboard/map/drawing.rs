//! The drawing: blocks in rows. That of the pools begins a row where blocks are left out.

use std::collections::BTreeMap;

use super::block::{Cell, bounds, ports_of};
use super::level::LEVELS;
use super::view::{BLOCKS, View};
use crate::engine::survey::{PortView, Standing, Survey};

/// Number of blocks in a row of the whole map, and in one of the pools, whose blocks are larger.
const COLUMNS: u16 = 32;
const POOL_COLUMNS: u16 = 16;

/// Side of a block.
const SIDE: u16 = 20;

/// Middle and base line of a block's letter.
const MIDDLE: f32 = 9.25;
const BASE: f32 = 13.6;

/// Every fourth row of the whole map has a label.
const LABELLED: u16 = 4;

/// Letters of one level in a row.
#[derive(Debug, Default)]
pub(super) struct Letters {
    pub(super) level: usize,
    pub(super) y: f32,
    pub(super) text: String,
    middles: Vec<f32>,
}

impl Letters {
    /// The place of each letter, as the attribute `x` of a text.
    pub(super) fn places(&self) -> String {
        let places: Vec<String> = self.middles.iter().map(f32::to_string).collect();
        places.join(" ")
    }
}

/// The blocks in their places.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    pub(super) cells: Vec<Cell>,
    /// First ports of rows, each with the place of its text.
    pub(super) labels: Vec<(u16, u16)>,
    pub(super) width: u16,
    pub(super) height: u16,
}

impl Drawing {
    pub(super) fn of(view: &View, cells: Vec<Cell>, survey: &Survey) -> Self {
        if view.is_whole() {
            return Self::laid_out(cells, COLUMNS);
        }
        let is_known = |cell: &Cell| ports_of(survey, cell.block).iter().any(is_known);
        let cells = cells.into_iter().filter(is_known);
        Self::laid_out(cells.collect(), POOL_COLUMNS)
    }

    fn laid_out(mut cells: Vec<Cell>, columns: u16) -> Self {
        let (mut labels, mut place): (Vec<(u16, u16)>, _) = (Vec::new(), (0, 0));
        let mut before: Option<u16> = None;
        for cell in &mut cells {
            let follows = before.is_none_or(|before| before + 1 == cell.block);
            if place.0 == columns || !follows {
                place = (0, place.1 + 1);
            }
            if place.0 == 0 {
                labels.push((cell.first(), place.1));
            }
            (cell.x, cell.y) = (place.0 * SIDE, place.1 * SIDE);
            place.0 += 1;
            before = Some(cell.block);
        }
        if cells.len() == usize::from(BLOCKS) {
            labels.retain(|(_, row)| row % LABELLED == 0);
        }
        let height = if cells.is_empty() { 0 } else { place.1 + 1 };
        Self {
            cells,
            labels: labels
                .into_iter()
                .map(|(first, row)| (first, row * SIDE + 14))
                .collect(),
            width: columns * SIDE,
            height: height * SIDE,
        }
    }

    /// The letters on the blocks: one run for those of a level in a row, since a page draws one text of many
    /// letters faster than many texts.
    pub(super) fn letters(&self, letters: [&'static str; LEVELS]) -> Vec<Letters> {
        let mut runs: BTreeMap<(u16, usize), Letters> = BTreeMap::new();
        for cell in self.cells.iter().filter(|cell| cell.shown) {
            let run = runs.entry((cell.y, cell.level)).or_insert_with(|| Letters {
                level: cell.level,
                y: f32::from(cell.y) + BASE,
                ..Letters::default()
            });
            run.middles.push(f32::from(cell.x) + MIDDLE);
            run.text.push_str(letters[cell.level]);
        }
        runs.into_values()
            .filter(|run| !run.text.is_empty())
            .collect()
    }

    /// The cell of a block. `None` if it is left out.
    pub(super) fn cell(&self, first: u16) -> Option<&Cell> {
        let mut cells = self.cells.iter();
        cells.find(|cell| bounds(cell.block).0 == first)
    }
}

/// Whether a port is in a pool, or a lease or another program is known to be on it.
fn is_known(port: &PortView) -> bool {
    port.in_pool || port.standing != Standing::Outside
}
