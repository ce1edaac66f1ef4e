//! `portbook fleet reserve`, `release` and `everywhere`: one number on every host.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::super::table::table;
use super::super::{Failure, Global, note, with_service};
use super::show::{answer_rows, tell_age};
use crate::answers::document::VERSION;
use crate::answers::fleet::{
    FleetEverywhereDocument, FleetEverywhereQuery, ListFleetEverywhere, ReleaseEverywhere,
    ReservationDocument, ReservationRequest, ReserveEverywhere,
};
use crate::answers::operation::{Body, PortPath, Query};
use crate::domain::duration::HumanDuration;
use crate::domain::everywhere::{EverywhereHost, EverywhereNumber, Stand};
use crate::domain::lease::Name;
use crate::domain::port::{Port, PortSet, Protocol};
use crate::domain::words::counted;
use crate::library::Error;
use crate::library::backend::Backend;

/// Least limit on an answer that waits for a change.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portbook fleet reserve 9100 --name node-exporter      the same number on every host
  portbook fleet reserve --name agent --all-or-nothing  a free one, or none if a host objects

Each host holds the number for the first user that asks for the name there, as `portbook run --name NAME`
does. The exit code is 1 if a host objects; a host that is away takes the number when it is back.")]
pub struct ReserveArgs {
    /// Port; without it this host chooses one that no host has claimed.
    port: Option<Port>,
    /// Name that the number is kept for.
    #[arg(long)]
    name: Name,
    /// Protocol of the port.
    #[arg(long, default_value = "tcp")]
    protocol: Protocol,
    /// Pool of this host to choose from.
    #[arg(long, conflicts_with = "port")]
    pool: Option<String>,
    /// Longest wait for the answers of hosts.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    wait: HumanDuration,
    /// Take the reservation back if a host objects, unless it was there before.
    #[arg(long)]
    all_or_nothing: bool,
}

#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Port or name, as `portbook fleet everywhere` lists them.
    number: String,
    /// Protocol of the port.
    #[arg(long, default_value = "tcp")]
    protocol: Protocol,
}

pub(super) async fn reserve(global: &Global, args: &ReserveArgs) -> Result<(), Failure> {
    let mut loaded = global.load()?;
    let request = ReservationRequest {
        name: Some(args.name.clone()),
        port: args.port,
        protocol: Some(args.protocol),
        pool: args.pool.clone(),
    };
    let reserved = with_service(&loaded, async |backend| {
        backend.call::<ReserveEverywhere>(Body(request)).await
    })
    .await?;
    if let Some(pool) = &reserved.left_out_of {
        let ReservationDocument { port, protocol, .. } = &reserved;
        note(&format!(
            "{port}/{protocol} is in the range of pool {pool}, whose numbers are unique: no host gets it from there until it is released"
        ));
    }
    // An answer that waits for a change takes longer than others.
    let limit = &mut loaded.settings.client.timeout;
    *limit = (*limit).max(PATIENCE);
    let (answers, is_taken_back) = with_service(&loaded, async |backend| {
        settle(args, backend, &reserved).await
    })
    .await?;
    let document = json!({
        "version": VERSION, "port": answers.port, "protocol": answers.protocol,
        "name": answers.name, "hosts": answers.hosts, "taken_back": is_taken_back,
        "reserved_before": reserved.reserved_before, "left_out_of": reserved.left_out_of,
    });
    global.answer(&document, || in_words(&answers))?;
    tell_silent(&answers);
    judge(&answers, then(args, &reserved, is_taken_back))
}

/// Waits for the answers, and takes the reservation back if that is wanted after an objection.
async fn settle(
    args: &ReserveArgs,
    backend: &Backend,
    reserved: &ReservationDocument,
) -> Result<(EverywhereNumber, bool), Failure> {
    let answers = answers(backend, reserved, args.wait.0).await?;
    // What this command did not make is not its to take back.
    let may_take_back = args.all_or_nothing && !reserved.reserved_before;
    let is_taken_back = may_take_back && answers.objectors().next().is_some();
    if is_taken_back {
        release_at(backend, reserved.protocol, reserved.port).await?;
    }
    Ok((answers, is_taken_back))
}

/// Says what becomes of a reservation to which a host objects.
fn then(args: &ReserveArgs, reserved: &ReservationDocument, is_taken_back: bool) -> &'static str {
    if is_taken_back {
        "the reservation was taken back"
    } else if args.all_or_nothing && reserved.reserved_before {
        "it was reserved before, and stays so; `portbook fleet release` takes it back"
    } else {
        "the others keep the number, and these try again"
    }
}

/// Fails if a host objects.
fn judge(answers: &EverywhereNumber, then: &str) -> Result<(), Failure> {
    let (number, objectors) = (answers.number(), answers.objectors().count());
    if objectors == 0 {
        return Ok(());
    }
    let object = if objectors == 1 { "objects" } else { "object" };
    let hosts = counted(objectors as u64, "host");
    let message = format!("{hosts} {object} to {number}: {then}");
    Err(Failure::other(message).already_printed())
}

