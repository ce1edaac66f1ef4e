//! Allocations and conflicts by the hour over a day, as two pictures of columns over the same hours.

use super::past::{HOURS, Past, begin_of, number};
use crate::dashboard::format::UNSET;
use crate::dashboard::format::percent;
use crate::dashboard::frame::Params;
use crate::domain::words::{counted, grouped};

/// Heights are told in thousandths of the picture. Above the highest column some room is left, and so
/// high is what there is at all.
const HIGHEST: usize = 960;
const VISIBLE: usize = 25;

/// The part of its hour that a column fills, in thousandths.
const FILLED: i64 = 820;

/// Both pictures.
#[derive(Debug, Clone)]
pub(super) struct Rates {
    /// How wide each column is, in percent.
    pub(super) column_width: String,
    /// Allocations, then conflicts.
    pub(super) charts: [Chart; 2],
    /// The hours, the latest first, where a table is asked for.
    pub(super) table: Option<Vec<Row>>,
    /// The other form of the same.
    pub(super) other_form: &'static str,
}

/// One picture.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) label: &'static str,
    /// What the highest column stands for.
    pub(super) highest: String,
    /// The picture in words.
    pub(super) summary: String,
    /// The columns, the earliest first; those of nothing are left out.
    pub(super) columns: Vec<Column>,
    /// What the fills mean, with counts.
    pub(super) legend: Vec<Legend>,
}

/// One hour of a picture.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Where its hour begins, in percent.
    pub(super) x: String,
    /// The hour in words.
    pub(super) title: String,
    /// The attempts of that hour.
    pub(super) href: String,
    /// What it is stacked of.
    pub(super) blocks: Vec<Block>,
}

/// A part of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// How it is filled.
    pub(super) fill: Fill,
    /// Its upper edge, in percent.
    pub(super) y: String,
    /// How high it is.
    pub(super) height: String,
}

/// How a part is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Plainly: what was granted.
    Granted,
    /// With a pattern: what was refused or met somebody.
    Hatched,
}

/// A fill with what it stands for.
#[derive(Debug, Clone)]
pub(super) struct Legend {
    /// The fill.
    pub(super) fill: Fill,
    /// What it stands for.
    pub(super) word: &'static str,
    /// How many.
    pub(super) count: String,
}

/// One hour of the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// From when to when.
    pub(super) hour: String,
    /// How many allocations were granted.
    pub(super) granted: String,
    /// How many were refused.
    pub(super) refused: String,
    /// How many attempts met somebody, of how many.
    pub(super) met: String,
}

/// What happened in one hour.
#[derive(Debug, Clone, Copy, Default)]
struct Hour {
    number: i64,
    granted: usize,
    refused: usize,
    attempts: usize,
    met: usize,
}

impl Rates {
    /// The pictures, or a table of the same where the address asks for it.
    pub(super) fn of(past: &Past, params: &Params) -> Self {
        let hours = hours(past);
        let as_table = params.get("rates") == Some("table");
        Self {
            column_width: in_percent(number(FILLED / HOURS)),
            charts: [allocations(&hours), conflicts(&hours)],
            table: as_table.then(|| hours.iter().rev().map(row).collect()),
            other_form: if as_table {
                "/#rates"
            } else {
                "/?rates=table#rates"
            },
        }
    }
}

impl Fill {
    /// The class in the stylesheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Granted => "series-got",
            Self::Hatched => "series-met",
        }
    }
}

fn hours(past: &Past) -> Vec<Hour> {
    let mut hours: Vec<Hour> = (past.first_hour..past.first_hour + HOURS)
        .map(|number| Hour {
            number,
            ..Hour::default()
        })
        .collect();
    let place = |hour: i64| usize::try_from(hour - past.first_hour).ok();
    for total in &past.allocations {
        if let Some(hour) = place(total.hour).and_then(|index| hours.get_mut(index)) {
            hour.granted += number(total.granted);
            hour.refused += number(total.refused);
        }
    }
    for total in &past.attempts {
        if let Some(hour) = place(total.hour).and_then(|index| hours.get_mut(index)) {
            hour.attempts += number(total.attempts);
            hour.met += number(total.in_use);
        }
    }
    hours
}

