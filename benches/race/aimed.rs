//! The second part: binders with SO_REUSEADDR aim at the pool, and what they win is compared with
//! what the service reported, lease by lease.
//!
//! Every other loser gives its lease back at once, as a program that ends does; the others keep
//! theirs for two seconds, as a program that tries again does.

use anyhow::Result;

use crate::losses::{Compared, Reports};
use crate::rivals::Kind;
use crate::subject::Way;
use crate::{Arguments, rounds, table};

/// Measures and prints.
pub fn measure(arguments: &Arguments) -> Result<()> {
    table::head(
        "The same with binders with SO_REUSEADDR aimed at the pool",
        &[
            "subject",
            "rounds",
            "won",
            "lost",
            "lost to",
            "reported: lease kept",
            "reported: given back at once",
            "other reports",
        ],
    );
    let mut rivals = Kind::NOT_AIMED.to_vec();
    rivals.push(Kind::Aimed);
    for way in rounds::ways(arguments) {
        if !way.is_portbook() {
            continue;
        }
        let listen = |service: &crate::common::service::Service| Reports::of(service.socket());
        let rounds = arguments.aimed_rounds;
        let (tally, reports) = rounds::run(arguments, way, &rivals, rounds, listen)?;
        if tally.wins == 0 {
            eprintln!("SKIPPED: {}: {:?}", way.word(), tally.refusal);
            continue;
        }
        let compared = reports.compare(&tally.losses);
        report(way, &tally, &compared);
    }
    Ok(())
}

fn report(way: Way, tally: &crate::client::Tally, compared: &Compared) {
    let of = |(reported, all): (usize, usize)| format!("{reported} of {all}");
    table::row(&[
        way.word(),
        tally.rounds.to_string(),
        tally.wins.to_string(),
        tally.losses.len().to_string(),
        rounds::to_whom(tally),
        of(compared.kept),
        of(compared.given_up),
        compared.others.to_string(),
    ]);
    if compared.gaps > 0 {
        eprintln!("  the service left events out {} times", compared.gaps);
    }
}
