//! Speed and size of portbook, beside the bare system calls: `cargo bench --bench speed`.
//!
//! Every figure comes from the release binary itself, over its real socket, on a fresh data
//! directory. What is compared is measured in turns within one run, because machines differ more
//! than programs do. A part alone: `cargo bench --bench speed -- rate` (or `launch`, `memory`,
//! `start`, `history`, `size`).

mod bare;
mod client;
mod figure;
mod history;
mod launch;
mod load;
mod memory;
mod place;
mod rate;
mod record;
mod start;

use std::time::Instant;

use anyhow::Result;

/// The binary that is measured.
const PORTBOOK: &str = env!("CARGO_BIN_EXE_portbook");

/// Function that measures one part and prints it.
type Measure = fn() -> Result<()>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` starts this too; a measurement is no test.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let parts: [(&str, Measure); 6] = [
        ("rate", rate::measure),
        ("launch", launch::measure),
        ("memory", memory::measure),
        ("start", start::measure),
        ("history", history::measure),
        ("size", size),
    ];
    for (name, measure) in parts {
        if wanted.is_none_or(|wanted| wanted == name) {
            measure()?;
        }
    }
    Ok(())
}

/// Size of the release binary.
fn size() -> Result<()> {
    figure::heading("Size of the release binary");
    let bytes = std::fs::metadata(PORTBOOK)?.len();
    let megabytes = figure::approximately(bytes) / 1e6;
    figure::at_most("portbook", megabytes, 15.0, "MB");
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the wall clock is what is measured"
)]
fn now() -> Instant {
    Instant::now()
}
