//! Savings of learning: the refusals that requests met, beside those that ports drawn at random would
//! have met.

use super::past::DAYS;
use crate::answers::document::Saved;
use crate::answers::stats;
use crate::config::Settings;
use crate::dashboard::chart;
use crate::domain::attempt::printable;
use crate::domain::pool::Strategy;
use crate::domain::words::{counted, grouped, listed, plural};
use crate::store::AllocationTotal;

/// The savings in words and as two bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SavedView {
    pub(super) says: String,
    /// The allocations that are counted, in a sentence.
    pub(super) counted: String,
    /// Random, then learning.
    pub(super) bars: [SavedBar; 2],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SavedBar {
    pub(super) label: &'static str,
    pub(super) value: String,
    /// Length beside the longer of the two, which fills the picture.
    pub(super) length: u32,
}

/// The savings of the week. `None` if no allocation counts.
pub(super) fn view(settings: &Settings, allocations: &[AllocationTotal]) -> Option<SavedView> {
    let learns = |pool: &str| {
        let pool = settings.pools.get(pool);
        pool.is_some_and(|pool| pool.strategy == Strategy::Learned)
    };
    // Pools with other strategies learn nothing.
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
        length: chart::length(number, longest),
    };
    SavedView {
        says: says(random, met),
        counted: format!(
            "From {} of the last {DAYS} days in {} {} (strategy learned). For each, the record has the share of busy \
             ports among those it could have had: the number of busy ports that random meets on average.",
            counted(saved.allocations, "allocation"),
            plural(pools.len(), "pool"),
            listed(pools)
        ),
        bars: [
            bar("Random would have met", about(random), random),
            bar("Learning met", grouped(saved.met), met),
        ],
    }
}

/// A mean, with a decimal if it is small.
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
        return "As many refused binds as random ports would have met: nothing saved, nothing lost."
            .to_owned();
    }
    if difference < 0.0 {
        let more = about(-difference);
        return format!(
            "{more} more refused binds than random ports would have met: learning saved nothing so far."
        );
    }
    let share = (difference / random * 100.0).floor();
    format!(
        "Learning avoided {} refused binds, {share:.0} % of those that random ports would have met.",
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
    fn savings_name_the_allocations_counted() {
        let view = saved(96.4, 3);
        assert_eq!(
            view.says,
            "Learning avoided 93 refused binds, 96 % of those that random ports would have met."
        );
        let counted = "From 1,200 allocations of the last 7 days in pools default and web";
        assert!(view.counted.starts_with(counted), "{}", view.counted);
        assert_eq!([view.bars[0].length, view.bars[1].length], [1000, 31]);
    }

    #[test]
    fn losses_are_told_too() {
        let view = saved(0.4, 2);
        assert!(view.says.starts_with("1.6 more"), "{}", view.says);
        assert_eq!(view.bars[1].length, 1000);
        assert!(saved(0.0, 0).says.starts_with("As many"));
    }
}
