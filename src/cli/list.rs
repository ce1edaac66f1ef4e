//! `portbook list`: leases.

use std::cmp::Ordering;
use std::collections::HashSet;

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use serde_json::json;

use super::table::table;
use super::{
    Failure, Global, advice, complete, fleet, folder, note, number, print, print_json, with_backend,
};
use crate::answers::discovery::{PrometheusTargets, TraefikConfiguration, caddyfile};
use crate::answers::document::{LeaseDocument, VERSION};
use crate::answers::leases::LeaseQuery;
use crate::domain::duration::coarse;
use crate::domain::lease::{LeaseId, Name, State};
use crate::domain::words::words_of;
use crate::host::clock::Clock;
use crate::library::backend::Backend;

#[derive(Debug, Args)]
#[command(after_help = "\
Living leases, newest first; with --all those that have ended come after them, newest first too:
  portbook list --name web --all        every lease that this name had
  portbook list --state lost            those that another program has taken
  portbook list --sort -granted --limit 5
  portbook list --format caddy          a site for each service that listens")]
pub struct ListArgs {
    /// Ended leases as well, after the living ones, and spare ones.
    #[arg(long, short)]
    all: bool,
    /// Only those of this name.
    #[arg(long, short, value_name = "NAME", add = ArgValueCandidates::new(complete::names))]
    name: Option<Name>,
    /// Only those of this pool.
    #[arg(long, value_name = "POOL", add = ArgValueCandidates::new(complete::pools))]
    pool: Option<String>,
    /// Only those in this state; `ended` stands for every state of ended leases.
    #[arg(long, value_name = "STATE", value_parser = states())]
    state: Option<String>,
    /// Only those with this label.
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Option<String>,
    /// Sort by port, name, state, owner, pool, granted or ends; a minus before it reverses the
    /// order.
    #[arg(long, value_name = "COLUMN", value_parser = sorting, allow_hyphen_values = true)]
    sort: Option<Sorting>,
    /// Maximum number of leases; default: all.
    #[arg(long, value_name = "LEASES",
        value_parser = number::at_least_one::<u32>("ask for one lease at least"))]
    limit: Option<u32>,
    /// Write the services that listen as targets of Prometheus (JSON), configuration of Traefik (JSON)
    /// or a Caddyfile: web.localhost is lease web, web.TREE.localhost that of a folder.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// List the published names of all hosts of the fleet.
    #[arg(long, conflicts_with_all = ["all", "name", "pool", "state", "label", "sort", "limit"])]
    fleet: bool,
}

/// Formats of programs that look for services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Prometheus,
    Traefik,
    Caddy,
}

fn states() -> PossibleValuesParser {
    words_of::<State>()
        .chain(["ended"])
        .collect::<Vec<_>>()
        .into()
}

pub(super) async fn run(global: &Global, args: &ListArgs) -> Result<(), Failure> {
    global.check_format(args.format.as_ref())?;
    if args.fleet {
        return of_fleet(global, args.format).await;
    }
    let loaded = global.load()?;
    let (leases, more) = with_backend(&loaded, async |backend| find(backend, args).await).await?;
    if global.json {
        return print_json(&json!({ "version": VERSION, "leases": leases, "more": more }));
    }
    if let Some(format) = args.format {
        return match format {
            Format::Prometheus => print_json(&PrometheusTargets::of(&leases)),
            Format::Traefik => print_json(&TraefikConfiguration::of(&leases)),
            Format::Caddy => print(&caddyfile(&leases)),
        };
    }
    if leases.is_empty() {
        note(nothing(args));
        return Ok(());
    }
    let (shown, spares) = args.without_spares(leases);
    print(&text(&shown))?;
    advice::tell_all(&shown);
    if spares > 0 {
        note(&format!(
            "{spares} spares of `run --map all` are left out: --all shows them"
        ));
    }
    if more {
        let shown = shown.len();
        note(&format!("the first {shown}; without --limit all are shown"));
    }
    Ok(())
}

