//! Output of one line a figure.

use std::time::Duration;

/// Begins a part.
pub fn heading(text: &str) {
    println!("\n{text}");
}

/// A figure.
pub fn line(what: &str, value: impl std::fmt::Display) {
    println!("  {what:<58} {value}");
}

/// The longest, the median and the 99th of 100 of some times.
pub fn times(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let nth = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1));
    for (word, percent) in [("median", 50), ("99 of 100", 99), ("longest", 100)] {
        let text = nth(percent).map_or_else(|| "none".to_owned(), |time| ms(*time));
        line(&format!("{what}, {word}"), text);
    }
}

/// Milliseconds.
pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
