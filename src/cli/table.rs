//! Plain text tables: columns aligned, no lines, easy to read and to cut.

use crate::domain::attempt::printable;

/// Formats rows under a heading; each column is as wide as its widest cell.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = std::iter::once(heading.iter().map(ToString::to_string).collect())
        .chain(
            rows.iter()
                .map(|row| row.iter().map(|cell| printable(cell)).collect()),
        )
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line: Vec<String> = cells.collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up_and_no_cell_steers_the_terminal() {
        let rows = [
            vec!["web".to_owned(), "8888".to_owned()],
            vec!["a\u{1b}c".to_owned(), "1".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "PORT"], &rows),
            "NAME  PORT\nweb   8888\na\u{fffd}c   1\n"
        );
    }
}
