//! Containers of a real Docker Engine on leased ports.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::engine::{Beside, Docker, IMAGE};
use crate::host::Host;
use crate::support::text;
use crate::tools::{Running, eventually};

/// Waits until a container runs, and returns the pid of its first process. A container that the
/// engine restarts counts as running meanwhile, with the pid 0.
fn pid_of(docker: &Docker<'_>, name: &str) -> Pid {
    eventually("the container runs", || {
        let pid = docker.ok(&["inspect", "-f", "{{.State.Pid}}", name]);
        Pid::from_raw(pid.parse().unwrap())
    })
}

/// The running state of a container.
fn is_running(docker: &Docker<'_>, name: &str) -> bool {
    docker.ok(&["inspect", "-f", "{{.State.Running}}", name]) == "true"
}

#[test]
fn containers_come_back_to_the_port_of_their_name() {
    const TEST: &str = "containers that restart";
    let Some(host) = Host::plain(TEST) else {
        return;
    };
    let Some(mut docker) = Docker::start(&host, TEST) else {
        return;
    };
    let mut portbook = Beside::start(&host, 3);
    let port = portbook.alloc(&["--name", "web"]);
    docker.serve("web", port, &["--restart", "always"]);
    portbook.in_state(port, "active");

    docker.ok(&["restart", "-t", "0", "web"]);
    portbook.in_state(port, "active");
    assert!(is_running(&docker, "web"));

    // A crash: the engine starts it anew by itself.
    let crashed = pid_of(&docker, "web");
    kill_process(crashed, Signal::KILL).unwrap();
    eventually("the crashed container runs again", || {
        (pid_of(&docker, "web") != crashed).then_some(())
    });
    portbook.in_state(port, "active");

    portbook.restart();
    docker.ok(&["restart", "-t", "0", "web"]);
    portbook.in_state(port, "active");

    docker.stop_engine();
    portbook.in_state(port, "handed");
    // No other program is given the port meanwhile.
    assert!(
        !portbook
            .run(&["alloc", "--port", &port.to_string()])
            .status
            .success()
    );
    docker.start_engine().unwrap();
    eventually("the engine started it", || {
        is_running(&docker, "web").then_some(())
    });
    let lease = portbook.in_state(port, "active");
    assert_eq!(lease["owner"]["command"], "docker-proxy");
    assert!(lease["outsiders"].is_null(), "{lease}");
}

#[test]
fn a_container_is_active_only_for_whom_it_was_meant() {
    const TEST: &str = "containers on leases of others";
    let Some(host) = Host::plain(TEST) else {
        return;
    };
    let Some(docker) = Docker::start(&host, TEST) else {
        return;
    };
    let portbook = Beside::start(&host, 3);

    // A container on the lease of another program.
    let mut command = portbook.place.command();
    command.args(["run", "--name", "z", "--", "sleep", "600"]);
    let sleep = Running::start(host.enter(&command));
    let port = portbook.place.ports[0];
    portbook.in_state(port, "handed");
    docker.serve("foreign", port, &[]);
    let lost = portbook.in_state(port, "lost");
    assert_eq!(lost["outsiders"][0]["command"], "docker-proxy", "{lost}");
    docker.ok(&["rm", "-f", "foreign"]);
    drop(sleep);
    portbook.in_state(port, "reserved");

    // A container that its own command started, and left behind.
    let mut command = portbook.place.command();
    command.env("DOCKER_HOST", docker.address());
    command.args([
        "run",
        "--name",
        "web",
        "--",
        "docker",
        "run",
        "-d",
        "-p",
        "{port}:80",
    ]);
    command.args([IMAGE, "/busybox", "httpd", "-f", "-p", "80"]);
    let started = host.enter(&command).output().unwrap();
    assert!(started.status.success(), "{started:?}");
    let id = text(&started.stdout);
    let port = portbook.place.ports[1];
    portbook.until(port, |lease| lease["owner"]["engine"] == true);
    let other = portbook.run(&["run", "--name", "web", "--", "true"]);
    assert_eq!(other.status.code(), Some(125), "{other:?}");

    // An unnamed one waits for a while once its container is gone.
    let unnamed = portbook.alloc(&[]);
    docker.serve("unnamed", unnamed, &[]);
    portbook.in_state(unnamed, "active");
    docker.ok(&["rm", "-f", "unnamed", id.trim()]);
    let waiting = portbook.in_state(unnamed, "handed");
    assert!(waiting["claim_by"].is_string(), "{waiting}");
    assert_eq!(portbook.in_state(port, "handed")["claim_by"], Value::Null);
}
