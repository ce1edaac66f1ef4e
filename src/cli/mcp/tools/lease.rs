//! `lease_port`: ports under a name of the work tree.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::answer::Answer;
use super::super::tool::{Call, Effect, Tool};
use crate::answers::document::{AllocationDocument, LeaseDocument};
use crate::cli::request::{self, PortOptions, ScopeArg};
use crate::cli::variables::{self, Asked};
use crate::cli::{Failure, alloc, env, project, with_backend};
use crate::domain::lease::{Handover, Name, State};
use crate::domain::port::{Port, PortSet, Protocols};

/// Description of the ports to lease.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cli::mcp) struct Arguments {
    /// Name of the service, such as web, api or db. The same name gets the same port again in this work
    /// tree. A service of portbook.toml has the settings of that file.
    name: Name,
    /// A further copy of the service, with a port of its own, such as 2.
    #[serde(default)]
    instance: Option<String>,
    /// Preferred port: this one if it is free, else the next one above it. Take the default port of the
    /// framework, such as 3000 or 5173.
    #[serde(default)]
    prefer: Option<Port>,
    /// Exactly this port, or a refusal. Use `prefer` unless no other port will do.
    #[serde(default)]
    port: Option<Port>,
    /// Ranges to search, such as 8000-8099,9000.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    range: Option<PortSet>,
    /// Number of ports for this one service; default: 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 256))]
    count: Option<NonZeroU32>,
    /// Protocol; default: tcp.
    #[serde(default)]
    protocol: Option<Protocols>,
    /// Way of the port to the program; default: gate. Use release for a server that does not set
    /// SO_REUSEADDR: it says EADDRINUSE otherwise. With fd the server takes sockets as from systemd. With bind
    /// the kernel lets any server in, if the service is privileged.
    #[serde(default)]
    handover: Option<Handover>,
}

pub(in crate::cli::mcp) struct LeasePort;

impl Tool for LeasePort {
    type Arguments = Arguments;
    const NAME: &'static str = "lease_port";
    const TITLE: &'static str = "Lease a port";
    const DESCRIPTION: &'static str = "\
Gets a free port for a service of this work tree, before you start its server. No other work tree or agent gets the \
same port, and the same name gets the same port again, also tomorrow. Call it again before each start of a server \
that does not run under `portbook run`: that is safe, and opens the port again. The answer has the command to start \
the server with, its environment, and why the port is not the preferred one. It starts and stops no program.";
    const EFFECT: Effect = Effect::Adds;

    async fn answer(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
        let options = arguments.options(call)?;
        let mut asked = options.asked(&call.global, &[])?;
        for asked in asked.iter_mut().filter(|asked| !asked.only_referred_to) {
            asked.request.claim_within = Some(env::CLAIM_WITHIN);
        }
        let loaded = call.global.load()?;
        request::label_all(asked.iter_mut().map(|asked| &mut asked.request), &loaded);
        let requests = asked.iter().map(|asked| asked.request.clone()).collect();
        let granted = with_backend(&loaded, async |backend| {
            backend.allocate_all(requests).await
        });
        told(call, &options, &asked, &granted.await?)
    }
}

impl Arguments {
    /// The options of the command line with the same meaning.
    fn options(self, call: &Call) -> Result<PortOptions, Failure> {
        let project = project::look(&call.global)?;
        let is_service = project.is_some_and(|project| {
            let mut services = project.services.iter();
            services.any(|service| service.name == self.name)
        });
        let mut options = PortOptions {
            instance: self.instance,
            prefer: self.prefer.map(Port::get),
            port: self.port.map(Port::get),
            range: self.range,
            count: self.count,
            protocol: self.protocol,
            handover: self.handover,
            ..PortOptions::default()
        };
        if is_service {
            options.service.push(self.name);
        } else {
            options.name.push(self.name);
            options.scope = Some(ScopeArg::Dir);
        }
        Ok(options)
    }
}

