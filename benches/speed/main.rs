//! Speed and size of portbook, beside the bare system calls: `cargo bench --bench speed`.
//!
//! Every figure comes from the release binary itself, over its real socket, on a fresh data
//! directory. What is compared is measured in turns within one run, because machines differ more
//! than programs do. A part alone: `cargo bench --bench speed -- rate` (or `launch`, `memory`,
//! `start`, `history`, `size`).

mod bare;
#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "this measurement needs a part of it")]
mod common;
mod history;
mod launch;
mod memory;
mod rate;
mod record;
mod start;

use anyhow::Result;

use common::{PORTBOOK, figure};

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
    figure::at_most("portbook", megabytes, 14.0, "MB");
    Ok(())
}
