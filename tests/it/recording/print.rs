//! JSON for people who compare: one line for what is short, one line a member for the rest.

use std::fmt::Write;

use serde_json::Value;

/// Longest line that a value is put on as a whole.
const WIDTH: usize = 140;

/// The document as text, with its members in alphabetical order.
pub fn compact(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value, 0);
    text.push('\n');
    text
}

fn write_value(text: &mut String, value: &Value, depth: usize) {
    let line = value.to_string();
    if line.len() + 2 * depth <= WIDTH {
        text.push_str(&line);
        return;
    }
    match value {
        Value::Array(values) => {
            let rows = values.iter().map(|value| (String::new(), value));
            write_rows(text, ('[', ']'), rows, depth);
        }
        Value::Object(members) => {
            let rows = members
                .iter()
                .map(|(name, value)| (format!("{}: ", Value::from(&**name)), value));
            write_rows(text, ('{', '}'), rows, depth);
        }
        _ => text.push_str(&line),
    }
}

fn write_rows<'a>(
    text: &mut String,
    (open, close): (char, char),
    rows: impl Iterator<Item = (String, &'a Value)>,
    depth: usize,
) {
    let indent = "  ".repeat(depth + 1);
    text.push(open);
    for (index, (name, value)) in rows.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\n{indent}{name}");
        write_value(text, value, depth + 1);
    }
    let _ = write!(text, "\n{}{close}", "  ".repeat(depth));
}
