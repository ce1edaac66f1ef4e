//! Attempts in the order they were made, each with a bar of its duration.

use super::{LENGTH, Piece, stacked};
use crate::answers::document::AttemptDocument;

/// Least length of a bar, to be visible.
const VISIBLE: u32 = 6;

/// Pairs each attempt with its part of the time that all of them took.
pub fn timed(attempts: Vec<AttemptDocument>) -> Vec<(AttemptDocument, Piece)> {
    let took: Vec<f64> = attempts.iter().map(|attempt| attempt.duration_us).collect();
    attempts.into_iter().zip(bars(&took)).collect()
}

/// The bars of durations, each beginning where the one before ended.
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
    fn bars_follow_each_other_and_are_visible() {
        let bars = bars(&[10.0, 30.0, 0.0]);
        assert_eq!(bars[0], Piece { x: 0, width: 250 });
        assert_eq!(bars[1], Piece { x: 250, width: 750 });
        assert_eq!(bars[2].width, VISIBLE);
        assert_eq!(bars[2].x + bars[2].width, LENGTH);
    }
}
