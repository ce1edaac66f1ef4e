//! The first part: every subject against rivals that do not aim.

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::client::{Tally, Task};
use crate::common::place::Place;
use crate::common::role::{self, Role};
use crate::common::service::Service;
use crate::rivals::Kind;
use crate::subject::Way;
use crate::{Arguments, POOL, losses, table};

/// Measures and prints.
pub fn measure(arguments: &Arguments) -> Result<()> {
    table::head(
        &format!(
            "{} clients at once want a port and bind it up to 20 ms later; rivals that do not aim",
            arguments.clients
        ),
        &[
            "subject",
            "rounds",
            "a round",
            "won",
            "lost",
            "lost to",
            "no port to be had",
        ],
    );
    for way in ways(arguments) {
        let (tally, ()) = run(arguments, way, &Kind::NOT_AIMED, arguments.rounds, |_| {
            Ok(())
        })?;
        report(way, &tally);
    }
    Ok(())
}

/// The subjects that are wanted.
pub fn ways(arguments: &Arguments) -> Vec<Way> {
    let mut ways = Way::value_variants().to_vec();
    let only = arguments.subject.as_deref();
    ways.retain(|way| only.is_none_or(|only| way.word() == only));
    ways
}

/// Runs this number of rounds of one subject against these rivals. What `before` makes of the service
/// before the first round is given back with what came of them.
pub fn run<T>(
    arguments: &Arguments,
    way: Way,
    rivals: &[Kind],
    rounds: u32,
    before: impl FnOnce(&Service) -> Result<T>,
) -> Result<(Tally, T)> {
    let place = Place::new(&format!("{}-{}", POOL.start(), POOL.end()))?;
    let service = place.serve()?;
    let made = before(&service)?;
    let rivals = start(rivals, arguments.clients)?;
    let patient = rivals.len() > Kind::NOT_AIMED.len();
    let mut command = role::command(&["clients"]);
    command.args(Task::arguments(way, arguments.clients, rounds, patient));
    let mut clients = Role::start(command.arg(service.socket()))?;
    let tally = serde_json::from_str(&clients.hear()?).context("the clients")?;
    clients.end()?;
    dismiss(rivals)?;
    Ok((tally, made))
}

/// Starts these rivals.
pub fn start(rivals: &[Kind], clients: u16) -> Result<Vec<(Kind, Role)>> {
    let started = rivals.iter().map(|kind| Ok((*kind, kind.start(clients)?)));
    started.collect()
}

/// Dismisses them, and says on stderr what they did.
pub fn dismiss(rivals: Vec<(Kind, Role)>) -> Result<()> {
    for (kind, rival) in rivals {
        let counts = rival.end()?;
        let (taken, refused) = counts.trim().split_once(' ').context("no counts")?;
        eprintln!("  {}: {taken} ports taken, {refused} refused", kind.word());
    }
    Ok(())
}

fn report(way: Way, tally: &Tally) {
    if let (0, true, Some(why)) = (tally.wins, tally.losses.is_empty(), &tally.refusal) {
        eprintln!("SKIPPED: {}: {why}", way.word());
        return;
    }
    table::row(&[
        way.word(),
        tally.rounds.to_string(),
        format!("{:.0} ms", tally.seconds * 1e3 / f64::from(tally.rounds)),
        tally.wins.to_string(),
        tally.losses.len().to_string(),
        to_whom(tally),
        tally.refused.to_string(),
    ]);
}

/// Winners with their number of wins.
pub fn to_whom(tally: &Tally) -> String {
    let winners = losses::by_winner(&tally.losses);
    let texts: Vec<String> = winners
        .into_iter()
        .map(|(winner, count)| format!("{winner} {count}"))
        .collect();
    texts.join(", ")
}
