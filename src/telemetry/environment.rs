//! The standard variables of telemetry, read at the edge so that tests can give their own.

use std::collections::BTreeMap;

/// Variables that are read beside `OTEL_*`.
const OTHERS: [&str; 2] = ["NO_COLOR", "JOURNAL_STREAM"];

/// Values of `OTEL_*`, `NO_COLOR` and `JOURNAL_STREAM`.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads those of this process. A value that is not UTF-8 is left out.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("OTEL_") || OTHERS.contains(&&**name))
            .collect()
    }

    /// Value of a variable. An empty one counts as unset, as the OpenTelemetry specification and
    /// <https://no-color.org> both ask.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// Destination of spans by the standard variables: the one for traces comes before the one for
    /// everything.
    pub fn endpoint(&self) -> Option<Endpoint<'_>> {
        let traces = self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let base = self.get("OTEL_EXPORTER_OTLP_ENDPOINT");
        traces
            .map(Endpoint::Whole)
            .or_else(|| base.map(Endpoint::Base))
    }

    /// Whether a variable has this value, in upper or lower case.
    pub(super) fn says(&self, name: &str, word: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case(word))
    }
}

/// Destination of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// A whole URL, to be used unchanged.
    Whole(&'a str),
    /// A URL to append a path to.
    Base(&'a str),
}

impl<'a> Endpoint<'a> {
    /// The URL as written.
    pub const fn as_str(self) -> &'a str {
        match self {
            Self::Whole(url) | Self::Base(url) => url,
        }
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(variables: T) -> Self {
        let owned = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        Self(owned.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_unset() {
        let environment = [("NO_COLOR", ""), ("OTEL_A", " True ")]
            .into_iter()
            .collect::<Environment>();
        assert_eq!(environment.get("NO_COLOR"), None);
        assert!(environment.says("OTEL_A", "true"));
        assert!(!environment.says("OTEL_B", "true"));
    }
}
