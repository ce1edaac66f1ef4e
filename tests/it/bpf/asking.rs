//! A program that asks for the ports that it is told.

use std::io::Write;
use std::process::Command;

use crate::tools::Running;

/// Told `bind PORT` it listens there, anew if need be, and says which port it has; told `to PORT` it says which pid it
/// reaches there. An error is its number.
pub(super) const PROGRAM: &str = r#"
import os, socket, sys, threading
kept = {}
def serve(s):
    while True:
        try:
            with s.accept()[0] as client:
                client.sendall(b"%d" % os.getpid())
        except OSError:
            return
def bind(port):
    if port in kept:
        kept[port].shutdown(socket.SHUT_RDWR)
        kept.pop(port).close()
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", port))
    s.listen()
    kept[port] = s
    threading.Thread(target=serve, args=[s], daemon=True).start()
    return s.getsockname()[1]
def to(port):
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        return s.recv(20).decode()
print(os.getpid(), os.environ.get("WEB_PORT", os.environ.get("PORT")), flush=True)
for line in sys.stdin:
    word, port = line.split()
    try:
        print({"bind": bind, "to": to}[word](int(port)), flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"#;

/// A running program, and its pid.
pub(super) struct Program {
    pub(super) running: Running,
    pub(super) pid: String,
    pub(super) port: Option<u16>,
}

impl Program {
    pub(super) fn start(mut command: Command) -> Self {
        command.args(["--", "python3", "-c", PROGRAM]);
        let mut running = Running::piped(command);
        let line = running.line();
        let (pid, port) = line.split_once(' ').expect("the program has begun");
        Self {
            pid: pid.to_owned(),
            port: port.parse().ok(),
            running,
        }
    }

    pub(super) fn say(&mut self, word: &str, port: u16) -> String {
        writeln!(self.running.0.stdin.as_mut().unwrap(), "{word} {port}").unwrap();
        self.running.line()
    }

    pub(super) fn bind(&mut self, port: u16) -> u16 {
        self.say("bind", port).parse().unwrap()
    }

    pub(super) fn assert_reaches_itself_at(&mut self, port: u16) {
        assert_eq!(self.say("to", port), self.pid);
    }
}
