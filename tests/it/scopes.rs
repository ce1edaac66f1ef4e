//! Scopes: the folder of a name, and that no command acts on another folder by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Place, text};
use crate::tools::{Running, eventually};

/// A program that listens on `$WEB_PORT` and says so.
const SERVER: &str = "import os,socket,sys\n\
    s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
    s.bind(('127.0.0.1', int(os.environ['WEB_PORT']))); s.listen(); print('listens', flush=True)\n\
    sys.stdin.read()";

/// A folder with a project file.
fn project(place: &Place, name: &str, text: &str) -> PathBuf {
    let folder = place.folder().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("portbook.toml"), text).unwrap();
    folder.canonicalize().unwrap()
}

/// A git work tree with a project file.
fn repository(place: &Place, name: &str) -> PathBuf {
    let folder = project(place, name, "[services.web]\n");
    std::fs::write(folder.join(".git"), "gitdir: elsewhere").unwrap();
    folder
}

fn command(place: &Place, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = place.command();
    command.current_dir(folder).args(arguments);
    command
}

fn run(place: &Place, folder: &Path, arguments: &[&str]) -> Output {
    command(place, folder, arguments).output().unwrap()
}

fn ok(place: &Place, folder: &Path, arguments: &[&str]) -> String {
    let output = run(place, folder, arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn web_port(place: &Place, folder: &Path, arguments: &[&str]) -> u16 {
    let all: Vec<&str> = ["env", "--format", "json"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    let said: Value = serde_json::from_str(&ok(place, folder, &all)).unwrap();
    said["WEB_PORT"].as_str().unwrap().parse().unwrap()
}

/// Runs a program in a folder as its service "web", and waits until it listens.
fn running(place: &Place, folder: &Path, options: &[&str]) -> Running {
    let mut command = command(place, folder, &["run", "--service", "web"]);
    command.args(options).args(["--", "python3", "-c", SERVER]);
    let mut running = Running::piped(command);
    assert_eq!(running.line(), "listens");
    running
}

fn leases(place: &Place) -> Vec<Value> {
    let list = place.json(&["list", "--pool", "default"]);
    list["leases"].as_array().unwrap().clone()
}

fn until_active(place: &Place, count: usize) {
    eventually("the programs are seen to listen", || {
        let active = |lease: &&Value| lease["state"] == "active";
        (leases(place).iter().filter(active).count() == count).then_some(())
    });
}

#[test]
fn packages_of_one_repository_have_scopes_of_their_own() {
    let place = Place::with_ports(6);
    let root = place.folder().join("mono");
    let web = |port: u16| format!("[services.web]\nprefer = {port}\n");
    let shop = project(&place, "mono/shop", &web(place.ports[2]));
    let admin = project(&place, "mono/admin", &web(place.ports[4]));
    std::fs::create_dir(root.join(".git")).unwrap();
    std::fs::create_dir(admin.join("src")).unwrap();
    let _server = place.serve();
    let _running = running(&place, &shop, &[]);
    assert_eq!(web_port(&place, &admin.join("src"), &[]), place.ports[4]);
    ok(&place, &admin, &["run", "--service", "web", "--", "true"]);
    let all = leases(&place);
    let folders: Vec<&str> = all
        .iter()
        .map(|it| it["directory"].as_str().unwrap())
        .collect();
    assert_eq!(folders, [admin.to_str().unwrap(), shop.to_str().unwrap()]);
    // Without a file of its own a folder belongs to the work tree.
    ok(&place, &root, &["alloc", "--name", "x", "--scope", "dir"]);
    let root = root.canonicalize().unwrap();
    assert_eq!(leases(&place)[0]["directory"], root.to_str().unwrap());
}

#[test]
fn without_git_a_project_file_above_is_found() {
    let place = Place::with_ports(3);
    let folder = project(&place, "plain", "[services.web]\n");
    let inner = folder.join("src/deep");
    std::fs::create_dir_all(&inner).unwrap();
    let _server = place.serve();
    assert_eq!(
        web_port(&place, &inner, &[]),
        web_port(&place, &folder, &[])
    );
    // Not above the home directory.
    let mut above = command(&place, &inner, &["env"]);
    let output = above.env("HOME", folder.join("src")).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    let said = text(&output.stderr);
    assert!(said.contains("up to your home directory"), "{said}");
}

#[test]
fn names_release_nothing_of_other_folders() {
    let place = Place::with_ports(4);
    let [one, two, three] = ["one", "two", "three"].map(|name| repository(&place, name));
    let _server = place.serve();
    let _running = [&one, &two].map(|folder| running(&place, folder, &[]));
    until_active(&place, 2);
    let refused = |folder: &Path, arguments: &[&str]| {
        let output = run(&place, folder, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(leases(&place).len(), 2, "{arguments:?}");
        text(&output.stderr)
    };
    let of_two = leases(&place)[0].clone();
    for command in ["release", "renew", "explain"] {
        let said = refused(&three, &[command, "web"]);
        assert!(
            said.contains("no living lease is called web here"),
            "{said}"
        );
        for folder in [&one, &two] {
            assert!(said.contains(folder.to_str().unwrap()), "{said}");
        }
        let key = if command == "explain" {
            "allocation"
        } else {
            "id"
        };
        assert!(said.contains(of_two[key].as_str().unwrap()), "{said}");
        assert_eq!(said.contains("--all"), command != "explain", "{said}");
    }
    // Once more in the own folder, after the release.
    let _third = web_port(&place, &three, &[]);
    ok(&place, &three, &["release", "web"]);
    refused(&three, &["release", "web"]);
    let id = of_two["id"].as_str().unwrap();
    ok(&place, &three, &["release", "--force", id]);
    let left = leases(&place);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["directory"], one.to_str().unwrap());
    ok(&place, &three, &["release", "--force", "--all", "web"]);
    assert_eq!(leases(&place).len(), 0);
    let output = run(&place, &three, &["release", "web"]);
    let said = text(&output.stderr);
    assert!(said.contains("no living lease has"), "{said}");
}

#[test]
fn this_folders_name_comes_before_the_users() {
    let place = Place::with_ports(4);
    let [one, two] = ["one", "two"].map(|name| repository(&place, name));
    let _server = place.serve();
    let of_user = place.ok(&["alloc", "--name", "web"]);
    let of_one = web_port(&place, &one, &[]);
    let explained = |folder: &Path| -> Value {
        serde_json::from_str(&ok(&place, folder, &["--json", "explain", "web"])).unwrap()
    };
    assert_eq!(explained(&one)["explanation"]["granted"][0], of_one);
    let granted = &explained(&two)["explanation"]["granted"][0];
    assert_eq!(granted.to_string(), of_user.trim());
    ok(&place, &one, &["release", "web"]);
    let left = leases(&place);
    assert_eq!(left[0]["port"].to_string(), of_user.trim());
}

#[test]
fn listening_programs_keep_their_lease_unless_forced() {
    let place = Place::with_ports(3);
    let one = repository(&place, "one");
    let _server = place.serve();
    let running = running(&place, &one, &[]);
    until_active(&place, 1);
    let port = leases(&place)[0]["port"].to_string();
    let who = format!("python3 (pid {})", running.pid());
    for word in ["web", &port] {
        let output = run(&place, &one, &["release", word]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("{who} listens on port {port}")),
            "{said}"
        );
        assert!(said.contains("--force"), "{said}");
    }
    assert_eq!(leases(&place).len(), 1);
    let output = run(&place, &one, &["release", "--force", "web"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!("released {port}/tcp of web")),
        "{said}"
    );
    assert!(
        said.contains(&format!("{who} still listens on it")),
        "{said}"
    );
}

#[test]
fn release_asks_at_a_terminal() {
    let place = Place::with_ports(3);
    let one = repository(&place, "one");
    let _server = place.serve();
    let _running = running(&place, &one, &[]);
    until_active(&place, 1);
    let ask = |answer: &str| {
        let script = "import os,pty,sys\n\
            pid, fd = pty.fork()\n\
            if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])\n\
            os.write(fd, sys.argv[1].encode())\n\
            said = b''\n\
            try:\n\
            \x20 while part := os.read(fd, 9999): said += part\n\
            except OSError: pass\n\
            print(said.decode()); sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
        let mut command = place.shell("exec python3 -c \"$0\" \"$@\"");
        command
            .current_dir(&one)
            .args([script, answer, "portbook", "release", "web"]);
        let output = command.output().unwrap();
        (output.status.code(), text(&output.stdout))
    };
    let (code, said) = ask("n\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("[y/N]"), "{said}");
    assert_eq!(leases(&place).len(), 1);
    let (code, said) = ask("y\n");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(leases(&place).len(), 0);
}

#[test]
fn second_instances_keep_ports_of_their_own() {
    let place = Place::with_ports(4);
    let one = repository(&place, "one");
    let server = place.serve();
    let running = running(&place, &one, &[]);
    let run_web = |options: &[&str]| {
        let mut command = command(&place, &one, &["run", "--service", "web"]);
        command.args(options);
        command.args(["--", "sh", "-c", "echo $WEB_PORT {web.port} {port}"]);
        command.output().unwrap()
    };
    let first = leases(&place)[0]["port"].to_string();
    let refused = run_web(&[]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(125), "{said}");
    for part in [
        format!("(pid {})", running.pid()),
        format!("port {first}"),
        one.display().to_string(),
        "--instance 2".to_owned(),
    ] {
        assert!(said.contains(&part), "no {part} in {said}");
    }
    let second = text(&run_web(&["--instance", "2"]).stdout);
    let port = second.split(' ').next().unwrap();
    assert_eq!(second, format!("{port} {port} {port}\n"));
    assert_ne!(port, first);
    assert_eq!(text(&run_web(&["--instance", "2"]).stdout), second);
    assert_eq!(
        web_port(&place, &one, &["--instance", "2"]).to_string(),
        port
    );
    let said = text(&run_web(&[]).stderr);
    assert!(said.contains("--instance 3"), "{said}");
    // By its name, and by the option.
    ok(&place, &one, &["explain", "web@2"]);
    ok(&place, &one, &["release", "web", "--instance", "2"]);
    assert_eq!(leases(&place).len(), 1);
    let asked = serde_json::json!({"name": "web", "instance": "b"});
    let answer = server.allocate(&asked).json();
    assert_eq!(answer["leases"][0]["name"], "web@b");
    for wrong in [
        serde_json::json!({"instance": "2"}),
        serde_json::json!({"name": "web", "instance": "a b"}),
        serde_json::json!({"name": "web@2", "instance": "3"}),
    ] {
        let answer = server.allocate(&wrong);
        assert_eq!(answer.status, 400, "{wrong}");
    }
}

#[test]
fn lists_and_answers_show_the_folder() {
    let place = Place::with_ports(3);
    let one = repository(&place, "one");
    let _server = place.serve();
    let port = web_port(&place, &one, &[]).to_string();
    let at_home = |arguments: &[&str]| {
        let mut command = command(&place, &one, arguments);
        let output = command.env("HOME", place.folder()).output().unwrap();
        text(&output.stdout) + &text(&output.stderr)
    };
    let list = at_home(&["list", "--pool", "default"]);
    let (heading, row) = list.split_once('\n').unwrap();
    assert!(
        heading.contains("FOLDER") && heading.contains("AGE"),
        "{list}"
    );
    assert!(row.contains("  ~/one  "), "{list}");
    assert!(at_home(&["who", &port]).contains("leased to web (~/one)"));
    let refused = at_home(&["alloc", "--port", &port]);
    assert!(
        refused.contains(&format!("web of {}", one.display())),
        "{refused}"
    );
    assert!(at_home(&["release", "web"]).contains("of web (~/one)"));
}
