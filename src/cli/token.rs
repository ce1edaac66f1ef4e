//! `portbook token`: the token that is needed to change state on the console.

use serde_json::json;

use super::{Failure, Global};
use crate::access::Token;
use crate::answers::document::VERSION;
use crate::store::directory::DataDirectory;

/// Prints the token to a user that may read the data directory.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let loaded = global.load()?;
    let directory = DataDirectory::open(&loaded.settings.data_dir)?;
    let file = directory.token();
    let token = Token::open(&file).map_err(|error| {
        let name = file.display();
        Failure::other(if file.exists() {
            format!("cannot read {name}: {error}; the service's user and root may")
        } else {
            format!("cannot make {name}: {error}")
        })
    })?;
    let token = token.as_str();
    let document = json!({ "version": VERSION, "token": token, "file": file });
    global.answer(&document, || format!("{token}\n"))
}
