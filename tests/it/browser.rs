//! The console in a real browser, driven by `tests/browser/console.mjs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::host::skipped;
use crate::support::{Occupant, Place, Server, command_of, occupant, ports, text};
use crate::tools::eventually;

const TEST: &str = "the console in a browser";

/// The browser driver and the accessibility checker, each at a version that is known to work.
const PACKAGES: [&str; 2] = ["playwright-core@1", "axe-core@4"];

/// A folder with the packages; installed once for all runs.
pub fn packages() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    let done = folder.join("installed");
    if done.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    fs::write(folder.join("package.json"), "{\"private\": true}\n").unwrap();
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"]);
    let output = npm
        .args(PACKAGES)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("npm: {error}"))?;
    if !output.status.success() {
        return Err(format!("npm: {}", text(&output.stderr)));
    }
    fs::write(done, "").unwrap();
    Ok(folder)
}

pub fn browser() -> Option<&'static str> {
    let known = [
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
        "/usr/bin/google-chrome",
    ];
    known.into_iter().find(|path| Path::new(path).exists())
}

/// A lease with an outsider. Until it is dropped, the owner lives and the outsider listens.
fn lost_lease(server: &Server) -> [Occupant; 2] {
    let owner = occupant(ports(1)[0]);
    let wanted = json!({"name": "lost", "owner_pid": owner.0.id()});
    let lease = server.allocate(&wanted).json();
    let lease = &lease["leases"][0];
    let port = u16::try_from(lease["port"].as_u64().unwrap()).unwrap();
    let outsider = occupant(port);
    let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
    eventually("the lease is lost", || {
        let lease = server.get(&path).json();
        (lease["state"] == "lost").then_some(())
    });
    [owner, outsider]
}

#[test]
fn every_page_works_in_a_browser() {
    let Some(browser) = browser() else {
        return skipped(TEST, "no Chromium is installed");
    };
    let folder = match packages() {
        Ok(folder) => folder,
        Err(why) => return skipped(TEST, &why),
    };
    let mut place = Place::with_ports(24);
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "learned");
    let _occupant = occupant(place.ports[0]);
    let server = place.serve();
    let hostile = "<script>alert(1)</script>\"'&\u{202e}";
    for wanted in [
        json!({"name": "web", "labels": {"team": hostile}}),
        json!({"name": "api", "ttl": "1h"}),
        json!({"prefer": place.ports[0], "strategy": "ordered"}),
        json!({"count": 3}),
    ] {
        let answer = server.allocate(&wanted);
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let lost = lost_lease(&server);
    let refused = json!({"port": place.ports[0]});
    assert_eq!(server.allocate(&refused).status, 409);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/console.mjs");
    let mut node = command_of("node");
    node.arg(script)
        .arg(folder)
        .arg(&server.console)
        .arg(server.socket());
    node.env("CHROMIUM", browser);
    // A browser insists on a home that it can write to.
    node.env("HOME", place.folder());
    node.env("XDG_CONFIG_HOME", place.folder().join("config"));
    // `PORTBOOK_PICTURES=FOLDER cargo test browser` leaves a picture of every page there.
    if let Some(pictures) = std::env::var_os("PORTBOOK_PICTURES") {
        node.arg(pictures);
    }
    let Ok(output) = node.output() else {
        return skipped(TEST, "node is not installed");
    };
    let (said, why) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{why}");
    drop(lost);
}
