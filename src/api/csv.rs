//! Lines of CSV (RFC 4180) and of JSON that stay data in the program that opens them: no cell is a
//! formula to a spreadsheet, and none steers a terminal.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use crate::domain::attempt::printable;

/// Adds a line with a cell for each value.
pub(super) fn line<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a Value>) {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match cell {
            Value::Null => {}
            Value::String(words) => push_text(text, words),
            Value::Number(number) => push_number(text, number),
            other => push_text(text, &other.to_string()),
        }
    }
    text.push_str("\r\n");
}

/// Adds a line with the names of columns.
pub(super) fn heading(text: &mut String, names: &[&str]) {
    text.push_str(&names.join(","));
    text.push_str("\r\n");
}

/// Signs with which a spreadsheet begins to calculate, in every width that it accepts. An apostrophe in
/// front makes the cell a text again.
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

/// A whole number has no fraction, also if it may have one: `431`, not `431.0`.
fn push_number(text: &mut String, number: &serde_json::Number) {
    let _ = match number.as_f64() {
        Some(fraction) if number.is_f64() => write!(text, "{fraction}"),
        _ => write!(text, "{number}"),
    };
}

/// Adds a JSON document as one line. JSON leaves control characters beyond ASCII as they are, but only
/// inside strings, where an escape means the same.
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
    use serde_json::json;

    use super::*;

    fn cell(words: &str) -> String {
        let mut text = String::new();
        line(&mut text, [&json!(words), &json!(7)]);
        text
    }

    #[test]
    fn text_is_never_a_formula_or_a_second_line() {
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
    fn numbers_have_a_fraction_only_if_it_is_not_zero() {
        let mut text = String::new();
        line(
            &mut text,
            &[json!(431.0), json!(7.5), json!(-1), json!(null)],
        );
        assert_eq!(text, "431,7.5,-1,\r\n");
    }

    #[test]
    fn json_line_is_one_line_of_plain_characters() {
        let mut text = String::new();
        let hostile = "a\n\u{1b}\u{9b}2J\u{2028}\"";
        json_line(&mut text, &hostile);
        assert_eq!(text.lines().count(), 1);
        assert!(text.trim_end().chars().all(|c| !c.is_control()), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hostile);
    }
}
