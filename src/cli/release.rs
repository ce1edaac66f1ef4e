//! `portbook release`: gives leases back, by id, port or name, or all whose folder is gone.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde_json::json;

use super::named::{Here, Lookup};
use super::{Failure, Global, complete, folder, note, print_json, traced};
use crate::answers::document::{LeaseDocument, VERSION};
use crate::answers::leases::labelled;
use crate::api::problem::Code;
use crate::domain::attempt::{Occupant, printable};
use crate::domain::claim::KERNEL_FENCE;
use crate::domain::lease::State;
use crate::library::Error;
use crate::library::backend::Backend;

#[derive(Debug, Args)]
#[command(after_help = "\
A word is the id of a lease, else the port of one, else a name: so in every command. A name means the
lease of this folder (that of portbook.toml, else the git work tree's root), else that of your user. Leases of other folders are released by id or port, or with --all:
  portbook release web
  portbook release web --instance 2                the second instance, also called web@2
  portbook release --gone                          every lease of a folder that is no longer there
  portbook release --label job=1234                every lease of yours with this label
If the lease's program listens on the port, release asks first; --force answers yes in advance.")]
pub struct ReleaseArgs {
    /// Lease ids, ports or names.
    #[arg(required_unless_present_any = ["gone", "label"], value_name = "LEASE",
        add = ArgValueCandidates::new(complete::names))]
    leases: Vec<String>,
    /// This instance of the named services.
    #[arg(long, value_name = "NAME", conflicts_with = "gone")]
    instance: Option<String>,
    /// Leases of the name in every folder.
    #[arg(long, conflicts_with = "gone")]
    all: bool,
    /// Every lease of yours whose folder no longer exists and whose program does not run.
    #[arg(long, conflicts_with = "leases")]
    gone: bool,
    /// Every lease of yours with this label.
    #[arg(long, value_name = "KEY[=VALUE]", conflicts_with_all = ["leases", "gone", "instance", "all"])]
    label: Option<String>,
    /// Release without asking, even if the program listens on the port.
    #[arg(long, short)]
    force: bool,
}

const LOOKUP: Lookup = Lookup {
    command: "release",
    has_all: true,
    id: |lease| lease.id.to_string(),
};

pub(super) fn run(global: &Global, args: &ReleaseArgs) -> Result<(), Failure> {
    let released = traced(global, "portbook release", async |backend| {
        give_back(backend, args).await
    })?;
    if global.json {
        print_json(&json!({ "version": VERSION, "released": released }))?;
    }
    Ok(())
}

/// Releases the chosen leases, prints a note on each, and returns those that were released.
async fn give_back(backend: &Backend, args: &ReleaseArgs) -> Result<Vec<LeaseDocument>, Failure> {
    let chosen = chosen(backend, args).await?;
    if chosen.is_empty() {
        note(match args.label {
            Some(_) => "no lease of yours has this label",
            None => "no lease of yours belongs to a folder that is gone",
        });
    }
    if !args.force {
        ask_for(&listening(backend, &chosen).await?)?;
    }
    end(backend, chosen, note).await
}

