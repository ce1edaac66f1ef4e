//! `portbook doctor --record`: the record checked, and a damaged one repaired into a new file.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::answers::document::VERSION;
use crate::cli::running::with_backend;
use crate::cli::{Failure, Global, print, print_json};
use crate::domain::attempt::printable;
use crate::domain::words::grouped;
use crate::store::directory::DataDirectory;
use crate::store::rescue::{self, Rescued};

/// Rows of one table after a repair.
#[derive(Debug, Serialize)]
struct Rows {
    table: String,
    copied: u64,
    /// Number of rows known to be lost.
    lost: u64,
}

/// Checks the record, and repairs it if it is damaged. Exit code 1 if it was.
pub(super) async fn run(global: &Global) -> Result<ExitCode, Failure> {
    let loaded = global.load()?;
    let directory = DataDirectory::open(&loaded.settings.data_dir)?;
    let file = directory.path().join("portbook.db");
    let lock = directory.lock().await?;
    if !file.exists() {
        print(&format!(
            "there is no record in {}\n",
            directory.path().display()
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    // SQLite would replace the ledger's files of a service that runs, so only its absence lets this in.
    let lock = lock.map_err(|holder| directory.in_use(holder))?;
    let faults = rescue::check(&file)?;
    let rescued = if faults.is_empty() {
        None
    } else {
        Some(rescue::repair(&file).await?)
    };
    drop(lock);
    if rescued.is_some() {
        // The entries of the ledger come into the new file.
        with_backend(&loaded, async |backend| backend.count().await).await?;
    }
    tell(global, &file, &faults, rescued.as_ref())?;
    Ok(ExitCode::from(u8::from(!faults.is_empty())))
}

fn tell(
    global: &Global,
    file: &Path,
    faults: &[String],
    rescued: Option<&Rescued>,
) -> Result<(), Failure> {
    if !global.json {
        return print(&text(file, faults, rescued));
    }
    let rows = rescued.map(rows);
    print_json(&json!({ "version": VERSION, "file": file, "faults": faults,
        "kept": rescued.map(|rescued| &rescued.kept), "rows": rows }))
}

fn rows(rescued: &Rescued) -> Vec<Rows> {
    let rows = rescued.rows.iter().map(|(table, copied)| Rows {
        table: table.clone(),
        copied: *copied,
        lost: rescued.lost.get(table).copied().unwrap_or(0),
    });
    rows.collect()
}

fn text(file: &Path, faults: &[String], rescued: Option<&Rescued>) -> String {
    let Some(rescued) = rescued else {
        return format!("{} is whole\n", file.display());
    };
    let mut lines = vec![format!("{} was damaged:\n", file.display())];
    lines.extend(
        faults
            .iter()
            .map(|fault| format!("    {}\n", printable(fault))),
    );
    lines.push("What could be read is in a new file in its place:\n".to_owned());
    for Rows {
        table,
        copied,
        lost,
    } in rows(rescued)
    {
        let lost = match lost {
            0 => String::new(),
            lost => format!(", {lost} lost"),
        };
        lines.push(format!("    {table}: {} rows{lost}\n", grouped(copied)));
    }
    lines.push(format!("The old file is {}\n", rescued.kept.display()));
    lines.concat()
}
