//! A recording of the command line and the API: documents, exit codes, headers, metrics and events
//! as programs read them. A change of the code must leave it alone; a change that users are meant to
//! see changes the recording with it.
//!
//! Words for people are masked, so that they may be reworded; so is everything that differs from run
//! to run. To renew the recording after an intended change, and to read the difference:
//!
//! ```sh
//! PORTBOOK_RECORD=1 cargo test --test it recording:: && git diff tests/it/recording
//! ```

mod api;
mod cli;
mod description;
pub mod mask;
mod print;
mod world;

use std::path::Path;

use serde_json::Value;

/// Compares with the recording of this name, or writes it if `PORTBOOK_RECORD` is set.
pub fn hold(name: &str, seen: &Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recording");
    let file = folder.join(format!("{name}.json"));
    let seen = print::compact(seen);
    if std::env::var_os("PORTBOOK_RECORD").is_some() {
        std::fs::write(file, seen).unwrap();
        return;
    }
    let recorded = std::fs::read_to_string(file).unwrap();
    if recorded == seen {
        return;
    }
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    std::fs::write(&beside, &seen).unwrap();
    let first = recorded.lines().zip(seen.lines()).position(|(a, b)| a != b);
    let first = first.unwrap_or(recorded.lines().count().min(seen.lines().count()));
    let near = |text: &str| {
        let lines = text.lines().skip(first.saturating_sub(4)).take(12);
        lines.collect::<Vec<_>>().join("\n")
    };
    panic!(
        "{name} differs from line {} on.\nrecorded:\n{}\n\nseen (all of it in {}):\n{}",
        first + 1,
        near(&recorded),
        beside.display(),
        near(&seen)
    );
}

#[test]
fn api_answers_match_the_recording() {
    let Some(answers) = api::record() else { return };
    hold("api", &answers);
}

#[test]
fn api_description_matches_the_recording() {
    let Some(document) = api::description() else {
        return;
    };
    hold("openapi", &document);
}

#[test]
fn command_line_matches_the_recording() {
    let Some(answers) = cli::record() else { return };
    hold("cli", &answers);
}
