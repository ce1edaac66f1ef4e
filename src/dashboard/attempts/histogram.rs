//! Attempts over time, as a picture of columns.

use std::time::Duration;

use jiff::Timestamp;

use crate::dashboard::format::When;
use crate::dashboard::frame::Params;
use crate::domain::attempt::Outcome;
use crate::domain::duration::HumanDuration;
use crate::domain::words::grouped;
use crate::store::{SUMMED, Times};

/// How many columns there are at most.
pub(super) const COLUMNS: i64 = 60;

/// The size of the picture; above the highest column is room for those made visible.
pub(super) const WIDTH: i64 = 1200;
pub(super) const HEIGHT: i64 = 126;
const HIGHEST: i64 = 120;

/// So high is what there is at all.
const VISIBLE: i64 = 2;

/// How long a column may be, in seconds: times that people read easily.
const WIDTHS: [i64; 16] = [
    1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 259_200, 604_800,
    2_592_000,
];

/// What a column is stacked of, from the bottom: how it is filled, and what it says.
pub(super) const SERIES: [Series; 3] = [
    Series {
        fill: "",
        class: "series-got",
        word: "bound or re-taken",
    },
    Series {
        fill: "url(#hatch)",
        class: "",
        word: "in use",
    },
    Series {
        fill: "url(#dots)",
        class: "",
        word: "refused otherwise",
    },
];

/// One kind of outcome.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series {
    /// The pattern it is filled with; none where the class tells.
    pub(super) fill: &'static str,
    /// Its class in the stylesheet.
    pub(super) class: &'static str,
    /// What it is called.
    pub(super) word: &'static str,
}

/// The picture.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    /// The columns, the earliest first; those of nothing are left out.
    pub(super) columns: Vec<Column>,
    /// When the first attempt was made.
    pub(super) from: When,
    /// When the last one was.
    pub(super) to: When,
    /// How long a column is.
    pub(super) each: String,
    /// How many attempts the highest column has.
    pub(super) highest: String,
    /// How many there are of each series.
    pub(super) totals: Vec<Total>,
    /// Which attempts are counted, where there may be more.
    pub(super) cut: Option<String>,
}

/// A series with its count.
#[derive(Debug, Clone)]
pub(super) struct Total {
    /// The series.
    pub(super) series: Series,
    /// How many attempts.
    pub(super) count: String,
}

/// One column, and the way to its attempts alone.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Where it begins.
    pub(super) x: i64,
    /// How wide it is.
    pub(super) width: i64,
    /// What it is stacked of.
    pub(super) blocks: Vec<Block>,
    /// The same in words.
    pub(super) title: String,
    /// The page of its attempts.
    pub(super) href: String,
}

/// A part of a column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// What it counts.
    pub(super) series: Series,
    /// Its upper edge.
    pub(super) y: i64,
    /// How high it is.
    pub(super) height: i64,
}

/// When the first and the last of the attempts were made.
#[derive(Debug, Clone, Copy)]
struct Reach {
    first_ms: i64,
    last_ms: i64,
}

impl Reach {
    /// None where there are none.
    fn of(times: &[Times]) -> Option<Self> {
        let all = || times.iter().flat_map(|times| &times.at_ms).copied();
        Some(Self {
            first_ms: all().min()?,
            last_ms: all().max()?,
        })
    }

