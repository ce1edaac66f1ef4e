//! Basics of all tests: ports that are safe to use, a service of its own, and its command line.
//!
//! Ports come from portbook itself: one record, shared by all tests of this build, leases them to
//! the test process, so that tests can run side by side and in any order.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// The binary under test.
pub const PORTBOOK: &str = env!("CARGO_BIN_EXE_portbook");

/// Time after which a service counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// Leases `count` free ports to this test process.
pub fn ports(count: usize) -> Vec<u16> {
    static STOCK: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut stock = STOCK.lock().unwrap_or_else(PoisonError::into_inner);
    while stock.len() < count {
        stock.extend(leased(
            SINGLES,
            &["--strategy", "random", "--count"],
            AT_ONCE,
        ));
    }
    let rest = stock.len() - count;
    stock.split_off(rest)
}

/// Leases `count` neighbouring ports to this test process and returns the first.
pub fn ports_in_a_row(count: usize) -> u16 {
    static STOCK: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut stock = STOCK.lock().unwrap_or_else(PoisonError::into_inner);
    if stock.len() < count {
        *stock = leased(ROWS, &["--block"], count.max(AT_ONCE));
    }
    stock.drain(..count).next().unwrap()
}

/// Ports of one command. A command without a service reads all leases, of which a run has thousands in
/// the end; and it holds its ports at once, so the limit on descriptors bounds the number.
const AT_ONCE: usize = 100;

/// Ports drawn at random: by the end of a run in one process most of them are out.
const SINGLES: &str = "10000-18999";

/// Ports in a row have numbers of their own, which no single port breaks up.
const ROWS: &str = "19000-19999";

fn leased(ranges: &str, how: &[&str], count: usize) -> Vec<u16> {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ports");
    let output = command()
        .env("PORTBOOK_POOLS__DEFAULT__RANGES", ranges)
        .arg("--data-dir")
        .arg(&shared)
        .args(["alloc", "--protocol", "both"])
        .args(how)
        .arg(count.to_string())
        .arg("--owner-pid")
        .arg(std::process::id().to_string())
        .output()
        .expect("portbook can be run");
    let text = text(&output.stdout);
    let ports: Vec<u16> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(ports.len(), count, "{}", self::text(&output.stderr));
    ports
}

