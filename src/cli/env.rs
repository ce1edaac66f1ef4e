//! `portbook env`: the ports of a project as variables, for a shell or a file.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::format::{self, Format, Published};
use super::request::label_all;
use super::variables::{self, Asked};
use super::{Failure, Global, note, number, print, print_json, project, with_backend};
use crate::answers::document::{AllocationDocument, LeaseRequest, VERSION};
use crate::config::{Project, Service};
use crate::domain::duration::HumanDuration;
use crate::domain::port::Port;
use crate::domain::variables::Variables;

#[derive(Debug, Args)]
#[command(after_help = "\
Reads portbook.toml here or above, up to the root of the git work tree, or to your home directory:
  [services.web]
  prefer = 3000
  [services.db]
  variable = \"PGPORT\"              # in place of DB_PORT
  host_variable = \"PGHOST\"         # in place of DB_HOST; false: none
  env = { DATABASE_URL = \"postgres://{host}:{port}/app\", WEB_URL = \"http://{web.host}:{web.port}\" }
and prints WEB_PORT, WEB_HOST, PGPORT, PGHOST, DATABASE_URL, WEB_URL; for a single service PORT and
HOST as well. Every folder with such a file has ports of its own, in every work tree, and gets the
same ones again:
  eval \"$(portbook env)\" && npm run dev
  portbook env --format dotenv > .env.local
  portbook env --format fish | source
  eval \"$(portbook env --format direnv)\"                             in an .envrc
  portbook env --format compose > compose.override.yaml
Compose: the container's port is `target`, or the service's `port` or `prefer`; where any service has
a `target`, only those that have one are written. A service that asks for interfaces = \"any\" has the
wildcard address as WEB_HOST, to bind, and WEB_CLIENT_HOST beside it; env has its clients' host. Variables that other programs read as something
else, such as DOCKER_HOST, are set only where host_variable or variable names them.")]
pub struct EnvArgs {
    /// Format of the output; default: shell.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Limit on the ports' wait for their programs.
    #[arg(long, value_name = "DURATION", default_value_t = CLAIM_WITHIN,
        value_parser = number::lasting(number::TOO_SHORT))]
    claim_within: HumanDuration,
    /// Another instance of each service, with ports of its own that are kept too, such as 2.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// Wait of ports for programs that a person or an agent starts later.
pub(super) const CLAIM_WITHIN: HumanDuration = HumanDuration(Duration::from_hours(12));

pub(super) async fn run(global: &Global, args: &EnvArgs) -> Result<(), Failure> {
    global.check_format(args.format.as_ref())?;
    let format = args.format.unwrap_or(Format::Shell);
    let project = project::find(global)?;
    let loaded = global.load()?;
    let asked = asked(&project, args);
    // Checked first: variables that cannot be written need no ports.
    if format == Format::Compose {
        published_services(&project)?;
    }
    let mut requests: Vec<LeaseRequest> = asked.iter().map(|asked| asked.request.clone()).collect();
    label_all(&mut requests, &loaded);
    let granted = with_backend(&loaded, async |backend| {
        backend.allocate_all(requests).await
    })
    .await?;
    granted.iter().for_each(super::request::tell);
    let variables = variables::variables(&variables::granted(&asked, &granted))?;
    if !global.json {
        return print(&text(format, &project, &asked, &granted, &variables)?);
    }
    variables::tell(&asked, &granted, &variables);
    let leases: Vec<_> = granted.iter().flat_map(|granted| &granted.leases).collect();
    let values = &variables.values;
    print_json(&json!({ "version": VERSION, "variables": values, "leases": leases }))
}

fn asked(project: &Project, args: &EnvArgs) -> Vec<Asked> {
    let asked = project.services.iter().map(|service| {
        let request = LeaseRequest {
            claim_within: Some(args.claim_within),
            instance: args.instance.clone(),
            ..LeaseRequest::default()
        };
        let request = project::request(project, service, request);
        Asked::own(request, Some(service.clone()))
    });
    asked.collect()
}

fn text(
    format: Format,
    project: &Project,
    asked: &[Asked],
    granted: &[AllocationDocument],
    variables: &Variables,
) -> Result<String, Failure> {
    if format == Format::Compose {
        return compose(project, asked, granted);
    }
    variables::tell(asked, granted, variables);
    let file: &Path = &project.file;
    format::text(format, &variables.values, file)
}

/// Services that compose is to publish, each with its container's port.
fn published_services(project: &Project) -> Result<Vec<(&Service, Port)>, Failure> {
    let said = project.services.iter().any(|it| it.target.is_some());
    let target = |service: &Service| {
        if said {
            service.target
        } else {
            service.port.or(service.prefer)
        }
    };
    let services = project.services.iter();
    let found: Vec<_> = services
        .filter_map(|service| Some((service, target(service)?)))
        .collect();
    if found.is_empty() {
        return Err(Failure::usage(format!(
            "{}: no service names the port of its container; write, for example, target = 8080",
            project.file.display()
        )));
    }
    Ok(found)
}

fn compose(
    project: &Project,
    asked: &[Asked],
    granted: &[AllocationDocument],
) -> Result<String, Failure> {
    let mut published = Vec::new();
    let services = published_services(project)?;
    for (asked, granted) in asked.iter().zip(granted) {
        let Some(service) = &asked.service else {
            continue;
        };
        let target = services
            .iter()
            .find(|(known, _)| known.name == service.name);
        let Some((_, target)) = target else {
            note(&format!(
                "{} is left out: it has no target, the port inside its container",
                service.name
            ));
            continue;
        };
        published.push(Published {
            service: service.name.to_string(),
            hosts: asked.publish_hosts(granted),
            ports: container_ports(granted, *target),
        });
    }
    Ok(format::compose(&published))
}

/// Ports of all leases, each with the container's port; both count up together.
fn container_ports(granted: &AllocationDocument, target: Port) -> Vec<(u16, u16, &'static str)> {
    let mut targets: Vec<(Port, u16)> = Vec::new();
    let mut found = Vec::new();
    for lease in &granted.leases {
        let known = targets.iter().find(|(port, _)| *port == lease.port);
        let inside = known.map_or_else(
            || {
                let offset = u16::try_from(targets.len()).unwrap_or(u16::MAX);
                target.get().saturating_add(offset)
            },
            |(_, inside)| *inside,
        );
        if known.is_none() {
            targets.push((lease.port, inside));
        }
        found.push((lease.port.get(), inside, lease.protocol.as_str()));
    }
    found
}
