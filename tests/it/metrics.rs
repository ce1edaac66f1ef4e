//! Metrics for Prometheus, and health checks.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Place, Server, occupant, ports, text};

/// The value of one line of `/metrics`.
fn value(metrics: &str, line: &str) -> Option<f64> {
    let found = metrics.lines().find_map(|known| known.strip_prefix(line))?;
    found.trim().parse().ok()
}

fn metrics(server: &Server) -> String {
    server.get("/metrics").body
}

#[test]
fn an_allocation_with_a_conflict_and_its_release_are_counted() {
    let place = Place::with_ports(2);
    let _occupant = occupant(place.ports[0]);
    let server = place.serve();
    let granted = place.json(&["alloc", "--name", "web"]);
    let text = metrics(&server);
    let is = |line: &str, wanted: f64| {
        let value = value(&text, line);
        assert!(
            value.is_some_and(|value| (value - wanted).abs() < 1e-9),
            "{line}: {value:?}\n{text}"
        );
    };
    // The service allocated the console's port as well.
    is(
        "portbook_allocations_total{outcome=\"granted\",strategy=\"ordered\"}",
        2.0,
    );
    is("portbook_allocation_duration_seconds_count", 2.0);
    is(
        "portbook_attempts_total{result=\"in_use\",interface=\"any\"}",
        1.0,
    );
    is("portbook_allocation_attempts_bucket{le=\"2\"}", 2.0);
    is("portbook_allocation_attempts_sum", 3.0);
    is("portbook_leases{state=\"handed\"}", 1.0);
    is("portbook_ports{interface=\"any\",state=\"handed\"}", 1.0);
    is(
        "portbook_pool_ports{pool=\"default\",state=\"leased\"}",
        1.0,
    );
    is("portbook_pool_ports{pool=\"default\",state=\"free\"}", 1.0);
    is("portbook_check_state{check=\"record\"}", 0.0);
    is("portbook_build_info{version=\"0.1.0\"}", 1.0);
    assert!(value(&text, "portbook_store_commit_duration_seconds_count").unwrap() >= 2.0);
    assert!(value(&text, "portbook_snapshot_timestamp_seconds").unwrap() > 1e9);
    assert!(
        !text.contains(&place.ports[1].to_string()),
        "a port in a label:\n{text}"
    );

    let lease = granted["leases"][0]["id"].as_str().unwrap();
    place.ok(&["release", lease]);
    assert_eq!(server.get("/api/v1/nothing").status, 404);
    let text = metrics(&server);
    assert_eq!(
        value(&text, "portbook_leases_ended_total{reason=\"released\"}"),
        Some(1.0)
    );
    assert_eq!(
        value(
            &text,
            "portbook_lease_lifetime_seconds_count{reason=\"released\"}"
        ),
        Some(1.0)
    );
    assert_eq!(
        value(
            &text,
            "portbook_rejected_requests_total{reason=\"not_found\"}"
        ),
        Some(1.0)
    );
}

#[test]
fn the_format_is_what_the_scraper_asks_for() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let plain = server.web("GET", "/metrics", &[]);
    assert!(
        plain.head.contains("text/plain; version=0.0.4"),
        "{}",
        plain.head
    );
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
    let open = server.web("GET", "/metrics", &[("Accept", accept)]);
    assert!(
        open.head.contains("application/openmetrics-text"),
        "{}",
        open.head
    );
    assert!(
        open.body.contains("# UNIT portbook_store_size_bytes bytes"),
        "{}",
        open.body
    );
}

#[test]
fn readiness_lists_its_checks() {
    let place = Place::with_ports(1);
    let server = place.serve();
    assert_eq!(server.get("/readyz").body, "ok\n");
    let verbose = server.get("/readyz?verbose");
    assert_eq!(verbose.status, 200);
    for name in [
        "record",
        "guards",
        "descriptors",
        "disk",
        "interfaces",
        "snapshot",
    ] {
        assert!(
            verbose.body.contains(&format!(" {name}: ")),
            "{}",
            verbose.body
        );
    }
    let status = place.ok(&["status"]);
    assert!(
        status.contains("health    ready\n") && status.contains("ok      record: "),
        "{status}"
    );
}

/// Runs promtool, or reports on stderr that it is missing.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: promtool is not installed");
        return None;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    Some((output.status.success(), said))
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let lease = place.json(&["alloc"])["leases"][0]["id"].clone();
    place.ok(&["release", lease.as_str().unwrap()]);
    let Some((good, said)) = promtool(&["check", "metrics"], &metrics(&server)) else {
        return;
    };
    assert!(good && said.is_empty(), "{said}");
}

#[test]
fn the_alert_rules_do_what_their_tests_say() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/static/observe/");
    let rules = format!("{folder}prometheus-rules.yml");
    let tests = format!("{folder}prometheus-rules-test.yml");
    for arguments in [["check", "rules", &rules], ["test", "rules", &tests]] {
        let Some((good, said)) = promtool(&arguments, "") else {
            return;
        };
        assert!(good, "{said}");
    }
}

#[test]
fn a_real_prometheus_scrapes_it() {
    if Command::new("prometheus")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("SKIPPED: prometheus is not installed");
        return;
    }
    let place = Place::with_ports(1);
    let server = place.serve();
    let port = ports(1)[0];
    let config = place.folder().join("prometheus.yml");
    let target = server
        .console
        .trim_start_matches("http://")
        .trim_end_matches('/');
    let job = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: portbook\n  static_configs: [{{targets: [\"{target}\"]}}]\n"
    );
    std::fs::write(&config, job).unwrap();
    let mut prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            place.folder().join("tsdb").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let scraped = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        let query = format!("http://127.0.0.1:{port}/api/v1/query?query=portbook_build_info");
        let answer = Command::new("python3")
            .args([
                "-c",
                "import sys,urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())",
                &query,
            ])
            .output()
            .unwrap();
        text(&answer.stdout).contains("\"version\":\"0.1.0\"")
    });
    prometheus.kill().unwrap();
    prometheus.wait().unwrap();
    assert!(scraped, "nothing was scraped within a minute");
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("portbook_"));
    ours.map(|word| {
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.into_iter().find_map(|part| word.strip_suffix(part));
        whole.unwrap_or(word).to_owned()
    })
    .collect()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_there_are() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let lease = place.json(&["alloc"])["leases"][0]["id"].clone();
    place.ok(&["release", lease.as_str().unwrap()]);
    server.get("/api/v1/nothing");
    let known = names(&metrics(&server));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/static/observe/");
    for file in ["grafana-dashboard.json", "prometheus-rules.yml"] {
        let text = std::fs::read_to_string(format!("{folder}{file}")).unwrap();
        // No repair has happened, so its metric has no line yet.
        let asked = names(&text)
            .into_iter()
            .filter(|name| name != "portbook_repairs_total");
        let unknown: Vec<String> = asked.filter(|name| !known.contains(name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    for file in ["grafana-dashboard.json", "jaeger-ui.json"] {
        let text = std::fs::read_to_string(format!("{folder}{file}")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}
