//! Allocations and conflicts by the hour over a day, as two charts over the same hours.

use super::{Block, Column, Scale, Series};
use crate::dashboard::format::{UNSET, percent};
use crate::dashboard::frame::Params;
use crate::domain::words::{counted, grouped};
use crate::store::{AllocationTotal, HourTotal};
use jiff::Timestamp;

/// Number of hours of a chart, the current one included.
pub const HOURS: i64 = 24;

/// Seconds of an hour.
pub const HOUR_SECONDS: i64 = 3600;

/// Columns in thousandths of the chart.
const SCALE: Scale = Scale {
    height: 1000,
    highest: 960,
    visible: 25,
};

/// Width of a column: a part of its hour stays empty.
const WIDTH: i64 = 820 / HOURS;

const GRANTED: Series = Series::colour("series-got", "granted", "");
const REFUSED: Series = Series::colour("series-met", "refused", "");
const IN_USE: Series = Series::colour("series-met", "in use", "");

/// Both charts.
#[derive(Debug, Clone)]
pub struct Rates {
    /// The hours of the day, the earliest first.
    pub hours: Vec<Hour>,
    pub charts: [Chart; 2],
    /// Whether the page shows a table in place of the charts.
    pub as_table: bool,
}

/// One chart.
#[derive(Debug, Clone)]
pub struct Chart {
    pub label: &'static str,
    /// Value of the highest column.
    pub highest: String,
    /// The chart in words.
    pub summary: String,
    /// The earliest first. Hours with a value of zero have no column.
    pub columns: Vec<Column>,
    /// Each series with its sum.
    pub legend: Vec<(Series, String)>,
}

/// Counts of one hour.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hour {
    /// Number of hours since 1970, UTC.
    number: i64,
    pub granted: i64,
    pub refused: i64,
    attempts: i64,
    in_use: i64,
}

impl Rates {
    /// The charts of the day that begins with `first_hour`. Totals of other hours are left out.
    pub fn of(
        first_hour: i64,
        allocations: &[AllocationTotal],
        attempts: &[HourTotal],
        as_table: bool,
    ) -> Self {
        let hours = hours(first_hour, allocations, attempts);
        Self {
            charts: [of_allocations(&hours), of_conflicts(&hours)],
            hours,
            as_table,
        }
    }
}

