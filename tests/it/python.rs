//! Programs from the Python Package Index that tests run, each in an environment of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with an environment that has this package, installed once into the build's folder.
/// `None` if it cannot be installed.
pub fn environment(name: &str, package: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // One test at a time: others may be about to install it too.
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let marker = folder.join("installed");
    if !marker.exists() {
        let succeeds =
            |command: &mut Command| command.output().is_ok_and(|out| out.status.success());
        let made = succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let mut pip = Command::new(folder.join("bin/pip"));
        if !made || !succeeds(pip.args(["install", "--quiet", package])) {
            return None;
        }
        File::create(&marker).unwrap();
    }
    Some(folder)
}
