//! Charts: scaling and stacking, and the values that templates draw as SVG. Lengths are whole numbers
//! in units of the picture, and each part of a chart has its words for screen readers.

pub mod capacity;
pub mod histogram;
pub mod rates;
pub mod strip;
pub mod timing;

/// Length of a whole bar.
pub const LENGTH: u32 = 1000;

/// A kind of value, as the bars, columns and legend of a chart show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Class in the stylesheet; empty if a pattern fills the shape.
    pub class: &'static str,
    /// Pattern that fills the shape; empty if the class does.
    pub fill: &'static str,
    pub word: &'static str,
    /// Explanation in the legend; empty if the word says enough.
    pub means: &'static str,
}

impl Series {
    pub const fn colour(class: &'static str, word: &'static str, means: &'static str) -> Self {
        Self {
            class,
            fill: "",
            word,
            means,
        }
    }

    pub const fn pattern(fill: &'static str, word: &'static str, means: &'static str) -> Self {
        Self {
            class: "",
            fill,
            word,
            means,
        }
    }
}

/// A piece of a horizontal bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub x: u32,
    pub width: u32,
}

/// Cuts a bar into pieces without gaps, in proportion to `parts`. All pieces are empty if `whole` is
/// zero.
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

/// The length of a share of a bar, rounded, at most [`LENGTH`].
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

/// A column over a span of time, which links to the attempts of that time.
#[derive(Debug, Clone)]
pub struct Column {
    pub x: i64,
    pub width: i64,
    pub title: String,
    pub href: String,
    /// From the bottom.
    pub blocks: Vec<Block>,
}

/// A part of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub series: Series,
    /// The upper edge.
    pub y: i64,
    pub height: i64,
}

/// Heights in a picture of columns.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub height: i64,
    /// Height of the highest column. The space above is for parts that are drawn higher than they
    /// are, to be visible.
    pub highest: i64,
    /// Least height of a part.
    pub visible: i64,
}

impl Scale {
    /// Stacks the parts of one column, where the highest column has the value `most`.
    pub fn stack(self, parts: &[(Series, i64)], most: i64) -> Vec<Block> {
        let mut y = self.height;
        let mut blocks = Vec::new();
        for (series, part) in parts.iter().filter(|(_, part)| *part > 0) {
            let height = part * self.highest / most.max(1);
            let height = height.max(self.visible).min(y);
            y -= height;
            blocks.push(Block {
                series: *series,
                y,
                height,
            });
        }
        blocks
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
    fn empty_bars_have_no_length() {
        let pieces = stacked(&[0.0, 0.0], 0.0);
        assert!(pieces.iter().all(|piece| piece.width == 0));
        assert_eq!(length(2.0, 1.0), LENGTH, "never more than all");
    }
}
