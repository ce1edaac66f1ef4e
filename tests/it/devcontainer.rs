//! The recipe for devcontainers, with the command line of its specification on a real engine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::engine::{Beside, Docker};
use crate::host::{Host, skipped};
use crate::recipes::installed;
use crate::support::text;

const CLI: &str = "@devcontainers/cli@0.89.0";

/// Image with a shell and the programs that the tool calls in it.
const IMAGE: &str = "portbook-dev";

/// The folder of the installed tool. `None`, reported on stderr, if it cannot be had.
fn tool(test: &str) -> Option<std::path::PathBuf> {
    let npm = ["npm", "install", "--silent", "--no-save", "--prefix"];
    let folder = installed(&npm, &[CLI]).ok().flatten();
    if folder.is_none() {
        skipped(test, &format!("{CLI} cannot be had"));
    }
    Some(folder?.join("node_modules/.bin"))
}

fn import(host: &Host, docker: &Docker<'_>) {
    let tree = docker.path().join("dev");
    for folder in ["bin", "root", "etc", "tmp", "usr"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    let programs = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for program in text(&programs.stdout).lines().filter(|it| *it != "busybox") {
        symlink("busybox", tree.join("bin").join(program)).unwrap();
    }
    let user = "root:x:0:0:root:/root:/bin/sh\n";
    fs::write(tree.join("etc/passwd"), user).unwrap();
    let archive = docker.path().join("dev.tar");
    let (tree, archive) = (tree.to_str().unwrap(), archive.to_str().unwrap());
    host.ok("tar", &["-C", tree, "-cf", archive, "."]);
    docker.ok(&["import", archive, IMAGE]);
}

/// The configuration of the recipe, with an image that is here.
fn configuration() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("static/recipes/runners.md");
    let page = fs::read_to_string(page).unwrap();
    let begin = "```json .devcontainer/devcontainer.json\n";
    let text = page
        .split(begin)
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    text.replace("mcr.microsoft.com/devcontainers/base:debian", IMAGE)
}

#[test]
fn rebuilt_devcontainer_comes_back_to_its_port() {
    const TEST: &str = "devcontainers";
    let Some(host) = Host::plain(TEST) else {
        return;
    };
    let Some(docker) = Docker::start(&host, TEST) else {
        return;
    };
    let Some(tool) = tool(TEST) else {
        return;
    };
    import(&host, &docker);
    let portbook = Beside::start(&host, 2);
    let project = docker.path().join("project");
    fs::create_dir_all(project.join(".devcontainer")).unwrap();
    let write = |name: &str, text: &str| fs::write(project.join(name), text).unwrap();
    write("portbook.toml", "[services.web]\nprefer = 3000\n");
    write(".devcontainer/devcontainer.json", &configuration());
    let tool = tool.join("devcontainer");
    let up = format!(
        "eval \"$(portbook env)\" && {} up --workspace-folder .",
        tool.display()
    );
    for _ in 0..2 {
        let mut command = portbook.place.shell(&up);
        command.env("HOME", docker.path());
        command.env("DOCKER_HOST", docker.address());
        let mut command = host.enter(&command);
        let output = command.current_dir(&project).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        portbook.in_state(3000, "active");
        let containers = docker.ok(&["ps", "-q", "--filter", "publish=3000"]);
        assert_eq!(containers.lines().count(), 1);
        docker.ok(&["rm", "-f", &containers]);
        portbook.in_state(3000, "handed");
    }
}
