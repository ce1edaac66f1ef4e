//! Completions: `portbook completions SHELL` prints a script that asks this program at each tab, so
//! that names, pools and interfaces are those of the running service.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use serde::Deserialize;
use serde_json::json;

use super::{Failure, Global, block_on, help};
use crate::answers::document::VERSION;
use crate::client::Client;
use crate::config::{Flags, Sources};
use crate::library::find;

/// Variable by which a shell's script asks. It does not begin as the settings do.
const VARIABLE: &str = "_PORTBOOK_COMPLETE";

/// Limit on the wait after a press of tab.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(after_help = "\
  bash: echo 'source <(portbook completions bash)' >> ~/.bashrc
  zsh:  echo 'source <(portbook completions zsh)' >> ~/.zshrc
  fish: echo 'portbook completions fish | source' >> ~/.config/fish/config.fish")]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Fish,
    Zsh,
}

impl Shell {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Fish => "fish",
            Self::Zsh => "zsh",
        }
    }
}

/// Answers a shell's script and ends, if one asks.
pub fn handle_completion() {
    CompleteEnv::with_factory(help::command)
        .var(VARIABLE)
        .complete();
}

pub(super) fn run(global: &Global, args: &CompletionsArgs) -> Result<(), Failure> {
    let shell = args.shell.as_str();
    let script =
        script(shell).ok_or_else(|| Failure::other(format!("no completions for {shell}")))?;
    let document = json!({ "version": VERSION, "shell": shell, "script": script });
    global.answer(&document, || script.clone())
}

fn script(shell: &str) -> Option<String> {
    let name = "portbook";
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(shell)?;
    let written = shell.write_registration(VARIABLE, name, name, name, &mut script);
    written.ok()?;
    String::from_utf8(script).ok()
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Lists {
    #[serde(default, alias = "pools", alias = "interfaces", alias = "leases")]
    list: Vec<Named>,
    next: Option<String>,
}

pub(super) fn names() -> Vec<CompletionCandidate> {
    of("/api/v1/leases?limit=1000")
}

pub(super) fn pools() -> Vec<CompletionCandidate> {
    of("/api/v1/pools")
}

/// Interfaces, and the selectors that stand for several.
pub(super) fn interfaces() -> Vec<CompletionCandidate> {
    let classes = [
        "any", "all", "loopback", "private", "public", "ipv4", "ipv6",
    ];
    let classes = classes.into_iter().map(CompletionCandidate::new);
    of("/api/v1/interfaces")
        .into_iter()
        .chain(classes)
        .collect()
}

/// Names in one of the service's lists; none if no service answers at once.
fn of(path: &str) -> Vec<CompletionCandidate> {
    let asking = async {
        let found = tokio::time::timeout(PATIENCE, ask(path)).await;
        Ok(found.unwrap_or_default().unwrap_or_default())
    };
    let names: BTreeSet<String> = block_on(asking).unwrap_or_default();
    names.into_iter().map(CompletionCandidate::new).collect()
}

async fn ask(path: &str) -> Option<BTreeSet<String>> {
    let flags = typed(std::env::args().skip_while(|word| word != "--").skip(1));
    let loaded = crate::config::load(&Sources::from_process(flags)).ok()?;
    let client: Client = find::find(&loaded).await.ok()??;
    let mut names = BTreeSet::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let page: Lists = client.get(&path).await.ok()?;
        names.extend(page.list.into_iter().filter_map(|it| it.name));
        next = page.next;
    }
    Some(names)
}

/// Reads the flags that select the service from the line to be completed.
fn typed(line: impl Iterator<Item = String>) -> Flags {
    let mut flags = Flags::default();
    // Words after -- belong to the program.
    let mut words = line.take_while(|word| word != "--");
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (&*word, None),
        };
        let place = match flag {
            "--config" => &mut flags.config,
            "--data-dir" => &mut flags.data_dir,
            "--socket" => &mut flags.socket,
            _ => continue,
        };
        // bash splits the word at the equals sign.
        let value = value.or_else(|| words.find(|word| word != "="));
        *place = value.map(|value| in_home(&value));
    }
    flags
}

/// Resolves ~/ as the shell will: the word comes as it was typed.
fn in_home(typed: &str) -> PathBuf {
    let home = || Some(std::env::home_dir()?.join(typed.strip_prefix("~/")?));
    home().unwrap_or_else(|| typed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_flags_select_the_service() {
        let flags = |line: &str| typed(line.split(' ').map(ToOwned::to_owned));
        let found = flags("portbook --socket /a release --data-dir=/b w");
        assert_eq!(found.socket, Some("/a".into()));
        assert_eq!(found.data_dir, Some("/b".into()));
        let found = flags("portbook --config = /c run -- --socket /d");
        assert_eq!((found.config, found.socket), (Some("/c".into()), None));
        assert_eq!(flags("portbook release --socket").socket, None);
        assert!(flags("portbook --socket ~/s").socket.unwrap().is_absolute());
    }
}
