//! Output of commands: the answer on stdout, notes on stderr.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use super::{Failure, Global};
use crate::answers::document::VERSION;
use crate::domain::attempt::printable;

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
            print(&text())
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
    print(&format!("{text}\n"))
}

/// Writes a line to stderr, beside the answer.
pub(super) fn note(text: &str) {
    let line = format!("portbook: {}\n", printable(text));
    // A stderr without a reader changes nothing.
    let _ = io::stderr().write_all(line.as_bytes());
}
