//! Files that are not what they should be (H7, J5, B18): pipes and devices in the place of a
//! configuration, a data directory of another user, a planted token, a deleted socket.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::host::skipped;
use crate::support::{Place, text};
use crate::tools::{ended, eventually};

const STRANGER: u32 = 12345;

/// Words of a command that must fail by itself: `config check` answers on stdout.
fn refusal(mut command: Command) -> String {
    command.env("PORTBOOK_CONSOLE__ENABLED", "true");
    let output = ended(command);
    assert!(!output.status.success(), "{output:?}");
    text(&output.stderr) + &text(&output.stdout)
}

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Makes something at a path that is no regular file.
type Spoil = fn(&Path);

#[test]
fn pipes_and_devices_are_no_configuration() {
    let place = Place::with_ports(1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portbook.toml");
    let cases: [(Spoil, &str); 3] = [
        (pipe, "pipe"),
        (|path| symlink("/dev/zero", path).unwrap(), "device"),
        (|path| std::fs::create_dir(path).unwrap(), "folder"),
    ];
    for (make, word) in cases {
        make(&file);
        let mut env = place.command();
        env.arg("env").current_dir(folder.path());
        let told = refusal(env);
        assert!(
            told.contains("portbook.toml") && told.contains(word),
            "{told}"
        );
        let mut check = place.command();
        check.arg("--config").arg(&file).args(["config", "check"]);
        let told = refusal(check);
        assert!(
            told.contains("portbook.toml") && told.contains(word),
            "{told}"
        );
        let _ = std::fs::remove_dir(&file).or_else(|_| std::fs::remove_file(&file));
    }
    std::fs::write(&file, "[store]\n").unwrap();
    set_mode(&file, 0o666);
    let mut check = place.command();
    check.arg("--config").arg(&file).args(["config", "check"]);
    let told = refusal(check);
    assert!(told.contains("chmod o-w"), "{told}");
}

#[test]
fn exposed_directory_and_planted_token_are_refused() {
    let place = Place::with_ports(1);
    std::fs::create_dir(place.data_dir()).unwrap();
    set_mode(&place.data_dir(), 0o770);
    let mut serve = place.command();
    serve.arg("serve");
    let told = refusal(serve);
    assert!(told.contains("chmod go-w"), "{told}");

    set_mode(&place.data_dir(), 0o700);
    let token = place.data_dir().join("token");
    std::fs::write(&token, "a".repeat(64)).unwrap();
    set_mode(&token, 0o644);
    let mut serve = place.command();
    serve.arg("serve");
    let told = refusal(serve);
    assert!(
        told.contains(token.to_str().unwrap()) && told.contains("remove it"),
        "{told}"
    );
    std::fs::remove_file(&token).unwrap();
    assert_ne!(place.serve().token(), "a".repeat(64));
}

#[test]
fn links_and_folders_in_the_place_of_own_files_are_named() {
    for name in ["lock", "token"] {
        for is_link in [true, false] {
            let place = Place::with_ports(1);
            let path = place.data_dir().join(name);
            std::fs::create_dir(place.data_dir()).unwrap();
            set_mode(&place.data_dir(), 0o700);
            if is_link {
                symlink("/dev/null", &path).unwrap();
            } else {
                std::fs::create_dir(&path).unwrap();
            }
            let mut serve = place.command();
            serve.arg("serve");
            let told = refusal(serve);
            let kind = if is_link { "symbolic link" } else { "folder" };
            for word in [path.to_str().unwrap(), kind] {
                assert!(told.contains(word), "{told}");
            }
        }
    }
}

#[test]
fn data_directory_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        skipped(
            "data_directory_of_another_user",
            "only root can give a folder away",
        );
        return;
    }
    let place = Place::with_ports(1);
    let theirs = tempfile::tempdir().unwrap();
    chown(theirs.path(), Some(STRANGER), None).unwrap();
    symlink(theirs.path(), place.data_dir()).unwrap();
    for command in ["serve", "alloc"] {
        let mut refused = place.command();
        refused.arg(command);
        let told = refusal(refused);
        assert!(
            told.contains("uid 12345") && told.contains("--data-dir"),
            "{told}"
        );
    }
    assert_eq!(std::fs::read_dir(theirs.path()).unwrap().count(), 0);
}

#[test]
fn deleted_socket_is_made_again() {
    let mut place = Place::with_ports(2);
    let around = tempfile::tempdir().unwrap();
    let (folder, gone) = (around.path().join("run"), around.path().join("gone"));
    let socket = folder.join("api.sock");
    let descriptors = folder.join("api.fds.sock");
    place.set("PORTBOOK_SOCKET", socket.to_str().unwrap());
    let server = place.serve();
    let delete_file: &dyn Fn() = &|| std::fs::remove_file(&socket).unwrap();
    // Moved away first: the service may make a socket again while the folder is being emptied.
    let delete_folder: &dyn Fn() = &|| {
        std::fs::rename(&folder, &gone).unwrap();
        std::fs::remove_dir_all(&gone).unwrap();
    };
    for delete in [delete_file, delete_folder, delete_file] {
        delete();
        eventually("the sockets are there again", || {
            (socket.exists() && descriptors.exists()).then_some(())
        });
        place.ok(&["status"]);
        place.ok(&["alloc", "--name", "web"]);
    }
    assert!(
        server.log().contains("it is made again"),
        "{}",
        server.log()
    );
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(server.stop().success());
    assert!(!socket.exists());
}
