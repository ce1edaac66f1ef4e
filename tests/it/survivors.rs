//! Survivors: processes that a program leaves behind inherit its lease. Daemons that fork before they
//! bind or after, workers that outlive their master, and the next run after them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::host::skipped;
use crate::probe::{How, bind, until_free};
use crate::support::{Place, Server, port, text};
use crate::tools::{Running, eventually};

const LOCALHOST: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A program that forks; the child says its pid. `way` is one or several words: "first" binds only
/// when told to, after the parent has ended; "last" binds before the fork; "stay" is a master that
/// stays; "clear" writes over the environment, as `setproctitle` does; "nobody" changes the user.
const DAEMON: &str = r#"
import ctypes, os, signal, socket, sys
port, told, way = int(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
def serve():
    global s
    s = socket.create_server(("127.0.0.1", port))
if "first" not in way:
    serve()
if os.fork():
    if "stay" in way:
        signal.pause()
    os._exit(0)
if "stay" not in way:
    os.setsid()
if "nobody" in way:
    os.setuid(65534)
if "clear" in way:
    fields = open("/proc/self/stat").read().rsplit(")", 1)[1].split()
    begin, end = int(fields[47]), int(fields[48])
    ctypes.memset(begin, 0, end - begin)
print(os.getpid(), flush=True)
if "first" in way:
    open(told).read()
    serve()
    print("serves", flush=True)
signal.pause()
"#;

/// A program under `run`, and the process that it leaves behind. Both are killed when dropped.
struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
    left: u32,
}

