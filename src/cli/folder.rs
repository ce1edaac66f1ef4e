//! Folders for people: the home directory is `~`, and long paths are cut at their beginning.

use std::path::Path;

use crate::answers::document::LeaseDocument;

/// Maximum length of a folder in a table, in characters.
const WIDTH: usize = 36;

/// A path with the user's home directory as `~`.
pub(super) fn shown(path: &Path) -> String {
    below(path, std::env::home_dir().as_deref())
}

fn below(path: &Path, home: Option<&Path>) -> String {
    let home = home.filter(|home| home.components().count() > 1);
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

/// Folder of a lease for a table; `-` if its name belongs to the user.
pub(super) fn cell(lease: &LeaseDocument) -> String {
    lease
        .directory
        .as_deref()
        .map_or_else(|| "-".to_owned(), |folder| cut(&shown(folder)))
}

fn cut(text: &str) -> String {
    let length = text.chars().count();
    if length <= WIDTH {
        return text.to_owned();
    }
    let tail: String = text.chars().skip(length + 1 - WIDTH).collect();
    format!("\u{2026}{tail}")
}

/// Name of a lease with its folder: "web (~/shop)".
pub(super) fn title(lease: &LeaseDocument) -> String {
    let name = match &lease.name {
        Some(name) => name.to_string(),
        None => format!("lease {}", lease.id),
    };
    match &lease.directory {
        Some(folder) => format!("{name} ({})", shown(folder)),
        None => name,
    }
}

/// Whether a folder is known to be missing. A folder that cannot be looked at may exist.
pub(super) fn is_gone(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_written_as_a_tilde() {
        let shown = |path: &str| below(Path::new(path), Some(Path::new("/home/me")));
        assert_eq!(shown("/home/me"), "~");
        assert_eq!(shown("/home/me/shop"), "~/shop");
        assert_eq!(shown("/home/meg/shop"), "/home/meg/shop");
        assert_eq!(below(Path::new("/a"), Some(Path::new("/"))), "/a");
        assert_eq!(below(Path::new("/a"), None), "/a");
    }

    #[test]
    fn long_folders_keep_their_end() {
        let long = format!("/{}/shop", "x".repeat(60));
        let short = cut(&long);
        assert_eq!(short.chars().count(), WIDTH);
        assert!(
            short.starts_with('\u{2026}') && short.ends_with("/shop"),
            "{short}"
        );
    }
}
