//! The server as bytes on pipes: its end, long lines, and nothing but the protocol on stdout.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::agent::tree;
use crate::support::{Place, text};
use crate::tools::{ended, exit_status};

/// The longest that the server may take to end, with a call at work.
const PATIENCE: Duration = Duration::from_secs(20);

struct Pipes {
    child: Child,
    input: Option<ChildStdin>,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Pipes {
    fn to(place: &Place) -> Self {
        let mut command = place.command();
        command.arg("mcp").current_dir(tree(place, "shop"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take();
        Self {
            child,
            input,
            lines,
        }
    }

    /// Begins a session of the protocol.
    fn begun(place: &Place) -> Self {
        let mut pipes = Self::to(place);
        let client = json!({"name": "test", "version": "0"});
        let params =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        let answer = pipes.ask(1, "initialize", &params);
        assert_eq!(
            answer["result"]["serverInfo"]["name"], "portbook",
            "{answer}"
        );
        assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
        pipes.write(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
        pipes
    }

    fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    fn send(&mut self, id: u32, method: &str, params: &Value) {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.write(format!("{message}\n").as_bytes());
    }

    fn ask(&mut self, id: u32, method: &str, params: &Value) -> Value {
        self.send(id, method, params);
        let answer = self.answer();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// The next message. Whatever is no JSON is no protocol.
    fn answer(&mut self) -> Value {
        let line = self.lines.next().unwrap().unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Closes stdin, and waits for the end of the process.
    fn end(mut self) -> Option<i32> {
        drop(self.input.take());
        let status = exit_status(&mut self.child, PATIENCE);
        if status.is_none() {
            self.child.kill().unwrap();
        }
        for line in self.lines {
            let line = line.unwrap();
            assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line:?}");
        }
        status.expect("the server ends with its stdin").code()
    }
}

#[test]
fn end_of_stdin_ends_the_server() {
    let place = Place::with_ports(2);
    let mut command = place.command();
    command.arg("mcp");
    // Before a session, as if a user had tried it.
    let output = ended(command);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    assert_eq!(Pipes::begun(&place).end(), Some(0));
}

#[test]
fn end_of_stdin_ends_the_server_while_a_tool_waits() {
    let place = Place::with_ports(2);
    let _server = place.serve();
    let mut pipes = Pipes::begun(&place);
    let arguments = json!({"name": "never", "timeout_s": 300});
    let call = json!({"name": "wait_until_serving", "arguments": arguments});
    pipes.send(2, "tools/call", &call);
    pipes.ask(3, "ping", &json!({}));
    assert_eq!(pipes.end(), Some(0));
}

#[test]
fn calls_are_answered_while_another_waits() {
    let place = Place::with_ports(2);
    let _server = place.serve();
    let mut pipes = Pipes::begun(&place);
    let waiting = json!({"name": "never", "timeout_s": 300});
    let call = json!({"name": "wait_until_serving", "arguments": waiting});
    for id in 10..15 {
        pipes.send(id, "tools/call", &call);
    }
    let call = json!({"name": "lease_port", "arguments": {"name": "web"}});
    let answer = pipes.ask(3, "tools/call", &call);
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    // A wait that the client gives up is over, so that its thread is free.
    let gone = json!({"requestId": 10, "reason": "the user said so"});
    let gone = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": gone});
    pipes.write(format!("{gone}\n").as_bytes());
    pipes.ask(4, "ping", &json!({}));
    assert_eq!(pipes.end(), Some(0));
}

#[test]
fn long_and_broken_lines_are_passed_over() {
    let place = Place::with_ports(2);
    let mut pipes = Pipes::begun(&place);
    let mut long = vec![b'x'; 64 << 20];
    long.push(b'\n');
    pipes.write(&long);
    let arguments = json!({"name": "w".repeat(2 << 20)});
    let long = json!({"name": "lease_port", "arguments": arguments});
    pipes.send(2, "tools/call", &long);
    pipes.write(b"{\"jsonrpc\": \n\xff\xfe\n\n[]\n");
    let mut answer = pipes.ask_past_errors(5);
    assert_eq!(answer["result"], json!({}));
    let status = std::fs::read_to_string(format!("/proc/{}/status", pipes.child.id())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: usize = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(peak < 64 << 10, "{peak} kB for lines that are passed over");
    answer = pipes.ask(6, "ping", &json!({}));
    assert_eq!(answer["result"], json!({}));
    assert_eq!(pipes.end(), Some(0));
}

impl Pipes {
    /// Asks for a sign of life, past answers without an id to what was no request.
    fn ask_past_errors(&mut self, id: u32) -> Value {
        self.send(id, "ping", &json!({}));
        loop {
            let answer = self.answer();
            if answer["id"] == id {
                return answer;
            }
            assert!(answer["error"].is_object(), "{answer}");
        }
    }
}

#[test]
fn stranger_to_the_protocol_is_told_so() {
    let place = Place::with_ports(1);
    let mut command = place.command();
    command
        .arg("mcp")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let greeting = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";
    input.write_all(greeting).unwrap();
    assert!(exit_status(&mut child, PATIENCE).is_some());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("initialize"), "{output:?}");
    assert_eq!(text(&output.stdout), "");
}
