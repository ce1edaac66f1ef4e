//! Permissions of portbook's files: the data directory, the record, the token, the socket.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::Settings;
use crate::domain::words::shell_word;

/// Files that other users may open, or that belong to another user. `served` has the modes that running services give
/// their sockets, whose settings may be others than the caller's.
pub(super) fn permissions(
    settings: &Settings,
    served: &BTreeMap<PathBuf, u32>,
) -> Vec<(String, String)> {
    let folder = &settings.data_dir;
    let socket_mode = served.get(&settings.socket);
    let kept = [
        (folder.clone(), 0o700),
        (folder.join("portbook.db"), 0o600),
        (folder.join("token"), 0o600),
        (
            settings.socket.clone(),
            *socket_mode.unwrap_or(&settings.socket_mode),
        ),
    ];
    let me = rustix::process::geteuid().as_raw();
    let found = kept
        .iter()
        .flat_map(|(path, mode)| of_file(path, *mode, me));
    found.collect()
}

fn of_file(path: &Path, mode: u32, me: u32) -> Vec<(String, String)> {
    // A missing file will be made with the right permissions.
    let Ok(found) = std::fs::metadata(path) else {
        return Vec::new();
    };
    let name = shell_word(&path.to_string_lossy());
    let mut problems = Vec::new();
    let has = found.permissions().mode() & 0o777;
    if has & !mode != 0 {
        problems.push((
            format!(
                "{} has mode {has:04o}, more than {mode:04o}",
                path.display()
            ),
            format!("chmod {mode:04o} {name}"),
        ));
    }
    if found.uid() != me && me != 0 {
        problems.push((
            format!(
                "{} belongs to uid {}, not to you",
                path.display(),
                found.uid()
            ),
            format!("sudo chown {me} {name}"),
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposed_files_are_reported_with_a_chmod() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a b");
        assert_eq!(of_file(&file, 0o600, 0), []);
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let found = of_file(&file, 0o600, 0);
        assert!(found[0].0.ends_with("has mode 0644, more than 0600"));
        assert_eq!(found[0].1, format!("chmod 0600 '{}'", file.display()));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o400)).unwrap();
        assert_eq!(of_file(&file, 0o600, 0), []);
        let uid = std::fs::metadata(&file).unwrap().uid();
        let found = of_file(&file, 0o600, uid + 1);
        assert!(found[0].1.starts_with("sudo chown "), "{found:?}");
    }
}