impl ListArgs {
    /// Leases to be shown, and the number of spares left out: those say nothing to a reader unless asked for.
    fn without_spares(&self, mut leases: Vec<LeaseDocument>) -> (Vec<LeaseDocument>, usize) {
        let found = leases.len();
        let is_asked = self.all || self.state.is_some() || self.limit.is_some();
        if !is_asked && leases.iter().any(|lease| !lease.spare) {
            leases.retain(|lease| !lease.spare);
        }
        let left_out = found - leases.len();
        (leases, left_out)
    }
}

async fn of_fleet(global: &Global, format: Option<Format>) -> Result<(), Failure> {
    match format {
        None => fleet::list(global, false).await,
        Some(Format::Prometheus) => fleet::list(global, true).await,
        Some(Format::Traefik | Format::Caddy) => Err(Failure::usage(
            "the names of a fleet are written for Prometheus alone: those of Traefik and Caddy are below localhost",
        )),
    }
}

/// Table of these leases.
pub(super) fn text(leases: &[LeaseDocument]) -> String {
    let now = Clock::system().now();
    let rows: Vec<Vec<String>> = leases.iter().map(|lease| row(lease, now)).collect();
    let (heading, rows) = with_labels(leases, &HEADING, rows);
    table(&heading, &rows)
}

const HEADING: [&str; 11] = [
    "PORT", "PROTO", "NAME", "FOLDER", "STATE", "GUARD", "OWNER", "POOL", "HELD ON", "AGE", "ID",
];

fn nothing(args: &ListArgs) -> &'static str {
    let is_narrowed =
        args.name.is_some() || args.pool.is_some() || args.state.is_some() || args.label.is_some();
    if is_narrowed {
        return "no lease is like this; `portbook list` shows all that live, with --all those that have ended";
    }
    "no leases; `portbook run -- CMD` or `portbook alloc` makes one"
}

