//! Where each setting's value came from.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::key::Key;

/// The source of a value that nobody set.
pub const DEFAULT: &str = "default";

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Setting {
    /// Its name, such as `pools.web.ranges`.
    pub key: String,
    /// Its value; null where it is optional and not set.
    pub value: Value,
    /// Where the value came from: `file /x.toml:3`, `environment (PORTBOOK_SOCKET)`,
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
    /// Every setting.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Where the value of a setting came from; `default` for one that does not exist.
    pub fn source(&self, key: &str) -> &str {
        let found = self.settings.iter().find(|setting| setting.key == key);
        found.map_or(DEFAULT, |setting| &setting.source)
    }

    /// Whether there is such a setting.
    pub fn has(&self, key: &str) -> bool {
        self.settings.iter().any(|setting| setting.key == key)
    }

    /// Whether nobody set it.
    pub fn is_default(&self, key: &str) -> bool {
        self.source(key) == DEFAULT
    }

    /// Takes the settings that `is_kept` names as another reading of the configuration had them.
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

    /// The keys of every setting.
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
