//! The drawing: blocks in rows. That of the pools begins a row where blocks are left out.

use super::block::{Cell, bounds, ports_of};
use super::view::{BLOCKS, View};
use crate::engine::survey::{PortView, Standing, Survey};

/// Number of blocks in a row of the whole map, and in one of the pools, whose blocks are larger.
const COLUMNS: u16 = 32;
const POOL_COLUMNS: u16 = 16;

/// Side of a block.
const SIDE: u16 = 20;

/// Every fourth row of the whole map has a label.
const LABELLED: u16 = 4;

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