/// `1,2,3`: ports as a pool's ranges.
pub fn ranges(ports: &[u16]) -> String {
    let texts: Vec<String> = ports.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// The binary under test, without settings of the surrounding environment.
pub fn command() -> Command {
    command_of(PORTBOOK)
}

/// A program without settings of the surrounding environment.
pub fn command_of(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for kept in ["PATH", "HOME", "TMPDIR", "LANG"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A place of its own for one test: a data directory, ports for its pools, settings.
pub struct Place {
    folder: TempDir,
    pub ports: Vec<u16>,
    pub console_ports: Vec<u16>,
    settings: Vec<(String, String)>,
}

impl Place {
    /// A place with `count` ports in its default pool, and four for the console.
    pub fn with_ports(count: usize) -> Self {
        let mut ports = ports(count + 4);
        let console_ports = ports.split_off(count);
        Self::on(ports, console_ports)
    }

    /// A place with these ports in its default pool and for its console; they must be free.
    pub fn on(mut ports: Vec<u16>, mut console_ports: Vec<u16>) -> Self {
        console_ports.sort_unstable();
        ports.sort_unstable();
        let mut place = Self {
            folder: TempDir::new().unwrap(),
            ports,
            console_ports,
            settings: Vec::new(),
        };
        let (pool, console) = (ranges(&place.ports), ranges(&place.console_ports));
        place.set("PORTBOOK_POOLS__DEFAULT__RANGES", &pool);
        place.set("PORTBOOK_POOLS__CONSOLE__RANGES", &console);
        // Tests must know the next port; learning has tests of its own.
        for pool in ["DEFAULT", "CONSOLE"] {
            place.set(&format!("PORTBOOK_POOLS__{pool}__STRATEGY"), "ordered");
        }
        place
    }

    /// Adds a setting as an environment variable.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.settings.retain(|(known, _)| known != variable);
        self.settings.push((variable.to_owned(), value.to_owned()));
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A command in this place.
    pub fn command(&self) -> Command {
        let mut command = command();
        command.env("PORTBOOK_DATA_DIR", self.data_dir());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A shell script in this place, with `portbook` on its path.
    pub fn shell(&self, script: &str) -> Command {
        let folder = Path::new(PORTBOOK).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.env_clear().envs(
            self.command()
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command
            .env("PATH", format!("{}:{path}", folder.display()))
            .args(["-c", script])
            .current_dir(self.folder.path());
        command
    }

    /// Folder for files beside the data directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs portbook to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command()
            .args(arguments)
            .output()
            .expect("portbook can be run")
    }

    /// Runs portbook, which must succeed, and returns its stdout.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs portbook with `--json`, which must succeed, and returns the document.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        serde_json::from_str(&self.ok(&all)).expect("a JSON document")
    }

    /// Starts a service and waits for the line with its console.
    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// Starts a service with more arguments.
    pub fn serve_with(&self, arguments: &[&str]) -> Server {
        let mut command = self.command();
        command.arg("serve").args(arguments);
        Server::start(command, &self.data_dir())
    }
}

/// A running service; killed when dropped.
pub struct Server {
    pub child: Child,
    pub console: String,
    data_dir: PathBuf,
}

impl Server {
    /// Starts `command`, which must become a service, and waits for its line on stdout.
    pub fn start(command: Command, data_dir: &Path) -> Self {
        Self::of(Self::spawn(command, data_dir), data_dir)
    }

    /// Starts `command`, with its log beside the data directory.
    pub fn spawn(mut command: Command, data_dir: &Path) -> Child {
        let log = data_dir.with_extension("log");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("portbook can be run")
    }

    /// Waits for the line of a service that was started.
    pub fn of(mut child: Child, data_dir: &Path) -> Self {
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let console = line.trim().to_owned();
        let data_dir = data_dir.to_owned();
        let server = Self {
            child,
            console,
            data_dir,
        };
        assert!(
            server.console.starts_with("http://"),
            "no service: {}",
            server.log()
        );
        server
    }

    /// Its stderr so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data_dir.with_extension("log")).unwrap_or_default()
    }

    /// The API socket.
    pub fn socket(&self) -> PathBuf {
        self.data_dir.join("portbook.sock")
    }

    /// The console's port.
    pub fn console_port(&self) -> u16 {
        self.console.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// The console's token.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.data_dir.join("token"))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// Sends a request over the API socket.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let stream = std::os::unix::net::UnixStream::connect(self.socket()).unwrap();
        exchange(stream, &request(method, path, "localhost", &[], body))
    }

    /// Reads an address over the API socket.
    pub fn get(&self, path: &str) -> Answer {
        self.api("GET", path, None)
    }

    /// Asks for leases.
    pub fn allocate(&self, wanted: &Value) -> Answer {
        self.api("POST", "/api/v1/leases", Some(wanted))
    }

    /// Releases a lease.
    pub fn release(&self, id: impl std::fmt::Display) -> Answer {
        self.api("DELETE", &format!("/api/v1/leases/{id}"), None)
    }

    /// Living leases of a pool, up to a thousand.
    pub fn living(&self, pool: &str) -> Vec<Value> {
        let list = self.get(&format!("/api/v1/leases?limit=1000&pool={pool}"));
        list.json()["leases"].as_array().unwrap().clone()
    }

    /// Sends a request with one more header over the API socket.
    pub fn api_with(&self, header: (&str, &str), method: &str, path: &str, body: &Value) -> Answer {
        let stream = std::os::unix::net::UnixStream::connect(self.socket()).unwrap();
        exchange(
            stream,
            &request(method, path, "localhost", &[header], Some(body)),
        )
    }

    /// Sends a request to the console with these headers.
    pub fn web(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let host = format!("127.0.0.1:{}", self.console_port());
        self.raw(&request(method, path, &host, headers, None))
    }

    /// Sends these bytes to the console.
    pub fn raw(&self, bytes: &str) -> Answer {
        let stream = std::net::TcpStream::connect(("127.0.0.1", self.console_port())).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        exchange(stream, bytes)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Ends it with SIGTERM and returns its exit status.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Ends it with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn request(
    method: &str,
    path: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.extend([*name, ": ", *value, "\r\n"]);
    }
    let Some(body) = body.map(ToString::to_string) else {
        return format!("{text}\r\n");
    };
    let length = body.len();
    format!("{text}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn exchange(mut stream: impl std::io::Read + std::io::Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = text(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no HTTP: {answer:?}")),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// The port of a lease.
pub fn port(lease: &Value) -> u16 {
    lease["port"].as_u64().unwrap().try_into().unwrap()
}

/// Sends a request over an API socket whose service may end or stop at any moment. `None` unless the
/// whole answer arrived.
pub fn ask(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let sent = request(method, path, "localhost", &[], body);
    std::io::Write::write_all(&mut stream, sent.as_bytes()).ok()?;
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).ok()?;
    let answer = text(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap_or("0").parse().ok()?;
    (body.len() == length).then(|| Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// A listener of another process: Python with nothing but a socket on `port`.
pub fn occupant(port: u16) -> Occupant {
    let script = "import socket,sys\n\
        s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
        s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); print('listens', flush=True)\n\
        sys.stdin.read()";
    let mut child = Command::new("python3")
        .args(["-c", script, &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "listens\n");
    Occupant(child)
}

/// A process that occupies a port until dropped.
pub struct Occupant(pub Child);

impl Drop for Occupant {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
