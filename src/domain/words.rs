//! Words for people: numbers and lists as sentences write them, and the words of enums.

use std::fmt::Display;

use strum::VariantArray;

/// An enum that people write by its words.
pub trait Written: VariantArray + Copy + Into<&'static str> {
    /// Kind of thing with its article, as in "is not a strategy".
    const KIND: &'static str;
}

/// A text that is no word of an enum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {kind}: use {words}")]
pub struct UnknownWord {
    text: String,
    kind: &'static str,
    words: String,
}

impl UnknownWord {
    /// Names the words of `T` in place of a text that is none of them.
    pub fn of<T: Written>(text: &str) -> Self {
        let words: Vec<&'static str> = words_of::<T>().collect();
        Self {
            text: text.to_owned(),
            kind: T::KIND,
            words: joined(&words, "or"),
        }
    }
}

/// Words of an enum, in the order of its declaration.
pub fn words_of<T>() -> impl Iterator<Item = &'static str>
where
    T: VariantArray + Copy + Into<&'static str>,
{
    T::VARIANTS.iter().map(|word| (*word).into())
}

/// Gives enums the method `as_str`, which returns the word that `strum` derives.
macro_rules! as_str {
    ($($word:ident),+) => {
        $(impl $word {
            /// Word in JSON, SQL and on pages.
            pub fn as_str(self) -> &'static str {
                self.into()
            }
        })+
    };
}
pub(crate) use as_str;

/// `4,310`: a whole number with commas between thousands.
pub fn grouped<N: TryInto<u64>>(number: N) -> String {
    // Counts are never negative and fit in u64.
    let digits = number.try_into().unwrap_or(0).to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 check`, `4,310 checks`.
pub fn counted<N: TryInto<u64> + Copy>(number: N, noun: &str) -> String {
    format!("{} {}", grouped(number), plural(number, noun))
}

/// `check` for one, `checks` for any other number.
pub fn plural<N: TryInto<u64>>(number: N, noun: &str) -> String {
    let ending = if is_one(number) { "" } else { "s" };
    format!("{noun}{ending}")
}

/// Verb for a number of things: `is` or `are`.
pub fn are<N: TryInto<u64>>(number: N) -> &'static str {
    if is_one(number) { "is" } else { "are" }
}

/// Verb for a number of things in the past: `was` or `were`.
pub fn were<N: TryInto<u64>>(number: N) -> &'static str {
    if is_one(number) { "was" } else { "were" }
}

fn is_one<N: TryInto<u64>>(number: N) -> bool {
    number.try_into().is_ok_and(|number| number == 1)
}

/// `8888`, `8888 and 8889`, `8888, 8889 and 8890`.
pub fn listed<W: Display>(words: &[W]) -> String {
    joined(words, "and")
}

fn joined<W: Display>(words: &[W], conjunction: &str) -> String {
    match words {
        [] => String::new(),
        [only] => only.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("{} {conjunction} {last}", first.join(", "))
        }
    }
}

/// Quotes a word for a shell (POSIX.1-2024, 2.2.2), if it needs that.
pub fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_words_stay_one_word_of_the_shell() {
        assert_eq!(shell_word("/var/lib/portbook"), "/var/lib/portbook");
        assert_eq!(
            shell_word("a b; rm -rf '$HOME'"),
            r"'a b; rm -rf '\''$HOME'\'''"
        );
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(7_u64), "7");
        assert_eq!(grouped(1000_usize), "1,000");
        assert_eq!(grouped(1_234_567_i64), "1,234,567");
        assert_eq!(counted(1_u8, "lease"), "1 lease");
        assert_eq!(counted(0_usize, "lease"), "0 leases");
        assert_eq!(counted(4310_u32, "check"), "4,310 checks");
        assert_eq!((are(1_u32), are(2_u32)), ("is", "are"));
        assert_eq!((were(1_u32), were(0_u32)), ("was", "were"));
    }

    #[test]
    fn lists_end_with_an_and() {
        assert_eq!(listed::<&str>(&[]), "");
        assert_eq!(listed(&[8888]), "8888");
        assert_eq!(listed(&["1", "2"]), "1 and 2");
        assert_eq!(listed(&["1", "2", "3"]), "1, 2 and 3");
    }
}
