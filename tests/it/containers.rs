//! Leases of container engines: their proxies come and go, and belong to whom the lease was meant for.
//! These are stand-ins with the names and command lines of real proxies; `docker.rs` has a real engine.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::host::skipped;
use crate::support::{PORTBOOK, Place, Server};
use crate::tools::{Running, eventually};

/// Takes a name as programs do, becomes a user, and listens with SO_REUSEADDR, as Go's programs do.
const PROXY: &str = r#"
import ctypes, os, socket, sys
name, uid, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ctypes.CDLL(None).prctl(15, name.encode())
if os.getuid() != uid:
    os.setresuid(uid, uid, uid)
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    s.bind(("0.0.0.0", port))
except OSError as error:
    print(error.strerror, flush=True)
    sys.exit(1)
s.listen()
print("listens", flush=True)
sys.stdin.read()
"#;

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A proxy on a port, and the line that it prints.
fn proxy_of(name: &str, uid: u32, port: u16) -> (Running, String) {
    let number = port.to_string();
    let mut command = Command::new("python3");
    command.args(["-c", PROXY, name, &uid.to_string(), &number]);
    command.args(["-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port"]);
    command.args([
        &number,
        "-container-ip",
        "172.17.0.2",
        "-container-port",
        "80",
    ]);
    let mut program = Running::piped(command);
    let line = program.line();
    (program, line)
}

fn proxy(name: &str, port: u16) -> Running {
    let (program, line) = proxy_of(name, me(), port);
    assert_eq!(line, "listens");
    program
}

/// The lease of a port once it is in a state.
fn in_state(place: &Place, port: u16, state: &str) -> Value {
    eventually(state, || {
        let found = lease(place, port)?;
        (found["state"] == state).then_some(found)
    })
}

fn lease(place: &Place, port: u16) -> Option<Value> {
    let leases = place.json(&["list"])["leases"].as_array()?.clone();
    leases.into_iter().find(|lease| lease["port"] == port)
}

fn alloc(place: &Place, options: &[&str]) -> u16 {
    place
        .ok(&[&["alloc"], options].concat())
        .trim()
        .parse()
        .unwrap()
}

fn late_conflicts(server: &Server) -> bool {
    let metrics = server.get("/metrics").body;
    let mut lines = metrics.lines();
    lines.any(|line| {
        let count = line.strip_prefix("portbook_late_conflicts_total ");
        count.is_some_and(|count| count != "0")
    })
}

#[test]
fn a_named_lease_stays_open_to_the_next_proxy() {
    for name in ["docker-proxy", "conmon", "rootlessport"] {
        let place = Place::with_ports(1);
        let server = place.serve();
        let port = alloc(&place, &["--name", "web"]);
        let first = proxy(name, port);
        assert_eq!(in_state(&place, port, "active")["owner"]["command"], name);
        let pid = first.pid();
        drop(first);
        let waiting = in_state(&place, port, "handed");
        assert_eq!(waiting["owner"]["engine"], true, "{waiting}");
        let second = proxy(name, port);
        let again = in_state(&place, port, "active");
        assert_eq!(again["owner"]["pid"], second.pid());
        assert_ne!(u64::from(pid), again["owner"]["pid"]);
        assert!(!late_conflicts(&server), "{name}: {}", server.log());
    }
}

#[test]
fn a_lease_that_names_an_engine_stays_open_to_its_proxies() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let [port, other] = [place.ports[0], place.ports[1]];
    let engine = proxy("dockerd", other);
    let pid = engine.pid().to_string();
    let wanted = port.to_string();
    let options = ["--name", "web", "--port", &wanted, "--owner-pid", &pid];
    assert_eq!(alloc(&place, &options), port);
    drop(proxy("docker-proxy", port));
    let _next = proxy("docker-proxy", port);
    assert_eq!(in_state(&place, port, "active")["owner"]["engine"], true);
    assert!(!late_conflicts(&server), "{}", server.log());
}

