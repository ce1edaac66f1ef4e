//! Options of `alloc` and `run` that describe the ports.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;

use super::variables::Asked;
use super::{Failure, Global, advice, complete, number, project};
use crate::answers::document::{AllocationDocument, LeaseRequest, ScopeWord};
use crate::config::Loaded;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{Handover, Name};
use crate::domain::pool::Strategy;
use crate::domain::port::{PortSet, Protocols};
use crate::domain::selector::Selector;

/// Options that describe the ports.
#[derive(Debug, Clone, Default, Args)]
pub struct PortOptions {
    /// Name of the port; it gets the same port every time. Repeat it for several ports at once.
    /// With --count or --block the ports of one name are web, web.1, web.2, ….
    #[arg(long, short, value_name = "NAME", add = ArgValueCandidates::new(complete::names))]
    pub(super) name: Vec<Name>,
    /// A service of the project's portbook.toml, for the folder of that file alone; repeatable.
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["name", "scope", "count", "block"])]
    pub(super) service: Vec<Name>,
    /// Scope in which the name is unique: your user, or your user and the folder of the project:
    /// that of its portbook.toml, else the root of the git work tree, else this one.
    #[arg(long, value_enum)]
    pub(super) scope: Option<ScopeArg>,
    /// Another instance of the service, with a port of its own that is kept too, such as 2.
    #[arg(long, value_name = "NAME")]
    pub(super) instance: Option<String>,
    /// The pool to take from.
    #[arg(long, value_name = "POOL", add = ArgValueCandidates::new(complete::pools))]
    pub(super) pool: Option<String>,
    /// Exactly this port, or fail.
    #[arg(long, short, value_name = "PORT", conflicts_with = "prefer", value_parser = port)]
    pub(super) port: Option<u16>,
    /// This port if it is free, else the next one above it, else one of the pool. A name goes back
    /// to it as soon as it is free.
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub(super) prefer: Option<u16>,
    /// Number of ports above the preferred one to try before the pool; default: that of the pool,
    /// or 100.
    #[arg(long, value_name = "N", requires = "prefer")]
    pub(super) prefer_span: Option<u16>,
    /// Ranges to search in place of the pool's, such as 8000-8099,9000.
    #[arg(long, value_name = "RANGES", conflicts_with = "port")]
    pub(super) range: Option<PortSet>,
    /// Number of ports.
    #[arg(long, value_name = "N",
        value_parser = number::at_least_one::<NonZeroU32>("ask for one port at least"))]
    pub(super) count: Option<NonZeroU32>,
    /// Number of ports in a row.
    #[arg(long, value_name = "N", conflicts_with_all = ["count", "port"],
        value_parser = number::at_least_one::<NonZeroU32>("ask for one port at least"))]
    pub(super) block: Option<NonZeroU32>,
    /// tcp, udp or both.
    #[arg(long, value_name = "PROTOCOL")]
    pub(super) protocol: Option<Protocols>,
    /// Interfaces to hold it on: a NIC name or glob, an address, a network, `any`, `all`,
    /// `loopback`, `private`, `public`, `ipv4`, `ipv6`; `!` before it excludes. Separate with
    /// commas, or repeat.
    #[arg(long, short, value_name = "SELECTOR", value_delimiter = ',',
        add = ArgValueCandidates::new(complete::interfaces))]
    pub(super) interface: Vec<Selector>,
    /// Order of candidates: learned, ordered or random.
    #[arg(long, value_name = "STRATEGY")]
    pub(super) strategy: Option<Strategy>,
    /// Maximum number of candidate ports to try.
    #[arg(long, value_name = "N",
        value_parser = number::at_least_one::<NonZeroU32>("allow one attempt at least"))]
    pub(super) max_attempts: Option<NonZeroU32>,
    /// Limit on the search, such as 2s, and on the wait for the answer after it; default: the pool's
    /// attempt_timeout, and 30s.
    #[arg(long, value_name = "DURATION")]
    pub(super) timeout: Option<HumanDuration>,
    /// Hand-over of the port to the program: gate (it sets SO_REUSEADDR, as most servers do), fd
    /// (it takes listening sockets, as from systemd), release (it does neither), or for `run` bind (the
    /// kernel lets any server in, and no other program; needs a privileged service, else it is gate).
    /// For UDP the default is release.
    #[arg(long, value_name = "MODE")]
    pub(super) handover: Option<Handover>,
    /// Lifetime of the lease unless it is renewed, such as 30m.
    #[arg(long, value_name = "DURATION", value_parser = number::lasting(number::TOO_SHORT))]
    pub(super) ttl: Option<HumanDuration>,
    /// Fail rather than move a name whose port is taken, or hand it over in another way than asked for.
    #[arg(long, requires = "name")]
    pub(super) strict: bool,
    /// Limit on the wait for a port if none is left, such as 30s.
    #[arg(long, value_name = "DURATION")]
    pub(super) wait: Option<HumanDuration>,
    /// A word to filter by; repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(super) label: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ScopeArg {
    /// Your user.
    User,
    /// Your user and the folder of the project.
    Dir,
}

