//! A host of the drill: a namespace with a portbook, and a program that never stops listening.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::cluster::Cluster;
use crate::host::Host;
use crate::support::{Place, Server};
use crate::tools::Running;

/// Numbers of the pool.
pub const PORTS: std::ops::RangeInclusive<u16> = 20_000..=20_007;

/// Listens for ever, and takes each connection.
const LISTEN: &str = "
import socket
server = socket.create_server(('', 9000), backlog=1000)
while True: server.accept()[0].close()
";

/// Sends all numbers of the pool to that program, behind the fence, as a container engine does: portbook
/// may hold them meanwhile.
const REDIRECT: &str = "
add table ip owner
add chain ip owner in { type nat hook prerouting priority dstnat; }
add rule ip owner in tcp dport 20000-20007 redirect to :9000
";

/// Cuts the host off from the engine.
const CUT: &str = "
add table ip cut
add chain ip cut out { type filter hook output priority 0; }
add rule ip cut out ip daddr 10.88.0.0/24 drop
";

/// An `nft` whose permits never end: then the service alone shuts a number.
const ENDLESS: &str = "#!/bin/sh
[ \"$*\" = '-f -' ] || exit 1
sed 's/ timeout [0-9]*s[0-9]*ms//' | FOLDER/nft -f -
";

/// Runs a command with another program in the place of one.
const REPLACED: &str = r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#;

const NFT: &str = "/usr/sbin/nft";

pub struct Machine {
    pub name: String,
    pub address: String,
    host: Host,
    place: Place,
    /// libfaketime, if the clock of this host is to be set.
    faketime: Option<PathBuf>,
    is_fenced: bool,
    _owner: Running,
}

impl Machine {
    /// A host of the cluster's network.
    pub fn new(cluster: &Cluster, number: usize, is_fenced: bool) -> Self {
        let host = Host::plain("a host of the drill").expect("another namespace");
        let (near, address) = (format!("10.88.{number}.1/24"), format!("10.88.{number}.2"));
        let (link, far) = (format!("v{number}"), format!("{address}/24"));
        let hub = |words: &[&str]| cluster.hub.ok("ip", words);
        let pid = host.id().to_string();
        hub(&[
            "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &pid,
        ]);
        hub(&["address", "add", &near, "dev", &link]);
        hub(&["link", "set", &link, "up"]);
        host.ok("ip", &["address", "add", &far, "dev", "eth0"]);
        host.ok("ip", &["link", "set", "eth0", "up"]);
        host.ok(
            "ip",
            &["route", "add", "default", "via", &near[..near.len() - 3]],
        );
        host.ok("nft", &[REDIRECT]);
        let mut listen = Command::new("python3");
        listen.args(["-c", LISTEN]).env("PATH", path());
        let owner = Running::start(host.enter(&listen));
        let name = format!("h{number}");
        let place = place(cluster, &name);
        let machine = Self {
            name,
            address,
            host,
            place,
            faketime: faketime(),
            is_fenced,
            _owner: owner,
        };
        machine.set_clock("+0");
        machine
    }

    /// Starts the service.
    pub fn serve(&self) -> Server {
        let mut command = self.place.command();
        command.arg("serve").env("PATH", path());
        if let Some(library) = &self.faketime {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", self.shift())
                .env("FAKETIME_NO_CACHE", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
        }
        let command = if self.is_fenced {
            command
        } else {
            endless(&command, self.place.folder())
        };
        Server::start(self.host.enter(&command), &self.place.data_dir())
    }

    /// Runs portbook, which has three seconds. `None` unless it prints a document.
    pub fn ask(&self, arguments: &[&str]) -> Option<Value> {
        let mut command = self.place.command();
        command.args(["--json", "--timeout", "3s"]).args(arguments);
        let output = self.host.enter(&command).stdin(Stdio::null()).output();
        let output = output.expect("portbook can be run");
        output.status.success().then_some(())?;
        serde_json::from_slice(&output.stdout).ok()
    }

    pub fn cut(&self) {
        self.host.ok("nft", &[CUT]);
    }

    pub fn mend(&self) {
        self.host.ok("nft", &["delete table ip cut"]);
    }

    /// Moves the wall clock of the service by this time. `false` if it cannot be moved.
    pub fn set_clock(&self, shift: &str) -> bool {
        std::fs::write(self.shift(), shift).unwrap();
        self.faketime.is_some()
    }

    fn shift(&self) -> PathBuf {
        self.place.folder().join("shift")
    }
}

fn place(cluster: &Cluster, name: &str) -> Place {
    let mut place = super::super::place_with(&Cluster::endpoints(), name);
    for (variable, file) in [
        ("CA", "ca.pem".to_owned()),
        ("CERTIFICATE", format!("{name}.pem")),
        ("KEY", format!("{name}.key")),
    ] {
        place.set(&format!("PORTBOOK_FLEET__{variable}"), &cluster.file(&file));
    }
    for (variable, value) in [
        (
            "RANGES",
            format!("{}-{}", PORTS.start(), PORTS.end()).as_str(),
        ),
        ("STRATEGY", "random"),
        ("FLEET", "unique"),
        ("RECLAIM", "40s"),
    ] {
        place.set(&format!("PORTBOOK_POOLS__EDGE__{variable}"), value);
    }
    place
}

/// The command with an `nft` whose permits never end.
fn endless(command: &Command, folder: &Path) -> Command {
    let (wrapper, own) = (folder.join("endless"), folder.join("nft"));
    if !own.exists() {
        std::fs::copy(NFT, &own).unwrap();
    }
    let script = ENDLESS.replace("FOLDER", folder.to_str().unwrap());
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "sh", "-c", REPLACED, "sh"]);
    inside.arg(wrapper).arg(NFT);
    inside.arg(command.get_program()).args(command.get_args());
    let variables = command.get_envs();
    inside.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    inside
}

fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

fn faketime() -> Option<PathBuf> {
    let libraries = ["x86_64", "aarch64"].map(|machine| {
        PathBuf::from(format!(
            "/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"
        ))
    });
    libraries.into_iter().find(|library| library.exists())
}
