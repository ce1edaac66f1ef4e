//! Attempts over time, as a chart of columns.

use std::time::Duration;

use jiff::Timestamp;

use super::{Column, Scale, Series};
use crate::dashboard::format::moment;
use crate::dashboard::frame::Params;
use crate::domain::attempt::Outcome;
use crate::domain::duration::HumanDuration;
use crate::domain::words::grouped;
use crate::store::{SUMMED, Times};

/// Maximum number of columns.
const COLUMNS: i64 = 60;

/// Size of the picture.
pub const WIDTH: i64 = 1200;
pub const HEIGHT: i64 = 126;

const SCALE: Scale = Scale {
    height: HEIGHT,
    highest: 120,
    visible: 2,
};

/// Durations of a column in seconds, such as people read easily.
const WIDTHS: [i64; 16] = [
    1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 259_200, 604_800,
    2_592_000,
];

/// The parts of a column, from the bottom.
const SERIES: [Series; 3] = [
    Series::colour("series-got", "bound or re-taken", ""),
    Series::pattern("url(#hatch)", "in use", ""),
    Series::pattern("url(#dots)", "refused otherwise", ""),
];

/// The chart.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// The earliest first. Times without attempts have no column.
    pub columns: Vec<Column>,
    /// Time of the first attempt.
    pub from: Timestamp,
    /// Time of the last attempt.
    pub to: Timestamp,
    /// Duration of a column.
    pub each: String,
    /// Number of attempts in the highest column.
    pub highest: i64,
    /// Each series with its number of attempts.
    pub totals: [(Series, i64); 3],
    /// Whether only the latest attempts are counted.
    pub is_cut: bool,
}

/// Times of the first and the last attempt.
#[derive(Debug, Clone, Copy)]
struct Reach {
    first_ms: i64,
    last_ms: i64,
}

impl Reach {
    /// Returns `None` if there are no attempts.
    fn of(times: &[Times]) -> Option<Self> {
        let all = || times.iter().flat_map(|times| &times.at_ms).copied();
        Some(Self {
            first_ms: all().min()?,
            last_ms: all().max()?,
        })
    }

    /// Milliseconds of a column, such that there are at most [`COLUMNS`].
    fn column_ms(self) -> i64 {
        let fits = |width: &i64| self.last_ms / width - self.first_ms / width < COLUMNS;
        let known = WIDTHS.map(|seconds| seconds * 1000);
        let length = self.last_ms - self.first_ms;
        known
            .into_iter()
            .find(fits)
            .unwrap_or(length / (COLUMNS - 1) + 1)
    }
}

/// The series that an outcome counts to, as an index.
fn series_of(outcome: &str) -> usize {
    match outcome.parse::<Outcome>() {
        Ok(outcome) if outcome.is_success() => 0,
        Ok(outcome) if outcome.is_taken() => 1,
        _ => 2,
    }
}

impl Histogram {
    /// The chart of attempts; `None` if there are none.
    pub fn of(times: &[Times], params: &Params) -> Option<Self> {
        let reach = Reach::of(times)?;
        let width_ms = reach.column_ms();
        let first = reach.first_ms / width_ms;
        let count = (reach.last_ms / width_ms - first + 1).clamp(1, COLUMNS);
        let sums = sums(times, width_ms, first, count);
        let highest = sums.iter().map(|sum| sum.iter().sum()).max().unwrap_or(0);
        let step = WIDTH / count;
        let column = |(sum, index): (&[i64; 3], i64)| {
            let from = (first + index) * width_ms;
            let parts = [0, 1, 2].map(|series| (SERIES[series], sum[series]));
            Column {
                x: index * step,
                width: (step - 2).max(1),
                title: title(&parts, from, width_ms),
                href: href(params, from, width_ms),
                blocks: SCALE.stack(&parts, highest),
            }
        };
        let columns = sums.iter().zip(0..);
        let columns = columns.filter(|(sum, _)| sum.iter().any(|part| *part > 0));
        let total = |series: usize| sums.iter().map(|sum| sum[series]).sum::<i64>();
        Some(Self {
            columns: columns.map(column).collect(),
            from: moment(reach.first_ms),
            to: moment(reach.last_ms),
            each: words(width_ms),
            highest,
            totals: [0, 1, 2].map(|series| (SERIES[series], total(series))),
            is_cut: sums.iter().flatten().sum::<i64>() >= i64::from(SUMMED),
        })
    }
}

