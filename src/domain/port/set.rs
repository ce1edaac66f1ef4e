//! Sets of ports, as ranges.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::json;

use super::{Port, PortError};
use crate::domain::text::as_text;

/// A set of ports, kept as ascending ranges that neither touch nor overlap.
///
/// Written as ranges and single ports with commas between; a configuration file may also give a
/// bare number or a list.
///
/// ```
/// use portbook::domain::port::PortSet;
/// let set: PortSet = "9100,8888-8988".parse().unwrap();
/// assert_eq!(set.to_string(), "8888-8988,9100");
/// assert_eq!(set.len(), 102);
/// assert!("8988-8888".parse::<PortSet>().unwrap_err().to_string().contains("reversed"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct PortSet {
    ranges: Vec<(u16, u16)>,
}

impl PortSet {
    /// Set without a port.
    pub const EMPTY: Self = Self { ranges: Vec::new() };

    /// Set from `first` to `last`, both included; empty if they are reversed.
    pub fn range(first: Port, last: Port) -> Self {
        Self::from_pairs([(first.get(), last.get())])
    }

    /// Set of one port.
    pub fn single(port: Port) -> Self {
        Self::range(port, port)
    }

    fn from_pairs(pairs: impl IntoIterator<Item = (u16, u16)>) -> Self {
        let mut sorted: Vec<(u16, u16)> = pairs.into_iter().filter(|(a, b)| a <= b).collect();
        sorted.sort_unstable();
        let mut ranges: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match ranges.last_mut() {
                Some(previous) if u32::from(first) <= u32::from(previous.1) + 1 => {
                    previous.1 = previous.1.max(last);
                }
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }

    /// Number of ports.
    pub fn len(&self) -> usize {
        self.ranges
            .iter()
            .map(|&(a, b)| usize::from(b - a) + 1)
            .sum()
    }

    /// Whether there is no port in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether `port` is in it.
    pub fn contains(&self, port: Port) -> bool {
        let number = port.get();
        let after = self.ranges.partition_point(|&(first, _)| first <= number);
        after > 0 && self.ranges[after - 1].1 >= number
    }

    /// Lowest port.
    pub fn first(&self) -> Option<Port> {
        self.ranges.first().and_then(|&(first, _)| Port::new(first))
    }

    /// Ranges, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> + '_ {
        self.ranges.iter().map(|&(first, last)| first..=last)
    }

    /// Every port, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Port> + '_ {
        self.ranges().flatten().filter_map(Port::new)
    }

    /// Lowest port above `port`.
    pub fn next_above(&self, port: Port) -> Option<Port> {
        let next = port.get().checked_add(1)?;
        let after = self.ranges.partition_point(|&(_, last)| last < next);
        let &(first, _) = self.ranges.get(after)?;
        Port::new(first.max(next))
    }

    /// Ports in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut mine, mut theirs) = (
            self.ranges.iter().peekable(),
            other.ranges.iter().peekable(),
        );
        let mut pairs = Vec::new();
        while let (Some(&&(a, b)), Some(&&(c, d))) = (mine.peek(), theirs.peek()) {
            pairs.push((a.max(c), b.min(d)));
            if b < d {
                mine.next();
            } else {
                theirs.next();
            }
        }
        Self::from_pairs(pairs)
    }

    /// Ports that are not in the other set.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        // Gaps between the ranges of the other set.
        let mut begin = Some(1);
        let mut others = Vec::with_capacity(other.ranges.len() + 1);
        for &(first, last) in &other.ranges {
            if let (Some(begin), Some(end)) = (begin, first.checked_sub(1)) {
                others.push((begin, end));
            }
            begin = last.checked_add(1);
        }
        others.extend(begin.map(|begin| (begin, u16::MAX)));
        self.intersection(&Self::from_pairs(others))
    }

    /// Ports in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_pairs(self.ranges.iter().chain(&other.ranges).copied())
    }

    /// Form for sentences: `8888-8988, 9100`.
    pub fn in_words(&self) -> String {
        self.to_string().replace(',', ", ")
    }
}

impl FromIterator<Port> for PortSet {
    fn from_iter<I: IntoIterator<Item = Port>>(ports: I) -> Self {
        let ports = ports.into_iter().map(Port::get);
        Self::from_pairs(ports.map(|number| (number, number)))
    }
}

impl FromStr for PortSet {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pairs = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (first, last) = if let Some((first, last)) = part.split_once('-') {
                (first.parse::<Port>()?, last.parse::<Port>()?)
            } else {
                let port = part.parse::<Port>()?;
                (port, port)
            };
            if first > last {
                return Err(PortError::Reversed(first, last));
            }
            pairs.push((first.get(), last.get()));
        }
        if pairs.is_empty() {
            return Err(PortError::Empty);
        }
        Ok(Self::from_pairs(pairs))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, &(first, last)) in self.ranges.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if first == last {
                write!(f, "{first}")?;
            } else {
                write!(f, "{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortSet({self})")
    }
}