fn port(text: &str) -> Result<u16, String> {
    let port: crate::domain::port::Port = text
        .parse()
        .map_err(|error: crate::domain::port::PortError| error.to_string())?;
    Ok(port.get())
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write a label as KEY=VALUE".to_owned()),
    }
}

impl PortOptions {
    /// Requests for the API: one, or one for each service of the project.
    pub(super) fn requests(&self, global: &Global) -> Result<Vec<LeaseRequest>, Failure> {
        let asked = self.asked(global, &[])?.into_iter();
        let own = asked.filter(|asked| !asked.only_referred_to);
        Ok(own.map(|asked| asked.request).collect())
    }

    /// Requests with their services, and reservations for the services that their variables or
    /// `named` refer to.
    pub(super) fn asked(&self, global: &Global, named: &[Name]) -> Result<Vec<Asked>, Failure> {
        if self.service.is_empty() {
            return Ok(vec![Asked::own(self.request()?, None)]);
        }
        let project = project::find(global)?;
        let asked = self.service.iter().map(|name| {
            let service = project::service(&project, name)?;
            let request = project::request(&project, service, self.request()?);
            Ok(Asked::own(request, Some(service.clone())))
        });
        let mut asked: Vec<Asked> = asked.collect::<Result<_, Failure>>()?;
        asked.extend(project::referred_to(&project, &asked, named));
        Ok(asked)
    }

    pub(super) fn request(&self) -> Result<LeaseRequest, Failure> {
        let dir = self.scope == Some(ScopeArg::Dir);
        Ok(LeaseRequest {
            names: self.name.clone(),
            instance: self.instance.clone(),
            pool: self.pool.clone(),
            port: self.port,
            prefer: self.prefer,
            prefer_span: self.prefer_span,
            ranges: self.range.clone(),
            count: self.count,
            block: self.block,
            strict: self.strict,
            wait: self.wait,
            protocol: self.protocol,
            interfaces: self.interface.clone(),
            strategy: self.strategy,
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            handover: self.handover,
            ttl: self.ttl,
            scope: dir.then_some(ScopeWord::Dir),
            directory: if dir { Some(project::scope()?) } else { None },
            labels: self.label.iter().cloned().collect::<BTreeMap<_, _>>(),
            ..LeaseRequest::default()
        })
    }
}

/// Adds the labels of `client.labels` to requests; `--label` wins over one with its key.
pub(super) fn label_all<'r>(
    requests: impl IntoIterator<Item = &'r mut LeaseRequest>,
    loaded: &Loaded,
) {
    let own = &loaded.settings.client.labels;
    for request in requests {
        request.add_labels(own);
    }
}

/// Prints the notes on a grant, and the hints on its names.
pub(super) fn tell(granted: &AllocationDocument) {
    for text in notes(granted) {
        super::note(&text);
    }
    granted.leases.iter().for_each(advice::tell_before_start);
}

/// Notes on a grant: a port that is not the preferred one or the one that its name had, and the notes of
/// the engine.
pub(super) fn notes(granted: &AllocationDocument) -> Vec<String> {
    let mut notes = granted.moves_in_words();
    notes.extend(granted.notes.iter().cloned());
    notes
}
