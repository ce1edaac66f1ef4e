//! Numbers and lists as sentences have them. Everything that is told to people is told with these.

use std::fmt::Display;

/// `4,310`: a whole number with commas between thousands.
pub fn grouped<N: TryInto<u64>>(number: N) -> String {
    // What is counted is never below nothing, nor more than can be counted.
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

/// `check` of one, `checks` of any other number.
pub fn plural<N: TryInto<u64>>(number: N, noun: &str) -> String {
    let ending = if is_one(number) { "" } else { "s" };
    format!("{noun}{ending}")
}

/// What goes with so many of something: `is` or `are`.
pub fn are<N: TryInto<u64>>(number: N) -> &'static str {
    if is_one(number) { "is" } else { "are" }
}

/// The same of what is past: `was` or `were`.
pub fn were<N: TryInto<u64>>(number: N) -> &'static str {
    if is_one(number) { "was" } else { "were" }
}

fn is_one<N: TryInto<u64>>(number: N) -> bool {
    number.try_into().is_ok_and(|number| number == 1)
}

/// `8888`, `8888 and 8889`, `8888, 8889 and 8890`.
pub fn listed<W: Display>(words: &[W]) -> String {
    match words {
        [] => String::new(),
        [only] => only.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
