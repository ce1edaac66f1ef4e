//! Three members of etcd on loopback, which can be killed, stopped and started again.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{ports, text};
use crate::tools::{Running, eventually};

/// Number of members.
pub const MEMBERS: usize = 3;

/// The members. They end with the test.
pub struct Members {
    pub console: Console,
    folder: TempDir,
    peers: Vec<u16>,
    running: Vec<Option<Running>>,
}

/// Calls of `etcdctl`, which go to the members directly.
#[derive(Clone)]
pub struct Console {
    /// Port for clients of each member.
    pub ports: Vec<u16>,
}

/// A key as the engine has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Key {
    pub created: u64,
    pub value: Value,
}

/// Everything below portbook's prefix, at one revision.
pub type Keys = BTreeMap<String, Key>;

impl Members {
    /// Starts the members, and waits until they answer.
    pub fn start() -> Self {
        let mut members = Self {
            console: Console {
                ports: ports(MEMBERS),
            },
            folder: TempDir::new().unwrap(),
            peers: ports(MEMBERS),
            running: (0..MEMBERS).map(|_| None).collect(),
        };
        members.start_all();
        members.console.wait();
        members
    }

    /// Starts a member on the data that it has.
    pub fn start_again(&mut self, member: usize) {
        let all = (self.peers.iter().enumerate())
            .map(|(number, port)| format!("m{number}=http://127.0.0.1:{port}"));
        let all: Vec<String> = all.collect();
        let client = self.console.endpoint(member);
        let peer = format!("http://127.0.0.1:{}", self.peers[member]);
        let mut command = Command::new("etcd");
        command.env_clear().env("PATH", path());
        for (option, value) in [
            ("--name", format!("m{member}")),
            ("--data-dir", self.data(member)),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", all.join(",")),
            ("--heartbeat-interval", "50".to_owned()),
            ("--election-timeout", "500".to_owned()),
        ] {
            command.arg(option).arg(value);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.running[member] = Some(Running::start(command));
    }

    pub fn start_all(&mut self) {
        (0..MEMBERS).for_each(|member| self.start_again(member));
    }

    pub fn kill(&mut self, member: usize) {
        self.running[member] = None;
    }

    pub fn signal(&self, member: usize, signal: Signal) {
        let pid = self.running[member].as_ref().unwrap().pid();
        let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn data(&self, member: usize) -> String {
        let data = self.folder.path().join(format!("m{member}"));
        data.to_str().unwrap().to_owned()
    }
}

impl Console {
    pub fn endpoint(&self, member: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[member])
    }

    /// Addresses of all members, with commas between.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = (0..MEMBERS).map(|member| self.endpoint(member)).collect();
        all.join(",")
    }

    /// Waits until a majority takes writes.
    pub fn wait(&self) {
        eventually("the members of etcd answer", || {
            let put = self.ctl(&self.endpoints(), &["put", "faults", "on"]);
            put.status.success().then_some(())
        });
    }

    /// Waits for the member that leads.
    pub fn leader(&self) -> usize {
        eventually("a member of etcd leads", || {
            let all = self.status()?;
            let leads =
                |one: &&Value| one["Status"]["leader"] == one["Status"]["header"]["member_id"];
            let leader = all.iter().find(leads)?;
            (0..MEMBERS).find(|member| leader["Endpoint"] == self.endpoint(*member).as_str())
        })
    }

    /// Has another member lead.
    pub fn move_leader(&self, from: usize, to: usize) -> Option<()> {
        let all = self.status()?;
        let endpoint = self.endpoint(to);
        let to = all
            .iter()
            .find(|one| one["Endpoint"] == endpoint.as_str())?;
        let to = to["Status"]["header"]["member_id"].as_u64()?;
        let moved = self.ctl(&self.endpoint(from), &["move-leader", &format!("{to:x}")]);
        moved.status.success().then_some(())
    }

    /// Takes away everything but the last state of each key.
    pub fn compact(&self) -> Option<()> {
        let all = self.status()?;
        let revisions = all.iter().map(|one| &one["Status"]["header"]["revision"]);
        let revision = revisions.filter_map(Value::as_u64).max()?.to_string();
        let compacted = self.ctl(&self.endpoints(), &["compact", &revision]);
        compacted.status.success().then_some(())
    }

    pub fn defragment(&self, member: usize) -> Option<()> {
        let done = self.ctl(&self.endpoint(member), &["defrag"]);
        done.status.success().then_some(())
    }

    /// Reads all keys of portbook from a majority.
    pub fn keys(&self) -> Keys {
        let read = ["get", "--prefix", "/portbook/v1/", "-w", "fields"];
        let output = eventually("the engine can be read", || {
            let output = self.ctl(&self.endpoints(), &read);
            output.status.success().then_some(output)
        });
        fields(&text(&output.stdout))
    }

    fn status(&self) -> Option<Vec<Value>> {
        let told = self.ctl(&self.endpoints(), &["endpoint", "status", "-w", "json"]);
        serde_json::from_slice(&told.stdout).ok()
    }

    fn ctl(&self, endpoints: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("etcdctl");
        command.env_clear().env("PATH", path());
        command.env("ETCDCTL_API", "3");
        command.args(["--endpoints", endpoints, "--command-timeout", "2s"]);
        command.args(arguments).output().unwrap()
    }
}

/// Reads keys from lines such as `"CreateRevision" : 7`.
fn fields(told: &str) -> Keys {
    let (mut keys, mut name) = (Keys::new(), None);
    for (field, value) in told.lines().filter_map(|line| line.split_once(" : ")) {
        let quoted = || serde_json::from_str::<String>(value).ok();
        if field == "\"Key\"" {
            name = quoted();
        }
        let Some(name) = &name else { continue };
        let key: &mut Key = keys.entry(name.clone()).or_default();
        match field {
            "\"CreateRevision\"" => key.created = value.parse().unwrap(),
            "\"Value\"" => {
                let text = quoted().unwrap_or_default();
                key.value = serde_json::from_str(&text).unwrap_or(Value::Null);
            }
            _ => {}
        }
    }
    keys
}

fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

#[test]
fn keys_are_read_with_their_revisions_and_values() {
    let told = "\"ClusterID\" : 1\n\"Revision\" : 9\n\
        \"Key\" : \"/f/a\"\n\"CreateRevision\" : 7\n\"ModRevision\" : 8\n\"Value\" : \"{\\\"host\\\":\\\"h\\\"}\"\n\
        \"Key\" : \"/f/b\"\n\"CreateRevision\" : 9\n\"Value\" : \"\"\n\"Count\" : 2\n";
    let keys = fields(told);
    assert_eq!(keys.len(), 2);
    assert_eq!(
        (keys["/f/a"].created, &keys["/f/a"].value["host"]),
        (7, &"h".into())
    );
    assert_eq!(keys["/f/b"].value, Value::Null);
}
