//! `portbook token`: the secret that changes state on the console.

use std::process::ExitCode;

use serde_json::json;

use super::{Failure, Global, print, print_json};
use crate::access::Token;
use crate::api::document::VERSION;
use crate::store::directory::DataDirectory;

/// Prints the token to whoever may read the data directory.
pub(super) fn run(global: &Global) -> Result<ExitCode, Failure> {
    let loaded = global.load()?;
    let directory = DataDirectory::open(&loaded.settings.data_dir)?;
    let file = directory.token();
    let token = Token::open(&file).map_err(|error| {
        Failure::other(format!(
            "{}: {error}; the service's user and root may read it",
            file.display()
        ))
    })?;
    if global.json {
        let (token, file) = (token.as_str(), &file);
        print_json(&json!({ "version": VERSION, "token": token, "file": file }))?;
    } else {
        print(&format!("{}\n", token.as_str()))?;
    }
    Ok(ExitCode::SUCCESS)
}
