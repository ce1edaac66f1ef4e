//! The volume of the record is small, or another program fills it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use serde_json::{Value, json};

use crate::host::keeper;
use crate::probe::is_kept;
use crate::support::{Place, Server, ask};
use crate::tools::eventually;

pub const LEASES: &str = "/api/v1/leases";

/// Size of the volume in bytes.
const SIZE: u64 = 64 << 20;

const CLIENTS: usize = 8;

/// Pairs of each client: a log that is never cut would have some 80 MB.
const PAIRS: usize = 250;

/// Longest logs together, in bytes: 16 MiB, and the commits on their way when they get there.
const LONGEST_LOGS: u64 = 17 << 20;

/// A data directory on a volume of its own, which is gone when this is dropped.
pub struct Volume {
    pub place: Place,
    keeper: Child,
}

impl Volume {
    /// `None`, reported on stderr, if the kernel refuses it.
    pub fn new(ports: usize, test: &str) -> Option<Self> {
        let place = Place::with_ports(ports);
        std::fs::create_dir(place.data_dir()).unwrap();
        let script = format!(
            "mount -t tmpfs -o mode=700,size={SIZE} portbook {} && echo made && exec cat",
            place.data_dir().display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let keeper = keeper(&mut command, test, "volume")?;
        Some(Self { place, keeper })
    }

    /// The data directory, as processes outside reach it.
    pub fn folder(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.place.data_dir().strip_prefix("/").unwrap())
    }

    pub fn serve(&self) -> Server {
        Server::start(self.command(), &self.folder())
    }

    /// The command of a service there.
    pub fn command(&self) -> Command {
        let mut command = self.entered(self.place.command().get_program());
        command.arg("serve");
        command
    }

    /// A program that sees the volume, with the settings of the place.
    fn entered(&self, program: &OsStr) -> Command {
        let own = self.place.command();
        let own_envs = own.get_envs();
        let mut command = Command::new("nsenter");
        command
            .env_clear()
            .envs(own_envs.filter_map(|(name, value)| Some((name, value?))))
            .arg(format!("--mount=/proc/{}/ns/mnt", self.keeper.id()))
            .arg(program);
        command
    }

    /// Runs portbook there.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.entered(self.place.command().get_program());
        command.args(arguments).output().unwrap()
    }

    /// Makes the volume read-only.
    pub fn shut(&self) {
        let mut mount = self.entered("mount".as_ref());
        mount.args(["-o", "remount,ro"]).arg(self.place.data_dir());
        assert!(mount.status().unwrap().success());
    }

    /// Length of the logs before the SQLite file, in bytes.
    fn logs(&self) -> u64 {
        let names = ["portbook.db-wal", "ledger-0", "ledger-1"];
        let logs = names.map(|name| std::fs::metadata(self.folder().join(name)));
        logs.into_iter().flatten().map(|log| log.len()).sum()
    }

    /// Another program takes all room that is left.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for piece in [vec![0; 64 << 10], vec![0; 512]] {
            let full = loop {
                if let Err(error) = file.write_all(&piece) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull);
        }
    }

    /// ... and gives it back.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder().join("filler")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Allocates and releases, and gives the length of the logs at their longest.
fn be_a_client(volume: &Volume, socket: &Path) -> u64 {
    let mut longest = 0;
    for _ in 0..PAIRS {
        let granted = ask(socket, "POST", LEASES, Some(&json!({}))).unwrap();
        assert_eq!(granted.status, 201, "{granted:?}");
        let id = granted.json()["leases"][0]["id"].clone();
        let path = format!("{LEASES}/{}", id.as_str().unwrap());
        let released = ask(socket, "DELETE", &path, None).unwrap();
        assert_eq!(released.status, 204, "{released:?}");
        longest = longest.max(volume.logs());
    }
    longest
}

/// Allocates and releases until one is refused, and gives the problem: a log that starts over has
/// room for some more.
pub fn refused(server: &Server) -> Value {
    for _ in 0..CLIENTS * PAIRS {
        let mut answer = server.allocate(&json!({}));
        if answer.status == 201 {
            let id = answer.json()["leases"][0]["id"].clone();
            answer = server.release(id.as_str().unwrap());
        }
        if answer.status != 204 {
            assert_eq!(answer.status, 503, "{answer:?}");
            return answer.json();
        }
    }
    panic!("nothing was refused on a full volume");
}

#[test]
fn load_on_a_small_volume_never_fills_it_by_the_log() {
    let Some(volume) = Volume::new(3 * CLIENTS, "a small volume") else {
        return;
    };
    let server = volume.serve();
    let socket = server.socket();
    let longest = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| be_a_client(&volume, &socket)))
            .collect();
        let longest = clients.into_iter().map(|client| client.join().unwrap());
        longest.max().unwrap()
    });
    assert!(longest <= LONGEST_LOGS, "the logs had {longest} bytes");
    server.kill();
    let server = volume.serve();
    let stats = server.get("/api/v1/stats").json();
    let pools = stats["pools"].as_array().unwrap();
    let pool = pools.iter().find(|pool| pool["pool"] == "default").unwrap();
    assert_eq!(pool["granted"], json!(CLIENTS * PAIRS));
}

#[test]
fn full_volume_is_named_and_the_service_recovers_by_itself() {
    let Some(volume) = Volume::new(8, "a full volume") else {
        return;
    };
    let server = volume.serve();
    let kept = server.allocate(&json!({ "name": "kept" })).json();
    let kept = &kept["leases"][0];
    volume.fill();
    let problem = refused(&server);
    assert_eq!(problem["code"], "store_unavailable");
    let detail = problem["detail"].as_str().unwrap();
    let folder = volume.place.data_dir();
    assert!(detail.contains(folder.to_str().unwrap()), "{detail}");
    let path = format!("{LEASES}/{}", kept["id"].as_str().unwrap());
    assert_eq!(server.get(&path).json()["port"], kept["port"]);
    assert!(is_kept(crate::support::port(kept)));

    volume.empty();
    let granted = eventually("a grant", || {
        let answer = server.allocate(&json!({}));
        (answer.status == 201).then(|| answer.json())
    });
    let id = granted["leases"][0]["id"].as_str().unwrap();
    assert_eq!(server.release(id).status, 204);
    let living = server.living("default").len();
    server.kill();
    assert_eq!(volume.serve().living("default").len(), living);
}