impl Program {
    fn run(place: &Place, way: &str) -> Self {
        let fifo = place.folder().join("told");
        if !fifo.exists() {
            assert!(
                Command::new("mkfifo")
                    .arg(&fifo)
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let mut command = place.command();
        command.args([
            "run", "--name", "web", "--", "python3", "-c", DAEMON, "{port}",
        ]);
        command.arg(fifo).arg(way);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut program = Self {
            child,
            lines,
            left: 0,
        };
        program.left = program.line().parse().unwrap();
        program
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Lets the process that was left behind bind, and waits until it has.
    fn bind(&mut self, place: &Place) {
        let told = place.folder().join("told");
        let mut told = std::fs::OpenOptions::new().write(true).open(told).unwrap();
        told.write_all(b"\n").unwrap();
        drop(told);
        assert_eq!(self.line(), "serves");
    }

    fn kill_left(&self) {
        let pid = i32::try_from(self.left).ok().and_then(Pid::from_raw);
        let _ = kill_process(pid.unwrap(), Signal::KILL);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill_left();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn web(server: &Server) -> Value {
    let list = server.get("/api/v1/leases?name=web").json();
    list["leases"][0].clone()
}

/// Waits until the lease has this owner and state.
fn until(server: &Server, owner: impl Into<Value>, state: &str) -> Value {
    let owner = owner.into();
    eventually(&format!("{state} with owner {owner}"), || {
        let lease = web(server);
        (lease["owner"]["pid"] == owner && lease["state"] == state).then_some(lease)
    })
}

fn has_no_conflict(server: &Server) {
    let log = server.log();
    assert!(!log.contains("an outsider"), "{log}");
}

#[test]
fn daemon_that_forks_before_it_binds_is_let_in() {
    for way in ["first", "first,clear"] {
        let place = Place::with_ports(2);
        let server = place.serve();
        let mut program = Program::run(&place, way);
        program.child.wait().unwrap();
        let lease = until(&server, program.left, "handed");
        assert!(lease["claim_by"].is_string(), "{lease}");
        program.bind(&place);
        let lease = until(&server, program.left, "active");
        assert_eq!(lease.get("claim_by"), None);
        program.kill_left();
        until(&server, Value::Null, "reserved");
        assert!(bind(LOCALHOST, port(&lease), How::AsServersDo).is_err());
        has_no_conflict(&server);
    }
}

#[test]
fn daemon_that_binds_before_it_forks_owns_its_port() {
    for way in ["last", "last,clear"] {
        let place = Place::with_ports(2);
        let server = place.serve();
        let mut program = Program::run(&place, way);
        program.child.wait().unwrap();
        let lease = until(&server, program.left, "active");
        let refused = place.run(&["run", "--name", "web", "--", "true"]);
        assert_eq!(refused.status.code(), Some(125));
        let said = text(&refused.stderr);
        assert!(said.contains("left behind"), "{said}");
        assert!(said.contains(&program.left.to_string()), "{said}");
        assert_eq!(web(&server)["id"], lease["id"]);
        program.kill_left();
        until(&server, Value::Null, "reserved");
        has_no_conflict(&server);
    }
}

#[test]
fn daemon_that_changes_its_user_owns_its_port() {
    if !rustix::process::geteuid().is_root() {
        skipped("a daemon that changes its user", "only root can");
        return;
    }
    for way in ["first,nobody", "last,nobody"] {
        let place = Place::with_ports(2);
        let server = place.serve();
        let mut program = Program::run(&place, way);
        program.child.wait().unwrap();
        if way.starts_with("first") {
            until(&server, program.left, "handed");
            open_to_all(&place);
            program.bind(&place);
        }
        until(&server, program.left, "active");
        has_no_conflict(&server);
    }
}

/// Lets a process that has changed its user read what the test tells it.
fn open_to_all(place: &Place) {
    use std::os::unix::fs::PermissionsExt;
    for path in [place.folder().to_owned(), place.folder().join("told")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn worker_that_outlives_its_master_keeps_the_port() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let mut program = Program::run(&place, "last,stay");
    let lease = until(&server, program.child.id(), "active");
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    assert_eq!(until(&server, program.left, "active")["id"], lease["id"]);
    program.kill_left();
    until(&server, Value::Null, "reserved");
    has_no_conflict(&server);
}

#[test]
fn next_run_waits_for_the_dying_rest_of_the_last_one() {
    for pause in [false, true] {
        let place = Place::with_ports(2);
        let server = place.serve();
        let mut program = Program::run(&place, "last,stay");
        let lease = until(&server, program.child.id(), "active");
        program.child.kill().unwrap();
        program.child.wait().unwrap();
        if pause {
            until(&server, program.left, "active");
        }
        let mut again = place.command();
        again.args([
            "run",
            "--name",
            "web",
            "--",
            "sh",
            "-c",
            "echo $PORT; read _",
        ]);
        let mut again = Running::piped(again);
        program.kill_left();
        assert_eq!(again.line(), port(&lease).to_string());
        assert_eq!(web(&server)["owner"]["pid"], again.pid());
        has_no_conflict(&server);
    }
}

#[test]
fn next_run_does_not_overtake_the_search_for_an_heir() {
    let place = Place::with_ports(2);
    let server = place.serve();
    for _ in 0..15 {
        let mut program = Program::run(&place, "last,stay,clear");
        until(&server, program.child.id(), "active");
        program.child.kill().unwrap();
        program.child.wait().unwrap();
        let again = place.run(&["run", "--name", "web", "--", "true"]);
        assert_eq!(again.status.code(), Some(125), "{again:?}");
        until(&server, program.left, "active");
        has_no_conflict(&server);
        program.kill_left();
        until(&server, Value::Null, "reserved");
    }
}

#[test]
fn next_run_takes_the_place_of_a_survivor_that_never_came() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let mut program = Program::run(&place, "first");
    program.child.wait().unwrap();
    let lease = until(&server, program.left, "handed");
    let again = place.run(&["run", "--name", "web", "--", "sh", "-c", "echo $PORT"]);
    assert_eq!(text(&again.stdout).trim(), port(&lease).to_string());
}

#[test]
fn program_that_had_come_to_its_port_leaves_it_to_listeners_alone() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let script = "import os, socket, subprocess, sys\n\
        s = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n\
        print(subprocess.Popen(['sleep', '60']).pid, flush=True)\n\
        sys.stdin.read()";
    let mut command = place.command();
    command.args(["run", "--name", "web", "--", "python3", "-c", script]);
    let mut program = Running::piped(command);
    let left: i32 = program.line().parse().unwrap();
    until(&server, program.pid(), "active");
    program.0.kill().unwrap();
    program.0.wait().unwrap();
    until(&server, Value::Null, "reserved");
    kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn program_that_closes_its_port_before_it_ends_leaves_it_to_listeners_alone() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let script = "import os, socket, subprocess, sys\n\
        s = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n\
        helper = [sys.executable, '-m', 'http.server', '-b', '127.0.0.1', sys.argv[1]]\n\
        quiet = subprocess.DEVNULL\n\
        print(subprocess.Popen(helper, stdout=quiet, stderr=quiet).pid, flush=True)\n\
        sys.stdin.readline()\n\
        s.close()\n\
        sys.stdin.read()";
    let mut command = place.command();
    command.args(["run", "--name", "web", "--", "python3", "-c", script]);
    command.arg(place.console_ports[3].to_string());
    let mut program = Running::piped(command);
    let left: i32 = program.line().parse().unwrap();
    until(&server, program.pid(), "active");
    program
        .0
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"close\n")
        .unwrap();
    let lease = until(&server, program.pid(), "handed");
    // It served its own port, whatever else it listens on.
    assert_eq!(lease.get("hint"), None);
    drop(program.0.stdin.take());
    program.0.wait().unwrap();
    let lease = until(&server, Value::Null, "reserved");
    assert_eq!(lease.get("hint"), None);
    kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn unnamed_lease_lasts_as_long_as_what_its_program_left_behind() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let script = "nohup sleep 60 >/dev/null 2>&1 & echo $!";
    let output = place.run(&["run", "--", "sh", "-c", script]);
    let left: i32 = text(&output.stdout).trim().parse().unwrap();
    let lease = eventually("an heir", || {
        let lease = server.living("default").pop()?;
        (lease["owner"]["pid"] == left).then_some(lease)
    });
    kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
    until_free(port(&lease));
}

#[test]
fn survivor_is_found_after_a_crash_of_the_service() {
    for (way, before, after) in [
        ("first,stay", "handed", "handed"),
        ("last,stay", "active", "active"),
    ] {
        let place = Place::with_ports(2);
        let server = place.serve();
        let mut program = Program::run(&place, way);
        until(&server, program.child.id(), before);
        server.kill();
        program.child.kill().unwrap();
        program.child.wait().unwrap();
        let server = place.serve();
        until(&server, program.left, after);
        if after == "handed" {
            program.bind(&place);
        }
        until(&server, program.left, "active");
        has_no_conflict(&server);
    }
}

#[test]
fn killed_program_with_threads_is_waited_for() {
    const THREADS: &str = "import mmap, os, socket, threading\n\
        s = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n\
        for _ in range(40): threading.Thread(target=s.accept).start()\n\
        memory = mmap.mmap(-1, 256 * 1024 * 1024)\n\
        memory.write(b'x' * (256 * 1024 * 1024))\n\
        print('serves', flush=True)";
    let place = Place::with_ports(2);
    let server = place.serve();
    let mut command = place.command();
    command.args(["run", "--name", "web", "--", "python3", "-c", THREADS]);
    let mut program = Running::piped(command);
    assert_eq!(program.line(), "serves");
    let lease = until(&server, program.pid(), "active");
    program.0.kill().unwrap();
    // Not waited for: its memory is freed meanwhile.
    let again = place.run(&["run", "--name", "web", "--", "sh", "-c", "echo $PORT"]);
    assert_eq!(
        text(&again.stdout).trim(),
        port(&lease).to_string(),
        "{again:?}"
    );
}

/// Real daemons in their default way: into the background, before or after they bind.
#[test]
fn real_daemons_own_their_ports() {
    let daemons: [(&str, &[&str]); 3] = [
        (
            "redis-server",
            &["--port", "{port}", "--daemonize", "yes", "--save", ""],
        ),
        ("memcached", &["-d", "-u", "nobody", "-p", "{port}"]),
        ("nginx", &["-p", ".", "-c", "nginx.conf"]),
    ];
    for (daemon, arguments) in daemons {
        let place = Place::with_ports(2);
        let mut which = Command::new("sh");
        which.args(["-c", &format!("PATH=$PATH:/usr/sbin command -v {daemon}")]);
        let path = text(&which.output().unwrap().stdout);
        if path.is_empty() {
            skipped(daemon, "it is not installed");
            continue;
        }
        let conf = "pid nginx.pid; error_log /dev/null; events {} http { access_log off;\n\
            server { listen PORT; } }";
        let conf = conf.replace("PORT", &place.ports[0].to_string());
        std::fs::write(place.folder().join("nginx.conf"), conf).unwrap();
        let server = place.serve();
        let mut command = place.command();
        command.current_dir(place.folder());
        command
            .args(["run", "--name", "web", "--", path.trim()])
            .args(arguments);
        // A daemon may keep its output open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "{daemon}");
        let lease = eventually(daemon, || {
            let lease = web(&server);
            (lease["state"] == "active").then_some(lease)
        });
        let pid = lease["owner"]["pid"].as_i64().unwrap();
        assert_eq!(lease["owner"]["command"], daemon);
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        until(&server, Value::Null, "reserved");
        has_no_conflict(&server);
    }
}
