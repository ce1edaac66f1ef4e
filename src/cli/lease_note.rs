//! `portbook note`: a note on a lease, for the people who read the list.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::named::{Here, Lookup};
use super::{Failure, Global, complete, traced};
use crate::answers::document::LeaseDocument;
use crate::domain::attempt::printable;
use crate::domain::note::NOTE;
use crate::library::backend::Backend;

#[derive(Debug, Args)]
pub struct NoteArgs {
    /// A lease id, port or name; a name is this folder's, else your user's.
    #[arg(value_name = "LEASE", add = ArgValueCandidates::new(complete::names))]
    lease: String,
    /// The note, at most 128 characters; "" removes it. Without it, the note is printed.
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Leases of the name in every folder.
    #[arg(long)]
    all: bool,
}

const LOOKUP: Lookup = Lookup {
    command: "note",
    has_all: true,
    id: |lease| lease.id.to_string(),
};

pub(super) fn run(global: &Global, args: &NoteArgs) -> Result<(), Failure> {
    let noted = traced(global, "portbook note", async |backend| {
        note_all(backend, args).await
    })?;
    global.answer_each("leases", &noted, |lease| {
        let note = lease.labels.get(NOTE);
        note.map(|note| format!("{}\n", printable(note)))
            .unwrap_or_default()
    })
}

async fn note_all(backend: &Backend, args: &NoteArgs) -> Result<Vec<LeaseDocument>, Failure> {
    let living = backend.leases(false).await?;
    let meant = Here::now().find(&living, &args.lease, args.all, LOOKUP)?;
    let Some(text) = &args.text else {
        return Ok(meant);
    };
    let mut noted = Vec::new();
    for lease in meant {
        noted.push(backend.note(lease.id, text.clone()).await?);
    }
    Ok(noted)
}
