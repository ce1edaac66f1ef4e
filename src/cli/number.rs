//! Whole numbers on the command line, with refusals that say what to write.

use std::str::FromStr;

use crate::domain::duration::{HumanDuration, NotADuration};

/// Refusal of a lifetime of zero.
pub(super) const TOO_SHORT: &str =
    "a lease of no time ends at once: write a longer one, such as 30m";

pub(super) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.trim()
        .parse()
        .map_err(|_| "write a whole number that is not too large, such as 100".to_owned())
}

/// Reads a whole number of at least one; `at_least` is the refusal of zero.
pub(super) fn at_least_one<T>(
    at_least: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync
where
    T: TryFrom<u32>,
{
    move |text| match whole::<u32>(text)? {
        0 => Err(at_least.to_owned()),
        number => T::try_from(number).map_err(|_| at_least.to_owned()),
    }
}

/// Reads a duration above zero; `too_short` is the refusal of zero.
pub(super) fn lasting(
    too_short: &'static str,
) -> impl Fn(&str) -> Result<HumanDuration, String> + Clone + Send + Sync {
    move |text| {
        let length: HumanDuration = text
            .parse()
            .map_err(|error: NotADuration| error.to_string())?;
        if length.0.as_millis() == 0 {
            return Err(too_short.to_owned());
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn zero_and_words_are_refused_with_a_hint() {
        let count = at_least_one::<NonZeroU32>("ask for one port at least");
        assert_eq!(count("3").map(NonZeroU32::get), Ok(3));
        assert_eq!(count("0").unwrap_err(), "ask for one port at least");
        for wrong in ["x", "-1", "1.5", "", "99999999999"] {
            assert!(
                count(wrong)
                    .unwrap_err()
                    .starts_with("write a whole number")
            );
        }
    }
}
