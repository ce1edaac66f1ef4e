//! The number of rows on a page of a list, which is in its address.

use super::form::{Choice, Field};
use crate::dashboard::frame::Params;

/// Numbers of rows that a page can have.
const SIZES: [usize; 4] = [50, 100, 200, 500];

/// Number of rows of a page unless the address has another one.
pub const SIZE: usize = 100;

/// Number of rows of a page.
pub fn size(params: &Params) -> usize {
    let wanted = params.get("rows").and_then(|rows| rows.parse().ok());
    wanted.filter(|rows| SIZES.contains(rows)).unwrap_or(SIZE)
}

/// The field of a form with the sizes to choose from.
pub fn field(params: &Params) -> Field {
    let others = SIZES.into_iter().filter(|size| *size != SIZE);
    let known = others.map(|size| (size, size));
    let params = match size(params) {
        SIZE => params.without("rows"),
        other => params.with("rows", &other.to_string()),
    };
    Field::choice(&params, "rows", "Rows", "100", known)
}

/// The sizes to choose from.
pub fn choices(params: &Params) -> Vec<Choice> {
    field(params).choices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(size(&Params::parse("rows=200")), 200);
        assert_eq!(size(&Params::parse("rows=100000")), 100);
        let chosen = choices(&Params::parse("rows=7"));
        assert_eq!(chosen.iter().find(|it| it.chosen).unwrap().label, "100");
    }
}
