//! When a browser has painted something of a page.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/paint.mjs");

/// Prints what the browser says; says aloud what it needs where it cannot run.
pub fn measure(url: &str, pages: &[String]) -> Result<()> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp/browser");
    if !packages.join("installed").exists() {
        println!("SKIPPED: first paint needs {}", packages.display());
        return Ok(());
    }
    let mut node = Command::new("node");
    node.arg(SCRIPT).arg(packages).arg(url).args(pages);
    ensure!(node.status()?.success(), "the browser failed");
    Ok(())
}
