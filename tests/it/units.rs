//! systemd: valid units, and the messages and sockets between the service and its supervisor. The
//! descriptor store has tests in `succession`.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::host::skipped;
use crate::support::{PORTBOOK, Place, Server, command_of, text};
use crate::tools::eventually;

/// Faults that systemd finds in the units of a folder. `None`, reported on stderr, if systemd is not
/// installed.
pub fn complaints(folder: &Path, names: &[&str], more: &[&str]) -> Option<String> {
    let mut command = command_of("systemd-analyze");
    command.env("XDG_RUNTIME_DIR", folder);
    command
        .args(more)
        .args(["verify", "--man=no", "--recursive-errors=no"]);
    command.args(names.iter().map(|name| folder.join(name)));
    let Ok(output) = command.output() else {
        skipped("units", "systemd-analyze is not installed");
        return None;
    };
    let said = text(&output.stderr);
    assert!(output.status.success() || !said.is_empty());
    // Lines about our units alone: the host's own units may have faults.
    let ours = said
        .lines()
        .filter(|line| names.iter().any(|name| line.contains(name)));
    Some(ours.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_units_of_the_system_hold() {
    let folder = tempfile::tempdir().unwrap();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("static/systemd");
    let names = ["portbook.service", "portbook.socket", "example-web.service"];
    for name in names {
        let unit = std::fs::read_to_string(units.join(name)).unwrap();
        let unit = unit.replace("/usr/bin/portbook", PORTBOOK);
        std::fs::write(folder.path().join(name), unit).unwrap();
    }
    if let Some(said) = complaints(folder.path(), &names, &[]) {
        assert_eq!(said, "");
    }
    // A fault would be reported.
    let broken = "[Service]\nExecStart=/nonexistent/program\nFileDescriptorStoreMax=many\n";
    std::fs::write(folder.path().join("broken.service"), broken).unwrap();
    if let Some(said) = complaints(folder.path(), &["broken.service"], &[]) {
        assert!(said.contains("broken.service"), "{said}");
    }
}

#[test]
fn a_user_installs_units_of_this_very_program() {
    let place = Place::with_ports(1);
    let install = |more: &[&str]| {
        let mut command = place.command();
        command.env("XDG_CONFIG_HOME", place.folder().join("config"));
        command
            .args(["service", "install", "--user"])
            .args(more)
            .output()
            .unwrap()
    };
    let printed = install(&["--print"]);
    let folder = place.folder().join("config/systemd/user");
    assert!(!folder.exists());
    let output = install(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("systemctl --user enable --now portbook.socket"));
    let names = ["portbook.service", "portbook.socket"];
    for name in names {
        let unit = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(text(&printed.stdout).contains(&unit));
    }
    let unit = std::fs::read_to_string(folder.join("portbook.service")).unwrap();
    assert!(
        unit.contains(&format!("ExecStart={PORTBOOK} serve")),
        "{unit}"
    );
    if let Some(said) = complaints(&folder, &names, &["--user"]) {
        assert_eq!(said, "");
    }
    // An administrator may have changed them.
    std::fs::write(folder.join("portbook.service"), "mine").unwrap();
    let output = install(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--force"));
    assert!(install(&["--force"]).status.success());
}

/// Binds sockets as a socket unit does, becomes the service with them, and asks for a watchdog.
const ACTIVATE: &str = r#"
import os, socket, sys
kept = []
for path in sys.argv[1:3]:
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen()
    kept.append(s)
high = [os.dup(s.fileno()) for s in kept]
base = 100
for n, fd in enumerate(high):
    os.dup2(fd, base + n)
for n in range(len(high)):
    os.dup2(base + n, 3 + n)
pid = str(os.getpid())
os.environ.update(LISTEN_PID=pid, LISTEN_FDS="2", LISTEN_FDNAMES="portbook.socket:portbook.socket",
                  WATCHDOG_PID=pid, WATCHDOG_USEC="200000")
os.execv(sys.argv[3], sys.argv[3:])
"#;

#[test]
fn it_answers_on_activated_sockets_and_speaks_to_its_supervisor() {
    let place = Place::with_ports(2);
    std::fs::create_dir_all(place.data_dir()).unwrap();
    let notify = std::os::unix::net::UnixDatagram::bind(place.folder().join("notify")).unwrap();
    let patience = std::time::Duration::from_secs(30);
    notify.set_read_timeout(Some(patience)).unwrap();
    let heard = |what: &str| {
        eventually(what, || {
            let mut room = [0; 4096];
            let length = notify.recv(&mut room).unwrap();
            let said = text(&room[..length]);
            said.contains(what).then_some(said)
        })
    };
    let api = place.data_dir().join("portbook.sock");
    let descriptors = place.data_dir().join("portbook.fds.sock");
    let mut command = Command::new("python3");
    let serve = place.command();
    let variables = serve
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    command
        .env_clear()
        .envs(variables)
        .env("NOTIFY_SOCKET", place.folder().join("notify"));
    command
        .args(["-c", ACTIVATE])
        .args([&api, &descriptors])
        .args([PORTBOOK, "serve"]);
    let server = Server::start(command, &place.data_dir());
    let ready = heard("READY=1");
    assert!(
        ready.contains(&format!("STATUS=the console listens at {}", server.console)),
        "{ready}"
    );
    for _ in 0..3 {
        heard("WATCHDOG=1");
    }
    assert!(place.ok(&["status"]).contains("ready"));
    place.ok(&["run", "--handover", "fd", "--", "true"]);
    server.signal(Signal::HUP);
    heard("RELOADING=1");
    heard("READY=1");
    server.signal(Signal::TERM);
    heard("STOPPING=1");
    let mut server = server;
    assert!(server.child.wait().unwrap().success());
    // The socket files belong to the supervisor: the next client starts the service.
    assert!(api.exists() && descriptors.exists());
    assert!(!place.data_dir().join("console").exists());
}
