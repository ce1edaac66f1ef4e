//! The pages of `static/recipes`: their commands are run, and the output they show is compared with the
//! real one.
//!
//! Each section (`## …`) is a script for a home of its own with a service, run as its reader would: by an
//! ordinary user, on the default configuration, without a variable of portbook's; where root runs the
//! tests, on a host of its own. Of its blocks, one with a path in its title is a file, `sh` is run, `text`
//! is what the `sh` before it prints; others are for readers alone. In `text` a number of four digits or
//! more stands for any number, for the same one throughout, `…` for anything; a number that the section's
//! files or scripts have is itself. Without a host of its own 3000 and 3001 are free ports in its place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::host::{Host, skipped};
use crate::support::{PORTBOOK, Server, ports, ranges, text};
use crate::tools::exit_status;

/// Between the outputs of two blocks.
const MARK: &str = "=== next block ===";

/// The user of the recipes where root runs the tests.
const READER: u32 = 65534;

/// The most that one section may take on a machine under load.
const PATIENCE: Duration = Duration::from_mins(3);

struct Section {
    title: String,
    needs: Vec<String>,
    blocks: Vec<Block>,
}

struct Block {
    /// `sh`, or `toml portbook.toml`.
    title: String,
    text: String,
}

impl Block {
    fn path(&self) -> Option<&str> {
        self.title.split_once(' ').map(|(_, path)| path)
    }
}

fn sections(page: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (open.as_mut(), sections.last_mut()) {
            (Some(_), Some(section)) if line == "```" => section.blocks.extend(open.take()),
            (Some(block), _) => block.text.extend([line, "\n"]),
            (None, Some(_)) if line.starts_with("```") => {
                let title = line.trim_start_matches('`').to_owned();
                let text = String::new();
                open = Some(Block { title, text });
            }
            (None, last) => {
                if let Some(title) = line.strip_prefix("## ") {
                    let title = title.to_owned();
                    let (needs, blocks) = (Vec::new(), Vec::new());
                    sections.push(Section {
                        title,
                        needs,
                        blocks,
                    });
                } else if let (Some(needs), Some(section)) = (needs(line), last) {
                    section.needs = needs;
                }
            }
        }
    }
    assert!(open.is_none(), "a block has no end");
    sections
}

/// `<!-- needs: node pip:pytest==9.2.0 npm:vite@8.3.8 -->`, which readers do not see.
fn needs(line: &str) -> Option<Vec<String>> {
    let words = line.strip_prefix("<!-- needs: ")?.strip_suffix(" -->")?;
    Some(words.split(' ').map(ToOwned::to_owned).collect())
}

/// Runs the recipes of a page in `static/recipes`.
fn follow(name: &str) {
    follow_page(&format!("static/recipes/{name}"));
}

/// Runs the `sh` blocks of a page of the repository. A section whose tools cannot be had is skipped aloud.
pub fn follow_page(name: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let page = std::fs::read_to_string(page).unwrap();
    let mut sections = sections(&page);
    sections.retain(|section| section.blocks.iter().any(|block| block.title == "sh"));
    assert!(!sections.is_empty(), "{name}: nothing to run");
    // Allows a single section to be run.
    let only = std::env::var("RECIPE").unwrap_or_default();
    for section in sections.iter().filter(|it| it.title.contains(&only)) {
        let title = format!("{name}, {}", section.title);
        match Tools::of(&section.needs) {
            Ok(tools) => run(section, &title, &tools),
            Err(missing) => skipped(&title, &format!("{missing} cannot be had")),
        }
    }
}

/// Folders of the tools of a section.
#[derive(Default)]
struct Tools {
    python: Option<PathBuf>,
    node: Option<PathBuf>,
}

impl Tools {
    fn of(needs: &[String]) -> Result<Self, String> {
        let of = |registry: &str| -> Vec<&str> {
            let packages = needs.iter().filter_map(|it| it.strip_prefix(registry));
            packages.collect()
        };
        for program in needs.iter().filter(|it| !it.contains(':')) {
            let found = Command::new("which").arg(program).output();
            if !found.is_ok_and(|found| found.status.success()) {
                return Err(program.clone());
            }
        }
        let pip = ["python3", "-m", "pip", "install", "--quiet", "--target"];
        let npm = ["npm", "install", "--silent", "--no-save", "--prefix"];
        Ok(Self {
            python: installed(&pip, &of("pip:"))?,
            node: installed(&npm, &of("npm:"))?,
        })
    }

