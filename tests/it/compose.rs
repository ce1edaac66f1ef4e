//! Docker Compose with the override of `env --format compose`, on a real engine.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::engine::{Beside, Docker, IMAGE};
use crate::host::{Host, skipped};
use crate::support::{command_of, text};
use crate::tools::eventually;

/// The first release that knows `!override`.
const NEEDED: [u32; 3] = [2, 24, 4];

/// Places of the plugin: `.ci/run` unpacks it into the first.
const PLACES: [&str; 4] = [
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/compose/usr/libexec/docker/cli-plugins/docker-compose"
    ),
    "docker-compose",
    "/usr/libexec/docker/cli-plugins/docker-compose",
    "/usr/lib/docker/cli-plugins/docker-compose",
];

fn version(program: &str) -> Option<Vec<u32>> {
    let output = command_of(program).args(["version", "--short"]).output();
    let said = text(&output.ok()?.stdout);
    let words = said.trim().trim_start_matches('v').split(['.', '-']);
    Some(words.map_while(|word| word.parse().ok()).collect())
}

/// A work tree of a project with two published services.
struct Tree<'t> {
    folder: PathBuf,
    host: &'t Host,
    portbook: &'t Beside<'t>,
    compose: &'static str,
    engine: String,
}

/// A file with ports of its own, which the override replaces.
const COMPOSE: &str = "\
services:
  web:
    image: IMAGE
    command: [/busybox, httpd, -f, -p, '80']
    ports: ['3000:80']
    restart: always
    stop_grace_period: 0s
  api:
    image: IMAGE
    command: [/busybox, httpd, -f, -p, '8080']
    ports: ['3001:8080']
    restart: always
    stop_grace_period: 0s
";

const PROJECT: &str = "\
[services.web]
prefer = 3000
target = 80
[services.api]
prefer = 3001
target = 8080
";

impl Tree<'_> {
    fn write(&self) {
        std::fs::create_dir(&self.folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(self.folder.join(name), text).unwrap();
        write("portbook.toml", PROJECT);
        write("compose.yaml", &COMPOSE.replace("IMAGE", IMAGE));
    }

    /// The output of `env`, by a program of this tree.
    fn env(&self, format: &str) -> String {
        let mut command = self.portbook.place.command();
        command.args(["env", "--format", format]);
        let mut command = self.host.enter(&command);
        let output = command.current_dir(&self.folder).output().unwrap();
        succeeded(&output)
    }

    fn compose(&self, arguments: &[&str]) -> String {
        let mut command = command_of(self.compose);
        command.args(arguments).env("DOCKER_HOST", &self.engine);
        let mut command = self.host.enter(&command);
        succeeded(&command.current_dir(&self.folder).output().unwrap())
    }

    /// Writes the override, and starts the containers.
    fn up(&self) {
        let ports = self.env("compose");
        std::fs::write(self.folder.join("compose.override.yaml"), ports).unwrap();
        self.compose(&["up", "--detach", "--timeout", "0"]);
    }

    /// The ports of the services, once they answer and their leases are active.
    fn ports(&self) -> [u16; 2] {
        [("web", "80"), ("api", "8080")].map(|(service, inside)| {
            let said = eventually("the port is published", || {
                let mut command = command_of(self.compose);
                command.args(["port", service, inside]);
                command.env("DOCKER_HOST", &self.engine);
                let mut command = self.host.enter(&command);
                let output = command.current_dir(&self.folder).output().unwrap();
                output.status.success().then(|| text(&output.stdout))
            });
            let port = said.trim().rsplit_once(':').unwrap().1.parse().unwrap();
            self.portbook.in_state(port, "active");
            eventually("it answers", || {
                let url = format!("http://127.0.0.1:{port}/busybox");
                let get = ["wget", "-q", "-O", "/dev/null", &url];
                let output = self.host.output("/bin/busybox", &get);
                output.status.success().then_some(())
            });
            port
        })
    }

    /// The ports that its leases have.
    fn leased(&self) -> [u16; 2] {
        let told = self.env("dotenv");
        ["WEB_PORT=", "API_PORT="].map(|name| {
            let line = told.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().parse().unwrap()
        })
    }
}

fn succeeded(output: &Output) -> String {
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    text(&output.stdout)
}

fn tree<'t>(
    name: &str,
    (host, portbook, docker): (&'t Host, &'t Beside<'t>, &Docker<'_>),
    compose: &'static str,
) -> Tree<'t> {
    let tree = Tree {
        folder: Path::new(docker.path()).join(name),
        host,
        portbook,
        compose,
        engine: docker.address(),
    };
    tree.write();
    tree
}

#[test]
fn two_copies_of_a_project_keep_their_ports_side_by_side() {
    const TEST: &str = "Docker Compose";
    let fits = |program: &&str| version(program).is_some_and(|is| *is >= NEEDED[..]);
    let Some(compose) = PLACES.into_iter().find(fits) else {
        return skipped(TEST, "there is no Docker Compose 2.24.4 or later");
    };
    let Some(host) = Host::plain(TEST) else {
        return;
    };
    let Some(mut docker) = Docker::start(&host, TEST) else {
        return;
    };
    let portbook = Beside::start(&host, 4);
    let at = (&host, &portbook, &docker);
    let trees = [tree("one", at, compose), tree("two", at, compose)];
    trees.iter().for_each(Tree::up);
    let first = trees.each_ref().map(Tree::ports);
    assert_eq!(first[0], [3000, 3001]);
    assert!(
        first[1].iter().all(|port| !first[0].contains(port)),
        "{first:?}"
    );
    assert_eq!(trees.each_ref().map(Tree::leased), first);

    for again in [
        &["restart", "--timeout", "0"][..],
        &["up", "--detach", "--force-recreate", "--timeout", "0"],
        &["down", "--timeout", "0"],
    ] {
        for tree in &trees {
            tree.compose(again);
        }
        if again[0] == "down" {
            trees.iter().for_each(Tree::up);
        }
        assert_eq!(trees.each_ref().map(Tree::ports), first, "{again:?}");
    }
    docker.stop_engine();
    docker.start_engine().unwrap();
    assert_eq!(trees.each_ref().map(Tree::ports), first, "after the engine");
}
