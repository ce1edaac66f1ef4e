//! Files that commands write for their user.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use super::Failure;

/// Writes a file, making its folder if need be. An existing one is replaced only with `force`.
/// `way_out` follows the error of a file that cannot be written.
pub(super) fn write(file: &Path, text: &str, force: bool, way_out: &str) -> Result<(), Failure> {
    try_write(file, text, force).map_err(|error| {
        let file = file.display();
        Failure::other(match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{file} exists already: name another file, or replace it with --force")
            }
            _ => format!("{file} cannot be written ({error}): {way_out}"),
        })
    })
}

fn try_write(file: &Path, text: &str, force: bool) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    // create_new leaves no moment between looking and writing.
    let options = if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.write(true).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_only_if_forced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/config.toml");
        let text = || std::fs::read_to_string(&file).unwrap();
        write(&file, "first", false, "").unwrap();
        assert_eq!(text(), "first");
        let refused = write(&file, "second", false, "").unwrap_err();
        let problem = refused.problem().unwrap();
        assert!(problem.detail.contains("--force"), "{problem}");
        assert_eq!(text(), "first");
        write(&file, "second", true, "").unwrap();
        assert_eq!(text(), "second");
    }
}