as_text!(PortSet);

impl<'de> Deserialize<'de> for PortSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortSetVisitor)
    }
}

/// Pattern of ports and ranges in one text. It cannot say that ports end at 65535 and that ranges
/// ascend.
const IN_TEXT: &str = "^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?(,[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?)*$";

/// Schema of a set of ports in a query, where it is one text.
pub fn ports_in_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": IN_TEXT})
}

impl JsonSchema for PortSet {
    fn schema_name() -> Cow<'static, str> {
        "PortSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let port = json!({"type": "integer", "minimum": 1, "maximum": u16::MAX});
        let text = json!({"type": "string", "pattern": IN_TEXT});
        json_schema!({
            "description": "Ports and ranges of ports, the lower end first.",
            "examples": ["8888-8988,9100"],
            "anyOf": [port, text, {"type": "array", "items": {"anyOf": [port, text]}, "minItems": 1}],
        })
    }
}

/// Takes a text, a number or a list of either: an environment variable `31000` arrives as a
/// number, and a list reads better in a file.
struct PortSetVisitor;

impl<'de> de::Visitor<'de> for PortSetVisitor {
    type Value = PortSet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ports such as \"8888-8988,9100\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PortSet, E> {
        if text.trim().is_empty() {
            return Ok(PortSet::EMPTY);
        }
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortSet, E> {
        let port = u16::try_from(number).ok().and_then(Port::new);
        let port = port.ok_or_else(|| E::custom(PortError::OutOfRange(number)))?;
        Ok(PortSet::single(port))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortSet, E> {
        let number = u64::try_from(number)
            .map_err(|_| E::custom(format!("{number} is not a port: ports go from 1 to 65535")))?;
        self.visit_u64(number)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<PortSet, A::Error> {
        let mut all = PortSet::EMPTY;
        while let Some(part) = list.next_element::<PortSet>()? {
            all = all.union(&part);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_edges_of_the_number_space() {
        let set: PortSet = "65000-65535".parse().unwrap();
        assert_eq!(set.len(), 536);
        assert!(set.contains(Port::new(65535).unwrap()));
        assert_eq!("1".parse::<PortSet>().unwrap().len(), 1);
        assert_eq!("1-65535".parse::<PortSet>().unwrap().len(), 65535);
    }

    #[test]
    fn bad_texts_say_what_is_wrong() {
        let wrong = |text: &str| text.parse::<PortSet>().unwrap_err();
        assert_eq!(wrong("0"), PortError::OutOfRange(0));
        assert_eq!(wrong("70000"), PortError::OutOfRange(70000));
        assert_eq!(wrong("http"), PortError::NotANumber("http".into()));
        assert_eq!(wrong(" , "), PortError::Empty);
        assert!(matches!(wrong("9000-8000"), PortError::Reversed(_, _)));
    }

    #[test]
    fn a_number_a_text_and_a_list_mean_the_same() {
        let set: PortSet = serde_json::from_str("[8888, \"9000-9001\"]").unwrap();
        assert_eq!(set.to_string(), "8888,9000-9001");
        assert_eq!(
            serde_json::from_str::<PortSet>("31000").unwrap(),
            serde_json::from_str::<PortSet>("\"31000\"").unwrap()
        );
    }

    fn any_set() -> impl Strategy<Value = PortSet> {
        proptest::collection::vec((1u16..200, 0u16..20), 0..8)
            .prop_map(|pairs| PortSet::from_pairs(pairs.into_iter().map(|(a, n)| (a, a + n))))
    }

    proptest! {
        #[test]
        fn set_rules_hold_port_by_port(a in any_set(), b in any_set()) {
            let (both, either) = (a.intersection(&b), a.union(&b));
            for port in (1..260).filter_map(Port::new) {
                prop_assert_eq!(both.contains(port), a.contains(port) && b.contains(port));
                prop_assert_eq!(either.contains(port), a.contains(port) || b.contains(port));
            }
            prop_assert_eq!(either.iter().count(), either.len());
        }

        #[test]
        fn next_above_is_the_next_port_of_the_set(a in any_set(), from in 1u16..260) {
            let from = Port::new(from).unwrap();
            let expected = a.iter().find(|port| *port > from);
            prop_assert_eq!(a.next_above(from), expected);
        }

        #[test]
        fn a_set_survives_being_written_down(a in any_set()) {
            prop_assume!(!a.is_empty());
            prop_assert_eq!(a.to_string().parse::<PortSet>().unwrap(), a);
        }
    }
}
