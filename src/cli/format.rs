//! Variables in the syntax of their readers. Every value is untrusted: text with a special meaning
//! is quoted, or refused if quotes do not help.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use clap::ValueEnum;
use serde_json::json;

use super::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// `export NAME=value`, for `eval` in sh, bash, zsh.
    Shell,
    /// `NAME=value`, for files such as .env.
    Dotenv,
    /// One object.
    Json,
    /// `set -gx NAME value`, for `source` in fish.
    Fish,
    /// `export NAME=value` and the files to watch, for `eval` in an .envrc.
    Direnv,
    /// An override file for docker compose that publishes each service's port.
    Compose,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    pub service: String,
    /// Host addresses; those of IPv6 have no brackets.
    pub hosts: Vec<String>,
    /// Host port, container port and protocol of each lease.
    pub ports: Vec<(u16, u16, &'static str)>,
}

/// Writes variables in a format. Compose has none of its own and gets those of a shell.
pub(super) fn text(
    format: Format,
    variables: &BTreeMap<String, String>,
    file: &Path,
) -> Result<String, Failure> {
    match format {
        Format::Shell | Format::Compose => Ok(exports(variables)),
        Format::Dotenv => dotenv(variables),
        // Only the variables, so that the object can be read as a map.
        Format::Json => Ok(format!("{:#}\n", json!(variables))),
        Format::Fish => Ok(lines(variables, |name, value| {
            format!("set -gx {name} {}", fish_quoted(value))
        })),
        Format::Direnv => {
            let watched = quoted(&file.to_string_lossy());
            Ok(format!("watch_file {watched}\n{}", exports(variables)))
        }
    }
}

fn exports(variables: &BTreeMap<String, String>) -> String {
    lines(variables, |name, value| {
        format!("export {name}={}", quoted(value))
    })
}

fn lines(
    variables: &BTreeMap<String, String>,
    line: impl Fn(&String, &String) -> String,
) -> String {
    let lines = variables
        .iter()
        .map(|(name, value)| line(name, value) + "\n");
    lines.collect()
}

/// Whether a value needs no quotes for any reader, as numbers and most addresses.
fn is_plain(value: &str) -> bool {
    value.bytes().all(is_plain_byte)
}

const fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-')
}

/// Quotes a value for sh (POSIX.1-2024, 2.2.2).
pub(super) fn quoted(value: &str) -> String {
    if is_plain(value) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "'\\''"))
}

