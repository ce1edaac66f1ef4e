//! The two builds that are compared.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::common::PORTBOOK;
use crate::{Arguments, Pair};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// Finds the binaries, and builds the earlier one if it is not there yet.
pub fn find(arguments: &Arguments) -> Result<Pair<PathBuf>> {
    let new = arguments.new.clone().unwrap_or_else(|| PORTBOOK.into());
    let old = match &arguments.old {
        Some(binary) => binary.clone(),
        None => earlier(&arguments.commit)?,
    };
    for binary in [&old, &new] {
        ensure!(binary.is_file(), "there is no {}", binary.display());
    }
    Ok(Pair { old, new })
}

/// The binary of a commit. It is built once and kept in the target directory.
fn earlier(commit: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("against-{commit}"));
    let binary = folder.join("portbook");
    if binary.is_file() {
        return Ok(binary);
    }
    let (source, target) = (folder.join("source"), folder.join("target"));
    unpack(commit, &source)?;
    eprintln!("building {commit} in {}", folder.display());
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--bin", "portbook"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&source)
        .status()?;
    ensure!(status.success(), "{commit} cannot be built: {status}");
    std::fs::rename(target.join("release/portbook"), &binary)?;
    std::fs::remove_dir_all(source)?;
    std::fs::remove_dir_all(target)?;
    Ok(binary)
}

/// Writes the files of a commit into a folder.
fn unpack(commit: &str, folder: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["-C", REPOSITORY]);
    let found = git
        .args(["cat-file", "-e", &format!("{commit}^{{commit}}")])
        .stderr(Stdio::null())
        .status()
        .context("git")?;
    if !found.success() {
        bail!(
            "commit {commit} is not in the history of {REPOSITORY}: \
             if the clone is shallow, run `git fetch --unshallow`; or give a binary with --old"
        );
    }
    std::fs::create_dir_all(folder)?;
    let mut archive = Command::new("git")
        .args(["-C", REPOSITORY, "archive", commit])
        .stdout(Stdio::piped())
        .spawn()?;
    let files = archive.stdout.take().context("no stdout")?;
    let tar = Command::new("tar")
        .arg("-x")
        .arg("-C")
        .arg(folder)
        .stdin(files)
        .status()?;
    ensure!(
        archive.wait()?.success() && tar.success(),
        "the files of {commit} cannot be unpacked"
    );
    Ok(())
}
