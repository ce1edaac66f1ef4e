//! Provenance: the source of the value of each setting.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::key::Key;

/// Source of a value that was not set.
pub const DEFAULT: &str = "default";

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Setting {
    /// Key, such as `pools.web.ranges`.
    pub key: String,
    /// Value in effect; null if it is optional and not set.
    pub value: Value,
    /// Source of the value: `file /x.toml:3`, `environment (PORTBOOK_SOCKET)`,
    /// `command-line flag (--listen)` or `default`.
    pub source: String,
}

/// Every effective setting with its source, in the order in which `config show` prints them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Provenance {
    settings: Vec<Setting>,
    keys: Vec<Key>,
}

impl Provenance {
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Source of the value of a setting; `default` for one that does not exist.
    pub fn source(&self, key: &str) -> &str {
        let found = self.settings.iter().find(|setting| setting.key == key);
        found.map_or(DEFAULT, |setting| &setting.source)
    }

    /// Whether there is such a setting.
    pub fn has(&self, key: &str) -> bool {
        self.settings.iter().any(|setting| setting.key == key)
    }

    /// Whether it was not set.
    pub fn is_default(&self, key: &str) -> bool {
        self.source(key) == DEFAULT
    }

    /// Takes the settings that `is_kept` selects from another reading of the configuration.
    pub fn keep(&mut self, other: &Self, is_kept: impl Fn(&str) -> bool) {
        for setting in self
            .settings
            .iter_mut()
            .filter(|setting| is_kept(&setting.key))
        {
            let earlier = other
                .settings
                .iter()
                .find(|earlier| earlier.key == setting.key);
            if let Some(earlier) = earlier {
                setting.clone_from(earlier);
            }
        }
    }

    /// Keys of all settings.
    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub(super) fn record(&mut self, key: &Key, value: Value, source: String) {
        self.settings.push(Setting {
            key: key.to_string(),
            value,
            source,
        });
        self.keys.push(key.clone());
    }
}
