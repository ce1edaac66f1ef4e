//! The pages of `static/recipes`: what they tell the reader to do is done, and what they show is
//! compared with what was printed.
//!
//! Each section (`## …`) is a script for a place of its own with a service. Of its blocks, one with a
//! path in its title is a file, `sh` is run, `text` is what the `sh` before it prints; others are for
//! readers alone. In `text` a number of four digits or more stands for any number, for the same one
//! throughout, `…` for anything; 3000 and 3001 are ports of the place's pool wherever they stand.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::host::skipped;
use crate::support::{Place, ranges, text};

/// Between the outputs of two blocks.
const MARK: &str = "=== next block ===";

/// The most that one section may take on a machine under load.
const PATIENCE_SECONDS: u32 = 180;

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

/// Does what a page says; a section whose tools cannot be had is skipped aloud.
fn follow(name: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("static/recipes");
    let page = std::fs::read_to_string(page.join(name)).unwrap();
    let sections = sections(&page);
    assert!(sections.iter().any(|section| !section.blocks.is_empty()));
    // So that one can be tried by itself.
    let only = std::env::var("RECIPE").unwrap_or_default();
    for section in sections.iter().filter(|it| it.title.contains(&only)) {
        let title = format!("{name}, {}", section.title);
        match Tools::of(&section.needs) {
            Ok(tools) => run(section, &title, &tools),
            Err(missing) => skipped(&title, &format!("{missing} cannot be had")),
        }
    }
}

/// Where the tools of a section are.
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

    fn bring(&self, place: &Place, command: &mut Command) {
        let mut path = Vec::new();
        if let Some(folder) = &self.python {
            command.env("PYTHONPATH", folder);
            path.push(folder.join("bin"));
        }
        if let Some(folder) = &self.node {
            let modules = folder.join("node_modules");
            std::os::unix::fs::symlink(&modules, place.folder().join("node_modules")).unwrap();
            path.push(modules.join(".bin"));
        }
        let known = command.get_envs().find(|(name, _)| *name == "PATH");
        let known = known.and_then(|(_, value)| value).unwrap_or_default();
        path.extend(std::env::split_paths(known));
        command.env("PATH", std::env::join_paths(path).unwrap());
    }
}

/// A folder with these packages, which all tests of this build share; none if there are none.
fn installed(command: &[&str], packages: &[&str]) -> Result<Option<PathBuf>, String> {
    if packages.is_empty() {
        return Ok(None);
    }
    let name = format!("{}-{}", command[0], packages.join("-"));
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
        let _ = std::fs::rename(own.keep(), &folder);
    }
    Ok(Some(folder))
}

fn run(section: &Section, title: &str, tools: &Tools) {
    let mut place = Place::with_ports(12);
    let ports = place.ports.clone();
    // Its own pool, and the port server's, which has to be told where to listen.
    place.set("PORTBOOK_POOLS__DEFAULT__RANGES", &ranges(&ports[..8]));
    place.set("PORTBOOK_POOLS__PORTSERVER__RANGES", &ranges(&ports[8..]));
    let address = place.folder().join("portserver");
    place.set("PORTBOOK_PORTSERVER__ADDRESS", &address.to_string_lossy());
    let shown = ["3000", "3001"].map(str::to_owned);
    let real = ports.iter().map(ToString::to_string);
    let numbers = Numbers(shown.into_iter().zip(real).collect());
    let script = laid_out(section, &place, &numbers);
    let _server = place.serve();
    let said = output(&place, tools, &script, title);
    compare(section, numbers, &said, title);
}

/// Writes the files of a section, and gives its script.
fn laid_out(section: &Section, place: &Place, numbers: &Numbers) -> String {
    let mut script = String::new();
    for block in &section.blocks {
        if let Some(path) = block.path() {
            let file = place.folder().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, numbers.told(&block.text)).unwrap();
        } else if block.title == "sh" {
            script.push_str(&numbers.told(&block.text));
            script.extend(["echo '", MARK, "'\n"]);
        }
    }
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

/// Runs a script to its end, in a group of processes that goes with it, and gives its stdout.
fn output(place: &Place, tools: &Tools, script: &str, title: &str) -> String {
    let (out, err) = (place.folder().join("out"), place.folder().join("err"));
    let mut command = place.shell(&format!("set -eu\n{script}"));
    tools.bring(place, &mut command);
    command
        .env("PORTSERVER_ADDRESS", place.folder().join("portserver"))
        // It would leave a socket in the home directory.
        .env("GUNICORN_CMD_ARGS", "--no-control-socket")
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap())
        .process_group(0);
    let mut group = Group(command.spawn().unwrap());
    let ended = (0..PATIENCE_SECONDS * 10).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        group.0.try_wait().unwrap()
    });
    let read = |path: &Path| text(&std::fs::read(path).unwrap());
    let (said, complaints) = (read(&out), read(&err));
    assert!(
        ended.is_some_and(|status| status.success()),
        "{title}: {ended:?} after\n{said}\n{complaints}"
    );
    said
}

/// What a script has started ends with it, however it ends.
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

/// What the numbers of a page are on this run.
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

    /// With what these lines teach; none if they do not match.
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
fn who_becomes_the_owner() {
    follow("claims.md");
}

#[test]
fn in_test_frameworks() {
    follow("tests.md");
}

#[test]
fn from_other_tools() {
    follow("migration.md");
}

#[test]
fn what_a_page_shows_is_compared() {
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