#[test]
fn an_engine_comes_back_after_a_restart_of_the_service() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let port = alloc(&place, &["--name", "web"]);
    let first = proxy("docker-proxy", port);
    in_state(&place, port, "active");
    assert!(server.stop().success());
    drop(first);
    // One comes back while portbook is away, and another one afterwards.
    let second = proxy("docker-proxy", port);
    let server = place.serve();
    let again = in_state(&place, port, "active");
    assert_eq!(again["owner"]["pid"], second.pid());
    drop(second);
    in_state(&place, port, "handed");
    let third = proxy("docker-proxy", port);
    eventually("the third one claims", || {
        let lease = lease(&place, port)?;
        (lease["owner"]["pid"] == third.pid() && lease["state"] == "active").then_some(())
    });
    drop(third);
    in_state(&place, port, "handed");
    assert!(server.stop().success());
    let _server = place.serve();
    let _fourth = proxy("docker-proxy", port);
    in_state(&place, port, "active");
}

#[test]
fn an_unnamed_lease_waits_a_while_for_the_next_proxy() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    let port = alloc(&place, &[]);
    let first = proxy("docker-proxy", port);
    let active = in_state(&place, port, "active");
    assert!(active["claim_by"].is_null(), "{active}");
    drop(first);
    let waiting = in_state(&place, port, "handed");
    assert!(waiting["claim_by"].is_string(), "{waiting}");
    let _second = proxy("docker-proxy", port);
    let active = in_state(&place, port, "active");
    assert!(active["claim_by"].is_null(), "{active}");
}

#[test]
fn another_program_on_an_engines_lease_is_an_outsider() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    let port = alloc(&place, &["--name", "web"]);
    let first = proxy("docker-proxy", port);
    in_state(&place, port, "active");
    drop(first);
    in_state(&place, port, "handed");
    let other = proxy("server", port);
    let lost = in_state(&place, port, "lost");
    assert_eq!(lost["outsiders"][0]["pid"], other.pid(), "{lost}");
    drop(other);
    in_state(&place, port, "handed");
    let _proxy = proxy("docker-proxy", port);
    in_state(&place, port, "active");
}

#[test]
fn a_container_on_the_lease_of_another_program_is_an_outsider() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut run = place.command();
    run.args(["run", "--name", "web", "--", "sleep", "600"]);
    let _sleep = Running::start(run);
    let port = place.ports[0];
    in_state(&place, port, "handed");
    let proxy = proxy("docker-proxy", port);
    let lost = in_state(&place, port, "lost");
    assert_eq!(lost["outsiders"][0]["pid"], proxy.pid(), "{lost}");
    assert!(late_conflicts(&server));
}

/// A program in the place of `docker`, as the kernel names it.
fn docker_in(folder: &Path, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let file = folder.join("docker");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_container_belongs_to_the_command_that_starts_it() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let docker = docker_in(place.folder(), "exec 3<&0; cat <&3 >/dev/null; :");
    let port = place.ports[0];
    // Ends with its stdin.
    let script = format!("cat >/dev/null; exit; {docker} run");
    for program in [&[&*docker, "run"][..], &["sh", "-c", &script]] {
        let mut run = place.command();
        run.args(["run", "--"]).args(program);
        let run = Running::piped(run);
        in_state(&place, port, "handed");
        let proxy = proxy("docker-proxy", port);
        let active = in_state(&place, port, "active");
        assert_eq!(active["owner"]["pid"], run.pid(), "{active}");
        drop((proxy, run));
        eventually("over", || lease(&place, port).is_none().then_some(()));
    }
    assert!(!late_conflicts(&server), "{}", server.log());
}

#[test]
fn a_lease_passes_to_the_container_that_its_command_left_behind() {
    let place = Place::with_ports(2);
    let _server = place.serve();
    let docker = docker_in(place.folder(), "cat >/dev/null");
    let mut run = place.command();
    run.args(["run", "--name", "web", "--", &docker, "run", "-d"]);
    let mut run = Running::piped(run);
    let port = place.ports[0];
    in_state(&place, port, "handed");
    let proxy = proxy("docker-proxy", port);
    drop(run.0.stdin.take());
    run.0.wait().unwrap();
    eventually("the container has the lease", || {
        let lease = lease(&place, port)?;
        (lease["owner"]["pid"] == proxy.pid() && lease["state"] == "active").then_some(())
    });
    // A second program does not get the name without a word.
    let other = place.run(&["run", "--name", "web", "--", "true"]);
    assert_eq!(other.status.code(), Some(125));
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(said.contains("docker-proxy"), "{said}");
}

