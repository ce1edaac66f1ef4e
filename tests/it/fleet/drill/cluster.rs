//! Three members of etcd on a host of their own, with TLS.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::host::Host;
use crate::support::text;
use crate::tools::{Running, eventually};

pub const MEMBERS: usize = 3;

/// Makes an authority, and a certificate for each name, with the addresses of all members.
const CERTIFICATES: &str = r#"
set -e
cd "$1"
shift
new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
$new -x509 -days 2 -subj /CN=drill-ca -keyout ca.key -out ca.pem
for name; do
  $new -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
  printf 'subjectAltName=IP:10.88.0.1,IP:10.88.0.2,IP:10.88.0.3\n' >ext
  printf 'extendedKeyUsage=serverAuth,clientAuth\n' >>ext
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out "$name.pem"
done
chmod 600 ./*.key
"#;

/// A certificate of the members and of the test's own `etcdctl`.
const OWN: &str = "server";

/// The members, and the host that they run on.
pub struct Cluster {
    pub hub: Host,
    folder: TempDir,
    members: Vec<Option<Running>>,
}

impl Cluster {
    /// Starts the members, with a certificate for each of these hosts.
    pub fn start(hub: Host, hosts: &[String]) -> Self {
        for member in 0..MEMBERS {
            let address = format!("{}/32", address(member));
            hub.ok("ip", &["address", "add", &address, "dev", "lo"]);
        }
        let folder = TempDir::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", CERTIFICATES, "sh"]).arg(folder.path());
        let made = command.arg(OWN).args(hosts).output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        let mut cluster = Self {
            hub,
            folder,
            members: (0..MEMBERS).map(|_| None).collect(),
        };
        for member in 0..MEMBERS {
            cluster.begin(member, "new");
        }
        cluster.wait();
        cluster
    }

    /// Addresses for clients, with commas between.
    pub fn endpoints() -> String {
        let all: Vec<String> = (0..MEMBERS).map(endpoint).collect();
        all.join(",")
    }

    /// A file of the certificates.
    pub fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Starts a member on the data that it has.
    pub fn resume(&mut self, member: usize) {
        self.begin(member, "existing");
    }

    pub fn kill(&mut self, member: usize) {
        self.members[member] = None;
    }

    pub fn signal(&self, member: usize, signal: Signal) {
        let Some(running) = &self.members[member] else {
            return;
        };
        let pid = Pid::from_raw(running.pid().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The member that leads. `None` while there is none.
    pub fn leader(&self) -> Option<usize> {
        let told = self.ctl(&Self::endpoints(), &["endpoint", "status", "-w", "json"]);
        let told: Value = serde_json::from_slice(&told.stdout).ok()?;
        let leads = |one: &&Value| one["Status"]["leader"] == one["Status"]["header"]["member_id"];
        let leader = told.as_array()?.iter().find(leads)?;
        (0..MEMBERS).find(|member| leader["Endpoint"] == endpoint(*member).as_str())
    }

    /// Waits until a member leads, and the majority takes writes.
    pub fn wait(&self) {
        eventually("the members of etcd answer", || {
            let put = self.ctl(&Self::endpoints(), &["put", "drill", "on"]);
            put.status.success().then_some(())
        });
    }

    /// Writes a snapshot.
    pub fn save(&self) {
        let file = self.file("snapshot");
        let leader = self.leader().expect("a leader");
        let saved = self.ctl(&endpoint(leader), &["snapshot", "save", &file]);
        assert!(saved.status.success(), "{saved:?}");
    }

    /// Puts all members back to the snapshot.
    pub fn restore(&mut self) {
        let (snapshot, cluster) = (self.file("snapshot"), initial_cluster());
        for member in 0..MEMBERS {
            self.kill(member);
        }
        for member in 0..MEMBERS {
            let data = self.wiped(member);
            let (name, peer) = (name(member), peer(member));
            let restored = self.ctl(
                "",
                &[
                    &["snapshot", "restore", &snapshot, "--data-dir", &data][..],
                    &["--name", &name, "--initial-cluster", &cluster],
                    &["--initial-advertise-peer-urls", &peer],
                ]
                .concat(),
            );
            assert!(restored.status.success(), "{restored:?}");
        }
        for member in 0..MEMBERS {
            self.begin(member, "new");
        }
        self.wait();
    }

    /// Has a member lose its disk, and another one take its place.
    pub fn replace(&mut self, member: usize) {
        let others: Vec<String> = (0..MEMBERS)
            .filter(|other| *other != member)
            .map(endpoint)
            .collect();
        let others = others.join(",");
        self.kill(member);
        self.wiped(member);
        let listed = self.ctl(&others, &["member", "list"]);
        let listed = text(&listed.stdout);
        let lost = listed.lines().find(|line| line.contains(&peer(member)));
        let id = lost.and_then(|line| line.split(',').next()).unwrap();
        eventually("the member is taken out", || {
            self.ctl(&others, &["member", "remove", id])
                .status
                .success()
                .then_some(())
        });
        let peer = format!("--peer-urls={}", peer(member));
        eventually("the member is added", || {
            let added = self.ctl(&others, &["member", "add", &name(member), &peer]);
            added.status.success().then_some(())
        });
        self.resume(member);
    }

    /// Calls `etcdctl`.
    pub fn ctl(&self, endpoints: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if !endpoints.is_empty() {
            command.args(["--endpoints", endpoints, "--command-timeout", "2s"]);
            command.arg("--cacert").arg(self.path("ca.pem"));
            command.arg("--cert").arg(self.path(&format!("{OWN}.pem")));
            command.arg("--key").arg(self.path(&format!("{OWN}.key")));
        }
        command.args(arguments);
        self.hub.enter(&command).output().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Folder of a member's data, which is not there any more.
    fn wiped(&self, member: usize) -> String {
        let data = self.path(&name(member));
        let _ = std::fs::remove_dir_all(&data);
        data.to_str().unwrap().to_owned()
    }

    fn begin(&mut self, member: usize, state: &str) {
        let (client, peer) = (endpoint(member), peer(member));
        let mut command = Command::new("etcd");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (option, value) in [
            ("--name", name(member)),
            ("--data-dir", self.file(&name(member))),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", initial_cluster()),
            ("--initial-cluster-state", state.to_owned()),
            ("--cert-file", self.file(&format!("{OWN}.pem"))),
            ("--key-file", self.file(&format!("{OWN}.key"))),
            ("--trusted-ca-file", self.file("ca.pem")),
        ] {
            command.arg(option).arg(value);
        }
        command.arg("--client-cert-auth");
        let mut command = self.hub.enter(&command);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.members[member] = Some(Running::start(command));
    }
}

fn name(member: usize) -> String {
    format!("etcd-{member}")
}

fn address(member: usize) -> String {
    format!("10.88.0.{}", member + 1)
}

fn endpoint(member: usize) -> String {
    format!("https://{}:2379", address(member))
}

fn peer(member: usize) -> String {
    format!("http://{}:2380", address(member))
}

fn initial_cluster() -> String {
    let all: Vec<String> = (0..MEMBERS)
        .map(|member| format!("{}={}", name(member), peer(member)))
        .collect();
    all.join(",")
}
