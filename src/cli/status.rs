//! `portbook status`: the service that answers, and its console.

use super::{Failure, Global, print_json};
use crate::answers::document::{CheckDocument, StatusDocument};
use crate::answers::status::ShowStatus;
use crate::library::find;

/// Prints the state of the service; exit code 3 if none answers.
pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let loaded = global.load()?;
    let Some(client) = find::find(&loaded).await? else {
        if let Some(error) = find::not_admitted(&loaded) {
            return Err(error.into());
        }
        let data_dir = loaded.settings.data_dir.display().to_string();
        if global.json {
            print_json(&serde_json::json!({ "running": false, "data_dir": data_dir }))?;
        }
        let none = Failure::no_service(format!(
            "no service runs for {data_dir}; commands work on the record themselves. Start one with `portbook serve`"
        ));
        return Err(none.already_printed());
    };
    let status = client.call::<ShowStatus>(&()).await?;
    global.answer(&status, || text(&status))
}

fn text(status: &StatusDocument) -> String {
    let console = status.console.as_deref().unwrap_or("switched off");
    let health = if status.ready { "ready" } else { "not ready" };
    let checks = status.checks.iter().map(check);
    format!(
        "console   {console}\nsocket    {}\ndata      {}\nservice   pid {}, uid {}, version {}\nleases    {} ({} descriptors held)\nhealth    {health}\n{}",
        status.socket.display(),
        status.data_dir.display(),
        status.pid,
        status.uid,
        status.version,
        status.leases,
        status.held_descriptors,
        checks.collect::<String>(),
    )
}

fn check(check: &CheckDocument) -> String {
    let condition = check.condition.as_str();
    format!("  {condition:<8}{}: {}\n", check.name, check.detail)
}
