//! README and the pages of `docs/`: their shell blocks run, their links lead somewhere, and the
//! commands, flags and settings that they name exist.
//!
//! Blocks marked `sh` in README run as the recipes do ([`follow_page`]); `console` blocks are for
//! readers alone, but their commands and flags are checked as well.

mod help;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::help::Help;
use crate::recipes::follow_page;
use crate::support::{command, text};

/// Separators that end a command on a shell line.
const ENDS: [char; 7] = ['|', ';', '&', ')', '(', '#', '>'];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// README and every page of `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let folder = std::fs::read_dir(root().join("docs")).unwrap();
    pages.extend(folder.map(|entry| entry.unwrap().path()));
    pages
}

/// The code of a page: title and text of each block, and each span as a block titled `span`.
fn code(page: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (at, part) in page.split("```").enumerate() {
        if at % 2 == 1 {
            let (title, body) = part.split_once('\n').unwrap();
            found.push((title.to_owned(), body.replace("\\\n", " ")));
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            found.extend(spans.map(|span| ("span".to_owned(), span.replace('\n', " "))));
        }
    }
    found
}

/// The command lines of portbook in a piece of code, each without its first word.
fn calls(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in code.lines() {
        for (at, _) in line.match_indices("portbook ") {
            let before = line[..at].trim_end();
            let begins = before.is_empty() || before.ends_with(ENDS) || before.ends_with("/bin/");
            if begins && !line[..at].trim_start().starts_with('#') {
                let rest = &line[at + "portbook ".len()..];
                found.push(rest.split(ENDS).next().unwrap());
            }
        }
    }
    found
}

#[test]
fn readme_shell_blocks_run_as_written() {
    follow_page("README.md");
}

#[test]
fn links_of_pages_lead_to_files_and_headings() {
    let mut checked = 0;
    for page in pages() {
        let told = read(&page);
        let prose: Vec<&str> = told.split("```").step_by(2).collect();
        for link in prose.concat().split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !heading.is_empty() {
                let known = headings(&read(&target));
                assert!(
                    known.contains(heading),
                    "{}: {link} is no heading",
                    page.display()
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} links");
}

#[test]
fn paths_that_pages_name_exist() {
    const FOLDERS: [&str; 7] = [
        "src/",
        "tests/",
        "benches/",
        "templates/",
        "static/",
        "migrations/",
        "docs/",
    ];
    let mut checked = 0;
    for page in pages() {
        for (title, path) in code(&read(&page)) {
            let is_path = FOLDERS.iter().any(|folder| path.starts_with(folder));
            // `NAME` stands for a name of the reader's choice.
            if title != "span" || !is_path || path.contains(' ') || path.contains("NAME") {
                continue;
            }
            assert!(root().join(&path).exists(), "{}: {path}", page.display());
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked} paths");
}

/// Anchors of a page's headings, as GitHub makes them.
fn headings(page: &str) -> BTreeSet<String> {
    let prose: Vec<&str> = page.split("```").step_by(2).collect();
    let prose = prose.concat();
    let lines = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| -> String {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        });
        kept.collect()
    };
    lines.map(anchor).collect()
}

#[test]
fn commands_and_flags_of_pages_exist() {
    let help = Help::of_the_binary();
    let mut checked = 0;
    for page in pages() {
        for (title, code) in code(&read(&page)) {
            let shell = ["sh", "console", "ini", "span"].contains(&&*title);
            for call in calls(&code).into_iter().filter(|_| shell) {
                if is_absent(call) {
                    continue;
                }
                let fault = help.fault(call);
                assert!(fault.is_none(), "{}: {call}: {fault:?}", page.display());
                checked += 1;
            }
            if title == "span" && !code.starts_with("portbook ") {
                let fault = help.fault_of_span(&code);
                assert!(fault.is_none(), "{}: {code}: {fault:?}", page.display());
            }
        }
    }
    assert!(checked > 60, "{checked} calls");
}

/// Whether a call needs a build with the fleet, and this is none.
fn is_absent(call: &str) -> bool {
    let of_fleet = ["fleet ", "resolve "]
        .iter()
        .any(|first| call.starts_with(first));
    of_fleet && !cfg!(feature = "fleet")
}

#[test]
fn readme_lists_every_command() {
    let readme = read(&root().join("README.md"));
    let table = readme.split("\n## Commands\n").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let mut listed = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.replace("\\|", "/");
        let cell = cell.split('|').nth(1).unwrap().to_owned();
        let spans = cell.split('`').skip(1).step_by(2);
        listed.extend(spans.map(|span| span.split(' ').next().unwrap().to_owned()));
    }
    let help = Help::of_the_binary();
    for command in help.commands() {
        let last = command.split(' ').next_back().unwrap();
        let first = command.split(' ').next().unwrap();
        assert!(
            listed.contains(first) && (listed.contains(last) || readme.contains(command)),
            "README has no row for `{command}`"
        );
    }
}