/// Waits until every living host has answered, or the time is over.
async fn answers(
    backend: &Backend,
    reserved: &ReservationDocument,
    wait: Duration,
) -> Result<EverywhereNumber, Failure> {
    let until = Instant::now() + wait;
    let gone = || Failure::not_found("the reservation was taken back meanwhile");
    let (mut tag, mut known) = ask(backend, reserved, None).await?;
    // The first answer may be older than the reservation.
    while !known.as_ref().is_some_and(EverywhereNumber::is_answered) {
        let Ok(next) = timeout_at(until, ask(backend, reserved, Some(tag))).await else {
            break;
        };
        (tag, known) = next?;
    }
    known.ok_or_else(gone)
}

/// The tag of the list, and the reservation with its answers. `None` if it is not in the list.
async fn ask(
    backend: &Backend,
    reserved: &ReservationDocument,
    unlike: Option<String>,
) -> Result<(String, Option<EverywhereNumber>), Failure> {
    let query = FleetEverywhereQuery {
        ports: Some(PortSet::single(reserved.port)),
        protocol: Some(reserved.protocol),
        name: Some(reserved.name.to_string()),
        unlike,
    };
    let listed = backend.call::<ListFleetEverywhere>(Query(query)).await?;
    Ok((listed.tag, listed.everywhere.into_iter().next()))
}

fn in_words(number: &EverywhereNumber) -> String {
    let head = format!("{} for {}\n", number.number(), number.name);
    head + &hosts_table(std::slice::from_ref(number))
}

/// Tells which living hosts have not answered in time.
fn tell_silent(number: &EverywhereNumber) {
    let silent = number
        .hosts
        .iter()
        .filter(|host| host.live && host.state == Stand::Away);
    let silent = silent.count();
    if silent > 0 {
        let hosts = counted(silent as u64, "living host");
        note(&format!(
            "{hosts} did not answer in time; `portbook fleet everywhere` tells what they say later"
        ));
    }
}

pub(super) async fn release(global: &Global, args: &ReleaseArgs) -> Result<(), Failure> {
    let loaded = global.load()?;
    let (protocol, port) = with_service(&loaded, async |backend| {
        let (protocol, port) = find(args, backend).await?;
        release_at(backend, protocol, port).await?;
        Ok::<_, Failure>((protocol, port))
    })
    .await?;
    let document =
        json!({ "version": VERSION, "released": { "port": port, "protocol": protocol } });
    global.answer(&document, || format!("{port}/{protocol}\n"))
}

async fn release_at(backend: &Backend, protocol: Protocol, port: Port) -> Result<(), Error> {
    let path = PortPath { protocol, port };
    backend.call::<ReleaseEverywhere>(path).await
}

/// The number of a word of the command line.
async fn find(args: &ReleaseArgs, backend: &Backend) -> Result<(Protocol, Port), Failure> {
    if let Ok(port) = args.number.parse::<Port>() {
        return Ok((args.protocol, port));
    }
    let name: Name = args
        .number
        .parse()
        .map_err(|error| Failure::usage(format!("{error}, nor a port")))?;
    let query = FleetEverywhereQuery {
        name: Some(name.to_string()),
        ..FleetEverywhereQuery::default()
    };
    let listed = backend.call::<ListFleetEverywhere>(Query(query)).await?;
    let found = listed.everywhere.first();
    let none = || Failure::not_found(format!("no number is reserved on every host for {name}"));
    found
        .map(|number| (number.protocol, number.port))
        .ok_or_else(none)
}

pub(super) async fn everywhere(global: &Global) -> Result<(), Failure> {
    let loaded = global.load()?;
    let listed = with_service(&loaded, async |backend| {
        let query = Query(FleetEverywhereQuery::default());
        backend.call::<ListFleetEverywhere>(query).await
    })
    .await?;
    if listed.more {
        note("there are more numbers than one answer has");
    }
    tell_age(listed.fresh, listed.age_ms);
    let nothing = "no number is reserved on every host; `portbook fleet reserve` reserves one";
    answer_rows(
        global,
        &listed,
        listed.everywhere.is_empty(),
        nothing,
        || text(&listed),
    )
}

fn text(listed: &FleetEverywhereDocument) -> String {
    hosts_table(&listed.everywhere)
}

fn hosts_table(numbers: &[EverywhereNumber]) -> String {
    let rows: Vec<Vec<String>> = numbers
        .iter()
        .flat_map(|number| number.hosts.iter().map(move |host| row(number, host)))
        .collect();
    table(&["PORT", "PROTO", "NAME", "HOST", "STATE", "WHY"], &rows)
}

fn row(number: &EverywhereNumber, host: &EverywhereHost) -> Vec<String> {
    vec![
        number.port.to_string(),
        number.protocol.to_string(),
        number.name.clone(),
        host.host.clone(),
        host.state.as_str().to_owned(),
        host.why.clone().unwrap_or_default(),
    ]
}
