//! Schemas of texts with a grammar of their own. Their parsers are written by hand, so their schemas are
//! too; a test parses the examples of each.

use std::borrow::Cow;

use schemars::generate::Contract;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::domain::duration::HumanDuration;
use crate::domain::lease::Name;
use crate::domain::moment::Moment;
use crate::domain::selector::Selector;

/// Durations that every parser reads alike. The service understands more than this.
const DURATION: &str = "^([0-9]{1,3}d)?([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$";

/// Those of them that are above zero.
const LASTING: &str = "^([1-9][0-9]{0,2}d([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?\
    |[1-9][0-9]{0,3}h([0-9]{1,5}m)?([0-9]{1,6}s)?|[1-9][0-9]{0,4}m([0-9]{1,6}s)?|[1-9][0-9]{0,5}s)$";

/// Schema of a [`HumanDuration`] that has to be above zero.
pub enum Lasting {}

/// IPv4 networks. The service understands those of IPv6 too, but they have no short pattern.
const NETWORK: &str = "^!?((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}\
    (25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])/(3[0-2]|[12]?[0-9])$";

/// Names of interfaces, by the characters in practice.
const INTERFACE: &str = "^!?[A-Za-z0-9*?][A-Za-z0-9._*?-]{0,14}$";

/// Maximum of a duration: ten leap years in seconds.
const LONGEST_SECONDS: u64 = 10 * 366 * 86_400;

/// A schema without a name, inlined where it is used.
macro_rules! inline {
    ($($type:ty, $name:literal, $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let schema: fn(&mut SchemaGenerator) -> Schema = $schema;
                schema(generator)
            }
        }
    )*};
}

inline! {
    Name, "Name", |_| json_schema!({
        "title": "name",
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9][A-Za-z0-9._-]*)?$",
        "maxLength": 64,
        "examples": ["web"],
    });
    Selector, "Selector", |generator| match generator.contract() {
        Contract::Serialize => json_schema!({"title": "selector", "type": "string", "examples": ["any"]}),
        _ => json_schema!({
            "title": "selector",
            "anyOf": [
                {"type": "string", "enum": ["any", "all", "loopback", "private", "public", "ipv4", "ipv6"]},
                {"type": "string", "format": "ipv4"},
                {"type": "string", "format": "ipv6"},
                {"type": "string", "pattern": NETWORK},
                {"type": "string", "pattern": INTERFACE},
            ],
            "description": "`any`, a class (`all`, `loopback`, `private`, `public`), a family (`ipv4`, `ipv6`), \
                an address, a network, or an interface by name or glob; `!` before it takes away.",
            "examples": ["any", "eth0", "10.0.0.0/8", "!docker0"],
        }),
    };
    HumanDuration, "Duration", |generator| match generator.contract() {
        Contract::Serialize => json_schema!({"title": "duration", "type": "string", "examples": ["1h30m"]}),
        // In requests.
        _ => json_schema!({
            "title": "duration",
            "anyOf": [
                {"type": "string", "minLength": 2, "pattern": DURATION},
                {"type": "number", "minimum": 0, "maximum": LONGEST_SECONDS},
            ],
            "description": "A length of time such as `10s` or `1h30m`, or a number of seconds; ten years at most.",
            "examples": ["10m"],
        }),
    };
    Lasting, "LastingDuration", |generator| match generator.contract() {
        Contract::Serialize => HumanDuration::json_schema(generator),
        _ => json_schema!({
            "title": "duration above zero",
            "anyOf": [
                {"type": "string", "pattern": LASTING},
                {"type": "number", "minimum": 0.001, "maximum": LONGEST_SECONDS},
            ],
            "description": "A length of time such as `10s` or `1h30m`, or a number of seconds; above zero, and ten years at most.",
            "examples": ["10m"],
        }),
    };
    Moment, "Moment", |_| json_schema!({
        "title": "time, or how long ago",
        "anyOf": [
            {"type": "string", "minLength": 2, "pattern": DURATION},
            {"type": "string", "format": "date-time"},
            {"type": "integer", "minimum": 0, "maximum": LONGEST_SECONDS},
        ],
        "description": "How long ago, such as `7d` or in seconds, or a time such as `2030-01-31T12:00:00Z`.",
        "examples": ["7d"],
    });
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::str::FromStr;

    use super::*;

    fn reads_its_examples<T: JsonSchema + FromStr<Err: Debug>>() {
        let schema = schemars::schema_for!(T);
        for example in schema.get("examples").unwrap().as_array().unwrap() {
            example.as_str().unwrap().parse::<T>().unwrap();
        }
    }

    #[test]
    fn what_a_schema_gives_as_an_example_is_understood() {
        reads_its_examples::<Name>();
        reads_its_examples::<Selector>();
        reads_its_examples::<HumanDuration>();
        reads_its_examples::<Moment>();
    }

    #[test]
    fn the_longest_duration_of_a_schema_is_understood() {
        let longest = LONGEST_SECONDS.to_string();
        for text in ["999d9999h99999m999999s", &longest] {
            assert!(text.parse::<HumanDuration>().is_ok(), "{text}");
        }
        let longer = (LONGEST_SECONDS + 1).to_string();
        assert!(longer.parse::<HumanDuration>().is_err());
    }
}
