//! The port server's protocol, and the unmodified clients of the reference program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::support::{Place, Server, port, ranges, text};
use crate::tools::{Running, eventually};

/// A place whose service is a port server too, at an abstract name of its own.
fn place(ports: usize) -> (Place, String) {
    let mut place = Place::with_ports(ports);
    // The folder makes the name unique.
    let name = place.folder().file_name().unwrap().to_string_lossy();
    let name = format!("portbook-test-{name}");
    place.set("PORTBOOK_PORTSERVER__ADDRESS", &format!("@{name}"));
    let pool = ranges(&place.ports);
    place.set("PORTBOOK_POOLS__PORTSERVER__RANGES", &pool);
    place.set("PORTBOOK_POOLS__PORTSERVER__STRATEGY", "ordered");
    (place, name)
}

fn connect(name: &[u8]) -> UnixStream {
    let address = SocketAddr::from_abstract_name(name).unwrap();
    UnixStream::connect_addr(&address).unwrap()
}

/// The answer to these bytes. The client sends nothing more.
fn ask(name: &str, request: &[u8]) -> String {
    let mut stream = connect(name.as_bytes());
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    answer(stream)
}

fn answer(mut stream: UnixStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The port that a process is granted; the answer is digits and one newline.
fn port_for(name: &str, pid: u32) -> u16 {
    let answer = ask(name, format!("{pid}\n").as_bytes());
    let port = answer
        .strip_suffix('\n')
        .unwrap_or_else(|| panic!("{answer:?}"));
    assert!(port.bytes().all(|byte| byte.is_ascii_digit()), "{answer:?}");
    port.parse().unwrap()
}

fn sleeper() -> Running {
    let mut command = Command::new("sleep");
    command.arg("60");
    Running::start(command)
}

/// The statistics that the service logs on SIGUSR1, as the reference program does.
fn statistics(server: &Server) -> Vec<String> {
    let before = server.log().matches("total-allocations").count();
    server.signal(Signal::USR1);
    let log = eventually("statistics", || {
        let log = server.log();
        (log.matches("total-allocations").count() > before).then_some(log)
    });
    let (_, last) = log.rsplit_once("port server statistics:").unwrap();
    let lines = last.lines().skip(1).take(5);
    let told = lines.map(|line| line.rsplit(' ').take(2).collect::<Vec<_>>());
    told.map(|mut words| {
        words.reverse();
        words.join(" ")
    })
    .collect()
}

#[test]
fn portserver_grants_are_ordinary_leases() {
    let (place, name) = place(4);
    let server = place.serve();
    let owner = sleeper();
    let port = port_for(&name, owner.0.id());
    assert!(place.ports.contains(&port));
    let leases = server.living("portserver");
    let mut protocols: Vec<&str> = leases
        .iter()
        .map(|l| l["protocol"].as_str().unwrap())
        .collect();
    protocols.sort_unstable();
    assert_eq!(protocols, ["tcp", "udp"]);
    for lease in &leases {
        assert_eq!(lease["owner"]["pid"], owner.0.id());
        assert_eq!(lease["port"], port);
        assert_eq!(lease["state"], "handed");
    }
    let listed = place.ok(&["list"]);
    assert!(
        listed.contains(&port.to_string()) && listed.contains("sleep/"),
        "{listed}"
    );
    let who = place.json(&["who", &port.to_string()]);
    assert_eq!(who["leases"][0]["owner"]["pid"], owner.0.id());
    // No socket of portbook hinders the client, with or without SO_REUSEADDR.
    assert!(crate::probe::is_free(port));
    // No other process gets it.
    assert_ne!(port_for(&name, owner.0.id()), port);
}

#[test]
fn every_refusal_is_a_close_without_a_byte() {
    let (place, name) = place(1);
    let server = place.serve();
    let me = std::process::id();
    for wrong in [
        "",
        "\n",
        "web\n",
        "1\n2\n",
        "000000000000000000042",
        &"7".repeat(90),
    ] {
        assert_eq!(ask(&name, wrong.as_bytes()), "", "{wrong:?}");
    }
    let gone = {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    for pid in ["0\n", "1\n", "-4\n", "2147483648\n", &format!("{gone}\n")] {
        assert_eq!(ask(&name, pid.as_bytes()), "", "{pid:?}");
    }
    let port = port_for(&name, me);
    assert_eq!(place.ports, [port]);
    assert_eq!(
        ask(&name, format!("{me}\n").as_bytes()),
        "",
        "the pool is exhausted"
    );
    assert_eq!(
        statistics(&server),
        [
            "client-request-errors 6",
            "denied-allocations 6",
            "num-ports-managed 1",
            "num-ports-checked-for-last-request 1",
            "total-allocations 1",
        ]
    );
    let metrics = server.get("/metrics").body;
    for line in [
        "requests_total{outcome=\"malformed\"} 6",
        "requests_total{outcome=\"denied\"} 6",
        "requests_total{outcome=\"granted\"} 1",
        "last_checked_ports 1",
    ] {
        let line = format!("portbook_portserver_{line}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[test]
fn a_request_is_read_however_it_is_written() {
    let (place, name) = place(6);
    let _server = place.serve();
    let pid = std::process::id().to_string();
    // Padded, as C programs send the name that pass the size of the whole structure.
    let mut padded = name.clone().into_bytes();
    padded.resize(107, 0);
    let mut slow = connect(&padded);
    for digit in pid.bytes() {
        slow.write_all(&[digit]).unwrap();
    }
    slow.write_all(b"\n").unwrap();
    assert!(answer(slow).ends_with('\n'));
    // Without a newline, and the client waits for its answer.
    let mut open = connect(name.as_bytes());
    open.write_all(pid.as_bytes()).unwrap();
    assert!(answer(open).ends_with('\n'));
    assert!(ask(&name, format!(" +0{pid}\r\n").as_bytes()).ends_with('\n'));
}

/// Asks for a port for itself, tells it, listens on it in a child for as long as stdin is open, and
/// ends.
const PARENT: &str = r#"
import os, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect("\0" + sys.argv[1])
    s.sendall(b"%d\n" % os.getpid())
    port = int(s.recv(100))
if os.fork() == 0:
    s = socket.socket()
    s.bind(("", port))
    s.listen()
    os.write(1, b"%d\n" % port)
    os.close(1)
    sys.stdin.read()
"#;

#[test]
fn portserver_lease_lasts_until_reaped_and_free() {
    let (place, name) = place(1);
    let server = place.serve();
    let mut parent = Command::new("python3")
        .args(["-c", PARENT, &name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    parent
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    assert_eq!(told, format!("{}\n", place.ports[0]));
    // It has ended and is not reaped yet: a zombie still owns the port.
    let stat = format!("/proc/{}/stat", parent.id());
    eventually("a zombie", || {
        let stat = std::fs::read_to_string(&stat).unwrap();
        stat.rsplit_once(") ")
            .unwrap()
            .1
            .starts_with('Z')
            .then_some(())
    });
    assert_denied(&name);
    // The lease is on record: a new service knows it.
    server.kill();
    let server = place.serve();
    assert_denied(&name);
    assert_eq!(server.living("portserver").len(), 2);
    let input = parent.stdin.take();
    parent.wait().unwrap();
    // Reaped, but its child still listens.
    eventually("another look", || {
        let all = place.json(&["list", "--pool", "portserver"]);
        (all["leases"][0]["state"] != "lost").then_some(())
    });
    assert_denied(&name);
    server.kill();
    let server = place.serve();
    assert_denied(&name);
    drop(input);
    eventually("the end of both leases", || {
        server.living("portserver").is_empty().then_some(())
    });
    assert_eq!(port_for(&name, std::process::id()), place.ports[0]);
}

/// Ports of the portserver's pool that are leased, in order.
fn leased(server: &Server) -> Vec<u64> {
    let living = server.living("portserver");
    let mut ports: Vec<u64> = living.iter().map(|lease| port(lease).into()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Asks for three ports, and leaves one for TCP and one for UDP to its child, which closes the latter when
/// it reads a line and the former when it reads no more.
const LEAVES_TWO: &str = r#"
import os, socket, sys
def ask():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("\0" + sys.argv[1])
        s.sendall(b"%d\n" % os.getpid())
        return int(s.recv(100))
ports = [ask() for _ in range(3)]
tcp = socket.create_server(("127.0.0.1", ports[0]))
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.bind(("::1", ports[1]))
if os.fork():
    os._exit(0)
print(*ports, flush=True)
sys.stdin.readline()
udp.close()
sys.stdin.read()
"#;

#[test]
fn each_port_of_an_owner_is_free_once_nothing_is_on_it() {
    let (place, name) = place(4);
    let server = place.serve();
    let other = sleeper();
    let of_other = u64::from(port_for(&name, other.pid()));
    let mut parent = Command::new("python3")
        .args(["-c", LEAVES_TWO, &name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = parent.stdin.take().unwrap();
    let mut told = String::new();
    let output = parent.stdout.as_mut().unwrap();
    BufReader::new(output).read_line(&mut told).unwrap();
    parent.wait().unwrap();
    let ports: Vec<u64> = told
        .split_whitespace()
        .map(|port| port.parse().unwrap())
        .collect();
    let left = |mut ports: Vec<u64>| {
        ports.push(of_other);
        ports.sort_unstable();
        eventually("the end of unused ports", || {
            (leased(&server) == ports).then_some(())
        });
    };
    left(ports[..2].to_vec());
    input.write_all(b"\n").unwrap();
    left(ports[..1].to_vec());
    drop(input);
    left(Vec::new());
    drop(other);
    eventually("the end of all", || {
        leased(&server).is_empty().then_some(())
    });
}

fn assert_denied(name: &str) {
    assert_eq!(
        ask(name, format!("{}\n", std::process::id()).as_bytes()),
        ""
    );
}

#[test]
fn an_address_that_is_taken_is_no_start() {
    let (place, name) = place(1);
    let _taken = std::os::unix::net::UnixListener::bind_addr(
        &SocketAddr::from_abstract_name(&name).unwrap(),
    )
    .unwrap();
    let mut command = place.command();
    command.arg("serve");
    let output = crate::tools::ended(command);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains(&name) && said.contains("another port server"),
        "{said}"
    );
}

#[test]
fn portserver_beside_a_running_service_explains_itself() {
    let (place, _) = place(1);
    let mut serve = place.command();
    serve
        .env_remove("PORTBOOK_PORTSERVER__ADDRESS")
        .arg("serve");
    let server = Server::start(serve, &place.data_dir());
    let output = place.run(&["portserver", "--portserver_address", "@mine"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let pid = format!("(pid {})", server.child.id());
    for word in [&*pid, "`address = \"@mine\"`", "[portserver]"] {
        assert!(said.contains(word), "{said}");
    }
}

/// Asks for a port, connects over and over until stdin ends, then asks for another. Prints the number
/// of refused connections and of answers with a port.
const INSIST: &str = r#"
import os, select, socket, sys
address, refused, granted = sys.argv[1], 0, 0
address = "\0" + address[1:] if address[0] == "@" else address
def ask(pid):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(address)
        s.sendall(b"%d\n" % pid)
        return bool(s.recv(100))
granted += ask(os.getpid())
print("insists", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        ask(1)
    except ConnectionResetError:
        pass
    except OSError:
        refused += 1
print(refused, granted + ask(os.getpid()), flush=True)
"#;

#[test]
fn successor_listens_at_the_address_of_the_port_server() {
    let (mut place, name) = place(4);
    let path = place.folder().join("portserver").display().to_string();
    for address in [format!("@{name}"), path] {
        place.set("PORTBOOK_PORTSERVER__ADDRESS", &address);
        let mut first = place.serve();
        let mut client = Command::new("python3")
            .args(["-c", INSIST, &address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(client.stdout.take().unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), "insists");
        let second = place.serve_with(&["--takeover"]);
        assert!(first.child.wait().unwrap().success());
        drop(client.stdin.take());
        assert_eq!(said.next().unwrap().unwrap(), "0 2", "{address}");
        client.wait().unwrap();
        // The socket and its file belong to the new service now.
        assert!(second.stop().success());
        assert!(!Path::new(&address).exists());
    }
}

/// `portbook portserver` at a path, which clients are told by a variable.
struct DropIn {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl DropIn {
    fn start(place: &Place, flag: &str) -> Self {
        let socket = place.folder().join("portserver");
        let log = place.folder().join("portserver.log");
        let mut command = place.command();
        command.env_remove("PORTBOOK_PORTSERVER__ADDRESS");
        command.env_remove("PORTBOOK_POOLS__PORTSERVER__RANGES");
        let child = command
            .arg("portserver")
            .args(["--portserver_static_pool", &ranges(&place.ports)])
            .args([flag, socket.to_str().unwrap(), "--verbose"])
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let started = Self { child, socket, log };
        eventually("it listens", || UnixStream::connect(&started.socket).ok());
        started
    }

    fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for DropIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn portserver_accepts_flags_and_signals_of_the_reference() {
    let (place, _) = place(3);
    let mut server = DropIn::start(&place, "--portserver_unix_socket_address");
    let mut stream = UnixStream::connect(&server.socket).unwrap();
    writeln!(stream, "{}", std::process::id()).unwrap();
    let port: u16 = answer(stream).trim().parse().unwrap();
    assert!(place.ports.contains(&port));
    server.signal(Signal::USR1);
    eventually("statistics", || {
        server.log().contains("num-ports-managed 3").then_some(())
    });
    server.signal(Signal::INT);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    server
        .child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "", "stdout is the answer's, and there is none");
    assert!(!server.socket.exists());
}

/// The reference program's client, unmodified, in a folder that all tests of this build share. `None`,
/// reported on stderr, if it cannot be installed.
fn portpicker() -> Option<PathBuf> {
    static FOLDER: std::sync::OnceLock<Option<PathBuf>> = std::sync::OnceLock::new();
    let found = FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("portpicker-1.6.0");
        if folder.join("portpicker.py").exists() {
            return Some(folder);
        }
        // Other test processes install it at the same time: each beside the place, one wins.
        let own = tempfile::tempdir_in(folder.parent().unwrap()).unwrap();
        let installed = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(own.path())
            .arg("portpicker==1.6.0")
            .output();
        if installed.is_ok_and(|output| output.status.success()) {
            let _ = std::fs::rename(own.keep(), &folder);
        }
        folder.join("portpicker.py").exists().then_some(folder)
    });
    if found.is_none() {
        crate::host::skipped("portpicker", "the package cannot be installed");
    }
    found.clone()
}

fn with_portpicker(server: &DropIn, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", folder)
        .env("PORTSERVER_ADDRESS", &server.socket)
        .args(arguments);
    command
}

/// Picks ports, binds and prints each; stays until stdin ends.
const PICK: &str = r"
import os, portpicker, socket, sys
picked, kept = [], []
for _ in range(int(sys.argv[1])):
    port = portpicker.pick_unused_port()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(socket.AF_INET, kind)
        s.bind(('', port))
        kept.append(s)
    picked.append(port)
print(*picked, flush=True)
os.close(1)
sys.stdin.read()
";

/// Number of ports that each client picks.
const EACH: usize = 10;

#[test]
fn eight_unmodified_clients_in_parallel_share_no_port() {
    let Some(folder) = portpicker() else { return };
    // Some to spare, since the host has other users.
    let (place, _) = place(9 * EACH);
    let server = DropIn::start(&place, "--portserver_address");
    let mut clients: Vec<Child> = (0..8)
        .map(|_| {
            with_portpicker(&server, &folder, &["-c", PICK, &EACH.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut picked: Vec<u16> = Vec::new();
    // All answer before the first may end, since its ports are free then.
    for client in &mut clients {
        let mut said = String::new();
        client
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        picked.extend(said.split_whitespace().map(|p| p.parse::<u16>().unwrap()));
    }
    for client in &mut clients {
        drop(client.stdin.take());
        assert!(client.wait().unwrap().success());
    }
    assert_eq!(picked.len(), 8 * EACH);
    assert!(
        picked.iter().all(|port| place.ports.contains(port)),
        "{}",
        server.log()
    );
    picked.sort_unstable();
    picked.dedup();
    assert_eq!(picked.len(), 8 * EACH, "a port twice");
}

#[test]
fn the_unmodified_client_picks_returns_and_has_a_command_line() {
    let Some(folder) = portpicker() else { return };
    let (place, _) = place(6);
    let server = DropIn::start(&place, "--portserver_address");
    let ports = |arguments: &[&str]| -> Vec<u16> {
        let output = with_portpicker(&server, &folder, arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let said = text(&output.stdout);
        let ports: Vec<u16> = said
            .split_whitespace()
            .map(|p| p.parse().unwrap())
            .collect();
        assert!(
            ports.iter().all(|port| place.ports.contains(port)),
            "{ports:?}"
        );
        ports
    };
    let picked = ports(&[
        "-c",
        "import portpicker as p\na, b = p.pick_unused_port(), p.pick_unused_port()\n\
         p.return_port(a)\nprint(a, b, p.pick_unused_port())",
    ]);
    assert_eq!((picked[0], picked[0] == picked[1]), (picked[2], false));
    // Its command line picks a port for its parent or for a given pid.
    let owner = sleeper();
    let mine = ports(&["-m", "portpicker"]);
    let its = ports(&["-m", "portpicker", &owner.0.id().to_string()]);
    for (port, pid) in [(mine[0], std::process::id()), (its[0], owner.0.id())] {
        let who = place.json(&["who", &port.to_string()]);
        assert_eq!(who["leases"][0]["owner"]["pid"], pid);
    }
}
