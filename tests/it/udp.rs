//! Ports for UDP: held beneath their owners by sockets that take no datagram.

use std::io::{BufRead, BufReader, Write};

use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::host::skipped;
use crate::support::{Place, Server, port};
use crate::tools::{ended, eventually};

/// Functions for the scripts of this file. `WAYS` are the eight binders: on each wildcard and loopback
/// address, without an option and with SO_REUSEADDR.
const COMMON: &str = r#"
import errno, json, os, select, socket, sys
ADDRESSES = ("127.0.0.1", "0.0.0.0", "::1", "::")
WAYS = [(address, shares) for address in ADDRESSES for shares in (0, 1)]
def bound(address, port, shares=0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shares)
    try:
        s.bind((address, int(port)))
    except OSError:
        s.close()
        raise
    return s
def try_all(port):
    let_in = []
    for address, shares in WAYS:
        try:
            bound(address, port, shares).close()
            let_in.append([address, shares])
        except OSError as error:
            assert error.errno == errno.EADDRINUSE, error
    return let_in
def fetched(door, lease):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(door)
        s.sendall(json.dumps({"lease": lease}).encode() + b"\n")
        answer, fds, _, _ = socket.recv_fds(s, 65536, 64)
    assert fds, answer
    return [socket.socket(fileno=fd) for fd in fds]
def say(*words):
    print(*words, flush=True)
"#;

/// Tells which of the eight binders get in.
const TRY: &str = "say(json.dumps(try_all(sys.argv[1])))";

/// Binds in all eight ways as fast as it can, until it reads a line. Says how often it tried and got in.
const RIVAL: &str = r#"
tried, won = 0, 0
say("tries")
while not select.select([sys.stdin], [], [], 0)[0]:
    won += len(try_all(sys.argv[1]))
    tried += len(WAYS)
say(tried, won)
"#;

/// Echoes what its sockets receive: those that it was given, or those that it binds itself, sharing.
const ECHO: &str = r#"
if "LISTEN_FDS" in os.environ:
    sockets = [socket.socket(fileno=3 + n) for n in range(int(os.environ["LISTEN_FDS"]))]
else:
    sockets = [bound(address, os.environ["PORT"], 1) for address in ("0.0.0.0", "::")]
assert all(not s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for s in sockets)
say(len(sockets), *{s.getsockname()[1] for s in sockets})
while True:
    for s in select.select(sockets, [], [])[0]:
        s.sendto(*s.recvfrom(100))
"#;

