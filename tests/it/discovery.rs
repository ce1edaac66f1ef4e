//! Services for Prometheus, Traefik and Caddy, and their addresses.

use std::process::Command;

use serde_json::{Value, json};

use crate::host::skipped;
use crate::support::{Place, Server, text};
use crate::tools::{Running, eventually};

/// A web server under a name, once its lease is active.
fn serving(place: &Place, server: &Server, name: &str) -> (Running, Value) {
    let mut command = place.command();
    command.args(["run", "--name", name, "--label", "team=infra", "--"]);
    command.args(["python3", "-m", "http.server", "{port}"]);
    command.stderr(std::process::Stdio::null());
    let program = Running::piped(command);
    let lease = eventually("it listens", || {
        let mut leases = server.living("default").into_iter();
        leases.find(|lease| lease["name"] == name && lease["state"] == "active")
    });
    (program, lease)
}

#[test]
fn prometheus_finds_the_services_that_listen() {
    let place = Place::with_ports(2);
    let server = place.serve();
    server.allocate(&json!({ "name": "absent" }));
    let (_program, lease) = serving(&place, &server, "web");
    let target = format!("127.0.0.1:{}", lease["port"]);
    let found = server.get("/api/v1/discovery/prometheus").json();
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found[0]["targets"], json!([target]));
    assert_eq!(found[0]["labels"]["__meta_portbook_label_team"], "infra");
    let listed = place.ok(&["list", "--format", "prometheus"]);
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), found);
    let none = server.get("/api/v1/discovery/prometheus?label=team=shop");
    assert_eq!(none.json(), json!([]));

    let configuration = place.folder().join("prometheus.yml");
    let url = format!(
        "http://127.0.0.1:{}/api/v1/discovery/prometheus",
        server.console_port()
    );
    let job = format!(
        "scrape_configs: [{{job_name: book, http_sd_configs: [{{url: '{url}'}}], \
         relabel_configs: [{{source_labels: [__meta_portbook_name], target_label: service}}]}}]"
    );
    std::fs::write(&configuration, job).unwrap();
    let check = ["check", "service-discovery", "--timeout=10s"];
    let mut promtool = Command::new("promtool");
    let found = promtool
        .args(check)
        .arg(&configuration)
        .arg("book")
        .output();
    let Ok(found) = found else {
        return skipped("Prometheus discovers", "promtool is not installed");
    };
    let said = text(&found.stdout);
    assert!(found.status.success(), "{found:?}");
    assert!(
        said.contains(&target) && said.contains(r#""service": "web""#),
        "{said}"
    );
}

#[test]
fn each_service_has_a_host_name_for_a_proxy() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let empty = server.get("/api/v1/discovery/traefik").json();
    assert_eq!(empty, json!({}));
    let (_program, lease) = serving(&place, &server, "web");
    let found = server.get("/api/v1/discovery/traefik").json();
    let router = &found["http"]["routers"]["web_localhost"];
    assert_eq!(router["rule"], "Host(`web.localhost`)");
    let servers = &found["http"]["services"]["web_localhost"]["loadBalancer"]["servers"];
    assert_eq!(servers[0]["url"], lease["url"]);
    let listed = place.ok(&["list", "--format", "traefik"]);
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), found);

    let caddyfile = place.folder().join("Caddyfile");
    let listed = place.ok(&["list", "--format", "caddy"]);
    assert!(
        listed.contains(&format!("reverse_proxy 127.0.0.1:{}", lease["port"])),
        "{listed}"
    );
    std::fs::write(&caddyfile, listed).unwrap();
    let mut caddy = Command::new("caddy");
    caddy
        .args(["adapt", "--adapter", "caddyfile", "--config"])
        .arg(&caddyfile);
    let Ok(adapted) = caddy.env("HOME", place.folder()).output() else {
        return skipped("Caddy reads its file", "caddy is not installed");
    };
    assert!(adapted.status.success(), "{adapted:?}");
    assert!(
        text(&adapted.stdout).contains("web.localhost"),
        "{adapted:?}"
    );
}

#[test]
fn url_is_the_address_of_a_name() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let lease = server.allocate(&json!({ "name": "web" })).json()["leases"][0].clone();
    let url = lease["url"].as_str().unwrap();
    assert_eq!(place.ok(&["url", "web"]), format!("{url}\n"));
    let path = ["url", "web", "--path", "/admin?tab=1", "--https"];
    let secure = url.replace("http:", "https:");
    assert_eq!(place.ok(&path), format!("{secure}/admin?tab=1\n"));
    assert_eq!(place.json(&["url", "web"])["urls"], json!([url]));

    let missing = place.run(&["url", "other"]);
    assert!(!missing.status.success(), "{missing:?}");
    assert!(
        text(&missing.stderr).contains("no living lease"),
        "{missing:?}"
    );
    server.allocate(&json!({ "name": "dns", "protocol": "udp" }));
    let udp = place.run(&["url", "dns"]);
    assert!(text(&udp.stderr).contains("UDP"), "{udp:?}");
}

#[test]
fn url_is_opened_in_the_browser_of_the_desktop() {
    let place = Place::with_ports(1);
    let server = place.serve();
    server.allocate(&json!({ "name": "web" }));
    let bin = place.folder().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let opened = place.folder().join("opened");
    let script = format!(
        "#!/bin/sh\nprintf %s \"$1\" > '{0}.new'; mv '{0}.new' '{0}'\n",
        opened.display()
    );
    let file = bin.join("xdg-open");
    std::fs::write(&file, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&file, mode).unwrap();
    let mut command = place.command();
    command.args(["url", "web", "--open"]);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let url = eventually("it is opened", || std::fs::read_to_string(&opened).ok());
    assert_eq!(url + "\n", text(&output.stdout));
}
