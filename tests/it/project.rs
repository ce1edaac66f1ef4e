//! Project files: each work tree has ports of its own, and the same ones every time.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Place, text};

/// A repository with a second work tree, both with the same project file.
fn work_trees(place: &Place, project: &str) -> [PathBuf; 2] {
    ["one", "two"].map(|name| {
        let tree = place.folder().join(name);
        std::fs::create_dir_all(tree.join("src")).unwrap();
        std::fs::write(tree.join(".git"), "gitdir: elsewhere").unwrap();
        std::fs::write(tree.join("portbook.toml"), project).unwrap();
        tree
    })
}

fn portbook(place: &Place, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = place.command();
    command.current_dir(folder).args(arguments);
    command
}

fn ok(place: &Place, folder: &Path, arguments: &[&str]) -> String {
    let output = portbook(place, folder, arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn variables(place: &Place, folder: &Path) -> Value {
    serde_json::from_str(&ok(place, folder, &["env", "--format", "json"])).unwrap()
}

#[test]
fn every_work_tree_has_a_sticky_set_of_its_own() {
    let place = Place::with_ports(6);
    let wanted = place.ports[3];
    let project = format!("[services.web]\nprefer = {wanted}\n[services.my-api]\n");
    let [one, two] = work_trees(&place, &project);
    let server = place.serve();
    let of_one = variables(&place, &one);
    let of_two = variables(&place, &two.join("src"));
    assert_eq!(of_one["WEB_PORT"], wanted.to_string());
    assert_eq!(of_one["WEB_HOST"], "127.0.0.1");
    let mut ports: Vec<&str> = [&of_one, &of_two]
        .iter()
        .flat_map(|set| [&set["WEB_PORT"], &set["MY_API_PORT"]])
        .map(|port| port.as_str().unwrap())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 4, "{of_one} {of_two}");
    // They stay the same, also after a restart.
    assert_eq!(variables(&place, &one.join("src")), of_one);
    server.stop();
    let _server = place.serve();
    assert_eq!(variables(&place, &one), of_one);
    assert_eq!(variables(&place, &two), of_two);
    // A shell and a reader of dotenv files understand it.
    let mut shell = place.shell("eval \"$(portbook env)\" && echo $WEB_PORT");
    let said = shell.current_dir(&two).output().unwrap();
    assert_eq!(text(&said.stdout).trim(), of_two["WEB_PORT"]);
    let dotenv = ok(&place, &one, &["env", "--format", "dotenv"]);
    assert!(
        dotenv
            .lines()
            .any(|line| line == format!("WEB_PORT={wanted}")),
        "{dotenv}"
    );
}

#[test]
fn run_takes_a_service_of_the_project() {
    let place = Place::with_ports(4);
    let wanted = place.ports[2];
    let project = format!("[services.web]\nport = {wanted}\n[services.api]\n");
    let [one, two] = work_trees(&place, &project);
    let print = ["--", "sh", "-c", "echo $PORT $WEB_PORT {web.port}"];
    let run = |folder: &Path, options: &[&str]| -> String {
        let all: Vec<&str> = ["run"]
            .iter()
            .chain(options)
            .chain(&print)
            .copied()
            .collect();
        ok(&place, folder, &all)
    };
    assert_eq!(
        run(&one, &["--service", "web"]),
        format!("{wanted} {wanted} {wanted}\n")
    );
    // Several have no bare PORT; a flag counts more than the file.
    let other = place.ports[1].to_string();
    let said = run(
        &two,
        &["--service", "web", "--service", "api", "--prefer", &other],
    );
    assert_eq!(said, format!("{other} {other}\n"));
    let output = portbook(&place, &one, &["run", "--service", "wbe", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("has no service wbe; it has: api, web"));
}

#[test]
fn refusal_gives_back_leases_granted_before_it() {
    let place = Place::with_ports(2);
    let taken = place.ports[1];
    let occupant = crate::support::occupant(taken);
    let project = format!("[services.a]\n[services.b]\nport = {taken}\n");
    let [one, _] = work_trees(&place, &project);
    let _server = place.serve();
    let output = portbook(&place, &one, &["env"]).output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(1), String::new())
    );
    let pid = occupant.0.id();
    assert!(
        text(&output.stderr).contains(&format!("pid {pid}")),
        "{}",
        text(&output.stderr)
    );
    let living = place.json(&["list", "--pool", "default"]);
    assert_eq!(living["leases"].as_array().unwrap().len(), 0);
}

#[test]
fn a_project_says_nothing_of_the_service() {
    let place = Place::with_ports(1);
    let [one, _] = work_trees(&place, "data_dir = \"/elsewhere\"\n");
    let output = portbook(&place, &one, &["env"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("portbook.toml:1") && said.contains("config.toml"),
        "{said}"
    );
    // Other commands do not even look at it.
    assert!(
        portbook(&place, &one, &["list"])
            .status()
            .unwrap()
            .success()
    );
    std::fs::remove_file(one.join("portbook.toml")).unwrap();
    let output = portbook(&place, &one, &["env"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("[services.web]"));
}

#[test]
fn a_name_means_this_work_trees_lease() {
    let place = Place::with_ports(4);
    let [one, two] = work_trees(&place, "[services.web]\n");
    let _server = place.serve();
    let (of_one, of_two) = (variables(&place, &one), variables(&place, &two));
    ok(&place, &two.join("src"), &["release", "web"]);
    let list = place.json(&["list", "--pool", "default"]);
    let left = list["leases"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{list}");
    assert_eq!(
        left[0]["port"].to_string(),
        of_one["WEB_PORT"].as_str().unwrap()
    );
    assert_ne!(of_one["WEB_PORT"], of_two["WEB_PORT"]);
}

#[test]
fn a_name_is_explained_as_this_work_trees() {
    let place = Place::with_ports(4);
    let [one, two] = work_trees(&place, "[services.web]\n");
    let _server = place.serve();
    let of_one = variables(&place, &one);
    let of_two = variables(&place, &two);
    let explained = |folder: &Path| -> String {
        let said = ok(&place, folder, &["--json", "explain", "web"]);
        let found: Value = serde_json::from_str(&said).unwrap();
        found["explanation"]["granted"][0].to_string()
    };
    for (tree, variables) in [(&one, &of_one), (&two, &of_two), (&one, &of_one)] {
        assert_eq!(
            explained(&tree.join("src")),
            variables["WEB_PORT"].as_str().unwrap()
        );
    }
    // Its own last port counts more than a lease of another tree.
    ok(&place, &one, &["release", "web"]);
    assert_eq!(explained(&one), of_one["WEB_PORT"].as_str().unwrap());
}

#[test]
fn file_without_services_says_how_to_begin_one() {
    let place = Place::with_ports(1);
    std::fs::write(place.folder().join("portbook.toml"), "").unwrap();
    let asked = ["run", "--service", "web", "--", "true"];
    let output = portbook(&place, place.folder(), &asked).output().unwrap();
    let said = text(&output.stderr);
    assert!(
        said.ends_with("has no service web; it has none yet: [services.web] begins one\n"),
        "{said}"
    );
}
