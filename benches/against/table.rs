//! The table: one line a figure, with both builds, their ratio, the aim, and whether it is met.

use crate::common::figure::{median, number};
use crate::pair::Pair;

/// Aim of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// The figure is only told.
    Told,
    /// Today's value at most this.
    AtMost(f64),
    /// Today's value at least this.
    AtLeast(f64),
    /// Today's value at least this times the earlier one.
    TimesAtLeast(f64),
    /// Today's value at most this times the earlier one.
    TimesAtMost(f64),
}

/// Begins a part of the table.
pub fn heading(text: &str) {
    println!("\n{text}");
    println!(
        "  {:<46} {:>16} {:>16} {:<5} {:>7}",
        "", "old", "new", "", "new/old"
    );
}

/// A figure of both builds: medians over the rounds.
pub fn row(name: &str, values: &Pair<Vec<f64>>, unit: &str, aim: Aim) {
    let Pair { old, new } = values.map(|values| median(&mut values.clone()));
    let told = values.map(|values| with_spread(values));
    let ratio = new / old;
    let text = format!(
        "  {name:<46} {:>16} {:>16} {unit:<5} {ratio:>7.3} {}",
        told.old,
        told.new,
        verdict(aim, new, ratio, unit)
    );
    println!("{}", text.trim_end());
}

fn verdict(aim: Aim, new: f64, ratio: f64, unit: &str) -> String {
    let (text, is_met) = match aim {
        Aim::Told => return String::new(),
        Aim::AtMost(most) => (format!("at most {} {unit}", number(most)), new <= most),
        Aim::AtLeast(least) => (format!("at least {} {unit}", number(least)), new >= least),
        Aim::TimesAtLeast(least) => (format!("at least {least:.3} times"), ratio >= least),
        Aim::TimesAtMost(most) => (format!("at most {most:.3} times"), ratio <= most),
    };
    let is_met = if is_met { "met" } else { "MISSED" };
    format!(" aim: {text}  {is_met}")
}

/// The median, and half of the distance between the quartiles in percent of it.
fn with_spread(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    let middle = median(&mut sorted);
    if sorted.len() < 2 {
        return number(middle);
    }
    let quartile = |quarter: usize| sorted[(sorted.len() - 1) * quarter / 4];
    let spread = (quartile(3) - quartile(1)) / 2.0 / middle * 100.0;
    format!("{} ±{spread:.0} %", number(middle))
}