/// The moment at which an hour begins.
pub fn begin_of(hour: i64) -> Timestamp {
    Timestamp::from_second(hour * HOUR_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn hours(first: i64, allocations: &[AllocationTotal], attempts: &[HourTotal]) -> Vec<Hour> {
    let empty = |number| Hour {
        number,
        ..Hour::default()
    };
    let mut hours: Vec<Hour> = (first..first + HOURS).map(empty).collect();
    let index = |hour: i64| usize::try_from(hour - first).unwrap_or(usize::MAX);
    for total in allocations {
        if let Some(hour) = hours.get_mut(index(total.hour)) {
            hour.granted += total.granted;
            hour.refused += total.refused;
        }
    }
    for total in attempts {
        if let Some(hour) = hours.get_mut(index(total.hour)) {
            hour.attempts += total.attempts;
            hour.in_use += total.in_use;
        }
    }
    hours
}

fn sum(hours: &[Hour], of: fn(&Hour) -> i64) -> i64 {
    hours.iter().map(of).sum()
}

fn highest(hours: &[Hour], of: fn(&Hour) -> i64) -> Hour {
    let highest = hours.iter().max_by_key(|hour| of(hour));
    highest.copied().unwrap_or_default()
}

/// The columns of the hours in which `of` is above zero.
fn columns(hours: &[Hour], of: fn(&Hour) -> i64, column: impl Fn(&Hour) -> Column) -> Vec<Column> {
    let hours = hours.iter().filter(|hour| of(hour) > 0);
    hours.map(column).collect()
}

fn of_allocations(hours: &[Hour]) -> Chart {
    let granted = sum(hours, |hour| hour.granted);
    let refused = sum(hours, |hour| hour.refused);
    let highest = highest(hours, Hour::asked);
    let most = grouped(highest.asked());
    let in_words =
        |granted, refused| format!("{} granted, {} refused", grouped(granted), grouped(refused));
    let column = |hour: &Hour| {
        let parts = [(GRANTED, hour.granted), (REFUSED, hour.refused)];
        let blocks = SCALE.stack(&parts, highest.asked());
        let says = in_words(hour.granted, hour.refused);
        hour.column(hours, &says, &Params::default(), blocks)
    };
    Chart {
        label: "Allocations an hour",
        summary: match granted + refused {
            0 => "No port was asked for in 24 hours".to_owned(),
            _ => format!(
                "Allocations by hour over 24 hours: {}; most, {most}, from {}",
                in_words(granted, refused),
                highest.words()
            ),
        },
        highest: most,
        columns: columns(hours, Hour::asked, column),
        legend: vec![(GRANTED, grouped(granted)), (REFUSED, grouped(refused))],
    }
}

fn of_conflicts(hours: &[Hour]) -> Chart {
    let in_use = sum(hours, |hour| hour.in_use);
    let attempts = sum(hours, |hour| hour.attempts);
    let highest = highest(hours, Hour::conflict_rate);
    let most = percent(highest.in_use, highest.attempts);
    let column = |hour: &Hour| {
        let parts = [(IN_USE, hour.conflict_rate())];
        let blocks = SCALE.stack(&parts, highest.conflict_rate());
        let params = Params::default().with("outcome", "in_use");
        hour.column(hours, &hour.conflicts(), &params, blocks)
    };
    Chart {
        label: "Attempts on ports in use",
        summary: match (attempts, in_use) {
            (0, _) => "Nothing was tried in 24 hours".to_owned(),
            (_, 0) => format!(
                "None of {} in 24 hours found the port in use",
                counted(attempts, "attempt")
            ),
            _ => format!(
                "Share of attempts that found the port in use, by hour over 24 hours: {} in all; most, {most}, from {}",
                percent(in_use, attempts),
                highest.words()
            ),
        },
        highest: most,
        columns: columns(hours, |hour| hour.in_use, column),
        legend: vec![(
            IN_USE,
            match attempts {
                0 => "0".to_owned(),
                _ => format!("{} of {}", grouped(in_use), grouped(attempts)),
            },
        )],
    }
}

impl Hour {
    const fn asked(&self) -> i64 {
        self.granted + self.refused
    }

    /// Share of the attempts that found the port in use, in millionths: finer than a column shows.
    fn conflict_rate(&self) -> i64 {
        let rate = (self.in_use * 1_000_000).checked_div(self.attempts);
        rate.unwrap_or(0)
    }

    /// The conflicts of the hour in words.
    pub fn conflicts(&self) -> String {
        if self.attempts == 0 {
            return UNSET.to_owned();
        }
        let attempts = counted(self.attempts, "attempt");
        let share = percent(self.in_use, self.attempts);
        let in_use = grouped(self.in_use);
        format!("{in_use} of {attempts} found the port in use, {share}")
    }

    /// The hour as "04:00–05:00 UTC".
    pub fn words(&self) -> String {
        let (from, to) = (begin_of(self.number), begin_of(self.number + 1));
        format!("{}–{} UTC", from.strftime("%H:%M"), to.strftime("%H:%M"))
    }

    /// The column of the hour, which links to its attempts.
    fn column(&self, hours: &[Hour], says: &str, params: &Params, blocks: Vec<Block>) -> Column {
        let first = hours.first().map_or(self.number, |first| first.number);
        let of_hour = params
            .with("since", &begin_of(self.number).to_string())
            .with("until", &begin_of(self.number + 1).to_string());
        Column {
            x: (self.number - first) * SCALE.height / HOURS,
            width: WIDTH,
            title: format!("{}: {says}", self.words()),
            href: of_hour.link("/attempts"),
            blocks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn rates() -> Rates {
        let attempts = |hour, attempts, in_use| HourTotal {
            hour,
            attempts,
            in_use,
        };
        let allocations = [
            allocations_of(99, 9, 9),
            allocations_of(100, 2000, 1),
            allocations_of(123, 3, 0),
        ];
        let attempts = [attempts(100, 3000, 1000), attempts(123, 4, 0)];
        Rates::of(100, &allocations, &attempts, false)
    }

    #[test]
    fn charts_cover_24_hours_and_no_other() {
        let [allocations, conflicts] = rates().charts;
        assert_eq!(allocations.columns.len(), 2);
        let summary = "Allocations by hour over 24 hours: 2,003 granted, 1 refused; most, 2,001, from 04:00–05:00 UTC";
        assert_eq!(allocations.summary, summary);
        assert_eq!(conflicts.columns.len(), 1, "no conflict, no column");
        assert_eq!(conflicts.highest, "33.3 %");
        assert_eq!(
            conflicts.columns[0].title,
            "04:00–05:00 UTC: 1,000 of 3,000 attempts found the port in use, 33.3 %"
        );
        let query = "outcome=in_use&since=1970-01-05T04%3A00%3A00Z&until=1970-01-05T05%3A00%3A00Z";
        assert_eq!(conflicts.columns[0].href, format!("/attempts?{query}"));
    }

    #[test]
    fn every_part_is_visible_and_fits() {
        let rates = rates();
        let columns = &rates.charts[0].columns;
        let blocks: Vec<(i64, i64)> = columns[0]
            .blocks
            .iter()
            .map(|it| (it.y, it.height))
            .collect();
        assert_eq!(blocks, [(41, 959), (16, 25)]);
        assert_eq!(columns[1].x, 958);
    }

    #[test]
    fn hours_without_attempts_have_no_rate() {
        let hours = rates().hours;
        assert_eq!(hours.len(), 24);
        assert_eq!(
            (hours[23].granted, &*hours[23].words()),
            (3, "03:00–04:00 UTC")
        );
        assert_eq!(hours[22].conflicts(), "–");
    }

    #[test]
    fn quiet_days_have_no_columns() {
        let rates = Rates::of(0, &[], &[], false);
        assert!(rates.charts.iter().all(|chart| chart.columns.is_empty()));
        assert_eq!(rates.charts[1].summary, "Nothing was tried in 24 hours");
    }
}
