//! The pieces of a bar, as lengths in a picture that is [`LENGTH`] wide.

/// How long a whole bar is.
pub const LENGTH: u32 = 1000;

/// One piece of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub x: u32,
    /// How long it is.
    pub width: u32,
}

/// The pieces of a bar that is as long as `whole`, one after another without a gap. Where `whole` is
/// nothing, so are they.
pub fn stacked(parts: &[f64], whole: f64) -> Vec<Piece> {
    let mut sum = 0.0;
    let mut x = 0;
    let piece = |part: &f64| {
        sum += part.max(0.0);
        let end = length(sum, whole).max(x);
        let piece = Piece { x, width: end - x };
        x = end;
        piece
    };
    parts.iter().map(piece).collect()
}

/// A share of the whole bar, rounded, and never more than all of it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and LENGTH"
)]
pub fn length(part: f64, whole: f64) -> u32 {
    if whole > 0.0 && part > 0.0 {
        (part / whole * f64::from(LENGTH))
            .round()
            .min(f64::from(LENGTH)) as u32
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fill_a_bar_without_a_gap() {
        let pieces = stacked(&[0.1, 0.0, 0.2, 0.033_4], 0.333_4);
        for pair in pieces.windows(2) {
            assert_eq!(pair[0].x + pair[0].width, pair[1].x);
        }
        let end = pieces.last().map(|piece| piece.x + piece.width);
        assert_eq!(end, Some(LENGTH));
        assert_eq!(pieces[1].width, 0);
        assert_eq!(pieces[0].width, 300);
    }

    #[test]
    fn a_bar_of_nothing_has_no_length() {
        let pieces = stacked(&[0.0, 0.0], 0.0);
        assert!(pieces.iter().all(|piece| piece.width == 0));
        assert_eq!(length(2.0, 1.0), LENGTH, "never more than all");
    }
}
