//! The fourth part: a server that starts again and again on one port, and a rival that wants that very port.
//!
//! The hand-overs `gate` and `bind` run side by side, each on a port with a rival of its own. The server binds
//! its number 1 to 3 ms after the hand-over; the rival keeps what it wins for longer than that.

mod lane;
mod rival;
mod server;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;

use crate::common::place::Place;
use crate::{Arguments, POOL, table};
use lane::{Came, Lane};
pub use rival::{Attack, Kind, Pace};
pub use server::Serve;

/// The hand-overs that are compared.
const WAYS: [&str; 2] = ["gate", "bind"];

/// Measures and prints.
pub fn measure(arguments: &Arguments) -> Result<()> {
    table::head(
        &format!(
            "{} starts of a server for each hand-over, and a rival that wants its port",
            arguments.starts
        ),
        &[
            "rival tries",
            "rival's socket",
            "`gate`: starts lost",
            "`gate`: rival got in, of its tries",
            "`bind`: starts lost",
            "`bind`: rival got in, of its tries",
        ],
    );
    for pace in Pace::value_variants() {
        // Rivals that never rest would take the processor from one another.
        let at_once = if *pace == Pace::Tight { 1 } else { usize::MAX };
        for kinds in Kind::value_variants().chunks(at_once.min(Kind::value_variants().len())) {
            let begin = crate::common::now();
            let rows = side_by_side(arguments.starts, *pace, kinds)?;
            for row in &rows {
                table::row(row);
            }
            eprintln!("  {:.0} s", begin.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

/// Runs rivals of these kinds at once, each against both hand-overs. Returns a line of the table for each.
fn side_by_side(starts: u32, pace: Pace, kinds: &[Kind]) -> Result<Vec<Vec<String>>> {
    let home = Place::new(&format!("{}-{}", POOL.start(), POOL.end()))?;
    let service = home.serve()?;
    let lanes: Vec<Lane> = (POOL.zip(kinds.iter().flat_map(|kind| WAYS.map(|way| (*kind, way)))))
        .map(|(port, (kind, way))| Lane {
            port,
            way,
            kind,
            pace,
            starts,
        })
        .collect();
    let socket = service.socket();
    let came = std::thread::scope(|scope| {
        let lanes = lanes.iter();
        let running: Vec<_> = lanes.map(|lane| scope.spawn(|| lane.run(socket))).collect();
        let came = running.into_iter().map(|lane| {
            let ended = lane.join().map_err(|_| anyhow!("a thread panicked"));
            ended.flatten()
        });
        came.collect::<Result<Vec<_>>>()
    })?;
    service.stop().context("the service")?;
    let both = came.chunks(WAYS.len());
    Ok(kinds
        .iter()
        .zip(both)
        .map(|(kind, both)| row(pace, *kind, both))
        .collect())
}

fn row(pace: Pace, kind: Kind, both: &[Came]) -> Vec<String> {
    let mut row = vec![pace.word().to_owned(), kind.word().to_owned()];
    for came in both {
        row.push(came.lost.to_string());
        row.push(format!("{} of {}", came.rival_won, came.rival_tried));
    }
    row
}