#[test]
fn readme_names_every_state_of_a_lease() {
    let output = command().args(["list", "--help"]).output().unwrap();
    let help = text(&output.stdout);
    let states = help.split("[possible values: ").nth(1).unwrap();
    let states = states.split(']').next().unwrap();
    let readme = read(&root().join("README.md"));
    let states = states.split(',').map(str::trim);
    for state in states.filter(|state| *state != "ended") {
        assert!(readme.contains(&format!("`{state}`")), "{state}");
    }
}

#[test]
fn configuration_page_names_every_setting_of_the_template() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let written = command().args(["config", "init"]).arg(&file).output();
    assert!(written.unwrap().status.success());
    let template = read(&file);
    let page = read(&root().join("docs/configuration.md"));
    let words: BTreeSet<&str> = page
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    let mut named = 0;
    for line in template.lines() {
        let setting = line
            .trim_start_matches("# Example: ")
            .trim_start_matches(['#', ' ']);
        let Some((setting, _)) = setting.split_once(" = ") else {
            continue;
        };
        if setting.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            assert!(words.contains(setting), "{setting} is not in the page");
            named += 1;
        }
    }
    assert!(named > 40, "{named} settings");
}

#[test]
fn readme_names_every_key_of_a_project_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portbook.toml");
    std::fs::write(&file, "qqqqqqqqqq = 1\n").unwrap();
    let output = command().args(["config", "check"]).arg(&file).output();
    let said = text(&output.unwrap().stdout);
    let keys = said.split("a service has ").nth(1).unwrap();
    let readme = read(&root().join("README.md"));
    let table = readme.split("\n## portbook.toml\n").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let keys: Vec<&str> = keys.trim().split(", ").collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        assert!(table.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn configuration_examples_pass_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for page in pages() {
        for (title, code) in code(&read(&page)) {
            if title != "toml" && title != "toml portbook.toml" {
                continue;
            }
            if code.contains("fleet = \"unique\"") && !cfg!(feature = "fleet") {
                continue;
            }
            // The guide has it written by `fleet join`.
            let is_joined = code.contains("fleet = \"unique\"") && !code.contains("[fleet]");
            let joined = if is_joined {
                "[fleet]\nengine = [\"http://127.0.0.1:2379\"]\n"
            } else {
                ""
            };
            let code = format!("{joined}{code}");
            let project = code.contains("[services.");
            let name = if project {
                "portbook.toml"
            } else {
                "config.toml"
            };
            let file = folder.path().join(name);
            std::fs::write(&file, &code).unwrap();
            let output = command().args(["config", "check"]).arg(&file).output();
            let output = output.unwrap();
            assert!(
                output.status.success(),
                "{}: {}\n{code}",
                page.display(),
                text(&output.stdout)
            );
            checked += 1;
        }
    }
    assert!(checked >= 4, "{checked} examples");
}
