//! Masks over a document: words for people, and values that differ from run to run.

use std::path::Path;

use serde_json::{Number, Value, json};

/// Members whose text, or list of texts, is for people.
const WORDS: [&str; 11] = [
    "title",
    "detail",
    "help",
    "description",
    "summary",
    "story",
    "notes",
    "hint",
    "message",
    "by",
    "why",
];

/// Members whose value depends on the moment or the machine.
const VARYING: [&str; 18] = [
    "pid",
    "owner_pid",
    "occupant_pid",
    "user",
    "executable",
    "working_directory",
    "duration_us",
    "at_ms",
    "ended_at_ms",
    "descriptor_budget",
    "held_descriptors",
    "allocations_per_hour",
    "median",
    "p90",
    "median_us",
    "p90_us",
    "longest_us",
    "total_us",
];

/// Remembers what was masked, so that one id has one mask throughout a recording.
pub struct Mask {
    known: Vec<(String, String)>,
    ids: Vec<String>,
}

impl Mask {
    pub fn new(folder: &Path) -> Self {
        Self {
            known: vec![
                (folder.to_str().unwrap().to_owned(), "<folder>".to_owned()),
                (env!("CARGO_PKG_VERSION").to_owned(), "<version>".to_owned()),
            ],
            ids: Vec::new(),
        }
    }

    /// Masks one more text wherever it occurs.
    pub fn also(&mut self, text: &str, mask: &str) {
        self.known.insert(0, (text.to_owned(), mask.to_owned()));
    }

    /// The document with its masks, all the way down.
    pub fn value(&mut self, value: Value) -> Value {
        match value {
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, value)| {
                    let value = self.member(&name, value);
                    (self.text(&name), value)
                });
                Value::Object(members.collect())
            }
            Value::Array(values) => values.into_iter().map(|value| self.value(value)).collect(),
            Value::String(text) => self.text(&text).into(),
            Value::Number(number) if number.is_f64() => rounded(&number),
            other => other,
        }
    }

    fn member(&mut self, name: &str, value: Value) -> Value {
        match (name, value) {
            (_, Value::Null) => Value::Null,
            (_, Value::String(_)) if WORDS.contains(&name) => "<words>".into(),
            (_, Value::Array(texts)) if WORDS.contains(&name) => {
                texts.iter().map(|_| "<words>").collect()
            }
            (_, Value::Number(_) | Value::String(_)) if VARYING.contains(&name) => {
                "<varies>".into()
            }
            ("command", Value::String(program)) if program.starts_with("python") => {
                "python3".into()
            }
            ("leases", Value::Array(leases)) => self.value(in_order(leases)),
            ("interfaces", Value::Array(interfaces)) => self.value(loopback_alone(interfaces)),
            ("hours", Value::Array(_)) => "<varies>".into(),
            (_, other) => self.value(other),
        }
    }

    /// The lines of CSV with their masks, as their header names the columns.
    pub fn csv(&mut self, text: &str) -> Value {
        let mut lines = text.lines().map(cells);
        let header = lines.next().unwrap_or_default();
        let rows = lines.map(|cells| {
            let cells = header.iter().zip(cells).map(|(name, cell)| match cell {
                cell if cell.is_empty() => cell,
                cell => match self.member(name, cell.into()) {
                    Value::String(masked) => masked,
                    other => other.to_string(),
                },
            });
            cells.collect::<Vec<_>>().join(",")
        });
        let rows: Vec<String> = rows.collect();
        json!({ "columns": header.join(","), "rows": rows })
    }

    /// A text with masks in place of paths, versions, ids and times.
    pub fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (known, mask) in &self.known {
            text = text.replace(known, mask);
        }
        let mut masked = String::new();
        let mut rest = &*text;
        while let Some(first) = rest.chars().next() {
            if let Some(length) = shaped(rest, UUID) {
                masked.push_str(&self.id(&rest[..length]));
                rest = &rest[length..];
            } else if let Some(length) = time_at(rest) {
                masked.push_str("<time>");
                rest = &rest[length..];
            } else if let Some(length) = shaped(rest, "9999-99-99") {
                masked.push_str("<day>");
                rest = &rest[length..];
            } else if let Some(digits) = rest.strip_prefix("pid ") {
                masked.push_str("pid <varies>");
                rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
            } else if first.is_ascii_hexdigit() {
                let length = rest
                    .find(|c: char| !c.is_ascii_hexdigit())
                    .unwrap_or(rest.len());
                let (run, after) = rest.split_at(length);
                match length {
                    32 => masked.push_str(&self.id(run)),
                    64 => masked.push_str("<code>"),
                    _ => masked.push_str(run),
                }
                rest = after;
            } else {
                masked.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        masked
    }

    fn id(&mut self, id: &str) -> String {
        let id = id.replace('-', "");
        let known = self.ids.iter().position(|known| *known == id);
        let index = known.unwrap_or_else(|| {
            self.ids.push(id);
            self.ids.len() - 1
        });
        format!("<id {}>", index + 1)
    }
}

/// The number with two decimals: evidence decays while the recording is made.
fn rounded(number: &Number) -> Value {
    let hundredths = number.as_f64().map(|number| (number * 100.0).round());
    json!(hundredths.map(|hundredths| hundredths / 100.0))
}

/// The leases by port: those of one allocation come in the order of their random ids.
fn in_order(mut leases: Vec<Value>) -> Value {
    let key = |lease: &Value| (lease["port"].as_u64(), lease["protocol"].to_string());
    leases.sort_by_key(key);
    leases.into()
}

/// The list without interfaces that some kernels add to every namespace.
fn loopback_alone(mut interfaces: Vec<Value>) -> Value {
    interfaces.retain(|interface| interface["name"].as_str().is_none_or(|name| name == "lo"));
    interfaces.into()
}

/// The cells of one line of CSV.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

/// An id as JSON has it.
const UUID: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

/// The length of what `shape` describes at the start of the text: `x` stands for a hexadecimal digit,
/// `9` for a decimal one.
fn shaped(text: &str, shape: &str) -> Option<usize> {
    let begin = text.get(..shape.len())?;
    let fits = begin
        .chars()
        .zip(shape.chars())
        .all(|(c, wanted)| match wanted {
            'x' => c.is_ascii_hexdigit(),
            '9' => c.is_ascii_digit(),
            other => c == other,
        });
    fits.then_some(shape.len())
}

/// The length of a time of RFC 3339 in UTC at the start of the text.
fn time_at(text: &str) -> Option<usize> {
    let seconds = shaped(text, "9999-99-99T99:99:99")?;
    let end = text[seconds..].find('Z')?;
    let fraction = &text[seconds..seconds + end];
    fraction
        .chars()
        .all(|c| c == '.' || c.is_ascii_digit())
        .then_some(seconds + end + 1)
}
