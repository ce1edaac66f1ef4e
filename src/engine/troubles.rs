//! Troubles: what is wrong with the fleet while the session of this host lives, one sentence of each kind.

use std::collections::BTreeMap;

use super::lock::Guarded;

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TroubleKind {
    /// A key keeps all hosts from new claims.
    Hold,
    /// The engine refuses this host.
    Rights,
}

/// The troubles of this host.
#[derive(Debug, Default)]
pub struct Troubles(Guarded<BTreeMap<TroubleKind, String>>);

impl Troubles {
    /// Sets a trouble, or that there is none of this kind, and reports that if it has changed.
    pub fn set(&self, kind: TroubleKind, why: Option<String>) {
        let word: &'static str = kind.into();
        let has_changed = self.0.with(|troubles| {
            let before = match &why {
                Some(why) => troubles.insert(kind, why.clone()),
                None => troubles.remove(&kind),
            };
            before != why
        });
        match why {
            Some(why) if has_changed => tracing::warn!(kind = word, "fleet: {why}"),
            None if has_changed => tracing::info!(kind = word, "a trouble with the fleet is over"),
            _ => {}
        }
    }

    /// Whether there is a trouble of this kind.
    pub fn has(&self, kind: TroubleKind) -> bool {
        self.0.with(|troubles| troubles.contains_key(&kind))
    }

    /// Returns the troubles in words.
    pub fn told(&self) -> Vec<String> {
        self.0.with(|troubles| troubles.values().cloned().collect())
    }
}
