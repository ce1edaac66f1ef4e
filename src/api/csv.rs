//! Lines of CSV (RFC 4180) and of JSON that are data to whoever opens them: no cell is a formula to
//! a spreadsheet, and none steers a terminal.

use std::fmt::{Display, Write};

use serde::Serialize;

use crate::domain::attempt::printable;

/// One cell.
pub(super) enum Cell<'a> {
    /// Nothing.
    Empty,
    /// A number of our own.
    Number(String),
    /// Anybody's text.
    Text(&'a str),
}

impl<'a> Cell<'a> {
    pub(super) fn number(number: Option<impl Display>) -> Self {
        number.map_or(Self::Empty, |number| Self::Number(number.to_string()))
    }

    pub(super) fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Empty, Self::Text)
    }
}

/// Adds a line.
pub(super) fn line<'a>(text: &mut String, cells: impl IntoIterator<Item = Cell<'a>>) {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match cell {
            Cell::Empty => {}
            Cell::Number(number) => text.push_str(&number),
            Cell::Text(words) => push_text(text, words),
        }
    }
    text.push_str("\r\n");
}

/// What makes a spreadsheet calculate, in the widths that it takes for the same sign. An apostrophe
/// before it makes it a text again.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

fn push_text(text: &mut String, words: &str) {
    let mut words = printable(words);
    if words.trim_start().starts_with(FORMULA) {
        words.insert(0, '\'');
    }
    if words.contains([',', '"', '\'']) || words.trim() != words {
        let _ = write!(text, "\"{}\"", words.replace('"', "\"\""));
    } else {
        text.push_str(&words);
    }
}

/// Adds a JSON document as one line. Control characters beyond ASCII, which JSON leaves as they
/// are, stand only inside texts, where an escape means the same.
pub(super) fn json_line(text: &mut String, document: &impl Serialize) {
    // Plain values into memory: it cannot fail.
    let json = serde_json::to_string(document).unwrap_or_default();
    for c in json.chars() {
        if matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}') {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(words: &str) -> String {
        let mut text = String::new();
        line(&mut text, [Cell::Text(words), Cell::number(Some(7))]);
        text
    }

    #[test]
    fn no_text_is_a_formula_or_breaks_a_line() {
        assert_eq!(cell("node"), "node,7\r\n");
        assert_eq!(cell("=1+1"), "\"'=1+1\",7\r\n");
        for sign in FORMULA {
            assert_eq!(cell(&format!(" {sign}x")), format!("\"' {sign}x\",7\r\n"));
        }
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\",7\r\n");
        assert_eq!(
            cell("\t=1\r\n\u{1b}[2J"),
            "\u{fffd}=1\u{fffd}\u{fffd}\u{fffd}[2J,7\r\n"
        );
    }

    #[test]
    fn a_json_line_is_one_line_of_plain_characters() {
        let mut text = String::new();
        let hostile = "a\n\u{1b}\u{9b}2J\u{2028}\"";
        json_line(&mut text, &hostile);
        assert_eq!(text.lines().count(), 1);
        assert!(text.trim_end().chars().all(|c| !c.is_control()), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hostile);
    }
}