/// Releases these leases, tells of each, and returns those that had not ended meanwhile.
pub(super) async fn end(
    backend: &Backend,
    chosen: Vec<LeaseDocument>,
    mut tell: impl FnMut(&str),
) -> Result<Vec<LeaseDocument>, Failure> {
    let mut released = Vec::with_capacity(chosen.len());
    for lease in chosen {
        match backend.release(lease.id).await {
            Ok(()) => {
                let listener = listener(backend, &lease).await?;
                tell(&in_words(&lease, listener.as_ref()));
                released.push(lease);
            }
            Err(error) if is_over(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(released)
}

async fn chosen(backend: &Backend, args: &ReleaseArgs) -> Result<Vec<LeaseDocument>, Failure> {
    let living = backend.leases(false).await?;
    let here = Here::now();
    if args.gone {
        return Ok(gone(living, here.uid()));
    }
    if let Some(label) = &args.label {
        let own = living.into_iter().filter(|lease| lease.uid == here.uid());
        return Ok(own.filter(|lease| labelled(&lease.labels, label)).collect());
    }
    let mut chosen: Vec<LeaseDocument> = Vec::new();
    for word in &args.leases {
        let word = match &args.instance {
            Some(instance) => format!("{word}@{instance}"),
            None => word.clone(),
        };
        chosen.extend(here.find(&living, &word, args.all, LOOKUP)?);
    }
    let mut seen = std::collections::HashSet::new();
    chosen.retain(|lease| seen.insert(lease.id));
    Ok(chosen)
}

/// Leases of this user whose folder is gone and that no program uses.
pub(super) fn gone(mut living: Vec<LeaseDocument>, uid: u32) -> Vec<LeaseDocument> {
    living.retain(|lease| {
        let is_gone = lease.directory.as_deref().is_some_and(folder::is_gone);
        lease.uid == uid && lease.owner.is_none() && is_gone
    });
    living
}

/// Whether the lease ended meanwhile.
fn is_over(error: &Error) -> bool {
    matches!(error, Error::Refused(problem) if problem.code == Code::NotFound.as_str())
}

/// Picks the leases whose program listens, with that program.
pub(super) async fn listening(
    backend: &Backend,
    chosen: &[LeaseDocument],
) -> Result<Vec<(LeaseDocument, Occupant)>, Failure> {
    let mut found = Vec::new();
    for lease in chosen.iter().filter(|lease| lease.may_be_listened_on()) {
        found.extend(
            listener(backend, lease)
                .await?
                .map(|who| (lease.clone(), who)),
        );
    }
    Ok(found)
}

/// Program that listens on the port of a lease now.
async fn listener(backend: &Backend, lease: &LeaseDocument) -> Result<Option<Occupant>, Failure> {
    let found = backend.port(lease.protocol, lease.port).await?;
    Ok(found.listener_of(lease).cloned())
}

/// Asks the user at the terminal; without a terminal it refuses.
fn ask_for(listening: &[(LeaseDocument, Occupant)]) -> Result<(), Failure> {
    let lines: Vec<String> = listening.iter().map(line).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let lines = lines.join("\n");
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::other(format!(
            "{lines}\nnothing was released: stop the program first, or add --force"
        )));
    }
    lines.lines().for_each(note);
    if is_agreed("release it all the same?") {
        return Ok(());
    }
    Err(Failure::other("nothing was released"))
}

/// "web (~/shop): node (pid 7) listens on port 24117".
pub(super) fn line((lease, who): &(LeaseDocument, Occupant)) -> String {
    let title = printable(&folder::title(lease));
    format!("{title}: {who} listens on port {}", lease.port)
}

/// Asks a question at the terminal.
pub(super) fn is_agreed(question: &str) -> bool {
    let _ = write!(io::stderr(), "portbook: {question} [y/N] ");
    let mut answer = String::new();
    // An answer that cannot be read is no yes.
    let _ = io::stdin().lock().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Tells of a lease that was released.
fn in_words(lease: &LeaseDocument, listener: Option<&Occupant>) -> String {
    let of = match &lease.name {
        Some(_) => format!(" of {}", folder::title(lease)),
        None => String::new(),
    };
    let then = if lease.fence.as_deref() == Some(KERNEL_FENCE) {
        "and the fence of the fleet cuts it off"
    } else {
        "and nothing guards it any more"
    };
    let still = match (listener, &lease.owner) {
        (Some(who), _) => format!("; {who} still listens on it, {then}"),
        // Its last listener is gone, and the next one is another process.
        (None, Some(owner)) if owner.engine => {
            format!("; a container that is published there may take it again, {then}")
        }
        // The program may be about to listen.
        (None, Some(owner)) if lease.state != State::Reserved => format!(
            "; {} (pid {}) still runs, {then}",
            printable(&owner.command),
            owner.pid
        ),
        _ => String::new(),
    };
    format!("released {}/{}{of}{still}", lease.port, lease.protocol)
}
