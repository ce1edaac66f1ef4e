//! `portbook doctor --record`: the record checked, and a damaged one repaired into a new file.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::answers::document::VERSION;
use crate::cli::running::with_backend;
use crate::cli::{Failure, Global, print, print_json};
use crate::config::Loaded;
use crate::domain::attempt::printable;
use crate::domain::words::grouped;
use crate::library::Error;
use crate::library::backend::Backend;
use crate::store::directory::{self, DataDirectory};
use crate::store::rescue::{self, Rescued};

/// A repair, with the ledger filled in.
struct Repair {
    rescued: Rescued,
    /// Number of living leases in the new file.
    leases: usize,
}

/// Rows of one table after a repair.
#[derive(Debug, Serialize)]
struct Rows {
    table: String,
    copied: u64,
    /// Number of rows known to be lost.
    lost: u64,
}

/// Exit code of a record that was not checked, or not repaired.
const NOT_CHECKED: u8 = 4;

/// Checks the record, and repairs it if it is damaged. Exit code 1 if it was.
pub(super) async fn run(global: &Global) -> Result<ExitCode, Failure> {
    let loaded = global.load()?;
    let done = mend(global, &loaded).await;
    done.map_err(|failure| failure.with_code(NOT_CHECKED))
}

async fn mend(global: &Global, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let directory = DataDirectory::open(&loaded.settings.data_dir)?;
    let file = directory::record(directory.path());
    let lock = directory.lock().await?;
    if !rescue::is_there(&file) {
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
    let done = match rescued {
        None => None,
        Some(rescued) => Some(Repair {
            leases: filled(loaded).await?,
            rescued,
        }),
    };
    tell(global, &file, &faults, done.as_ref())?;
    Ok(ExitCode::from(u8::from(!faults.is_empty())))
}

/// Fills the new file from the ledger, and returns the number of living leases then.
async fn filled(loaded: &Loaded) -> Result<usize, Failure> {
    let count = async |backend: &Backend| {
        backend.count().await?;
        Ok::<_, Error>(backend.leases(false).await?.len())
    };
    with_backend(loaded, count).await
}

fn tell(
    global: &Global,
    file: &Path,
    faults: &[String],
    done: Option<&Repair>,
) -> Result<(), Failure> {
    if !global.json {
        return print(&text(file, faults, done));
    }
    let rescued = done.map(|done| &done.rescued);
    print_json(&json!({ "version": VERSION, "file": file, "faults": faults,
        "kept": rescued.map(|rescued| &rescued.kept), "rows": rescued.map(rows),
        "leases": done.map(|done| done.leases),
        "lost_unknown": rescued.map(|rescued| rescued.has_unknown) }))
}

fn rows(rescued: &Rescued) -> Vec<Rows> {
    let rows = rescued.rows.iter().map(|(table, copied)| Rows {
        table: table.clone(),
        copied: *copied,
        lost: rescued.lost.get(table).copied().unwrap_or(0),
    });
    rows.collect()
}

fn text(file: &Path, faults: &[String], done: Option<&Repair>) -> String {
    let Some(Repair { rescued, leases }) = done else {
        return format!("{} is whole\n", file.display());
    };
    let mut lines = vec![format!("{} was damaged:\n", file.display())];
    lines.extend(
        faults
            .iter()
            .map(|fault| format!("    {}\n", printable(fault))),
    );
    let unknown = if rescued.has_unknown {
        "; how many were lost is not known"
    } else {
        ""
    };
    lines.push(format!(
        "What could be read is in a new file in its place: {} living {}{unknown}\n",
        grouped(*leases as u64),
        if *leases == 1 { "lease" } else { "leases" }
    ));
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
