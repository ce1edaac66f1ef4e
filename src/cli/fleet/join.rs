//! `portbook fleet join`: a look at etcd, and the settings that lead to it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::json;
use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::super::{Failure, Global, file, fleet_files, note, print_json};
use super::status::{next_step, standing};
use crate::answers::document::VERSION;
use crate::answers::fleet::FleetStatusDocument;
use crate::config::{Fleet, Loaded, Sources, engine_address};
use crate::domain::attempt::printable;
use crate::domain::fleet::HostName;
use crate::fleet::{JoinFailure, certified_as, host_name, look, probe};

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Addresses of etcd, such as https://etcd-1:2379; default: those of the settings.
    #[arg(value_name = "ADDRESS", value_parser = address)]
    engine: Vec<String>,
    /// Name of this host; default: the machine's own.
    #[arg(long)]
    host: Option<HostName>,
    /// Certificate of the authority that signed those of etcd (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate of this host (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Key of that certificate (PEM, mode 0600).
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Look alone, and write nothing.
    #[arg(long)]
    check: bool,
}

fn address(text: &str) -> Result<String, String> {
    match engine_address(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(problem) => {
            let hint = problem.hint.map(|hint| format!(": {hint}"));
            Err(problem.message + &hint.unwrap_or_default())
        }
    }
}

pub(super) async fn run(global: &Global, args: &JoinArgs) -> Result<(), Failure> {
    let loaded = crate::config::load(&sources(global, args)?)?;
    let fleet = wanted(&loaded, args)?;
    // Its session is no reason against joining.
    let own = standing(&loaded).await.ok();
    let session = own.as_ref().and_then(|own| own.status.session.as_deref());
    // What fails next may have this reason.
    warn_of_name(&fleet);
    let (host, tried) = try_out(&fleet, session).await?;
    let written = if args.check || args.engine.is_empty() {
        None
    } else {
        Some(write(global, args)?)
    };
    warn_of_files(&fleet);
    if global.json {
        print_json(
            &json!({ "version": VERSION, "host": host, "engine": fleet.engine, "tried": tried, "written": written }),
        )?;
    }
    if let Some(file) = &written {
        note(&format!("wrote {}", file.display()));
    }
    let is_in = own.as_ref().is_some_and(|own| is_in(&own.status, &fleet));
    if !args.check && (written.is_some() || !is_in) {
        let has_service = own.is_some_and(|own| own.has_service);
        note(&format!(
            "this host joins at the next start of its service: {}",
            next_step(has_service)
        ));
    }
    Ok(())
}

/// Sources of the settings, with the fleet that is to be written: a unique pool is in order if there is one. A file
/// of `--config` is made if it is missing, in a folder that is there.
fn sources(global: &Global, args: &JoinArgs) -> Result<Sources, Failure> {
    let mut flags = global.flags();
    flags.fleet_engine = Some(args.engine.clone()).filter(|engine| !engine.is_empty());
    flags.fleet_ca = absolute(args.ca.as_ref())?;
    let mut sources = Sources::from_process(flags);
    let is_to_be_made =
        |file: &mut PathBuf| !file.exists() && file.parent().is_some_and(Path::is_dir);
    sources.explicit_file.take_if(is_to_be_made);
    Ok(sources)
}

/// An address of etcd with what came of a question.
#[derive(Debug, Serialize)]
struct Tried {
    address: String,
    /// Reason for which there was no answer.
    problem: Option<String>,
}

/// Asks each address, and then tries what this host will do. Returns its name.
async fn try_out(fleet: &Fleet, session: Option<&str>) -> Result<(HostName, Vec<Tried>), Failure> {
    let failed = |error: JoinFailure| Failure::other(format!("cannot join: {error}"));
    let mut tried = Vec::new();
    for (address, problem) in look(fleet).await.map_err(failed)? {
        match &problem {
            None => note(&format!("{address} answers")),
            Some(why) => note(&format!("{address} does not answer: {why}")),
        }
        tried.push(Tried { address, problem });
    }
    let host = probe(fleet, session).await.map_err(failed)?;
    note(&format!("{host} may write there"));
    Ok((host, tried))
}

/// Warns of a certificate of another name than the host's, whose rights are others'.
fn warn_of_name(fleet: &Fleet) {
    let names = (certified_as(fleet), host_name(fleet.host.as_ref()));
    if let (Some(name), Some(host)) = names
        && name != host.as_str()
    {
        let name = printable(&name);
        note(&format!(
            "warning: the certificate is that of {name}, and this host is {host}: rights in etcd go by the certificate, so that those of `portbook fleet role {host}` do not count for it; make a certificate with the common name {host}, or choose --host"
        ));
    }
}

/// Warns of files that the service cannot read, as it may run as another user.
fn warn_of_files(fleet: &Fleet) {
    let files = [&fleet.ca, &fleet.certificate, &fleet.key];
    let files = files.into_iter().flatten().map(PathBuf::as_path);
    for problem in fleet_files::unreadable(files) {
        note(&format!("warning: {problem}"));
    }
}

