//! Filters of the templates: the words of a page for a value.

#![expect(
    clippy::inline_always,
    clippy::unnecessary_wraps,
    clippy::unused_self,
    reason = "the attribute `filter_fn` makes such methods"
)]

use std::borrow::Borrow;
use std::fmt::Display;

use askama::{Result, Values, filter_fn};

use super::format;
use crate::domain::{attempt, words};

fn number(number: impl Display) -> u64 {
    number.to_string().parse().unwrap_or(0)
}

/// A whole number as `4,310`.
#[filter_fn]
pub fn grouped<N: Display>(value: N, _: &dyn Values) -> Result<String> {
    Ok(words::grouped(number(value)))
}

/// A whole number with its noun, as `4,310 checks`.
#[filter_fn]
pub fn counted<N: Display>(value: N, _: &dyn Values, noun: &str) -> Result<String> {
    Ok(words::counted(number(value), noun))
}

/// Replaces the control characters of a text from outside.
#[filter_fn]
pub fn printable<T: Display>(text: T, _: &dyn Values) -> Result<String> {
    Ok(attempt::printable(&text.to_string()))
}

/// Microseconds as a duration with its unit.
#[filter_fn]
pub fn micros<N: Borrow<f64>>(micros: N, _: &dyn Values) -> Result<String> {
    Ok(format::micros(*micros.borrow()))
}

/// Thousandths as `95.9%`, for lengths in a picture.
#[filter_fn]
pub fn percent<N: Display>(thousandths: N, _: &dyn Values) -> Result<String> {
    let thousandths = number(thousandths);
    Ok(format!("{}.{}%", thousandths / 10, thousandths % 10))
}
