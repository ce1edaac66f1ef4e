//! A host, a service and its clients for a recording: ports, interfaces and processes are the same
//! in every run.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use super::mask::Mask;
use crate::host::Host;
use crate::support::{Place, Server, command_of};

/// Sends requests and opens listeners, as its lines on stdin say; one answer a line.
const CLIENT: &str = r#"
import http.client, json, socket, sys

class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])

listeners = []
for line in sys.stdin:
    order = json.loads(line)
    if "listen" in order:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", order["listen"]))
        listener.listen()
        listeners.append(listener)
        print("{}", flush=True)
        continue
    port = order["port"]
    connection = http.client.HTTPConnection("127.0.0.1", port) if port else Local("localhost")
    connection.request(order["method"], order["path"], order["body"], order["headers"])
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    body = answer.read().decode()
    print(json.dumps({"status": answer.status, "headers": headers, "body": body}), flush=True)
"#;

/// A process on the host that speaks to the service and listens on ports; ended when dropped.
pub struct Client(Child);

impl Client {
    fn start(host: &Host, place: &Place) -> Self {
        let mut command = command_of("python3");
        let socket = place.data_dir().join("portbook.sock");
        command.args(["-c", CLIENT]).arg(socket);
        let mut command: Command = host.enter(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().expect("python3 can be run"))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    fn order(&mut self, order: &Value) -> Value {
        writeln!(self.0.stdin.as_mut().unwrap(), "{order}").unwrap();
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{order}: {error}: {line}"))
    }

    /// Listens on `127.0.0.1:port` until the end.
    pub fn listen(&mut self, port: u16) {
        self.order(&json!({ "listen": port }));
    }

    /// Sends a request: over the API socket, or to a console's port.
    pub fn send(&mut self, request: &Request) -> Value {
        self.order(&json!({
            "port": request.console,
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "body": request.body,
        }))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One HTTP request.
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Value,
    pub body: Option<String>,
    pub console: Option<u16>,
}

impl Request {
    /// From `METHOD /path`, with a JSON body unless it is null.
    pub fn new(line: &str, body: &Value) -> Self {
        let (method, path) = line.split_once(' ').unwrap();
        let has_body = !body.is_null();
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: if has_body {
                json!({"Content-Type": "application/json"})
            } else {
                json!({})
            },
            body: has_body.then(|| body.to_string()),
            console: None,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers[name] = value.into();
        self
    }

    pub fn at_console(mut self, port: u16) -> Self {
        self.console = Some(port);
        self
    }
}

/// The host with its place. The service and the clients are started and dropped by the recorder.
pub struct World {
    pub host: Host,
    pub place: Place,
    pub mask: Mask,
}

impl World {
    /// First port of the default pool, which has ten.
    pub const POOL: u16 = 20000;
    /// The console's port.
    pub const CONSOLE: u16 = 8888;

    /// `None` if the kernel gives us no network namespace.
    pub fn new(test: &str) -> Option<Self> {
        let host = Host::plain(test)?;
        let pool = (Self::POOL..Self::POOL + 10).collect();
        let console = (Self::CONSOLE..Self::CONSOLE + 4).collect();
        let mut place = Place::on(pool, console);
        // One snapshot at the start, and no other while requests are recorded.
        place.set("PORTBOOK_HISTORY__SNAPSHOT_INTERVAL", "1h");
        place.set("HOME", place.folder().to_str().unwrap().to_owned().as_str());
        place.set("PORTBOOK_POOLS__SMALL__RANGES", "21000-21001");
        place.set("PORTBOOK_POOLS__SMALL__STRATEGY", "ordered");
        let mask = Mask::new(place.folder());
        Some(Self { host, place, mask })
    }

    pub fn serve(&self) -> Server {
        self.host.serve(&self.place)
    }

    pub fn client(&self) -> Client {
        Client::start(&self.host, &self.place)
    }

    /// A command of this place on the host, in the place's folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command();
        command.args(arguments);
        let mut command = self.host.enter(&command);
        command.current_dir(self.place.folder());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::null())
            .output()
            .expect("portbook can be run")
    }
}