fn told(
    call: &Call,
    options: &PortOptions,
    asked: &[Asked],
    granted: &[AllocationDocument],
) -> Result<Answer, Failure> {
    let environment = variables::variables(&variables::granted(asked, granted))?.values;
    // The first request is that of the service itself.
    let own = granted.first().map_or(&[][..], |granted| &granted.leases);
    let mut answer = Answer::new(sentence(own));
    if let Some(unguarded) = alloc::unguarded(granted) {
        answer = answer.says(format!("Note: {unguarded}."));
    }
    let notes: Vec<String> = granted.iter().flat_map(request::notes).collect();
    for hint in own.iter().filter_map(|lease| lease.hint.as_ref()) {
        answer = answer.says(format!("Last time: {}.", hint.says));
    }
    let run = format!("{} COMMAND", command(options));
    answer = match running(own) {
        Some(pid) => with_steps_beside(answer, pid),
        None => with_steps(answer, &run, own),
    };
    Ok(answer
        .seen(&notes.join("\n"))
        .with("notes", Some(notes).filter(|notes| !notes.is_empty()))
        .with("leases", call.tree.briefs(own))
        .with("work_tree", call.tree.folder().display().to_string())
        .with("run", run)
        .with("environment", serde_json::json!(environment)))
}

/// Process that uses one of these leases already.
fn running(own: &[LeaseDocument]) -> Option<u32> {
    let running = own.iter().filter(|lease| lease.state != State::Reserved);
    let mut owners = running.filter_map(|lease| lease.owner.as_ref());
    owners.next().map(|owner| owner.pid)
}

/// Adds the next tools where the server runs already.
fn with_steps_beside(answer: Answer, pid: u32) -> Answer {
    answer
        .says(format!("Its program runs already (pid {pid})."))
        .next("Do not start a second server: service_url has the address of the one that runs.")
        .next("A further copy needs a port of its own: call lease_port with `instance`.")
}

/// Adds both ways to start the server, and the next tool.
fn with_steps(answer: Answer, run: &str, own: &[LeaseDocument]) -> Answer {
    let port = own.first().map_or(0, |lease| lease.port.get());
    let name = own.first().and_then(|lease| lease.name.as_ref());
    let name = name.map_or_else(String::new, ToString::to_string);
    answer
        .next(format!(
            "Start the server in this work tree under portbook, as it keeps the port over restarts: {run} \
             (it sets PORT and HOST; {{port}} and {{host}} in COMMAND are replaced)"
        ))
        .next(format!(
            "Or start it by yourself in this work tree, with `environment` of this answer, such as PORT={port}, within \
             12 hours. After it has ended, call lease_port again before the next start: until then the port is shut."
        ))
        .next(format!("Then call wait_until_serving with the name {name}."))
}

/// "web has port 24117 (tcp)."
fn sentence(own: &[LeaseDocument]) -> String {
    let each = own.iter().map(|lease| {
        let name = lease.name.as_ref();
        let name = name.map_or_else(|| "the lease".to_owned(), ToString::to_string);
        format!("{name} has port {} ({})", lease.port, lease.protocol)
    });
    let each: Vec<String> = each.collect();
    format!("{}.", each.join(", "))
}

/// The command that starts a program on this lease.
fn command(options: &PortOptions) -> String {
    let mut words = vec!["portbook run".to_owned()];
    words.extend(
        options
            .service
            .iter()
            .map(|name| format!("--service {name}")),
    );
    words.extend(options.scope.map(|_| "--scope dir".to_owned()));
    words.extend(options.name.iter().map(|name| format!("--name {name}")));
    let mut option = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("--{name} {value}")));
    };
    option("instance", options.instance.clone());
    option("prefer", options.prefer.map(|port| port.to_string()));
    option("port", options.port.map(|port| port.to_string()));
    option("range", options.range.as_ref().map(ToString::to_string));
    option("count", options.count.map(|count| count.to_string()));
    option(
        "protocol",
        options.protocol.map(|it| it.as_str().to_owned()),
    );
    option(
        "handover",
        options.handover.map(|it| it.as_str().to_owned()),
    );
    words.push("--".to_owned());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: PortOptions,
        #[arg(last = true)]
        command: Vec<String>,
    }

    #[test]
    fn command_of_an_answer_says_what_was_asked_for() {
        let options = PortOptions {
            name: vec!["web".parse().unwrap()],
            scope: Some(ScopeArg::Dir),
            instance: Some("2".to_owned()),
            prefer: Some(3000),
            range: Some("3000-3099,4000".parse().unwrap()),
            count: NonZeroU32::new(3),
            protocol: Some(Protocols::Both),
            handover: Some(Handover::Release),
            ..PortOptions::default()
        };
        let line = command(&options);
        let read = Line::try_parse_from(line.split(' ').skip(1)).unwrap();
        assert_eq!(format!("{:?}", read.options), format!("{options:?}"));
    }

    #[test]
    fn service_of_a_project_is_started_by_its_service() {
        let options = PortOptions {
            service: vec!["web".parse().unwrap()],
            ..PortOptions::default()
        };
        assert_eq!(command(&options), "portbook run --service web --");
    }
}