    fn bring(&self, home: &Home, command: &mut Command) {
        let mut path = Vec::new();
        if let Some(folder) = &self.python {
            command.env("PYTHONPATH", folder);
            path.push(folder.join("bin"));
        }
        if let Some(folder) = &self.node {
            let modules = folder.join("node_modules");
            std::os::unix::fs::symlink(&modules, home.work().join("node_modules")).unwrap();
            path.push(modules.join(".bin"));
        }
        let known = command.get_envs().find(|(name, _)| *name == "PATH");
        let known = known.and_then(|(_, value)| value).unwrap_or_default();
        path.extend(std::env::split_paths(known));
        command.env("PATH", std::env::join_paths(path).unwrap());
    }
}

/// A folder with these packages, which all tests of this build share. `None` if the list is empty.
pub fn installed(command: &[&str], packages: &[&str]) -> Result<Option<PathBuf>, String> {
    if packages.is_empty() {
        return Ok(None);
    }
    // The name of a package may have a slash.
    let name = format!("{}-{}", command[0], packages.join("-")).replace('/', "-");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !folder.exists() {
        // Other test processes install them at the same time: each beside the place, one wins.
        let own = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut install = Command::new(command[0]);
        install.args(&command[1..]).arg(own.path()).args(packages);
        let output = install.stdin(Stdio::null()).output();
        if !output.is_ok_and(|output| output.status.success()) {
            return Err(packages.join(", "));
        }
        let _ = fs::rename(own.keep(), &folder);
    }
    // For the reader as well, who may have another Python in a folder of its own.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    for script in fs::read_dir(folder.join("bin")).into_iter().flatten() {
        any_python(&script.unwrap().path());
    }
    Ok(Some(folder))
}

/// Makes a script run with the system's Python, if there is one.
fn any_python(script: &Path) {
    let text = fs::read_to_string(script).unwrap_or_default();
    let Some((first, rest)) = text.split_once('\n') else {
        return;
    };
    // A script that `env` starts would have the name of Python as its own.
    let system = Path::new("/usr/bin/python3");
    if first.starts_with("#!/") && first.contains("python") && system.exists() {
        fs::write(script, format!("#!{}\n{rest}", system.display())).unwrap();
    }
}

fn run(section: &Section, title: &str, tools: &Tools) {
    let home = Home::of(section, title);
    let numbers = home.numbers(section);
    let script = laid_out(section, &home, &numbers);
    let _server = home.serve();
    let said = output(&home, tools, &script, title);
    compare(section, numbers, &said, title);
}

/// The home of a reader: only the tools of the recipe are there.
struct Home {
    folder: TempDir,
    /// A host of its own.
    host: Option<Host>,
    /// Another user than the one that runs the tests.
    user: Option<u32>,
    /// Free ports in place of those that the recipe names. Empty on a host of its own.
    ports: Vec<u16>,
}