/// The requested leases, and whether there are more.
async fn find(backend: &Backend, args: &ListArgs) -> Result<(Vec<LeaseDocument>, bool), Failure> {
    let limit = args.limit.map_or(usize::MAX, |limit| limit as usize);
    // Sorting needs all of them.
    let most = if args.sort.is_some() {
        usize::MAX
    } else {
        limit
    };
    let wanted = LeaseQuery {
        name: args.name.as_ref().map(ToString::to_string),
        pool: args.pool.clone(),
        state: args.state.clone(),
        label: args.label.clone(),
        ..LeaseQuery::default()
    };
    let (mut leases, mut more) = backend.leases_like(wanted.clone(), most).await?;
    if args.all && args.state.is_none() && !more {
        let wanted = LeaseQuery {
            state: Some("ended".to_owned()),
            ..wanted
        };
        // One more than fits tells whether there are more.
        let room = (most - leases.len()).saturating_add(1);
        let (mut ended, _) = backend.leases_like(wanted, room).await?;
        // A lease that ended between the two questions is in both answers.
        let living: HashSet<LeaseId> = leases.iter().map(|lease| lease.id).collect();
        ended.retain(|lease| !living.contains(&lease.id));
        leases.extend(ended);
    }
    if let Some(sorting) = args.sort {
        sorting.sort(&mut leases);
    }
    more |= leases.len() > limit;
    leases.truncate(limit);
    Ok((leases, more))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sorting {
    column: &'static str,
    descending: bool,
}

const SORTED: [&str; 7] = ["port", "name", "state", "owner", "pool", "granted", "ends"];

fn sorting(text: &str) -> Result<Sorting, String> {
    let (word, descending) = match text.strip_prefix('-') {
        Some(word) => (word, true),
        None => (text, false),
    };
    let column = SORTED.into_iter().find(|column| *column == word);
    column
        .map(|column| Sorting { column, descending })
        .ok_or_else(|| {
            format!(
                "sort by one of {}, with a minus before it for the other order",
                SORTED.join(", ")
            )
        })
}

impl Sorting {
    /// Sorts. Leases without a value in the column come last in either order.
    fn sort(self, leases: &mut [LeaseDocument]) {
        leases.sort_by(|one, other| {
            let order = self.compare(one, other);
            order.then_with(|| other.id.cmp(&one.id))
        });
    }

    fn compare(self, one: &LeaseDocument, other: &LeaseDocument) -> Ordering {
        fn command(lease: &LeaseDocument) -> Option<&String> {
            lease.owner.as_ref().map(|owner| &owner.command)
        }
        let (a, b) = (one, other);
        match self.column {
            "name" => self.of(a.name.as_ref(), b.name.as_ref()),
            "state" => self.of(Some(a.state.as_str()), Some(b.state.as_str())),
            "owner" => self.of(command(a), command(b)),
            "pool" => self.of(Some(&a.pool), Some(&b.pool)),
            "granted" => self.of(Some(a.granted_at), Some(b.granted_at)),
            "ends" => self.of(end(a), end(b)),
            _ => self.of(Some((a.port, a.protocol)), Some((b.port, b.protocol))),
        }
    }

    fn of<T: Ord>(self, one: Option<T>, other: Option<T>) -> Ordering {
        match (one, other) {
            (Some(one), Some(other)) if self.descending => other.cmp(&one),
            (Some(one), Some(other)) => one.cmp(&other),
            (one, other) => other.is_some().cmp(&one.is_some()),
        }
    }
}

/// Time at which a lease ended, or will end if it is neither claimed nor renewed.
fn end(lease: &LeaseDocument) -> Option<Timestamp> {
    let to_come = [lease.claim_by, lease.expires_at]
        .into_iter()
        .flatten()
        .min();
    lease.ended_at.or(to_come)
}

/// Adds a column of labels, if a lease has any.
fn with_labels<'a>(
    leases: &[LeaseDocument],
    heading: &[&'a str],
    mut rows: Vec<Vec<String>>,
) -> (Vec<&'a str>, Vec<Vec<String>>) {
    let mut heading = heading.to_vec();
    if leases.iter().any(|lease| !lease.labels.is_empty()) {
        heading.push("LABELS");
        for (row, lease) in rows.iter_mut().zip(leases) {
            let labels = lease.labels.iter();
            let words = labels.map(|(key, value)| format!("{key}={value}"));
            row.push(words.collect::<Vec<_>>().join(" "));
        }
    }
    (heading, rows)
}

fn row(lease: &LeaseDocument, now: Timestamp) -> Vec<String> {
    let owner = lease.owner.as_ref();
    let addresses: Vec<&str> = lease
        .addresses
        .iter()
        .map(|address| {
            address
                .rsplit_once(':')
                .map_or(&**address, |(host, _)| host)
        })
        .collect();
    vec![
        lease.port.to_string(),
        lease.protocol.to_string(),
        name(lease),
        folder::cell(lease),
        lease.state.as_str().to_owned(),
        lease.guard.as_str().to_owned(),
        owner.map_or_else(
            || "-".to_owned(),
            |owner| match &owner.process.container_name {
                Some(name) => format!("{}/{} ({name})", owner.command, owner.pid),
                None => format!("{}/{}", owner.command, owner.pid),
            },
        ),
        lease.pool.clone(),
        addresses.join(" "),
        age(lease, now),
        lease.id.to_string(),
    ]
}

fn name(lease: &LeaseDocument) -> String {
    match &lease.name {
        Some(name) => name.to_string(),
        None if lease.spare => "(spare of --map all)".to_owned(),
        None => "-".to_owned(),
    }
}

/// Age since the grant: "3d", "2h".
fn age(lease: &LeaseDocument, now: Timestamp) -> String {
    let age = now.duration_since(lease.granted_at);
    coarse(age.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support::lease;

    #[test]
    fn leases_without_a_name_come_last_in_either_order() {
        let mut leases = [20_002, 20_000, 20_001].map(lease);
        leases[0].name = Some("a".parse().unwrap());
        leases[1].name = Some("b".parse().unwrap());
        let documents = leases.map(|lease| LeaseDocument::of(&lease, &Clock::manual()));
        let sorted = |by: &str| {
            let mut documents = documents.clone();
            sorting(by).unwrap().sort(&mut documents);
            documents.map(|lease| lease.port.get())
        };
        assert_eq!(sorted("name"), [20_002, 20_000, 20_001]);
        assert_eq!(sorted("-name"), [20_000, 20_002, 20_001]);
        assert_eq!(sorted("-port"), [20_002, 20_001, 20_000]);
        assert!(sorting("colour").unwrap_err().contains("port, name"));
    }
}
