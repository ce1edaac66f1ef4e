//! Invalid standard variables. The SDK silently ignores a number that it cannot read, so that a
//! mistyped one would stay unnoticed; it reports unknown samplers and compressions itself.

use super::Environment;
use super::resource;

/// Variable, description of its values, and their check.
type Rule = (&'static str, &'static str, fn(&str) -> bool);

const RULES: [Rule; 19] = [
    ("OTEL_SDK_DISABLED", "true or false", is_boolean),
    ("OTEL_TRACES_EXPORTER", "otlp or none", |text| {
        is_one_of(text, &["otlp", "none"])
    }),
    (
        "OTEL_PROPAGATORS",
        "tracecontext or none, in a list maybe with others",
        propagates,
    ),
    (
        "OTEL_LOG_LEVEL",
        "off, error, warn, info, debug or trace",
        is_level,
    ),
    ("OTEL_TRACES_SAMPLER_ARG", "a share from 0 to 1", is_share),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOLS, is_protocol),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", PROTOCOLS, is_protocol),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", MILLISECONDS, is_positive),
    (
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        MILLISECONDS,
        is_positive,
    ),
    ("OTEL_BSP_SCHEDULE_DELAY", MILLISECONDS, is_positive),
    ("OTEL_BSP_EXPORT_TIMEOUT", MILLISECONDS, is_positive),
    ("OTEL_BSP_MAX_QUEUE_SIZE", NUMBER, is_positive),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", NUMBER, is_positive),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", NUMBER, is_positive),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", NUMBER, is_positive),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", NUMBER, is_positive),
    ("OTEL_RESOURCE_ATTRIBUTES", PAIRS, is_attributes),
    // Headers hold secrets, so their value is never shown.
    (HEADERS, PAIRS, is_pairs),
    (TRACES_HEADERS, PAIRS, is_pairs),
];

const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
const MILLISECONDS: &str = "milliseconds, above 0";
const NUMBER: &str = "a number above 0";
const PAIRS: &str = "key=value, with a comma between two and other commas and signs as %2C";
const PROTOCOLS: &str = "http/protobuf, or grpc in a build with --features grpc";

/// Describes each variable with an invalid value.
pub(super) fn complaints(environment: &Environment) -> Vec<String> {
    let wrong = RULES.iter().filter_map(|(name, takes, holds)| {
        let value = environment.get(name).filter(|value| !holds(value))?;
        let secret = [HEADERS, TRACES_HEADERS].contains(name);
        let given = if secret {
            (*name).to_owned()
        } else {
            format!("{name}={value}")
        };
        Some(format!("{given} is ignored; it takes {takes}"))
    });
    wrong.collect()
}

/// Reads a number above zero. `None` for other values.
pub(super) fn positive(environment: &Environment, name: &str) -> Option<u64> {
    let number: u64 = environment.get(name)?.parse().ok()?;
    (number > 0).then_some(number)
}

fn is_one_of(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn is_boolean(text: &str) -> bool {
    is_one_of(text, &["true", "false"])
}

fn propagates(list: &str) -> bool {
    let mut words = list.split(',').map(str::trim);
    list == "none" || words.any(|word| word == "tracecontext")
}

fn is_level(text: &str) -> bool {
    text.parse::<tracing::level_filters::LevelFilter>().is_ok()
}

fn is_share(text: &str) -> bool {
    text.parse().is_ok_and(|share| (0.0..=1.0).contains(&share))
}

fn is_protocol(text: &str) -> bool {
    matches!(text, "http/protobuf" | "grpc")
}

fn is_positive(text: &str) -> bool {
    text.parse::<u64>().is_ok_and(|number| number > 0)
}

fn is_attributes(text: &str) -> bool {
    resource::attributes(text).is_some()
}

fn is_pairs(text: &str) -> bool {
    let mut pairs = text.split_terminator(',');
    pairs.all(|pair| {
        let parts = pair.split_once('=');
        parts.is_some_and(|(key, value)| !key.trim().is_empty() && !value.trim().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(name: &str, value: &str) -> Option<String> {
        complaints(&[(name, value)].into_iter().collect()).pop()
    }

    #[test]
    fn complaints_name_variable_and_valid_values() {
        for (name, takes, _) in RULES {
            let told = complaint(name, "=x").unwrap();
            assert!(told.contains(name) && told.ends_with(takes), "{told}");
        }
    }

    #[test]
    fn values_of_the_specification_are_accepted() {
        for (name, value) in [
            ("OTEL_SDK_DISABLED", "False"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_PROPAGATORS", "tracecontext,baggage"),
            ("OTEL_PROPAGATORS", "none"),
            ("OTEL_LOG_LEVEL", "DEBUG"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%20c,d=e="),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b=%2C"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", ""),
        ] {
            assert_eq!(complaint(name, value), None);
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let told = complaint(HEADERS, "Bearer hunter2").unwrap();
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn no_limit_is_zero() {
        let environment = [("A", "0"), ("B", "7"), ("C", "7s")].into_iter().collect();
        let of = |name| positive(&environment, name);
        assert_eq!([of("A"), of("B"), of("C")], [None, Some(7), None]);
    }
}
