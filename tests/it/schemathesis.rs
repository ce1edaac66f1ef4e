//! The API against its description: schemathesis sends allowed and forbidden requests and compares
//! every answer with the description.

use std::path::Path;

use crate::host::{Host, skipped};
use crate::python;
use crate::support::{Place, command_of, text};

const TEST: &str = "the API against its description";

/// A version that is known to work; others have other checks.
const PACKAGE: &str = "schemathesis==4.32.5";

#[test]
fn schemathesis_finds_nothing() {
    // It asks for random port numbers, so it runs on a host of its own.
    let Some(host) = Host::plain(TEST) else {
        return;
    };
    let Some(folder) = python::environment("schemathesis", PACKAGE) else {
        return skipped(TEST, "schemathesis cannot be installed");
    };
    let mut place = Place::with_ports(4);
    place.set("PORTBOOK_POOLS__DEFAULT__RANGES", "20000-29999");
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "learned");
    let server = host.serve(&place);
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis.toml");
    let mut run = command_of(folder.join("bin/schemathesis").to_str().unwrap());
    run.args(["--config-file", config, "run"]);
    run.arg(format!("{}/api/v1/openapi.json", server.console));
    run.args(["--checks", "all", "--no-color"]);
    // A lease that was given back stays on record, by design: 200 with its end state.
    run.args(["--exclude-checks", "use_after_free"]);
    run.args([
        "--header",
        &format!("Authorization: Bearer {}", server.token()),
    ]);
    // Its answer has no end, and a client that reads whole answers would wait for it.
    run.args(["--exclude-path", "/api/v1/events"]);
    let hooks = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    run.env("PYTHONPATH", hooks)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let output = host
        .enter(&run)
        .current_dir(place.folder())
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    keep(&said);
}

/// Writes the output beside the build; it tells the number of requests.
fn keep(said: &str) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis.log");
    std::fs::write(file, said).unwrap();
}
