//! Attempts in the order they were made, each with a bar of the time it took.

use jiff::Timestamp;

use super::attempt::AttemptRow;
use super::bar::{LENGTH, Piece, stacked};
use crate::api::document::AttemptDocument;

/// So long a bar is at least, to be seen.
const VISIBLE: u32 = 6;

/// An attempt with its bar.
#[derive(Debug, Clone)]
pub struct TimedRow {
    /// The attempt.
    pub row: AttemptRow,
    /// Its part of the time that all of them took.
    pub bar: Piece,
}

/// The rows of attempts, in the order they were made.
pub fn timed(attempts: Vec<AttemptDocument>, now: Timestamp) -> Vec<TimedRow> {
    let took: Vec<f64> = attempts.iter().map(|attempt| attempt.duration_us).collect();
    let bars = bars(&took);
    let rows = attempts
        .into_iter()
        .map(|attempt| AttemptRow::of(attempt, now));
    rows.zip(bars)
        .map(|(row, bar)| TimedRow { row, bar })
        .collect()
}

/// One attempt begins where the one before ended: they are made one after another.
fn bars(took: &[f64]) -> Vec<Piece> {
    let pieces = stacked(took, took.iter().sum());
    pieces
        .into_iter()
        .map(|piece| Piece {
            x: piece.x.min(LENGTH - VISIBLE),
            width: piece.width.max(VISIBLE),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bar_begins_where_the_one_before_ended_and_is_seen() {
        let bars = bars(&[10.0, 30.0, 0.0]);
        assert_eq!(bars[0], Piece { x: 0, width: 250 });
        assert_eq!(bars[1], Piece { x: 250, width: 750 });
        assert_eq!(bars[2].width, VISIBLE);
        assert_eq!(bars[2].x + bars[2].width, LENGTH);
    }
}
