//! `portbook wait`: until something listens on a port or for a lease, answers, or has gone.

mod ends;
mod events;
mod follow;
mod free;
mod http;
mod judge;
mod listening;
mod mine;
mod owner;

use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;

use self::follow::{Follow, Look};
pub(super) use self::http::HttpPath;
use super::target::Target;
use super::{Failure, Global, complete, note, print_json};
use crate::answers::document::{LeaseDocument, VERSION};
use crate::config::Loaded;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{LeaseId, Name};
use crate::domain::port::{Port, Protocol};

/// Exit code of a wait whose time is up, as of `timeout(1)`.
const TIMED_OUT: u8 = 124;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portbook run --service web -- npm start &
  portbook wait web --http /health --timeout 60s    until it answers below 500
  portbook wait 5432                                until something listens there
  portbook wait --free 3000                         until nothing is on the port any more
  portbook wait web --mine || portbook run --service web -- npm start &
                                                    use one's own server again, or start it

It ends with 1, and the reason, as soon as waiting is in vain: the program of the lease has ended, or \
the lease has; with --free, a name keeps the port whose program is away.

Exit code 124 if the time is up, as with timeout(1). Without --timeout it waits for ever.")]
pub struct WaitArgs {
    /// A port, or a lease's name or id. The name need not have a lease yet. A number is a lease of
    /// that name if there is one and no lease is on the port.
    #[arg(value_name = "PORT|NAME", add = ArgValueCandidates::new(complete::names))]
    pub(super) target: Target,
    /// tcp or udp. Default for a port: tcp, or udp if the leases on it are for udp alone; for a
    /// name: both.
    #[arg(long)]
    pub(super) protocol: Option<Protocol>,
    /// Wait until the port is free, rather than until something listens.
    #[arg(long)]
    pub(super) free: bool,
    /// Wait until GET of this path is answered with a status below 500. Redirects count.
    #[arg(long, value_name = "PATH", conflicts_with = "free")]
    pub(super) http: Option<HttpPath>,
    /// Do not wait: succeed if the name's own program, and no other one, listens at this moment. With
    /// --http it must also answer.
    #[arg(long, conflicts_with_all = ["free", "timeout"])]
    pub(super) mine: bool,
    /// Limit on the wait; default: none.
    #[arg(long, value_name = "DURATION")]
    pub(super) timeout: Option<HumanDuration>,
}

/// Subject of the wait.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    /// A port.
    Port(Port),
    /// The leases of a name.
    Name(Name),
}

/// One port of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    port: Port,
    protocol: Protocol,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// Outcome of the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Something listens.
    Listening,
    /// An HTTP answer came.
    Answered,
    /// Nothing is on the port any more.
    Free,
    /// The lease or its program ended.
    Ended,
    /// Another program has the lease's port.
    Lost,
    /// A name whose program is away keeps the port.
    Kept,
    /// No program of the name listens at this moment.
    Absent,
    /// The time was up.
    TimedOut,
}

impl Outcome {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Listening | Self::Answered | Self::Free => 0,
            Self::Ended | Self::Lost | Self::Kept | Self::Absent => 1,
            Self::TimedOut => TIMED_OUT,
        }
    }
}

/// The answer, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: u32,
    pub(super) outcome: Outcome,
    pub(super) ports: Vec<Place>,
    /// The reason, or what was seen last; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) detail: String,
    /// The status of the HTTP answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// The lease that decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<LeaseDocument>,
}

impl Report {
    pub(super) fn of(outcome: Outcome, ports: &[Place]) -> Self {
        Self {
            version: VERSION,
            outcome,
            ports: ports.to_vec(),
            detail: String::new(),
            status: None,
            lease: None,
        }
    }

    pub(super) fn because(mut self, detail: String) -> Self {
        self.detail = detail;
        self
    }

    pub(super) fn by(mut self, lease: LeaseDocument) -> Self {
        self.lease = Some(lease);
        self
    }
}

/// State of the wait. It outlives a time-out, which reports what was seen last.
pub(super) struct Waiting<'a> {
    subject: Subject,
    protocol: Option<Protocol>,
    follow: Follow<'a>,
    places: Vec<Place>,
    /// Last thing seen, for people.
    last: String,
}

pub(super) async fn run(global: &Global, args: &WaitArgs) -> Result<ExitCode, Failure> {
    let report = report(&global.load()?, args).await?;
    if !report.detail.is_empty() {
        note(&report.detail);
    }
    if global.json {
        print_json(&report)?;
    }
    Ok(ExitCode::from(report.outcome.code()))
}

