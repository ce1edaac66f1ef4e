//! A real Docker Engine, on a host of its own (a network namespace), and portbook beside it; tests use them.

use std::cell::RefCell;
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::host::{Host, skipped};
use crate::support::{Place, Server, command_of, text};
use crate::tools::{Running, eventually, exit_status};

/// Runs the engine with mounts of its own, and leaves its socket and its files in one folder.
const ENGINE: &str = r#"
mount --make-rprivate /
exec dockerd -H "unix://$1/docker.sock" --data-root "$1/data" --exec-root "$1/run" \
  --pidfile "$1/docker.pid" --storage-driver vfs --live-restore=false >"$1/log" 2>&1
"#;

/// Name of the image, which has a static busybox and nothing else.
pub const IMAGE: &str = "portbook-test";

/// An engine; gone with its containers when dropped.
pub struct Docker<'h> {
    host: &'h Host,
    folder: tempfile::TempDir,
    engine: Option<Running>,
}

impl<'h> Docker<'h> {
    /// Starts an engine. `None`, reported on stderr, if none can run here.
    pub fn start(host: &'h Host, test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped(test, "only root can run dockerd");
            return None;
        }
        let busybox = std::fs::read("/bin/busybox").unwrap_or_default();
        let needs_libraries = command_of("ldd").arg("/bin/busybox").output();
        if busybox.is_empty() || needs_libraries.is_ok_and(|output| output.status.success()) {
            skipped(test, "there is no static /bin/busybox (busybox-static)");
            return None;
        }
        let mut docker = Self {
            host,
            folder: tempfile::tempdir().unwrap(),
            engine: None,
        };
        if let Err(why) = docker.start_engine() {
            skipped(test, &why);
            return None;
        }
        docker.import(&busybox);
        Some(docker)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn start_engine(&mut self) -> Result<(), String> {
        let mut command = command_of("unshare");
        command.args(["--mount", "sh", "-c", ENGINE, "engine"]);
        command.arg(self.path()).stdin(Stdio::null());
        let mut command = self.host.enter(&command);
        let started = command.spawn().map_err(|error| error.to_string())?;
        let mut engine = Running(started);
        for _ in 0..300 {
            if self.docker(&["version"]).status.success() {
                self.engine = Some(engine);
                return Ok(());
            }
            if exit_status(&mut engine.0, std::time::Duration::from_millis(100)).is_some() {
                break;
            }
        }
        let log = std::fs::read_to_string(self.path().join("log")).unwrap_or_default();
        let last = log.lines().last().unwrap_or("dockerd says nothing");
        Err(format!("no Docker Engine runs here: {last}"))
    }

    fn import(&self, busybox: &[u8]) {
        use std::os::unix::fs::PermissionsExt;
        let tree = self.path().join("image");
        std::fs::create_dir(&tree).unwrap();
        let file = tree.join("busybox");
        std::fs::write(&file, busybox).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let archive = self.path().join("image.tar");
        let (tree, archive) = (tree.to_str().unwrap(), archive.to_str().unwrap());
        self.host
            .ok("tar", &["-C", tree, "-cf", archive, "busybox"]);
        self.ok(&["import", archive, IMAGE]);
    }

    pub fn docker(&self, arguments: &[&str]) -> Output {
        let mut command = command_of("docker");
        command.args(arguments);
        command.env("DOCKER_HOST", self.address());
        self.host.enter(&command).output().unwrap()
    }

    pub fn address(&self) -> String {
        format!("unix://{}/docker.sock", self.path().display())
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout).trim().to_owned()
    }

    /// Runs a container in the background that serves on the host's port.
    pub fn serve(&self, name: &str, port: u16, options: &[&str]) -> String {
        let publish = format!("{port}:80");
        let own = ["run", "-d", "--name", name, "-p", &publish];
        let server = [IMAGE, "/busybox", "httpd", "-f", "-p", "80"];
        self.ok(&[&own[..], options, &server].concat())
    }

    pub fn stop_engine(&mut self) {
        let engine = self.engine.take();
        let pid = std::fs::read_to_string(self.path().join("docker.pid")).unwrap_or_default();
        if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if let Some(mut engine) = engine {
            exit_status(&mut engine.0, std::time::Duration::from_secs(30));
        }
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        let all = text(&self.docker(&["ps", "-aq"]).stdout);
        for container in all.lines() {
            self.docker(&["rm", "-f", container]);
        }
        self.stop_engine();
    }
}

/// portbook on the host of an engine.
pub struct Beside<'h> {
    host: &'h Host,
    pub place: Place,
    server: Option<Server>,
}

impl<'h> Beside<'h> {
    pub fn start(host: &'h Host, ports: usize) -> Self {
        let place = Place::with_ports(ports);
        let server = Some(host.serve(&place));
        Self {
            host,
            place,
            server,
        }
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.place.command();
        command.args(arguments);
        self.host.enter(&command).output().unwrap()
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    pub fn alloc(&self, options: &[&str]) -> u16 {
        self.ok(&[&["alloc"], options].concat())
            .trim()
            .parse()
            .unwrap()
    }

    fn lease(&self, port: u16) -> Option<Value> {
        let list: Value = serde_json::from_str(&self.ok(&["--json", "list"])).ok()?;
        let mut leases = list["leases"].as_array()?.iter();
        leases.find(|lease| lease["port"] == port).cloned()
    }

    pub fn in_state(&self, port: u16, state: &str) -> Value {
        self.until(port, |lease| lease["state"] == state)
    }

    /// Waits for a state of the port's lease; shows the last one seen if it does not come.
    pub fn until(&self, port: u16, is_so: impl Fn(&Value) -> bool) -> Value {
        let last = RefCell::new(None);
        let _shown = Shown(&last);
        eventually("the lease is as it should be", || {
            let lease = self.lease(port);
            let found = lease.clone().filter(&is_so);
            *last.borrow_mut() = lease;
            found
        })
    }

    pub fn restart(&mut self) {
        assert!(self.server.take().unwrap().stop().success());
        self.server = Some(self.host.serve(&self.place));
    }
}

/// Prints the last lease seen if a test panics.
struct Shown<'l>(&'l RefCell<Option<Value>>);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seen last: {}",
                self.0.borrow().as_ref().unwrap_or(&Value::Null)
            );
        }
    }
}