    /// How many milliseconds a column stands for, so that there are few enough.
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

/// Which series an outcome counts to.
fn series_of(outcome: &str) -> usize {
    match outcome.parse::<Outcome>() {
        Ok(outcome) if outcome.is_success() => 0,
        Ok(Outcome::InUse) => 1,
        _ => 2,
    }
}

impl Histogram {
    /// The picture of attempts; none where there are none.
    pub(super) fn of(times: &[Times], params: &Params, now: Timestamp) -> Option<Self> {
        let reach = Reach::of(times)?;
        let width_ms = reach.column_ms();
        let first = reach.first_ms / width_ms;
        let count = (reach.last_ms / width_ms - first + 1).clamp(1, COLUMNS);
        let sums = sums(times, width_ms, first, count);
        let highest = sums.iter().map(|sum| sum.iter().sum()).max();
        let highest = highest.unwrap_or(0).max(1);
        let step = WIDTH / count;
        let column = |(sum, index): (&[i64; 3], i64)| {
            let from = (first + index) * width_ms;
            Column {
                x: index * step,
                width: (step - 2).max(1),
                blocks: blocks(sum, highest),
                title: title(sum, from, width_ms),
                href: href(params, from, width_ms),
            }
        };
        let attempts = sums.iter().flatten().sum::<i64>();
        Some(Self {
            columns: sums
                .iter()
                .zip(0..)
                .filter(|(sum, _)| sum.iter().any(|part| *part > 0))
                .map(column)
                .collect(),
            from: When::of(moment(reach.first_ms), now),
            to: When::of(moment(reach.last_ms), now),
            each: words(width_ms),
            highest: grouped(highest),
            totals: totals(&sums),
            cut: (attempts >= i64::from(SUMMED)).then(|| format!("the latest {}", grouped(SUMMED))),
        })
    }
}

/// How many attempts of each series are in each column.
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

fn totals(sums: &[[i64; 3]]) -> Vec<Total> {
    let total = |(index, series): (usize, Series)| Total {
        series,
        count: grouped(sums.iter().map(|sum| sum[index]).sum::<i64>()),
    };
    SERIES.into_iter().enumerate().map(total).collect()
}

fn blocks(sum: &[i64; 3], highest: i64) -> Vec<Block> {
    let mut y = HEIGHT;
    let mut blocks = Vec::new();
    for (series, part) in SERIES.into_iter().zip(sum) {
        if *part > 0 {
            let height = (part * HIGHEST / highest).max(VISIBLE);
            y -= height;
            blocks.push(Block { series, y, height });
        }
    }
    blocks
}

fn title(sum: &[i64; 3], from_ms: i64, width_ms: i64) -> String {
    let parts = SERIES.iter().zip(sum);
    let parts: Vec<String> = parts
        .filter(|(_, part)| **part > 0)
        .map(|(series, part)| format!("{} {}", grouped(*part), series.word))
        .collect();
    let from = moment(from_ms).strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("{from}, {}: {}", words(width_ms), parts.join(", "))
}

fn href(params: &Params, from_ms: i64, width_ms: i64) -> String {
    let since = moment(from_ms).to_string();
    let until = moment(from_ms + width_ms).to_string();
    let query = params.with("since", &since).with("until", &until).query();
    format!("/attempts{query}")
}

fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
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
    fn of_no_attempts_there_is_no_picture() {
        let none = [times("bound", Vec::new())];
        assert!(Histogram::of(&none, &Params::default(), Timestamp::UNIX_EPOCH).is_none());
    }

    #[test]
    fn there_are_few_columns_however_long_the_time() {
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
    fn every_attempt_is_in_a_column_that_fits_and_is_seen() {
        let in_use = [vec![101_000; 5000], vec![101_999]].concat();
        let tried = [
            times("bound", vec![100_500, 101_200]),
            times("lingering", vec![100_999]),
            times("in_use", in_use),
            times("no such word", vec![103_900]),
        ];
        let params = Params::parse("pool=a%26b&before=7");
        let picture = Histogram::of(&tried, &params, Timestamp::UNIX_EPOCH).unwrap();
        let counts: Vec<&str> = picture.totals.iter().map(|total| &*total.count).collect();
        assert_eq!(counts, ["3", "5,001", "1"]);
        assert_eq!(picture.columns.len(), 3, "of nothing there is no column");
        for block in picture.columns.iter().flat_map(|column| &column.blocks) {
            assert!(block.height >= VISIBLE && block.y >= 0);
            assert!(block.y + block.height <= HEIGHT);
        }
        let last = &picture.columns[2];
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
