//! `portbook man DIR`: manual pages, one a command, for packages.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Failure, Global, help, print_json};
use crate::answers::document::VERSION;

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder to write them into; made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(global: &Global, args: &ManArgs) -> Result<(), Failure> {
    let mut command = help::command().disable_help_subcommand(true);
    // Gives each page the full name of its command.
    command.build();
    let folder = &args.folder;
    let written = std::fs::create_dir_all(folder);
    let written = written.and_then(|()| clap_mangen::generate_to(command, folder));
    written.map_err(|error| {
        Failure::other(format!(
            "cannot write the manual pages to {}: {error}",
            folder.display()
        ))
    })?;
    if global.json {
        print_json(&json!({ "version": VERSION, "folder": folder }))?;
    }
    Ok(())
}
