//! An etcd of a test's own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::host::skipped;
use crate::support::{ports, text};
use crate::tools::{Running, eventually};

/// A server with one member on loopback. It ends with the test.
pub struct Etcd {
    pub address: String,
    pub folder: TempDir,
    arguments: Vec<String>,
    running: Option<Running>,
}

impl Etcd {
    /// Starts one. `None`, reported on stderr, if etcd is not installed.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, "http", &[], TempDir::new().unwrap())
    }

    /// Starts one with more options.
    pub fn start_with(test: &str, scheme: &str, more: &[String], folder: TempDir) -> Option<Self> {
        for tool in ["etcd", "etcdctl"] {
            if Command::new(tool)
                .arg("--help")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_err()
            {
                skipped(test, &format!("{tool} is not installed"));
                return None;
            }
        }
        let [client, peer] = <[u16; 2]>::try_from(ports(2)).unwrap();
        let (address, peer) = (
            format!("{scheme}://127.0.0.1:{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let data = folder.path().join("etcd");
        let options = [
            ("--name", "test"),
            ("--data-dir", data.to_str().unwrap()),
            ("--listen-client-urls", &address),
            ("--advertise-client-urls", &address),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("test={peer}")),
        ];
        let options = options
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value.to_owned()]);
        let arguments = options.chain(more.iter().cloned()).collect();
        let mut etcd = Self {
            address,
            folder,
            arguments,
            running: None,
        };
        etcd.start_again();
        Some(etcd)
    }

    /// Starts it on the data that it has, and waits until it answers.
    pub fn start_again(&mut self) {
        let mut command = Command::new("etcd");
        command.args(&self.arguments);
        // Settings of the surrounding environment are not those of the test.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(Running::start(command));
        eventually("etcd answers", || {
            self.ctl(&["get", "none"]).status.success().then_some(())
        });
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Deletes its data.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.folder.path().join("etcd")).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.running.as_ref().unwrap().pid();
        let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Calls `etcdctl`.
    pub fn ctl(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.address]);
        command.args(["--command-timeout", "2s"]);
        if self.address.starts_with("https") {
            let file = |name: &str| -> PathBuf { self.folder.path().join(name) };
            command.arg("--cacert").arg(file("ca.pem"));
            command.arg("--cert").arg(file("root.pem"));
            command.arg("--key").arg(file("root.key"));
        }
        command.args(arguments).output().unwrap()
    }

    /// Puts a key.
    pub fn put(&self, key: &str, value: &str) {
        let done = self.ctl(&["put", "--", key, value]);
        assert!(done.status.success(), "{done:?}");
    }

    /// Keys below a prefix.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.ctl(&["get", "--prefix", "--keys-only", prefix]);
        let lines = text(&listed.stdout);
        let keys = lines.lines().filter(|line| !line.is_empty());
        keys.map(str::to_owned).collect()
    }
}