fn sum(hours: &[Hour], of: fn(&Hour) -> usize) -> usize {
    hours.iter().map(of).sum()
}

fn allocations(hours: &[Hour]) -> Chart {
    let asked = |hour: &Hour| hour.granted + hour.refused;
    let highest = hours.iter().max_by_key(|hour| asked(hour));
    let highest = highest.copied().unwrap_or_default();
    let (granted, refused) = (
        sum(hours, |hour| hour.granted),
        sum(hours, |hour| hour.refused),
    );
    let column = |hour: &Hour| {
        let parts = [(Fill::Granted, hour.granted), (Fill::Hatched, hour.refused)];
        let says = format!(
            "{} granted, {} refused",
            grouped(hour.granted),
            grouped(hour.refused)
        );
        column(hours, hour, &says, "", blocks(&parts, asked(&highest)))
    };
    Chart {
        label: "Allocations an hour",
        highest: grouped(asked(&highest)),
        summary: match granted + refused {
            0 => "No port was asked for in 24 hours".to_owned(),
            _ => format!(
                "Allocations by hour over 24 hours: {} granted, {} refused; most, {}, from {}",
                grouped(granted),
                grouped(refused),
                grouped(asked(&highest)),
                words(highest.number)
            ),
        },
        columns: hours
            .iter()
            .filter(|hour| asked(hour) > 0)
            .map(column)
            .collect(),
        legend: vec![
            legend(Fill::Granted, "granted", grouped(granted)),
            legend(Fill::Hatched, "refused", grouped(refused)),
        ],
    }
}

fn conflicts(hours: &[Hour]) -> Chart {
    // A share of a millionth tells apart what a column cannot.
    let rate = |hour: &Hour| {
        (hour.met * 1_000_000)
            .checked_div(hour.attempts)
            .unwrap_or(0)
    };
    let highest = hours.iter().max_by_key(|hour| rate(hour));
    let highest = highest.copied().unwrap_or_default();
    let (met, attempts) = (
        sum(hours, |hour| hour.met),
        sum(hours, |hour| hour.attempts),
    );
    let column = |hour: &Hour| {
        let says = of_attempts(hour);
        let blocks = blocks(&[(Fill::Hatched, rate(hour))], rate(&highest));
        column(hours, hour, &says, "in_use", blocks)
    };
    Chart {
        label: "Attempts that met somebody",
        highest: percent(highest.met, highest.attempts),
        summary: match (attempts, met) {
            (0, _) => "Nothing was tried in 24 hours".to_owned(),
            (_, 0) => format!(
                "None of {} in 24 hours met somebody",
                counted(attempts, "attempt")
            ),
            _ => format!(
                "Share of attempts that met somebody by hour over 24 hours: {} in all; most, {}, from {}",
                percent(met, attempts),
                percent(highest.met, highest.attempts),
                words(highest.number)
            ),
        },
        columns: hours
            .iter()
            .filter(|hour| hour.met > 0)
            .map(column)
            .collect(),
        legend: vec![legend(
            Fill::Hatched,
            "met somebody",
            match attempts {
                0 => "0".to_owned(),
                _ => format!("{} of {}", grouped(met), grouped(attempts)),
            },
        )],
    }
}

fn of_attempts(hour: &Hour) -> String {
    let attempts = counted(hour.attempts, "attempt");
    let share = percent(hour.met, hour.attempts);
    format!("{} of {attempts} met somebody, {share}", grouped(hour.met))
}

const fn legend(fill: Fill, word: &'static str, count: String) -> Legend {
    Legend { fill, word, count }
}

fn column(hours: &[Hour], hour: &Hour, says: &str, outcome: &str, blocks: Vec<Block>) -> Column {
    let first = hours.first().map_or(hour.number, |first| first.number);
    let query = Params::parse(&format!("outcome={outcome}"))
        .with("since", &begin_of(hour.number).to_string())
        .with("until", &begin_of(hour.number + 1).to_string());
    let x = number((hour.number - first) * 1000 / HOURS);
    Column {
        x: in_percent(x),
        title: format!("{}: {says}", words(hour.number)),
        href: format!("/attempts{}", query.query()),
        blocks,
    }
}

