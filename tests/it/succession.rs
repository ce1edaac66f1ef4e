//! A service that follows another, by take-over or with the holds that a supervisor kept. Every port stays
//! held in between.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Place, Server};
use crate::tools::{Running, eventually};

const LEASES: &str = "/api/v1/leases";

/// Tries to bind one port with SO_REUSEADDR as fast as it can and counts its successes. Prints the count
/// for every line that it reads.
const HAMMER: &str = r#"
import select, socket, sys
port, won, tried = int(sys.argv[1]), 0, 0
print("hammers", flush=True)
while True:
    for _ in range(200):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried += 1
            try:
                s.bind(("127.0.0.1", port))
                won += 1
            except OSError:
                pass
    if select.select([sys.stdin], [], [], 0)[0]:
        if not sys.stdin.readline():
            break
        print(won, tried, flush=True)
"#;

/// Supervises as systemd does: starts the service with the sockets that it keeps, keeps those that
/// it is sent, and for each line that it reads kills the service and starts it again.
const SUPERVISOR: &str = r#"
import ctypes, os, select, signal, socket, sys
address = sys.argv[1]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(address)
store = []
def start():
    pid = os.fork()
    if pid == 0:
        # However this test ends, its service ends with it (prctl(2), PR_SET_PDEATHSIG).
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        high = [os.dup(fd) for _, fd in store]
        base = 1000
        for n, fd in enumerate(high):
            os.dup2(fd, base + n)
        for n in range(len(high)):
            os.dup2(base + n, 3 + n)
        os.closerange(3 + len(high), 2000)
        os.environ.update(NOTIFY_SOCKET=address, LISTEN_PID=str(os.getpid()),
                          LISTEN_FDS=str(len(store)), LISTEN_FDNAMES=":".join(n for n, _ in store))
        os.dup2(os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(2, 1)
        os.execv(sys.argv[3], sys.argv[3:])
    return pid
def take(message, fds):
    said = dict(line.split("=", 1) for line in message.decode().split("\n") if line)
    name = said.get("FDNAME")
    if "FDSTORE" in said:
        assert said["FDPOLL"] == "0"
        store.extend((name, fd) for fd in fds)
        fds = []
    if "FDSTOREREMOVE" in said:
        for fd in [fd for n, fd in store if n == name]:
            os.close(fd)
        store[:] = [(n, fd) for n, fd in store if n != name]
    for fd in fds:
        os.close(fd)
    return said
service = start()
while True:
    ready = select.select([notify, sys.stdin], [], [])[0]
    if notify in ready:
        message, fds, _, _ = socket.recv_fds(notify, 65536, 64)
        if "READY" in take(message, fds):
            print("ready", len(store), flush=True)
    elif sys.stdin in ready:
        line = sys.stdin.readline().strip()
        if line == "count":
            print("store", len(store), flush=True)
            continue
        os.kill(service, signal.SIGKILL)
        os.waitpid(service, 0)
        if not line:
            break
        service = start()
"#;

/// A program that answers a line with a line.
pub struct Spoken {
    child: Child,
    ask: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Spoken {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, ask, said }
    }

    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub fn say(&mut self, word: &str) {
        writeln!(self.ask, "{word}").unwrap();
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn hammer(port: u16) -> Spoken {
    let mut command = Command::new("python3");
    command.args(["-c", HAMMER, &port.to_string()]);
    let mut hammer = Spoken::start(command);
    assert_eq!(hammer.hear(), "hammers");
    hammer
}

/// Number of its successes so far, after some more tries.
pub fn won(hammer: &mut Spoken) -> u64 {
    hammer.say("now");
    let counts = hammer.hear();
    let (won, tried) = counts.split_once(' ').unwrap();
    assert_ne!(tried, "0");
    won.parse().unwrap()
}

fn granted(server: &Server, body: &Value) -> u16 {
    let answer = server.allocate(body);
    let document = answer.json();
    let port = &document["leases"][0]["port"];
    port.as_u64().unwrap().try_into().unwrap()
}

/// A name whose lease was never claimed: held, gate shut.
fn reserved(server: &Server) -> u16 {
    let port = granted(server, &json!({"name": "web", "claim_within": "1s"}));
    eventually("put away", || {
        let list = server.get("/api/v1/leases?name=web").json();
        (list["leases"][0]["state"] == "reserved").then_some(())
    });
    port
}

fn leases(server: &Server) -> Vec<(String, u64, String)> {
    let list = server.get("/api/v1/leases?pool=default").json();
    let leases = list["leases"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    leases
        .map(|lease| {
            let port = lease["port"].as_u64().unwrap();
            (text(&lease["id"]), port, text(&lease["guard"]))
        })
        .collect()
}

#[test]
fn takeover_passes_every_hold_without_a_gap() {
    let place = Place::with_ports(6);
    let first = place.serve();
    let web = reserved(&first);
    for _ in 0..3 {
        granted(&first, &json!({}));
    }
    let mut command = place.command();
    command.args(["run", "--", "sleep", "60"]);
    let _owner = Running::start(command);
    eventually("its owner", || (leases(&first).len() == 5).then_some(()));
    let before = leases(&first);
    let mut hammer = hammer(web);
    let second = place.serve_with(&["--takeover"]);
    assert_eq!(won(&mut hammer), 0, "the port was let go of");
    assert_eq!(leases(&second), before);
    assert_eq!(second.console, first.console);
    let mut first = first;
    assert!(first.child.wait().unwrap().success());
    assert!(
        second
            .log()
            .contains("took the sockets of the running service over")
    );
    // The successor keeps them.
    assert_eq!(granted(&second, &json!({"name": "web"})), web);
}

#[test]
fn takeover_without_a_running_service_starts_one() {
    let place = Place::with_ports(1);
    let server = place.serve_with(&["--takeover"]);
    granted(&server, &json!({}));
}

/// Starts a supervisor with a service, which is ready.
pub fn supervised(place: &Place) -> Spoken {
    let notify = place.folder().join("notify");
    let log = place.folder().join("log");
    let command = place.command();
    let mut supervised = Command::new("python3");
    supervised
        .args(["-c", SUPERVISOR])
        .args([&notify, &log])
        .arg(command.get_program())
        .arg("serve");
    supervised.env_clear();
    let variables = command.get_envs();
    supervised.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    let mut supervisor = Spoken::start(supervised);
    assert_eq!(supervisor.hear(), "ready 0");
    supervisor
}

#[test]
fn holds_kept_by_a_supervisor_survive_a_crash() {
    let place = Place::with_ports(6);
    let log = place.folder().join("log");
    let mut supervisor = supervised(&place);
    let api = |method: &str, path: &str, body: Option<&Value>| {
        let socket = place.data_dir().join("portbook.sock");
        crate::support::ask(&socket, method, path, body).unwrap()
    };
    let port_of = |body: &Value| -> u16 {
        let document = api("POST", LEASES, Some(body)).json();
        let port = document["leases"][0]["port"].as_u64();
        port.unwrap().try_into().unwrap()
    };
    let web = port_of(&json!({"name": "web", "claim_within": "1s"}));
    let let_go = port_of(&json!({"name": "db", "handover": "release", "claim_within": "1s"}));
    for _ in 0..2 {
        port_of(&json!({}));
    }
    let state = |name: &str| {
        let list = api("GET", &format!("{LEASES}?name={name}"), None).json();
        list["leases"][0]["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    for name in ["web", "db"] {
        eventually(name, || (state(name) == "reserved").then_some(()));
    }
    // Four leases on two families.
    eventually("eight copies", || {
        supervisor.say("count");
        (supervisor.hear() == "store 8").then_some(())
    });
    let mut hammer = hammer(web);
    for _ in 0..3 {
        supervisor.say("kill");
        let ready = supervisor.hear();
        let logged = || std::fs::read_to_string(&log).unwrap_or_default();
        assert_eq!(ready, "ready 8", "{}", logged());
    }
    assert_eq!(won(&mut hammer), 0, "the port was let go of");
    assert_eq!(port_of(&json!({"name": "web"})), web);
    // Released means released: when the answer comes, not even a copy is left.
    assert_eq!(
        port_of(&json!({"name": "db", "handover": "release"})),
        let_go
    );
    assert!(crate::probe::is_free(let_go));
    for word in ["web", "db"] {
        let list = api("GET", &format!("{LEASES}?name={word}"), None).json();
        let id = list["leases"][0]["id"].as_str().unwrap();
        assert_eq!(api("DELETE", &format!("{LEASES}/{id}"), None).status, 204);
    }
    crate::probe::until_free(let_go);
    eventually("four copies", || {
        supervisor.say("count");
        (supervisor.hear() == "store 4").then_some(())
    });
}
