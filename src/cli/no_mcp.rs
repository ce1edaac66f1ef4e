//! `portbook mcp` in a build without it: it says how to get one that has it.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Global};

#[derive(Debug, Args)]
#[command(after_help = "\
This build does not have it: it would be a tenth larger. The packages have it; in a clone,
  cargo install --path . --features mcp")]
pub struct McpArgs {
    /// Folder to work in; default: the current one.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn run(_: &Global, _: &McpArgs) -> Result<(), Failure> {
    Err(Failure::usage(
        "this build has no server for coding agents: install one that has, \
         with `cargo install --path . --features mcp` or from a package",
    ))
}