/// Sends datagrams to both families, half to each, and counts those that do not come back.
const SEND: &str = r#"
port, count, lost = int(sys.argv[1]), int(sys.argv[2]), 0
for ip in ("127.0.0.1", "::1"):
    with bound(ip, 0) as s:
        s.settimeout(5)
        s.connect((ip, port))
        for number in range(count // 2):
            word = str(number).encode()
            s.send(word)
            try:
                lost += s.recv(100) != word
            except OSError:
                lost += 1
say(lost)
"#;

/// Sends a datagram to both families, and tells what comes of it.
const CALL: &str = r#"
for ip in ("127.0.0.1", "::1"):
    with bound(ip, 0) as s:
        s.settimeout(10)
        s.connect((ip, int(sys.argv[1])))
        s.send(b"x")
        try:
            s.recv(100)
        except OSError as error:
            say(type(error).__name__)
"#;

/// Asks for its sockets and closes them, again and again.
const ASK_AGAIN: &str = r"
for _ in range(int(sys.argv[3])):
    sockets = fetched(sys.argv[1], sys.argv[2])
    ports = {s.getsockname()[1] for s in sockets}
    assert len(ports) == 1, ports
    for s in sockets:
        s.close()
say(*ports)
";

/// Binds its port with SO_REUSEADDR and closes it, again and again, and then waits.
const BIND_AGAIN: &str = r#"
port = os.environ["PORT"]
say(port)
sys.stdin.readline()
for _ in range(int(sys.argv[1])):
    for address in ("0.0.0.0", "::"):
        bound(address, port, 1).close()
say("done")
sys.stdin.readline()
"#;

/// Takes the sockets of a lease, says so, and closes them when it reads a line.
const KEEP: &str = r#"
sockets = fetched(sys.argv[1], sys.argv[2])
say("has", len(sockets))
sys.stdin.readline()
for s in sockets:
    s.close()
say("closed")
sys.stdin.readline()
"#;

/// A script that talks by lines; killed when dropped.
struct Script {
    child: Child,
    ask: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Script {
    fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 can be run");
        let ask = child.stdin.take().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, ask, said }
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn tell(&mut self) -> String {
        self.ask.write_all(b"\n").unwrap();
        self.hear()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn whole(script: &str) -> String {
    format!("{COMMON}{script}")
}

fn python(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", &whole(script)]).args(arguments);
    command
}

/// The output of a script that must succeed. It has long: some try thousands of binds.
fn said(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command
        .args(["300", "python3", "-c", &whole(script)])
        .args(arguments);
    let output = command.output().expect("timeout can be run");
    assert!(output.status.success(), "{output:?}");
    crate::support::text(&output.stdout).trim().to_owned()
}

fn assert_all_refused(port: u16, when: &str) {
    assert_eq!(said(TRY, &[&port.to_string()]), "[]", "let in {when}");
}

/// A rival that begins to try now.
fn rival(port: u16) -> Script {
    let mut rival = Script::start(python(RIVAL, &[&port.to_string()]));
    assert_eq!(rival.hear(), "tries");
    rival
}

fn assert_lost_all(mut rival: Script) {
    let counts = rival.tell();
    eprintln!("the rival tried and won {counts}");
    let (tried, won) = counts.split_once(' ').unwrap();
    assert_ne!(tried, "0");
    assert_eq!(won, "0", "of {tried} binds");
}

/// A program under `portbook run`, and the lease that it has.
fn run(place: &Place, server: &Server, options: &[&str], script: &str) -> (Script, Value) {
    let mut command = place.command();
    command.args(["run", "--protocol", "udp", "--name", "dns"]);
    command
        .args(options)
        .args(["--", "python3", "-c", &whole(script)]);
    command.arg("1000");
    let mut program = Script::start(command);
    program.hear();
    (program, lease(server))
}

fn lease(server: &Server) -> Value {
    server.living("default").remove(0)
}

fn until(server: &Server, field: &str, wanted: &str) -> Value {
    eventually(&format!("{field} {wanted}"), || {
        Some(lease(server)).filter(|lease| lease[field] == wanted)
    })
}

fn assert_loses_nothing(port: u16, count: usize) {
    let lost = said(SEND, &[&port.to_string(), &count.to_string()]);
    assert_eq!(lost, "0", "datagrams lost of {count}");
}

#[test]
fn a_name_whose_owner_is_away_refuses_binders_and_clients() {
    let place = Place::with_ports(1);
    let server = place.serve();
    place.ok(&["alloc", "--reserve", "--name", "dns", "--protocol", "udp"]);
    let number = port(&lease(&server));
    assert_all_refused(number, "to a reserved port");
    let called = said(CALL, &[&number.to_string()]);
    assert_eq!(called, "ConnectionRefusedError\nConnectionRefusedError");
    let rival = rival(number);
    let server = {
        let (_old, next) = (server, place.serve_with(&["--takeover"]));
        next
    };
    assert_lost_all(rival);
    server.kill();
    let server = place.serve();
    assert_eq!(lease(&server)["guard"], "hold");
    assert_all_refused(number, "after a restart of the service");
    let listed = place.json(&["who", &number.to_string(), "--protocol", "udp"]);
    assert_eq!(listed["listening"], json!(null), "{listed}");
}

#[test]
fn an_owner_that_is_given_its_sockets_has_the_hold_beneath() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let (program, lease) = run(&place, &server, &["--handover", "fd"], ECHO);
    let number = port(&lease);
    // It is seen to wait for packets.
    assert_eq!(until(&server, "state", "active")["guard"], "hold");
    let rival = rival(number);
    assert_loses_nothing(number, 20_000);
    drop(program);
    until(&server, "state", "reserved");
    let (program, _) = run(&place, &server, &["--handover", "fd"], ECHO);
    assert_loses_nothing(number, 100);
    assert_lost_all(rival);
    assert_all_refused(number, "beside the owner");
    drop(program);
    assert_eq!(
        server.log().matches("outsider").count(),
        0,
        "{}",
        server.log()
    );
}

#[test]
fn sockets_are_given_again_and_again_while_a_rival_tries() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let wanted = json!({"protocol": "udp", "handover": "fd", "name": "dns"});
    let granted = server.allocate(&wanted).json()["leases"][0].clone();
    let rival = rival(port(&granted));
    let door = server.socket().with_extension("fds.sock");
    let id = granted["id"].as_str().unwrap();
    let ports = said(ASK_AGAIN, &[door.to_str().unwrap(), id, "1000"]);
    assert_eq!(ports, granted["port"].to_string());
    assert_lost_all(rival);
}

#[test]
fn an_owner_that_shares_its_port_comes_and_goes_above_the_hold() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let (mut program, lease) = run(&place, &server, &["--handover", "gate"], BIND_AGAIN);
    let number = port(&lease);
    assert_eq!(
        (&lease["guard"], &lease["handover"]),
        (&json!("hold"), &json!("gate"))
    );
    let strict = bind_strictly_until_told(number);
    assert_eq!(program.tell(), "done", "1,000 restarts");
    assert_lost_all(strict);
    drop(program);
    until(&server, "state", "reserved");
    assert_all_refused(number, "after the owner");

    let (program, lease) = run(&place, &server, &["--handover", "gate"], ECHO);
    assert_eq!(port(&lease), number);
    assert_loses_nothing(number, 1000);
    assert_eq!(until(&server, "state", "active")["guard"], "hold");
    drop(program);
}

/// Without SO_REUSEADDR alone, since an open gate is no bar to those that share.
fn bind_strictly_until_told(port: u16) -> Script {
    let script = format!("WAYS = [way for way in WAYS if not way[1]]\n{RIVAL}");
    let mut rival = Script::start(python(&script, &[&port.to_string()]));
    assert_eq!(rival.hear(), "tries");
    rival
}