impl Home {
    fn of(section: &Section, title: &str) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let host = is_root.then(|| Host::plain(title)).flatten();
        let mut ports = if host.is_some() {
            Vec::new()
        } else {
            ports(12)
        };
        ports.sort_unstable();
        let mut home = Self {
            folder: TempDir::new().unwrap(),
            host,
            user: is_root.then_some(READER),
            ports,
        };
        for folder in ["home/.config/portbook", "home/.local/state", "run", "work"] {
            fs::create_dir_all(home.folder.path().join(folder)).unwrap();
        }
        let config = home.folder.path().join("home/.config/portbook/config.toml");
        fs::write(config, home.configuration(section)).unwrap();
        home.give_away();
        if let Some(missing) = home.missing(section) {
            skipped(&format!("{title}, as another user"), &missing);
            home.user = None;
            home.give_away();
        }
        home
    }

    /// Gives all files to the user.
    fn give_away(&self) {
        let owner = self
            .user
            .unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let mut command = Command::new("chown");
        command
            .args(["-R", &owner.to_string()])
            .arg(self.folder.path());
        assert!(command.status().unwrap().success());
    }

    /// The reason why the other user cannot run the recipe. `None` if it can.
    fn missing(&self, section: &Section) -> Option<String> {
        self.user?;
        let programs = section.needs.iter().filter(|need| !need.contains(':'));
        for program in programs.map(String::as_str).chain([PORTBOOK]) {
            let mut which = self.command("sh");
            which.args(["-c", "command -v \"$0\"", program]);
            let found = which.output().unwrap();
            if !found.status.success() {
                return Some(format!("uid {READER} cannot run {program}"));
            }
        }
        None
    }

    /// Nothing, but for the port server's address where one is needed, and for free ports where the host
    /// is shared.
    fn configuration(&self, section: &Section) -> String {
        let needs = |package: &str| section.needs.iter().any(|need| need.contains(package));
        let mut text = String::new();
        if needs("portpicker") {
            let address = self.portserver();
            let address = address.to_string_lossy();
            text.extend(["[portserver]\naddress = \"", &*address, "\"\n"]);
        }
        let kept = [("default", 0..6), ("portserver", 6..9), ("console", 9..12)];
        for (name, of) in kept.into_iter().filter(|_| !self.ports.is_empty()) {
            let ranges = ranges(&self.ports[of]);
            text.extend(["[pools.", name, "]\nranges = \"", &*ranges]);
            text.push_str("\"\nstrategy = \"ordered\"\n");
        }
        text
    }

    fn portserver(&self) -> PathBuf {
        self.folder.path().join("run/portserver")
    }

    /// Working directory of the reader.
    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Numbers of the section with their values in this run.
    fn numbers(&self, section: &Section) -> Numbers {
        let told = |number: &str| {
            let mut blocks = section.blocks.iter();
            blocks.any(|block| block.title != "text" && block.text.contains(number))
        };
        let shown = ["3000", "3001"];
        let real = |at: usize| match self.ports.get(at) {
            Some(port) => port.to_string(),
            None => shown[at].to_owned(),
        };
        let numbers = (0..shown.len()).filter(|at| !self.ports.is_empty() || told(shown[*at]));
        Numbers(numbers.map(|at| (shown[at].to_owned(), real(at))).collect())
    }

    /// A program as the user, in its home and on its host, with `portbook` on its path.
    fn command(&self, program: &str) -> Command {
        let mut command = match self.user {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={user}")]);
                command.args(["--clear-groups", program]);
                command
            }
            None => Command::new(program),
        };
        let bin = Path::new(PORTBOOK).parent().unwrap().display();
        let path = std::env::var("PATH").unwrap_or_default();
        let folder = self.folder.path();
        command.env_clear().env("PATH", format!("{bin}:{path}"));
        command
            .env("HOME", folder.join("home"))
            .env("XDG_RUNTIME_DIR", folder.join("run"));
        if self.user.is_none() && rustix::process::geteuid().is_root() {
            // A test must not touch root's own record, which is the host's.
            command.env("PORTBOOK_DATA_DIR", folder.join("data"));
        }
        // The tool chains of cargo are not in the new home.
        if let Some(home) = std::env::home_dir() {
            command.env("RUSTUP_HOME", home.join(".rustup"));
        }
        let mut command = match &self.host {
            Some(host) => host.enter(&command),
            None => command,
        };
        command.current_dir(self.work());
        command
    }

    fn serve(&self) -> Server {
        let mut command = self.command(PORTBOOK);
        command.arg("serve");
        Server::start(
            command,
            &self.folder.path().join("home/.local/state/portbook"),
        )
    }
}

/// Writes the files of a section and returns its script.
fn laid_out(section: &Section, home: &Home, numbers: &Numbers) -> String {
    let mut script = String::new();
    for block in &section.blocks {
        if let Some(path) = block.path() {
            let file = home.work().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, numbers.told(&block.text)).unwrap();
        } else if block.title == "sh" {
            script.push_str(&numbers.told(&block.text));
            script.extend(["echo '", MARK, "'\n"]);
        }
    }
    home.give_away();
    script
}

fn compare(section: &Section, mut numbers: Numbers, said: &str, title: &str) {
    let mark = format!("{MARK}\n");
    let mut outputs = said.split(&*mark);
    let mut last = "";
    for block in section.blocks.iter().filter(|it| it.path().is_none()) {
        match &*block.title {
            "sh" => last = outputs.next().unwrap_or_default(),
            "text" => {
                let found = numbers.clone().matching(&lines(&block.text), &lines(last));
                numbers = found.unwrap_or_else(|| {
                    panic!(
                        "{title}: it shows\n{}\nand this was said:\n{last}",
                        block.text
                    )
                });
            }
            _ => {}
        }
    }
}

