//! `portbook env`: the ports of a project as variables, for a shell or a file.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Failure, Global, print, print_json, project};
use crate::api::document::{AllocationDocument, LeaseRequest, VERSION};
use crate::domain::duration::Span;
use crate::library::backend::Backend;

/// What `env` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads portbook.toml here or above, up to the root of the git work tree, or to your home directory:
  [services.web]
  prefer = 3000
  [services.api]
and prints WEB_PORT, WEB_HOST, API_PORT, API_HOST. Every folder with such a file has ports of its
own, in every work tree, and gets the same ones again:
  eval \"$(portbook env)\" && npm run dev
  portbook env --format dotenv > .env.local")]
pub struct EnvArgs {
    /// How to write them.
    #[arg(long, value_enum, default_value_t = Format::Shell)]
    format: Format,
    /// How long the ports wait for their programs.
    #[arg(long, value_name = "DURATION", default_value = "12h")]
    claim_within: Span,
    /// Another instance of each service, with ports of its own that are kept as well, such as 2.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// How variables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// `export NAME=value`, for `eval`.
    Shell,
    /// `NAME=value`.
    Dotenv,
    /// One object.
    Json,
}

/// Gets the project's ports and prints them.
pub(super) async fn run(global: &Global, args: &EnvArgs) -> Result<ExitCode, Failure> {
    let project = project::find(global)?;
    let loaded = global.load()?;
    let requests = project.services.iter().map(|service| {
        let request = LeaseRequest {
            claim_within: Some(args.claim_within),
            instance: args.instance.clone(),
            ..LeaseRequest::default()
        };
        project::request(&project, service, request)
    });
    let requests: Vec<LeaseRequest> = requests.collect();
    let backend = Backend::open(&loaded).await?;
    let granted = backend.allocate_all(requests).await;
    backend.close().await;
    let granted = granted?;
    granted.iter().for_each(super::request::tell);
    let variables = variables(&granted);
    if global.json {
        let leases = granted.iter().flat_map(|granted| &granted.leases);
        let leases: Vec<_> = leases.collect();
        print_json(&json!({ "version": VERSION, "variables": variables, "leases": leases }))?;
    } else {
        print(&text(args.format, &variables))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `WEB_PORT` and `WEB_HOST` for every name.
fn variables(granted: &[AllocationDocument]) -> BTreeMap<String, String> {
    let leases = granted.iter().flat_map(|granted| &granted.leases);
    let named = leases.filter_map(|lease| Some((lease.name.as_ref()?.env_prefix(), lease)));
    let pairs = named.flat_map(|(prefix, lease)| {
        [
            (format!("{prefix}_PORT"), lease.port.to_string()),
            (format!("{prefix}_HOST"), lease.host.clone()),
        ]
    });
    pairs.collect()
}

fn text(format: Format, variables: &BTreeMap<String, String>) -> String {
    let lines = |before: &str| {
        let line =
            |(name, value): (&String, &String)| format!("{before}{name}={}\n", quoted(value));
        variables.iter().map(line).collect()
    };
    match format {
        Format::Shell => lines("export "),
        Format::Dotenv => lines(""),
        // A reader of one object wants the variables and nothing else.
        Format::Json => format!("{:#}\n", json!(variables)),
    }
}

/// As a shell reads it back: numbers and most addresses need no quotes.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-');
    if value.bytes().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_read_by_its_reader() {
        let pairs = [("WEB_HOST", "fe80::1%eth0"), ("WEB_PORT", "3000")];
        let variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = BTreeMap::from(variables);
        assert_eq!(
            text(Format::Shell, &variables),
            "export WEB_HOST='fe80::1%eth0'\nexport WEB_PORT=3000\n"
        );
        assert_eq!(
            text(Format::Dotenv, &variables),
            "WEB_HOST='fe80::1%eth0'\nWEB_PORT=3000\n"
        );
        let json: BTreeMap<String, String> =
            serde_json::from_str(&text(Format::Json, &variables)).unwrap();
        assert_eq!(json, variables);
        assert_eq!(quoted("a'b"), "'a'\\''b'");
    }
}
