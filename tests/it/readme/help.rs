//! The commands and options that the binary's own help shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{command, text};

/// Options of each command by its words, such as `history export`; the general ones have no words.
pub struct Help(BTreeMap<String, BTreeSet<String>>);

impl Help {
    pub fn of_the_binary() -> Self {
        let mut help = Self(BTreeMap::new());
        help.collect(&[]);
        help
    }

    fn collect(&mut self, words: &[&str]) {
        let output = command().args(words).arg("--help").output().unwrap();
        assert!(output.status.success(), "{words:?}");
        let shown = text(&output.stdout);
        let mut options = BTreeSet::new();
        for line in shown.lines().map(str::trim_start) {
            if line.starts_with('-') {
                let flags = line.split(|c: char| c.is_whitespace() || c == ',');
                options.extend(
                    flags
                        .filter(|it| it.starts_with('-'))
                        .map(ToOwned::to_owned),
                );
            }
        }
        self.0.insert(words.join(" "), options);
        let Some((_, list)) = shown.split_once("\nCommands:\n") else {
            return;
        };
        for line in list.lines().take_while(|line| !line.is_empty()) {
            let Some(name) = line.strip_prefix("  ").filter(|it| !it.starts_with(' ')) else {
                continue;
            };
            let name = name.split_whitespace().next().unwrap();
            if name != "help" {
                self.collect(&[words, &[name]].concat());
            }
        }
    }

    /// The fault in the words of a command line after `portbook`. `None` if there is none.
    pub fn fault(&self, line: &str) -> Option<String> {
        let mut command = String::new();
        let mut words = line.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let word = word.trim_end_matches(',');
            if word == "--" {
                break;
            }
            let longer = format!("{command} {word}").trim_start().to_owned();
            if let Some(flag) = word.strip_prefix('-').and(word.split('=').next()) {
                if !self.0[&command].contains(flag) {
                    return Some(format!("`{command}` has no {flag}"));
                }
                // The value of a general option may stand before the command.
                if command.is_empty() && flag != "--json" && words.peek().is_some() {
                    words.next();
                }
            } else if self.0.contains_key(&longer) {
                command = longer;
            } else if command.is_empty() || ["config", "history", "service"].contains(&&*command) {
                return Some(format!("no command `{longer}`"));
            }
        }
        None
    }

    /// Every command by its words.
    pub fn commands(&self) -> impl Iterator<Item = &String> {
        self.0.keys().filter(|words| !words.is_empty())
    }

    /// Whether any command has the flag.
    fn anywhere(&self, flag: &str) -> bool {
        self.0.values().any(|options| options.contains(flag))
    }

    /// The fault in a span of running text, which is a command line without `portbook`, or a flag.
    pub fn fault_of_span(&self, span: &str) -> Option<String> {
        let first = span.split_whitespace().next()?;
        if self.0.contains_key(first) && span.contains(' ') {
            return self.fault(span);
        }
        let flag = first.split('=').next()?;
        let ours = flag.starts_with("--") && !FOREIGN.contains(&flag) && flag != "--";
        (ours && !self.anywhere(flag)).then(|| format!("no command has {flag}"))
    }
}

/// Flags of other programs that the pages name alone.
const FOREIGN: [&str; 3] = ["--bench", "--features", "--query.ui-config"];
