//! A user whom the mode of the service's socket keeps out.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::host::skipped;
use crate::support::{PORTBOOK, Place, Server, text};
use crate::veil::as_user;

/// Exit code of a command that reaches no service.
const UNREACHABLE: i32 = 3;

/// The user, who has no rights on the service.
const USER: u32 = 65534;

/// A service, and a user with a record of its own who finds its socket.
struct Closed {
    _service: Server,
    folder: TempDir,
    place: Place,
}

impl Closed {
    fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("a socket of others", "it takes root to be two users");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        chown(&home, Some(USER), None).unwrap();
        let mut place = Place::with_ports(1);
        place.set("PORTBOOK_FLEET__ENGINE", "http://127.0.0.1:1");
        let socket = folder.path().join("portbook.sock");
        place.set("PORTBOOK_SOCKET", socket.to_str().unwrap());
        let service = place.serve();
        Some(Self {
            _service: service,
            folder,
            place,
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("portbook.sock")
    }

    /// Runs portbook as the user.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.env("XDG_RUNTIME_DIR", self.folder.path());
        command.args(arguments).output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = as_user(USER, PORTBOOK);
        let home = self.folder.path().join("home");
        command.env("HOME", &home).env("XDG_STATE_HOME", &home);
        command
    }
}

#[test]
fn user_whom_the_socket_does_not_admit_is_told_so() {
    let Some(closed) = Closed::start() else {
        return;
    };
    let commands = [
        &["status"][..],
        &["dashboard", "--no-open"],
        &["fleet", "status"],
        &["fleet", "hosts"],
        &["fleet", "names"],
        &["fleet", "claims"],
        &["fleet", "everywhere"],
        &["fleet", "reserve", "9100", "--name", "agent"],
        &["fleet", "release", "9100"],
        &["fleet", "evict", "two", "--yes"],
        &["fleet", "leave"],
        &["resolve", "web"],
        &["list", "--fleet"],
        &["who", "--fleet", "80"],
    ];
    let socket = closed.socket();
    for arguments in commands {
        let told = closed.run(arguments);
        let words = text(&told.stderr);
        assert!(
            words.contains("does not admit this user")
                && words.contains(socket.to_str().unwrap())
                && words.contains("socket_mode = \"0660\""),
            "{arguments:?}: {words}"
        );
        assert_eq!(told.status.code(), Some(UNREACHABLE), "{arguments:?}");
    }
    // A record of the user's own serves the others, which say whose leases these are.
    for arguments in [&["list"][..], &["alloc"], &["stats"]] {
        let told = closed.run(arguments);
        let words = text(&told.stderr);
        assert!(words.contains("your own record"), "{arguments:?}: {words}");
        assert_eq!(told.status.code(), Some(0), "{arguments:?}: {words}");
    }
    let doctor = text(&closed.run(&["doctor"]).stdout);
    assert!(doctor.contains("does not admit this user"), "{doctor}");
    // The record of the service is as closed as its socket.
    for arguments in [["status"], ["list"]] {
        let mut command = closed.command();
        command.env("PORTBOOK_DATA_DIR", closed.place.data_dir());
        let told = command.args(arguments).output().unwrap();
        assert_eq!(told.status.code(), Some(UNREACHABLE), "{told:?}");
        let words = text(&told.stderr);
        assert!(words.contains("does not admit this user"), "{words}");
    }
}
