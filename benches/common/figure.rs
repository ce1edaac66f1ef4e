//! The table: one line a figure, with its aim and whether it is met.

use std::time::Duration;

/// Begins a part of the table.
pub fn heading(text: &str) {
    println!("\n{text}");
}

/// A figure without an aim.
pub fn plain(what: &str, value: f64, unit: &str) {
    line(what, value, unit, "");
}

/// A figure that must not be larger than its aim.
pub fn at_most(what: &str, value: f64, aim: f64, unit: &str) {
    let verdict = verdict("at most", aim, unit, value <= aim);
    line(what, value, unit, &verdict);
}

/// A figure that must not be smaller than its aim.
pub fn at_least(what: &str, value: f64, aim: f64, unit: &str) {
    let verdict = verdict("at least", aim, unit, value >= aim);
    line(what, value, unit, &verdict);
}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^52")]
pub fn approximately(count: u64) -> f64 {
    count as f64
}

/// The value that half of the others are above.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Percentile of sorted values, in milliseconds.
pub fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let index = sorted.len() * percent / 100;
    let value = sorted.get(index).or(sorted.last());
    value.map_or(f64::NAN, |value| value.as_secs_f64() * 1e3)
}

fn verdict(bound: &str, aim: f64, unit: &str, met: bool) -> String {
    let met = if met { "met" } else { "MISSED" };
    format!("aim: {bound} {} {unit}  {met}", number(aim))
}

fn line(what: &str, value: f64, unit: &str, verdict: &str) {
    let text = format!("  {what:<46} {:>10} {unit:<8} {verdict}", number(value));
    println!("{}", text.trim_end());
}

/// Three digits that count, or all of those before the point.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