/// Number of attempts of each series in each column.
fn sums(times: &[Times], width_ms: i64, first: i64, count: i64) -> Vec<[i64; 3]> {
    let mut sums = vec![[0; 3]; usize::try_from(count).unwrap_or(1)];
    for times in times {
        let series = series_of(&times.outcome);
        for at_ms in &times.at_ms {
            let index = usize::try_from(at_ms / width_ms - first).ok();
            if let Some(sum) = index.and_then(|index| sums.get_mut(index)) {
                sum[series] += 1;
            }
        }
    }
    sums
}

fn title(parts: &[(Series, i64)], from_ms: i64, width_ms: i64) -> String {
    let parts = parts.iter().filter(|(_, part)| *part > 0);
    let parts: Vec<String> = parts
        .map(|(series, part)| format!("{} {}", grouped(*part), series.word))
        .collect();
    let from = moment(from_ms).strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("{from}, {}: {}", words(width_ms), parts.join(", "))
}

fn href(params: &Params, from_ms: i64, width_ms: i64) -> String {
    let since = moment(from_ms).to_string();
    let until = moment(from_ms + width_ms).to_string();
    let of_column = params.with("since", &since).with("until", &until);
    of_column.link("/attempts")
}

fn words(ms: i64) -> String {
    HumanDuration(Duration::from_millis(ms.unsigned_abs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(outcome: &str, at_ms: Vec<i64>) -> Times {
        Times {
            outcome: outcome.to_owned(),
            at_ms,
        }
    }

    #[test]
    fn no_attempts_make_no_chart() {
        let none = [times("bound", Vec::new())];
        assert!(Histogram::of(&none, &Params::default()).is_none());
    }

    #[test]
    fn number_of_columns_is_bounded_for_any_time() {
        let now = 1_700_000_000_123;
        let reach = |last_ms| Reach {
            first_ms: now,
            last_ms,
        };
        assert_eq!(reach(now).column_ms(), 1000);
        for days in [0, 1, 30, 400, 20_000, 200_000] {
            let reach = reach(now + days * 86_400_000);
            let width = reach.column_ms();
            let columns = reach.last_ms / width - reach.first_ms / width + 1;
            assert!((1..=COLUMNS).contains(&columns), "{days} days: {columns}");
        }
        assert_eq!(reach(now + 86_400_000).column_ms(), 1_800_000);
    }

    #[test]
    fn every_attempt_is_in_a_visible_column() {
        let in_use = [vec![101_000; 5000], vec![101_999]].concat();
        let tried = [
            times("bound", vec![100_500, 101_200]),
            times("lingering", vec![100_999]),
            times("in_use", in_use),
            times("no such word", vec![103_900]),
        ];
        let params = Params::parse("pool=a%26b&before=7");
        let chart = Histogram::of(&tried, &params).unwrap();
        assert_eq!(chart.totals.map(|(_, count)| count), [3, 5001, 1]);
        assert_eq!(chart.columns.len(), 3, "no attempt, no column");
        for block in chart.columns.iter().flat_map(|column| &column.blocks) {
            assert!(block.height >= SCALE.visible && block.y >= 0);
            assert!(block.y + block.height <= HEIGHT);
        }
        let last = &chart.columns[2];
        assert!(last.x + last.width <= WIDTH);
        assert_eq!(
            last.href,
            "/attempts?pool=a%26b&since=1970-01-01T00%3A01%3A43Z&until=1970-01-01T00%3A01%3A44Z"
        );
        assert_eq!(
            last.title,
            "1970-01-01 00:01:43 UTC, 1s: 1 refused otherwise"
        );
    }
}
