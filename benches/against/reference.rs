//! The reference program of the port server's protocol: `portserver.py` of PyPI's `portpicker`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

const PACKAGE: &str = "portpicker==1.6.0";

/// Installs the package where it is not yet, with what it needs.
pub fn install() -> Result<()> {
    if program().exists() {
        return Ok(());
    }
    let status = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--target"])
        .arg(folder())
        .args([PACKAGE, "psutil"])
        .status()?;
    ensure!(status.success(), "{PACKAGE} cannot be installed: {status}");
    Ok(())
}

/// The command that serves these ports at an address.
pub fn command(ranges: &str, address: &str) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(program())
        .args(["--portserver_static_pool", ranges])
        .args(["--portserver_address", address])
        .env("PYTHONPATH", folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // It logs each request.
        .stderr(Stdio::null());
    command
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("against-portpicker-1.6.0")
}

fn program() -> PathBuf {
    folder().join("bin/portserver.py")
}