#[test]
fn a_request_that_does_not_say_how_lets_strict_owners_bind() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let script = "s = bound('0.0.0.0', os.environ['PORT'])\nsay('bound')\nsys.stdin.readline()";
    let (program, lease) = run(&place, &server, &[], script);
    assert_eq!(lease["handover"], "release");
    assert_eq!(until(&server, "state", "active")["guard"], "owner");
    drop(program);
    assert_eq!(until(&server, "state", "reserved")["guard"], "hold");
    assert_all_refused(port(&lease), "after the owner");
}

#[test]
fn the_hold_is_back_once_a_given_socket_closes_after_a_crash() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let wanted = json!({"protocol": "udp", "handover": "fd", "name": "dns"});
    let granted = server.allocate(&wanted).json()["leases"][0].clone();
    let door = server.socket().with_extension("fds.sock");
    let id = granted["id"].as_str().unwrap();
    let mut owner = Script::start(python(KEEP, &[door.to_str().unwrap(), id]));
    assert_eq!(owner.hear(), "has 2");
    until(&server, "state", "active");
    server.kill();
    let server = place.serve();
    assert_eq!(lease(&server)["guard"], "owner");
    assert_eq!(owner.tell(), "closed");
    until(&server, "guard", "hold");
    assert_all_refused(port(&granted), "after the owner's sockets");
}

#[test]
fn the_hold_is_beneath_an_owner_that_shares_at_once_after_a_crash() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let (program, lease) = run(&place, &server, &["--handover", "gate"], ECHO);
    until(&server, "state", "active");
    server.kill();
    let server = place.serve();
    let restored = until(&server, "guard", "hold");
    assert_eq!(restored["owner"]["pid"], lease["owner"]["pid"]);
    assert_loses_nothing(port(&lease), 1000);
    drop(program);
    until(&server, "state", "reserved");
    assert_all_refused(port(&lease), "after the owner");
}

/// Refuses SO_BINDTOIFINDEX to what it becomes, as old kernels and some sandboxes do, by a filter of system
/// calls (`seccomp(2)`).
const REFUSE: &str = r#"
import ctypes, errno, os, platform, struct, sys
number = {"x86_64": 54, "aarch64": 208}[platform.machine()]
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
code = [(LOAD, 0, 0, 0), (JUMP_EQUAL, 0, 3, number), (LOAD, 0, 0, 32), (JUMP_EQUAL, 0, 1, 62),
        (RETURN, 0, 0, 0x50000 | errno.ENOPROTOOPT), (RETURN, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("HBBI", *one) for one in code)
kept = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(kept))
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, program) == 0, os.strerror(ctypes.get_errno())
os.execvp(sys.argv[1], sys.argv[1:])
"#;

/// The command on a kernel without SO_BINDTOIFINDEX. `None`, reported on stderr, where there is no filter.
fn without_ties(command: &Command, test: &str) -> Option<Command> {
    let inside = |command: &Command| {
        let mut inside = Command::new("python3");
        let set = command.get_envs();
        inside
            .env_clear()
            .envs(set.filter_map(|(name, value)| Some((name, value?))));
        inside
            .args(["-c", REFUSE])
            .arg(command.get_program())
            .args(command.get_args());
        inside
    };
    let trial = ended(inside(
        Command::new("true").env("PATH", std::env::var_os("PATH")?),
    ));
    if trial.status.success() {
        return Some(inside(command));
    }
    skipped(test, &format!("no filter of system calls: {trial:?}"));
    None
}

#[test]
fn without_ties_udp_ports_are_released_and_given_away_and_doctor_says_so() {
    let place = Place::with_ports(2);
    let mut serve = place.command();
    serve.arg("serve");
    let Some(serve) = without_ties(&serve, "UDP without SO_BINDTOIFINDEX") else {
        return;
    };
    let server = Server::start(serve, &place.data_dir());
    let shares = json!({"protocol": "udp", "handover": "gate"});
    let granted = server.allocate(&shares).json()["leases"][0].clone();
    assert_eq!(
        (&granted["handover"], &granted["guard"]),
        (&json!("release"), &json!("none"))
    );
    server.release(granted["id"].as_str().unwrap());

    let (program, lease) = run(&place, &server, &["--handover", "fd"], ECHO);
    assert_eq!(lease["guard"], "owner");
    assert_loses_nothing(port(&lease), 100);
    drop(program);
    until(&server, "state", "reserved");
    assert_all_refused(port(&lease), "to a parked port");

    let mut doctor = place.command();
    doctor.args(["doctor"]);
    let doctor = without_ties(&doctor, "doctor").expect("as before");
    let told = crate::support::text(&ended(doctor).stdout);
    assert!(told.contains("udp holds: "), "{told}");
    assert!(told.contains("SO_BINDTOIFINDEX"), "{told}");
    let told = place.run(&["doctor"]);
    let told = crate::support::text(&told.stdout);
    assert!(told.contains("udp holds: nothing in the way"), "{told}");
}