#[test]
fn a_users_service_knows_the_proxy_of_root() {
    const WHAT: &str = "root's docker-proxy for a user's service";
    const USER: &str = "65534";
    if me() != 0 {
        skipped(WHAT, "only root can become two users");
        return;
    }
    let place = Place::with_ports(2);
    std::os::unix::fs::chown(place.folder(), Some(65534), Some(65534)).unwrap();
    let as_user = |arguments: &[&str]| {
        let own = place.command();
        let mut command = Command::new("setpriv");
        command.env_clear();
        let variables = own.get_envs();
        command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", PORTBOOK]);
        command.args(arguments);
        command
    };
    if !as_user(&["--version"])
        .output()
        .is_ok_and(|done| done.status.success())
    {
        skipped(WHAT, "no other user can run portbook");
        return;
    }
    let _server = Server::start(as_user(&["serve"]), &place.data_dir());
    let ask = |arguments: &[&str]| {
        let done = as_user(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let port: u16 = ask(&["alloc", "--name", "web"]).trim().parse().unwrap();
    let (proxy, line) = proxy_of("docker-proxy", 0, port);
    assert_eq!(line, "listens");
    let list = || serde_json::from_str::<Value>(&ask(&["--json", "list"])).ok();
    eventually("claimed", || {
        let lease = list()?["leases"][0].clone();
        (lease["state"] == "active" && lease["owner"]["pid"] == proxy.pid()).then_some(())
    });
    drop(proxy);
    let (_again, line) = proxy_of("docker-proxy", 0, port);
    assert_eq!(line, "listens");
    eventually("claimed again", || {
        (list()?["leases"][0]["state"] == "active").then_some(())
    });
}

/// A command in a pid namespace of its own, as in a container with the host's network. `None`, reported on
/// stderr, if the kernel refuses one.
fn in_pid_namespace(place: &Place, script: &str, test: &str) -> Option<Command> {
    let within = |script: &str| {
        let mut command = place.shell(script);
        let shell: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let variables = command.get_envs();
        let mut outside = Command::new("unshare");
        outside.env_clear();
        outside.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        outside.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
        outside.args(shell);
        command = outside;
        command
    };
    let refused = within("exit 0").output();
    if refused.is_ok_and(|done| done.status.success()) {
        return Some(within(script));
    }
    skipped(test, "no pid namespace can be made");
    None
}

#[test]
fn run_works_in_another_pid_namespace() {
    const TEST: &str = "run in another pid namespace";
    let place = Place::with_ports(3);
    let _server = place.serve();
    let script = "portbook run --name web -- sleep 600";
    let Some(command) = in_pid_namespace(&place, script, TEST) else {
        return;
    };
    let outside = Running::start(command);
    let port = place.ports[0];
    let owner = in_state(&place, port, "handed")["owner"].clone();
    let pid = owner["pid"].as_u64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pids = status.lines().find(|line| line.starts_with("NSpid:"));
    assert_eq!(pids.unwrap().split_whitespace().count(), 3, "{status}");
    drop(outside);
    in_state(&place, port, "reserved");
}

#[test]
fn owner_pid_of_another_pid_namespace_is_a_kin_of_the_caller() {
    const TEST: &str = "owners of another pid namespace";
    let place = Place::with_ports(3);
    let _server = place.serve();
    let said = |script: &str| {
        let mut command = in_pid_namespace(&place, script, TEST)?;
        Some(command.output().unwrap())
    };
    let Some(done) = said("portbook alloc --name sh --owner-pid $$") else {
        return;
    };
    assert!(done.status.success(), "{done:?}");
    // The shell has ended with its namespace.
    in_state(&place, place.ports[0], "reserved");

    let other = "sleep 600 & portbook alloc --name other --owner-pid $!";
    let refused = said(other).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(
        text.contains("`portbook alloc`") && text.contains("--pid host"),
        "{text}"
    );
    let with_ttl = said(&format!("{other} --ttl 1h")).unwrap();
    assert!(with_ttl.status.success(), "{with_ttl:?}");
}

/// Answers on a port of a host, as the target of a redirection.
const TARGET: &str = r#"
import socket, sys
s = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("listens", flush=True)
while True:
    s.accept()[0].close()
"#;

#[test]
fn a_port_that_a_packet_filter_redirects_is_passed_over() {
    const TEST: &str = "ports redirected by a packet filter";
    let Some(host) = crate::host::Host::plain(TEST) else {
        return;
    };
    let place = Place::with_ports(9);
    let [
        everywhere,
        outside,
        gone,
        free,
        target,
        early,
        other,
        late,
        last,
    ] = place.ports[..]
    else {
        unreachable!()
    };
    for command in [
        "link add docker0 type bridge",
        "link add eth7 type veth peer name eth8",
        "link set eth8 up",
        "addr add 10.77.1.1/24 dev eth7",
        "link set eth7 up",
    ] {
        host.ok("ip", &command.split(' ').collect::<Vec<_>>());
    }
    let rules = format!(
        "table ip published {{\nchain out {{\ntype nat hook output priority -100\n\
         tcp dport {everywhere} redirect to :{target}\n\
         ip daddr 10.77.1.1 tcp dport {outside} redirect to :{target}\n\
         tcp dport {gone} dnat to 10.77.1.200:80\n}}\n}}"
    );
    let done = host.output("nft", &[&rules]);
    if !done.status.success() {
        skipped(TEST, String::from_utf8_lossy(&done.stderr).trim());
        return;
    }
    let mut command = crate::support::command_of("python3");
    command.args(["-c", TARGET, &target.to_string()]);
    let mut program = Running::piped(host.enter(&command));
    assert_eq!(program.line(), "listens");

    let server = host.serve(&place);
    let run = |arguments: &[&str]| {
        let mut command = place.command();
        command.args(arguments);
        let output = host.enter(&command).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(run(&["alloc"]), (Some(0), format!("{free}\n")));
    let attempts = server.get("/api/v1/attempts?outcome=redirected").json();
    let attempts = attempts["attempts"].as_array().unwrap().clone();
    let mut redirected: Vec<u64> = attempts
        .iter()
        .filter_map(|one| one["port"].as_u64())
        .collect();
    redirected.sort_unstable();
    assert_eq!(redirected, [everywhere, outside, gone].map(u64::from));

    let (_, who) = run(&["who", &outside.to_string()]);
    assert!(who.contains("is redirected on 10.77.1.1"), "{who}");
    let (_, who) = run(&["who", &free.to_string()]);
    assert!(!who.contains("redirected"), "{who}");
    let (code, doctor) = run(&["doctor"]);
    assert_eq!(code, Some(1));
    for port in [everywhere, outside, gone] {
        assert!(
            doctor.contains(&format!("packet filter: port {port}/tcp")),
            "{doctor}"
        );
    }
    assert_eq!(
        run(&["alloc", "--port", &everywhere.to_string()]).0,
        Some(1)
    );

    // A rule that comes later moves a name whose program is away.
    let reserve = ["alloc", "--reserve", "--name", "early", "--port"];
    let (code, _) = run(&[&reserve[..], &[&early.to_string()]].concat());
    assert_eq!(code, Some(0));
    let rule = format!("add rule ip published out tcp dport {early} redirect to :{target}");
    host.ok("nft", &[&rule]);
    let started = run(&["run", "--name", "early", "--", "sh", "-c", "echo $PORT"]);
    assert_eq!(started, (Some(0), format!("{other}\n")));

    // So it does one whose program has not come yet, the gate of which is open.
    let alloc = ["alloc", "--name", "late", "--port"];
    let (code, _) = run(&[&alloc[..], &[&late.to_string()]].concat());
    assert_eq!(code, Some(0));
    let rule = format!("add rule ip published out tcp dport {late} redirect to :{target}");
    host.ok("nft", &[&rule]);
    let started = run(&["run", "--name", "late", "--", "sh", "-c", "echo $PORT"]);
    assert_eq!(started, (Some(0), format!("{last}\n")));
}

#[test]
fn firewall_that_drops_packets_to_the_pool_redirects_no_port() {
    const TEST: &str = "a firewall on the ports of the pool";
    let Some(host) = crate::host::Host::plain(TEST) else {
        return;
    };
    host.ok("ip", &["link", "add", "docker0", "type", "bridge"]);
    let rules = "table ip wall {\nchain in {\ntype filter hook input priority 0\n\
                 tcp dport 1024-32000 drop\n}\n}";
    let done = host.output("nft", &[rules]);
    if !done.status.success() {
        skipped(TEST, String::from_utf8_lossy(&done.stderr).trim());
        return;
    }
    let place = Place::with_ports(1);
    let _server = host.serve(&place);
    let mut command = place.command();
    command.arg("alloc");
    let granted = host.enter(&command).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&granted.stdout).trim(),
        place.ports[0].to_string(),
        "{granted:?}"
    );
}