/// Waits, and reports the end of the wait.
pub(super) async fn report(loaded: &Loaded, args: &WaitArgs) -> Result<Report, Failure> {
    let subject = subject(args)?;
    let is_needed = matches!(subject, Subject::Name(_));
    let mut waiting = Waiting {
        subject,
        protocol: args.protocol,
        follow: Follow::new(loaded, is_needed),
        places: Vec::new(),
        last: String::new(),
    };
    until(&mut waiting, args).await
}

fn subject(args: &WaitArgs) -> Result<Subject, Failure> {
    if args.http.is_some() && args.protocol == Some(Protocol::Udp) {
        return Err(Failure::usage("--http is for tcp alone"));
    }
    match &args.target {
        Target::Port(port) => Ok(Subject::Port(*port)),
        Target::Ports(_) => Err(Failure::usage("wait for one port, or for a name")),
        Target::Lease(word) => {
            let name = word.parse().map(Subject::Name);
            name.map_err(|error: <Name as std::str::FromStr>::Err| {
                Failure::usage(error.to_string())
            })
        }
    }
}

async fn until(waiting: &mut Waiting<'_>, args: &WaitArgs) -> Result<Report, Failure> {
    let Some(limit) = args.timeout else {
        return met(waiting, args).await;
    };
    if let Ok(done) = tokio::time::timeout(limit.0, met(waiting, args)).await {
        return done;
    }
    if args.free {
        waiting.last = free::who_is_there(waiting).await;
    }
    let places = std::mem::take(&mut waiting.places);
    let last = std::mem::take(&mut waiting.last);
    Ok(Report::of(Outcome::TimedOut, &places).because(last))
}

async fn met(waiting: &mut Waiting<'_>, args: &WaitArgs) -> Result<Report, Failure> {
    if args.mine {
        mine::serves(waiting, args.http.as_ref()).await
    } else if args.free {
        free::until_free(waiting).await
    } else {
        listening::until_listening(waiting, args.http.as_ref()).await
    }
}

impl Waiting<'_> {
    /// Looks at the leases of the subject. A number becomes the name of a lease once there is one of
    /// that name here, and none on the port.
    async fn look(&mut self, known: &[LeaseId]) -> Result<Option<Look>, Failure> {
        let look = self.follow.look(&self.subject, known).await?;
        if let (Subject::Port(port), Some(found)) = (&self.subject, &look)
            && let Some(name) = &found.called
        {
            let ports: Vec<String> = found.living.iter().map(|it| it.port.to_string()).collect();
            let ports = ports.join(", ");
            note(&format!(
                "no lease is on port {port}, but one is called {name}, with port {ports}"
            ));
            self.subject = Subject::Name(name.clone());
        }
        Ok(look)
    }

    /// Finds out whether a number is the name of a lease, before its port is looked at.
    async fn read_number(&mut self) -> Result<(), Failure> {
        if !self.subject.is_name() {
            self.look(&[]).await?;
        }
        Ok(())
    }

    /// Updates the ports of the subject by the present leases.
    fn find_places(&mut self, living: &[LeaseDocument]) {
        let of_lease = |lease: &LeaseDocument| Place {
            port: lease.port,
            protocol: lease.protocol,
        };
        let wanted = |place: &Place| self.protocol.is_none_or(|only| place.protocol == only);
        let leased: Vec<Place> = living.iter().map(of_lease).filter(wanted).collect();
        self.places = match &self.subject {
            Subject::Name(_) => leased,
            Subject::Port(port) => {
                let of_leases = |protocol| leased.iter().any(|place| place.protocol == protocol);
                let udp = of_leases(Protocol::Udp) && !of_leases(Protocol::Tcp);
                let usual = if udp { Protocol::Udp } else { Protocol::Tcp };
                vec![Place {
                    port: *port,
                    protocol: self.protocol.unwrap_or(usual),
                }]
            }
        };
    }

    /// Says that no lease of the name is there yet. `None` if one is, or for a port.
    fn no_lease(&self, living: &[LeaseDocument]) -> Option<String> {
        match &self.subject {
            Subject::Name(name) if living.is_empty() => {
                Some(format!("no lease here is called {name} yet"))
            }
            _ => None,
        }
    }

    /// The ports, for people.
    fn named_places(&self) -> String {
        let places: Vec<String> = self.places.iter().map(ToString::to_string).collect();
        match (&places[..], &self.subject) {
            ([], Subject::Name(name)) => format!("lease {name}"),
            ([only], _) => format!("port {only}"),
            _ => format!("ports {}", places.join(", ")),
        }
    }
}