/// Runs a script to its end, in its own process group, and returns its stdout.
fn output(home: &Home, tools: &Tools, script: &str, title: &str) -> String {
    let folder = home.folder.path();
    let (out, err) = (folder.join("out"), folder.join("err"));
    let mut command = home.command("sh");
    command.args(["-c", &format!("set -eu\n{script}")]);
    tools.bring(home, &mut command);
    command
        .env("PORTSERVER_ADDRESS", home.portserver())
        // It would leave a socket in the home directory.
        .env("GUNICORN_CMD_ARGS", "--no-control-socket")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap())
        .process_group(0);
    let mut group = Group(command.spawn().unwrap());
    let ended = exit_status(&mut group.0, PATIENCE);
    let read = |path: &Path| text(&std::fs::read(path).unwrap());
    let (said, complaints) = (read(&out), read(&err));
    assert!(
        ended.is_some_and(|status| status.success()),
        "{title}: {ended:?} after\n{said}\n{complaints}"
    );
    said
}

/// Ends all processes of a script with it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Lines without the blanks that only align them.
fn lines(text: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}

/// Numbers of a page with their values in this run.
#[derive(Debug, Clone, Default)]
struct Numbers(BTreeMap<String, String>);

impl Numbers {
    /// A script or file with this run's numbers.
    fn told(&self, text: &str) -> String {
        let known = self.0.iter();
        known.fold(text.to_owned(), |text, (shown, real)| {
            text.replace(shown, real)
        })
    }

    /// Adds the numbers of these lines. `None` if the lines do not match.
    fn matching(self, shown: &[String], said: &[String]) -> Option<Self> {
        let Some((first, rest)) = shown.split_first() else {
            return said.is_empty().then_some(self);
        };
        if first == "…" {
            return (0..=said.len()).find_map(|n| self.clone().matching(rest, &said[n..]));
        }
        let (line, others) = said.split_first()?;
        self.matching_line(first, line)?.matching(rest, others)
    }

    fn matching_line(mut self, shown: &str, said: &str) -> Option<Self> {
        if let Some(rest) = shown.strip_prefix('…') {
            let ends = said.char_indices().map(|(at, _)| at).chain([said.len()]);
            return ends
                .into_iter()
                .find_map(|at| self.clone().matching_line(rest, &said[at..]));
        }
        let number = digits(shown);
        if number.len() >= 4 {
            let real = digits(said);
            // A pid may be short; two numbers of the page are never one.
            let known = self.0.get(number).map_or(real, |known| known);
            let taken = self
                .0
                .iter()
                .any(|(other, it)| it == real && other != number);
            if real.is_empty() || known != real || taken {
                return None;
            }
            self.0.insert(number.to_owned(), real.to_owned());
            return self.matching_line(&shown[number.len()..], &said[real.len()..]);
        }
        let Some(next) = shown.chars().next() else {
            return said.is_empty().then_some(self);
        };
        // A number is taken whole.
        let length = if number.is_empty() {
            next.len_utf8()
        } else {
            number.len()
        };
        let rest = said.strip_prefix(&shown[..length])?;
        self.matching_line(&shown[length..], rest)
    }
}

fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit());
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn recipe_of_owners_runs_as_written() {
    follow("claims.md");
}

#[test]
fn recipe_of_ci_hosts_runs_as_written() {
    follow("ci.md");
}

#[test]
fn recipe_of_runners_runs_as_written() {
    follow("runners.md");
}

#[cfg(feature = "mcp")]
#[test]
fn recipe_of_agents_runs_as_written() {
    follow("agents.md");
}

#[test]
fn recipe_of_test_frameworks_runs_as_written() {
    follow("tests.md");
}

#[test]
fn recipe_of_other_tools_runs_as_written() {
    follow("migration.md");
}

#[test]
fn recipe_with_wrong_output_fails() {
    let numbers = Numbers(BTreeMap::from([("3000".to_owned(), "10017".to_owned())]));
    let compare = |shown: &str, said: &str| numbers.clone().matching(&lines(shown), &lines(said));
    assert!(compare("3000  node/4711 …", "10017 node/99 01a2").is_some());
    assert!(compare("3000", "10018").is_none());
    assert!(compare("4711\n4712", "5\n5").is_none(), "two numbers");
    assert!(compare("4711\n4711", "5\n6").is_none(), "one number");
    assert!(compare("a\n…\nb", "a\nx\ny\nb").is_some());
    assert!(compare("a\nb", "a").is_none());
    assert!(compare("200 OK", "404 OK").is_none());
}
