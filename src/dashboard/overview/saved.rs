//! What learning saved: the busy ports that requests met, beside those that as many ports drawn at
//! random would have met.

use super::past::DAYS;
use crate::api::document::Saved;
use crate::api::stats;
use crate::config::Settings;
use crate::dashboard::part::bar;
use crate::domain::attempt::printable;
use crate::domain::pool::Strategy;
use crate::domain::words::{counted, grouped, listed, plural};
use crate::store::AllocationTotal;

/// What was saved, in words and as two bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SavedView {
    /// The sentence.
    pub(super) says: String,
    /// What it is counted from.
    pub(super) counted: String,
    /// What random would have met, and what was met.
    pub(super) bars: [SavedBar; 2],
}

/// One of the two numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SavedBar {
    /// Whose number it is.
    pub(super) label: &'static str,
    /// The number.
    pub(super) value: String,
    /// Its length beside the greater one.
    pub(super) length: u32,
}

/// What learning saved within the week; none where no allocation can tell.
pub(super) fn view(settings: &Settings, allocations: &[AllocationTotal]) -> Option<SavedView> {
    let learns = |pool: &str| {
        let pool = settings.pools.get(pool);
        pool.is_some_and(|pool| pool.strategy == Strategy::Learned)
    };
    // What other orders met says nothing of learning.
    let learned = allocations.iter().filter(|hour| learns(&hour.pool));
    let mut pools: Vec<String> = learned
        .clone()
        .filter(|hour| hour.weighed > 0)
        .map(|hour| printable(&hour.pool))
        .collect();
    pools.sort_unstable();
    pools.dedup();
    stats::saved(learned).map(|saved| of(&saved, &pools))
}

#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
fn of(saved: &Saved, pools: &[String]) -> SavedView {
    let (random, met) = (saved.random_would_meet, saved.met as f64);
    let longest = random.max(met);
    let bar = |label, value, number| SavedBar {
        label,
        value,
        length: bar::length(number, longest),
    };
    let noun = plural(pools.len(), "pool");
    SavedView {
        says: says(random, met),
        counted: format!(
            "From {} of the last {DAYS} days in {noun} {}, which choose by what was learned. Of each the share \
             of busy ports among those it could have had is on record: that is what random meets on average.",
            counted(saved.allocations, "allocation"),
            listed(pools)
        ),
        bars: [
            bar("Random would have met", about(random), random),
            bar("Learning met", exactly(saved.met), met),
        ],
    }
}

fn exactly(met: u64) -> String {
    grouped(met)
}

/// A mean has a fraction; of a large one it says nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a sum of shares, each between 0 and 1"
)]
fn about(number: f64) -> String {
    if number < 9.95 {
        format!("{number:.1}")
    } else {
        grouped(number.round() as usize)
    }
}

fn says(random: f64, met: f64) -> String {
    let difference = random - met;
    if difference.abs() < 0.05 {
        return "As many busy ports as random would have met: nothing saved, nothing lost."
            .to_owned();
    }
    if difference < 0.0 {
        let more = about(-difference);
        return format!(
            "{more} more busy ports met than random would have: it saved nothing so far."
        );
    }
    let share = (difference / random * 100.0).floor();
    format!(
        "{} busy ports were not met, {share:.0} % of what random would have met.",
        about(difference)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(random_would_meet: f64, met: u64) -> SavedView {
        let saved = Saved {
            allocations: 1200,
            random_would_meet,
            met,
            conflicts: 0.0,
        };
        of(&saved, &["default".to_owned(), "web".to_owned()])
    }

    #[test]
    fn what_was_saved_is_told_with_what_it_is_counted_from() {
        let view = saved(96.4, 3);
        assert_eq!(
            view.says,
            "93 busy ports were not met, 96 % of what random would have met."
        );
        let counted = "From 1,200 allocations of the last 7 days in pools default and web";
        assert!(view.counted.starts_with(counted), "{}", view.counted);
        assert_eq!([view.bars[0].length, view.bars[1].length], [1000, 31]);
    }

    #[test]
    fn what_was_lost_is_told_as_well() {
        let view = saved(0.4, 2);
        assert!(view.says.starts_with("1.6 more"), "{}", view.says);
        assert_eq!(view.bars[1].length, 1000);
        assert!(saved(0.0, 0).says.starts_with("As many"));
    }
}