/// Whether the service that runs is in the fleet of these settings already.
fn is_in(status: &FleetStatusDocument, fleet: &Fleet) -> bool {
    status.session.is_some() && status.engine == fleet.engine
}

/// The settings with those of the command line.
fn wanted(loaded: &Loaded, args: &JoinArgs) -> Result<Fleet, Failure> {
    let mut fleet = loaded.settings.fleet.clone();
    if fleet.engine.is_empty() {
        return Err(Failure::usage(
            "name an address of etcd, such as http://127.0.0.1:2379",
        ));
    }
    fleet.host = args.host.clone().or(fleet.host);
    fleet.certificate = absolute(args.certificate.as_ref())?.or(fleet.certificate);
    fleet.key = absolute(args.key.as_ref())?.or(fleet.key);
    if host_name(fleet.host.as_ref()).is_none() {
        return Err(Failure::usage(
            "the machine's name is no name of a host: give one with --host",
        ));
    }
    Ok(fleet)
}

fn absolute(file: Option<&PathBuf>) -> Result<Option<PathBuf>, Failure> {
    let absolute = file.map(std::path::absolute).transpose();
    absolute.map_err(|error| Failure::usage(error.to_string()))
}

/// Writes the settings into the file of `--config`, or the customary one.
fn write(global: &Global, args: &JoinArgs) -> Result<PathBuf, Failure> {
    let sources = Sources::from_process(global.flags());
    let customary = if sources.root {
        Some(sources.system_file)
    } else {
        sources.user_file
    };
    let file = sources.explicit_file.or(customary);
    let file = file
        .ok_or_else(|| Failure::usage("there is no home directory: name a file with --config"))?;
    let before = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::other(format!("{}: {error}", file.display()))),
    };
    let text = with_fleet(&before, args)?;
    file::write(&file, &text, true, "run it as the user of the service")?;
    Ok(file)
}

/// The text of a file with these settings in it; all else stays as it is.
fn with_fleet(before: &str, args: &JoinArgs) -> Result<String, Failure> {
    let not_toml = |error| Failure::usage(format!("the file is not TOML: {error}"));
    let mut document: DocumentMut = before.parse().map_err(not_toml)?;
    let is_new = !document.contains_key("fleet");
    let mut own = DocumentMut::new();
    // A new table goes behind everything, comments at the end of the file too.
    let target = if is_new { &mut own } else { &mut document };
    set(target, args)?;
    if !is_new {
        return Ok(document.to_string());
    }
    let gap = match before {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    Ok(format!("{before}{gap}{own}"))
}

fn set(document: &mut DocumentMut, args: &JoinArgs) -> Result<(), Failure> {
    let fleet = document
        .entry("fleet")
        .or_insert_with(|| Item::Table(Table::new()));
    let Some(fleet) = fleet.as_table_like_mut() else {
        return Err(Failure::usage("fleet is no table in the file"));
    };
    fleet.insert("engine", value(Array::from_iter(&args.engine)));
    if let Some(host) = &args.host {
        fleet.insert("host", value(host.as_str()));
    }
    let files = [
        ("ca", &args.ca),
        ("certificate", &args.certificate),
        ("key", &args.key),
    ];
    for (name, file) in files {
        if let Some(file) = absolute(file.as_ref())? {
            let text = file.to_str();
            let text = text.ok_or_else(|| Failure::usage("a path is not UTF-8"))?;
            fleet.insert(name, value(text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> JoinArgs {
        JoinArgs {
            engine: vec!["http://127.0.0.1:2379".into()],
            host: Some("build-1".parse().unwrap()),
            ca: None,
            certificate: None,
            key: None,
            check: false,
        }
    }

    #[test]
    fn settings_are_added_and_all_else_stays() {
        let before =
            "# mine\n[console]\nenabled = false # no pages\n\n[fleet]\nsession = \"10s\"\n";
        let text = with_fleet(before, &args()).unwrap();
        assert!(
            text.starts_with("# mine\n[console]\nenabled = false # no pages\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "session = \"10s\"\nengine = [\"http://127.0.0.1:2379\"]\nhost = \"build-1\"\n"
            ),
            "{text}"
        );
        assert!(with_fleet("", &args()).unwrap().starts_with("[fleet]\n"));
        let behind = with_fleet("a = 1\n# end", &args()).unwrap();
        assert!(behind.starts_with("a = 1\n# end\n\n[fleet]\n"), "{behind}");
        assert!(with_fleet("fleet = 1", &args()).is_err());
        assert!(with_fleet("[", &args()).is_err());
    }

    #[test]
    fn addresses_are_checked_with_the_way_out() {
        assert!(address("http://127.0.0.1:2379").is_ok());
        assert!(
            address("http://10.0.0.1:2379")
                .unwrap_err()
                .contains("https://")
        );
    }
}
