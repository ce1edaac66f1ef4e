//! Output of commands: the answer on stdout, notes on stderr.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use super::{Failure, Global};
use crate::answers::document::VERSION;
use crate::domain::attempt::printable;
use crate::telemetry;

impl Global {
    /// Prints an answer: its document with `--json`, its text otherwise.
    pub(super) fn answer(
        &self,
        document: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json {
            print_json(document)
        } else {
            print(&inert(&text()))
        }
    }

    /// Refuses a format of its own beside `--json`, which asks for another document. Commands call it,
    /// since clap does not see a conflict with an option that stands before the command.
    pub(super) fn check_format(&self, format: Option<&impl ValueEnum>) -> Result<(), Failure> {
        let word = format.and_then(ValueEnum::to_possible_value);
        match word.filter(|_| self.json) {
            None => Ok(()),
            Some(word) => Err(Failure::usage(format!(
                "--json and --format {} contradict each other: leave one out",
                word.get_name()
            ))),
        }
    }

    /// Prints one document as it is, and several as the list `key` of another, or the text of all.
    pub(super) fn answer_each<T: Serialize>(
        &self,
        key: &str,
        documents: &[T],
        text: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        match documents {
            [only] => self.answer(only, || text(only)),
            several => self.answer(&json!({ "version": VERSION, key: several }), || {
                several.iter().map(text).collect()
            }),
        }
    }
}

/// The text of an answer with nothing that a terminal obeys but ends of lines: its names may come from
/// anywhere.
fn inert(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// A JSON text in which the control characters that JSON permits are escaped too: DEL and those of
/// ISO 6429 beyond ASCII.
fn inert_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Writes to stdout. A reader that has gone, as `head` does, is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    write(text.as_bytes()).map(drop)
}

/// Writes to stdout; `false` if its reader has gone.
pub(super) fn write(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::other(format!("cannot write to stdout: {error}"))),
    }
}

/// Writes a document to stdout.
pub(super) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::other(error.to_string()))?;
    print(&format!("{}\n", inert_json(&text)))
}

/// Writes a line to stderr, beside the answer.
pub(super) fn note(text: &str) {
    let line = format!("portbook: {}\n", printable(text));
    if !telemetry::stderr::say(&line) {
        // A stderr without a reader changes nothing.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_no_control_characters() {
        assert_eq!(inert("a\u{1b}[2J\nb\u{9b}\n"), "a\u{fffd}[2J\nb\u{fffd}\n");
        assert_eq!(
            inert_json("{\n \"a\u{7f}\u{9b}\"}"),
            "{\n \"a\\u007f\\u009b\"}"
        );
    }
}
