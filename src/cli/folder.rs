//! Folders as people read them: the home directory as `~`, long ones from their end.

use std::path::Path;

use crate::api::document::LeaseDocument;

/// How many characters of a folder a table shows.
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

/// The folder of a lease for a table, cut from the left; `-` where the name is of the user.
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

/// What a lease is called, with its folder: "web (~/shop)".
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

/// Whether a folder is known not to exist: one that cannot be looked at may be there.
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
