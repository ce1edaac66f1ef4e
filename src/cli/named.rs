//! Leases by a word of the command line: an id, else the port of a lease, else a name. A name is this
//! folder's, else the user's; another folder's is never taken without being asked for.

use std::path::PathBuf;

use super::{Failure, folder, project};
use crate::answers::document::LeaseDocument;
use crate::domain::attempt::printable;
use crate::domain::lease::Name;
use crate::domain::port::Port;
use crate::library::Error;
use crate::library::backend::Backend;

/// Place that names are looked up from.
#[derive(Debug, Clone)]
pub(super) struct Here {
    uid: u32,
    /// Folder that names of scope `dir` belong to. `None` if there is no current directory.
    folder: Option<PathBuf>,
}

/// The command that looks leases up, for the words of its refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookup {
    pub(super) command: &'static str,
    /// Whether it has `--all`.
    pub(super) has_all: bool,
    /// Word by which the command takes one lease.
    pub(super) id: fn(&LeaseDocument) -> String,
}

impl Here {
    /// Place of the current directory.
    pub(super) fn now() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            folder: project::tree().ok().map(|tree| tree.scope),
        }
    }

    /// User that names belong to.
    pub(super) const fn uid(&self) -> u32 {
        self.uid
    }

    /// Finds the leases of a word: one by its id, all of a port, or all of a name in the nearest
    /// scope. With `all`, those of the name in every folder.
    pub(super) fn find(
        &self,
        leases: &[LeaseDocument],
        word: &str,
        all: bool,
        lookup: Lookup,
    ) -> Result<Vec<LeaseDocument>, Failure> {
        let by_id = self.own(leases, |lease| lease.id.to_string() == word);
        if !by_id.is_empty() {
            return Ok(by_id);
        }
        let by_port = self.own(leases, |lease| lease.port.to_string() == word);
        if !by_port.is_empty() {
            return Ok(by_port);
        }
        let named = self.own(leases, |lease| is_named(lease, word));
        if all && !named.is_empty() {
            return Ok(named);
        }
        let mut nearest = self.nearest(&named);
        if nearest.is_empty() {
            return Err(self.unknown(leases, &named, word, lookup));
        }
        let firsts = nearest.clone();
        let in_row = |lease: &&LeaseDocument| firsts.iter().any(|first| is_in_row_of(lease, first));
        nearest.extend(leases.iter().filter(in_row).cloned());
        Ok(nearest)
    }

    /// Leases that match. Root sees those of every user, but means its own if it has one.
    fn own(
        &self,
        leases: &[LeaseDocument],
        is_meant: impl Fn(&LeaseDocument) -> bool,
    ) -> Vec<LeaseDocument> {
        let mut meant: Vec<LeaseDocument> =
            leases.iter().filter(|it| is_meant(it)).cloned().collect();
        if meant.iter().any(|lease| lease.uid == self.uid) {
            meant.retain(|lease| lease.uid == self.uid);
        }
        meant
    }

    /// Picks from the leases of a name those of this folder, else those of the user.
    fn nearest(&self, named: &[LeaseDocument]) -> Vec<LeaseDocument> {
        for folder in [self.folder.as_ref(), None] {
            let of_scope = |lease: &&LeaseDocument| {
                lease.uid == self.uid && lease.directory.as_ref() == folder
            };
            let found: Vec<LeaseDocument> = named.iter().filter(of_scope).cloned().collect();
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    fn unknown(
        &self,
        leases: &[LeaseDocument],
        named: &[LeaseDocument],
        word: &str,
        lookup: Lookup,
    ) -> Failure {
        let shown = self.folder.as_deref().map(folder::shown);
        let here = shown.map_or_else(String::new, |folder| format!(" here ({folder})"));
        let word = printable(word);
        if named.is_empty() {
            let hint = self.instances(leases, &word);
            return Failure::not_found(format!(
                "no living lease has the id or port \"{word}\", or this name{here}; {hint}"
            ));
        }
        let mut lines = vec![format!(
            "no living lease is called {word}{here}, but elsewhere:"
        )];
        lines.extend(named.iter().map(|lease| self.line(lease, lookup)));
        let all = if lookup.has_all {
            ", or all of them with --all"
        } else {
            ""
        };
        lines.push(format!(
            "name one by its id, as in `portbook {} {}`{all}",
            lookup.command,
            (lookup.id)(&named[0])
        ));
        Failure::not_found(lines.join("\n"))
    }

    /// Hint on the other instances of a service, or on the list of all names.
    fn instances(&self, leases: &[LeaseDocument], word: &str) -> String {
        let of_service = |lease: &LeaseDocument| {
            let name = lease.name.as_ref();
            name.is_some_and(|name| name.service() == word && name.instance().is_some())
        };
        let found = self.nearest(&self.own(leases, of_service));
        let names: Vec<String> = found
            .iter()
            .filter_map(|it| Some(it.name.as_ref()?.to_string()))
            .collect();
        if names.is_empty() {
            "`portbook list` shows them".to_owned()
        } else {
            format!("there is {}", names.join(", "))
        }
    }

    fn line(&self, lease: &LeaseDocument, lookup: Lookup) -> String {
        let folder = lease.directory.as_deref().map(folder::shown);
        let folder = folder.unwrap_or_else(|| "of the user".to_owned());
        let user = if lease.uid == self.uid {
            String::new()
        } else {
            format!("  uid {}", lease.uid)
        };
        let (port, state, id) = (lease.port, lease.state.as_str(), (lookup.id)(lease));
        format!("  {folder}  port {port}  {state}{user}  {id}")
    }
}

/// Living leases here that are called as a port and have another one, as those of `run --map 8080`.
pub(super) async fn called(backend: &Backend, port: Port) -> Result<Vec<LeaseDocument>, Error> {
    let Ok(name) = port.to_string().parse::<Name>() else {
        return Ok(Vec::new());
    };
    let mut named = backend.leases_named(&name).await?;
    named.retain(|lease| lease.port != port && is_named(lease, name.as_str()));
    Ok(Here::now().nearest(&named))
}

/// Note for an answer about a port: a lease is called as the port and has another one. `None` if there
/// is no such lease.
pub(super) fn note_of_called(port: Port, called: &[LeaseDocument]) -> Option<String> {
    let lease = called.first()?;
    let (title, other) = (printable(&folder::title(lease)), lease.port);
    Some(format!(
        "{port} is also the name of a lease, {title}: its port is {other}"
    ))
}

/// Whether a lease is another port of one name, granted at once: `ray.1` beside `ray`.
pub(super) fn is_in_row_of(lease: &LeaseDocument, first: &LeaseDocument) -> bool {
    let (Some(name), Some(first_name)) = (&lease.name, &first.name) else {
        return false;
    };
    let index = name.as_str().strip_prefix(first_name.as_str());
    let index = index.and_then(|rest| rest.strip_prefix('.'));
    lease.allocation == first.allocation && index.is_some_and(|it| it.parse::<u16>().is_ok())
}

pub(super) fn is_named(lease: &LeaseDocument, name: &str) -> bool {
    let known = lease.name.as_ref();
    known.is_some_and(|known| known.as_str() == name)
}