fn blocks(parts: &[(Fill, usize)], highest: usize) -> Vec<Block> {
    let mut top = 1000;
    let mut blocks = Vec::new();
    for (fill, part) in parts.iter().filter(|(_, part)| *part > 0) {
        let height = (part * HIGHEST).checked_div(highest).unwrap_or(0);
        let height = height.max(VISIBLE).min(top);
        top -= height;
        blocks.push(Block {
            fill: *fill,
            y: in_percent(top),
            height: in_percent(height),
        });
    }
    blocks
}

fn in_percent(thousandths: usize) -> String {
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

/// An hour as people say it.
fn words(hour: i64) -> String {
    let (from, to) = (begin_of(hour), begin_of(hour + 1));
    format!("{}–{} UTC", from.strftime("%H:%M"), to.strftime("%H:%M"))
}

fn row(hour: &Hour) -> Row {
    Row {
        hour: words(hour.number),
        granted: grouped(hour.granted),
        refused: grouped(hour.refused),
        met: match hour.attempts {
            0 => UNSET.to_owned(),
            _ => of_attempts(hour),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{AllocationTotal, HourTotal};

    fn allocations_of(hour: i64, granted: i64, refused: i64) -> AllocationTotal {
        AllocationTotal {
            hour,
            pool: "default".into(),
            granted,
            refused,
            weighed: 0,
            random_would_meet: 0.0,
            met: 0,
        }
    }

    fn past() -> Past {
        let attempts = |hour, attempts, in_use| HourTotal {
            hour,
            attempts,
            in_use,
        };
        Past {
            first_hour: 100,
            allocations: vec![
                allocations_of(99, 9, 9),
                allocations_of(100, 2000, 1),
                allocations_of(123, 3, 0),
            ],
            attempts: vec![attempts(100, 3000, 1000), attempts(123, 4, 0)],
            ..Past::default()
        }
    }

    #[test]
    fn a_day_has_its_hours_and_no_other() {
        let rates = Rates::of(&past(), &Params::default());
        let [allocations, conflicts] = &rates.charts;
        assert_eq!(allocations.columns.len(), 2);
        let summary = "Allocations by hour over 24 hours: 2,003 granted, 1 refused; most, 2,001, from 04:00–05:00 UTC";
        assert_eq!(allocations.summary, summary);
        assert_eq!(
            conflicts.columns.len(),
            1,
            "of no conflict there is no column"
        );
        assert_eq!(conflicts.highest, "33.3 %");
        assert_eq!(
            conflicts.columns[0].title,
            "04:00–05:00 UTC: 1,000 of 3,000 attempts met somebody, 33.3 %"
        );
        let query = "outcome=in_use&since=1970-01-05T04%3A00%3A00Z&until=1970-01-05T05%3A00%3A00Z";
        assert_eq!(conflicts.columns[0].href, format!("/attempts?{query}"));
    }

    #[test]
    fn every_part_is_seen_and_fits() {
        let rates = Rates::of(&past(), &Params::default());
        let first = &rates.charts[0].columns[0];
        assert_eq!(first.blocks.len(), 2);
        assert_eq!(first.blocks[0].height, "95.9%");
        assert_eq!(first.blocks[1].height, "2.5%");
        assert_eq!(first.blocks[1].y, "1.6%");
        assert_eq!(rates.charts[0].columns[1].x, "95.8%");
    }

    #[test]
    fn a_table_says_the_same_latest_first() {
        assert!(Rates::of(&past(), &Params::default()).table.is_none());
        let rates = Rates::of(&past(), &Params::parse("rates=table"));
        let table = rates.table.unwrap();
        assert_eq!(table.len(), 24);
        assert_eq!(
            (&*table[0].granted, &*table[0].hour),
            ("3", "03:00–04:00 UTC")
        );
        assert_eq!(table[1].met, "–");
    }

    #[test]
    fn where_nothing_happened_it_says_so() {
        let rates = Rates::of(&Past::default(), &Params::default());
        assert!(rates.charts.iter().all(|chart| chart.columns.is_empty()));
        assert_eq!(rates.charts[1].summary, "Nothing was tried in 24 hours");
    }
}
