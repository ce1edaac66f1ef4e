//! Network namespaces as hosts of their own: with ports, interfaces and kernel settings that no
//! other test sees and that are gone with the test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Answer, Place, Server, text};

/// An HTTP request over a Unix socket.
const SEND: &str = r#"
import http.client, json, socket, sys
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request(sys.argv[2], sys.argv[3], sys.argv[4], {"Content-Type": "application/json"})
answer = connection.getresponse()
print(json.dumps({"status": answer.status, "body": answer.read().decode()}))
"#;

/// Reports on stderr that something was not tested; the test harness hides the output of `eprintln!`.
pub fn skipped(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
}

/// Starts the process that keeps something for a test: it prints `made` and goes on. `None`, reported
/// on stderr, if the kernel refuses it.
pub fn keeper(command: &mut Command, test: &str, thing: &str) -> Option<Child> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let refused = match command.stderr(Stdio::piped()).spawn() {
        Ok(mut keeper) => {
            let mut line = String::new();
            let stdout = keeper.stdout.as_mut().unwrap();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            if line == "made\n" {
                return Some(keeper);
            }
            text(&keeper.wait_with_output().unwrap().stderr)
        }
        Err(error) => error.to_string(),
    };
    skipped(test, &format!("no {thing} can be made: {}", refused.trim()));
    None
}

/// A host for one test; gone when dropped. Python and portbook can be run on it.
pub struct Host {
    keeper: Child,
}

impl Host {
    /// A host with a loopback and nothing else. `None`, reported on stderr, if the kernel refuses it.
    pub fn plain(test: &str) -> Option<Self> {
        Self::kept_by(Command::new("unshare").arg("--net"), test)
    }

    /// The host that `tests/multi-nic` describes.
    pub fn with_many_interfaces(test: &str) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/multi-nic");
        Self::kept_by(&mut Command::new(script), test)
    }

    /// A namespace lives as long as a process in it: here `cat`, which ends with this test's pipe.
    fn kept_by(command: &mut Command, test: &str) -> Option<Self> {
        let command = command.args(["sh", "-c", "ip link set lo up && echo made && exec cat"]);
        let keeper = keeper(command, test, "network namespace")?;
        Some(Self { keeper })
    }

    /// Id of the process that keeps it.
    #[cfg(feature = "fleet")]
    pub fn id(&self) -> u32 {
        self.keeper.id()
    }

    /// The command, to be run on this host.
    pub fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .env_clear()
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .arg(format!("--net=/proc/{}/ns/net", self.keeper.id()))
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        inside
    }

    /// Runs a program on this host to its end.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = crate::support::command_of(program);
        command.args(arguments);
        self.enter(&command).output().expect("it can be run")
    }

    /// Runs a program on this host, which must succeed, and returns its stdout.
    pub fn ok(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let said = text(&output.stderr);
        assert!(
            output.status.success(),
            "{program} {arguments:?} ended with {}: {said}",
            output.status
        );
        text(&output.stdout)
    }

    /// Runs a Python program on this host, which must print one JSON document.
    pub fn python(&self, script: &str, arguments: &[&str]) -> Value {
        let mut all = vec!["-c", script];
        all.extend(arguments);
        let said = self.ok("python3", &all);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// Sends a request over the API socket as a process of this host: the service grants leases only to
    /// processes of its own network namespace.
    pub fn api(&self, server: &Server, method: &str, path: &str, body: &Value) -> Answer {
        let socket = server.socket();
        let socket = socket.to_str().unwrap();
        let answer = self.python(SEND, &[socket, method, path, &body.to_string()]);
        Answer {
            status: answer["status"].as_u64().unwrap().try_into().unwrap(),
            head: String::new(),
            body: answer["body"].as_str().unwrap().to_owned(),
        }
    }

    /// Sets a `net.ipv4` setting of this host's kernel.
    pub fn sysctl(&self, name: &str, value: &str) {
        let write = format!("echo '{value}' > /proc/sys/net/ipv4/{name}");
        self.ok("sh", &["-c", &write]);
    }

    /// Starts a service on this host.
    pub fn serve(&self, place: &Place) -> Server {
        let mut command = place.command();
        command.arg("serve");
        Server::start(self.enter(&command), &place.data_dir())
    }

    /// Runs portbook on this host to its end.
    pub fn portbook(&self, place: &Place, arguments: &[&str]) -> Output {
        let mut command = place.command();
        command.args(arguments);
        self.enter(&command).output().expect("portbook can be run")
    }

    /// Runs portbook with `--json` on this host, which must succeed, and returns the document.
    pub fn json(&self, place: &Place, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let output = self.portbook(place, &all);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("a JSON document")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
