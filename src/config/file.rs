//! One configuration file: its values, and the line of each.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use figment::providers::{Format, Toml};
use figment::{Metadata, Profile, Provider};
use toml_edit::{ImDocument, TableLike};

use super::finding::{Finding, Problem};
use super::key::Key;
use super::layer::Layer;
use crate::files;

/// Whether a file has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// The user named it.
    Required,
    /// It has a customary place.
    Optional,
    /// It was found in a folder that may be a clone of an untrusted repository, where its name may
    /// lead to a device or a pipe that never ends.
    Found,
}

/// Maximum size of a configuration in bytes.
const LARGEST: u64 = 1 << 20;

/// The text of a file. A file that another user could have put or changed there is refused.
fn text(path: &Path, presence: Presence) -> io::Result<String> {
    let file = files::open(path)?;
    if let Some(problem) = distrust(&file, path, presence) {
        return Err(io::Error::other(problem));
    }
    file.text(LARGEST)
}

/// A reason not to trust the owner or the mode of a file. A file of a folder may belong to the owner of
/// the folder, as in a container that works on the files of its host. A file that the user names may
/// belong to any user.
fn distrust(file: &files::Opened, path: &Path, presence: Presence) -> Option<String> {
    let of_folder = || {
        let folder = std::fs::metadata(path.parent()?).ok()?;
        Some(folder.uid())
    };
    let owner = file.owner();
    let is_own = owner == 0 || owner == rustix::process::geteuid().as_raw();
    let counts = match presence {
        Presence::Required => true,
        Presence::Optional => is_own,
        Presence::Found => is_own || of_folder() == Some(owner),
    };
    if !counts {
        return Some(format!("it belongs to another user, uid {owner}"));
    }
    let is_exposed = presence != Presence::Found && file.mode() & 0o002 != 0;
    is_exposed.then(|| "every user may change it: chmod o-w it".to_owned())
}

/// Reads a file as a layer. `None` if it is absent and may be.
///
/// figment's own provider is not used: it searches parent folders and takes an absent file for an
/// empty one.
pub(super) fn read(path: &Path, presence: Presence) -> Result<Option<Layer>, Finding> {
    let source = format!("file {}", path.display());
    let problem =
        |message: String, hint: &str| Finding::error(&"", &source, Problem::new(message, hint));
    let text = match text(path, presence) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match presence {
                Presence::Optional => Ok(None),
                Presence::Required | Presence::Found => Err(problem(
                    "there is no such file".into(),
                    "name one that exists, or leave --config out",
                )),
            };
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(problem(
                "is not UTF-8 text".into(),
                "save it as UTF-8, as TOML asks",
            ));
        }
        Err(error) => {
            let message = format!("cannot be read ({error})");
            return Err(problem(message, "let this user read it, or remove it"));
        }
    };
    parse(&source, &text).map(Some)
}

fn parse(source: &str, text: &str) -> Result<Layer, Finding> {
    let document = ImDocument::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        let place = line.map_or(source.to_owned(), |line| format!("{source}:{line}"));
        let message = format!("not TOML ({})", error.message().replace('\n', ", "));
        Finding::error(&"", &place, Problem::new(message, "mend the line"))
    })?;
    let mut lines = BTreeMap::new();
    note_lines(text, document.as_table(), &Key::new([""; 0]), &mut lines);
    let values = Toml::string(text).data().map_err(|error| {
        Finding::error(&"", source, Problem::from_message(&error.kind.to_string()))
    })?;
    Ok(Layer {
        metadata: metadata(source, Arc::new(lines)),
        values: values.into_values().flatten().collect(),
    })
}

/// Names a value's source by file and line.
fn metadata(source: &str, lines: Arc<BTreeMap<Key, usize>>) -> Metadata {
    let source = source.to_owned();
    Metadata::named("file").interpolater(move |_: &Profile, path| {
        // An element of a list has no line of its own, so its parent's counts.
        let line = (1..=path.len())
            .rev()
            .find_map(|length| lines.get(&Key::new(path[..length].iter().copied())));
        line.map_or(source.clone(), |line| format!("{source}:{line}"))
    })
}

fn note_lines(text: &str, table: &dyn TableLike, at: &Key, lines: &mut BTreeMap<Key, usize>) {
    for (name, item) in table.iter() {
        let key = at.child(name);
        let named = table.get_key_value(name).and_then(|(key, _)| key.span());
        // `[pools.web]` is a better place than the `[pools]` that names it first.
        let header = item.as_table().and_then(toml_edit::Table::span);
        if let Some(span) = header.or(named).or(item.span()) {
            lines.insert(key.clone(), line_of(text, span.start));
        }
        if let Some(inner) = item.as_table_like() {
            note_lines(text, inner, &key, lines);
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let text = "socket = \"/s\"\n\n[pools.web]\nranges = [\n \"1-2\",\n]\nexclude = 1\n\
                    [interfaces]\n\"eth0.1\" = { ranges = 5 }\n";
        let layer = parse("file /x.toml", text).unwrap();
        let line = |path: &[&str]| layer.metadata.interpolate(&Profile::Default, path);
        assert_eq!(line(&["socket"]), "file /x.toml:1");
        assert_eq!(line(&["pools", "web"]), "file /x.toml:3");
        assert_eq!(line(&["pools", "web", "ranges"]), "file /x.toml:4");
        assert_eq!(line(&["pools", "web", "exclude"]), "file /x.toml:7");
        assert_eq!(line(&["interfaces", "eth0.1", "ranges"]), "file /x.toml:9");
    }

    #[test]
    fn file_that_is_not_utf8_is_called_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, b"socket = \"/\xe4\"\n").unwrap();
        for presence in [Presence::Required, Presence::Optional, Presence::Found] {
            let finding = read(&path, presence).unwrap_err();
            assert_eq!(finding.message, "is not UTF-8 text");
        }
    }

    #[test]
    fn a_broken_file_is_named_with_its_line() {
        let finding = parse("file /x.toml", "socket = \"/s\"\n[pools\n").unwrap_err();
        assert_eq!(finding.source, "file /x.toml:2");
        assert!(finding.message.starts_with("not TOML ("), "{finding}");
    }
}