/// Quotes a value for fish: within single quotes only `\'` and `\\` are special.
fn fish_quoted(value: &str) -> String {
    if is_plain(value) && !value.is_empty() {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Whether a value of a .env file is plain text for every reader. Some readers keep quotes: `docker
/// run --env-file`, GitHub's `$GITHUB_ENV`.
fn needs_no_quotes(value: &str) -> bool {
    let of_urls = |byte: u8| matches!(byte, b'/' | b'@' | b'%' | b'+' | b',' | b'=' | b'?' | b'_');
    value
        .bytes()
        .all(|byte| is_plain_byte(byte) || of_urls(byte))
}

/// Writes only what all readers of .env files read alike; they differ on escapes.
fn dotenv(variables: &BTreeMap<String, String>) -> Result<String, Failure> {
    let mut text = String::new();
    for (name, value) in variables {
        let written = match value {
            value if needs_no_quotes(value) => value.clone(),
            value if !value.contains(['\'', '\\', '$']) => format!("'{value}'"),
            _ => {
                return Err(Failure::usage(format!(
                    "{name} cannot be written as dotenv: readers differ on ', \\ and $; use another --format"
                )));
            }
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}={written}");
    }
    Ok(text)
}

/// An override file: `!override` replaces the ports of the file that it is merged into (Docker
/// Compose 2.24.4 and later).
pub(super) fn compose(published: &[Published]) -> String {
    let mut text = "services:\n".to_owned();
    for service in published {
        let _ = writeln!(text, "  \"{}\":\n    ports: !override", service.service);
        for host in &service.hosts {
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            for (port, target, protocol) in &service.ports {
                let _ = writeln!(text, "      - \"{host}:{port}:{target}/{protocol}\"");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Values that some reader would take for more than text.
    const VALUES: [&str; 9] = [
        "3000",
        "",
        "fe80::1%eth0",
        "postgres://me@[::1]:5432/app?x=1#y",
        "a'b",
        "a\"b",
        "$(touch /tmp/x)`id`",
        "back\\slash\\'",
        "a b; c & d | e > f * ~",
    ];

    fn variables(values: &[&str]) -> BTreeMap<String, String> {
        let pairs = values.iter().enumerate();
        pairs
            .map(|(index, value)| (format!("V{index}"), (*value).to_owned()))
            .collect()
    }

    /// Reads a text with the shell of its format, and returns every variable that it prints.
    fn read_by(program: &str, script: &str, text: &str) -> Option<BTreeMap<String, String>> {
        let output = Command::new(program)
            .args(["-c", script, "x"])
            .env("TEXT", text)
            .output();
        let output = output.ok()?;
        assert!(output.status.success(), "{program}: {output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let pairs = said.split('\0').filter_map(|pair| pair.split_once('='));
        let ours = pairs.filter(|(name, _)| {
            name.strip_prefix('V')
                .is_some_and(|index| index.parse::<usize>().is_ok())
        });
        Some(
            ours.map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn written(format: Format, values: &[&str]) -> String {
        text(format, &variables(values), Path::new("/a b/it's.toml")).unwrap()
    }

    #[test]
    fn shells_read_back_every_value() {
        let text = written(Format::Shell, &VALUES);
        for shell in ["sh", "bash", "zsh"] {
            let read = read_by(shell, "eval \"$TEXT\"; exec env -0", &text);
            if let Some(read) = read {
                assert_eq!(read, variables(&VALUES), "{shell}");
            }
        }
        let direnv = written(Format::Direnv, &VALUES);
        let script = "watch_file() { [ \"$1\" = \"/a b/it's.toml\" ] || exit 1; }
            eval \"$TEXT\"; exec env -0";
        assert_eq!(read_by("bash", script, &direnv), Some(variables(&VALUES)));
    }

    #[test]
    fn fish_reads_back_every_value() {
        let text = written(Format::Fish, &VALUES);
        let script = "printf %s $TEXT | source; env -0";
        if let Some(read) = read_by("fish", script, &text) {
            assert_eq!(read, variables(&VALUES));
        }
    }

    #[test]
    fn dotenv_is_written_only_where_readers_agree() {
        let text = written(Format::Dotenv, &VALUES[..4]);
        assert!(
            text.contains("V2=fe80::1%eth0\n") && text.contains("V3='postgres"),
            "{text}"
        );
        let script = "set -a; eval \"$TEXT\"; exec env -0";
        assert_eq!(read_by("sh", script, &text), Some(variables(&VALUES[..4])));
        for value in ["a'b", "$HOME", "a\\b"] {
            let failed = dotenv(&variables(&[value]));
            assert!(failed.is_err(), "{value}");
        }
    }

    #[test]
    fn json_is_one_object() {
        let read: BTreeMap<String, String> =
            serde_json::from_str(&written(Format::Json, &VALUES)).unwrap();
        assert_eq!(read, variables(&VALUES));
    }

    #[test]
    fn compose_overrides_the_ports_of_each_service() {
        let text = compose(&[Published {
            service: "on".to_owned(),
            hosts: vec!["127.0.0.1".to_owned(), "::1".to_owned()],
            ports: vec![(3000, 80, "tcp")],
        }]);
        assert_eq!(
            text,
            "services:\n  \"on\":\n    ports: !override\n      - \"127.0.0.1:3000:80/tcp\"\n      \
             - \"[::1]:3000:80/tcp\"\n"
        );
    }
}
