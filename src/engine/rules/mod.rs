//! The rules in force: settings, the kernel's own rules, and exclusions by hand.
//!
//! They are one immutable value. A request reads it once and obeys it to its end; a change makes a
//! new value and swaps it in whole, so that no reader ever sees half of a change.

mod kernel;

use std::sync::{Arc, PoisonError, RwLock};

pub use self::kernel::KernelRules;
use crate::config::Settings;
use crate::domain::exclusion::Exclusions;

/// The rules at one moment.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The ports that the kernel sets aside.
    pub kernel: KernelRules,
    /// The ports that users excluded by hand.
    pub exclusions: Arc<Exclusions>,
}

/// The owner of the rules: the only place that changes them.
#[derive(Debug)]
pub(super) struct RulesInForce(RwLock<Arc<Rules>>);

impl RulesInForce {
    /// Starts with these settings, the kernel's rules of now, and no exclusion.
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self(RwLock::new(Arc::new(Rules {
            settings,
            kernel: KernelRules::read(),
            exclusions: Arc::default(),
        })))
    }

    /// Returns the rules as they are now. Later changes do not affect the returned value.
    pub(super) fn now(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the settings in force.
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.now().settings)
    }

    /// Puts other settings in force.
    pub(super) fn set_settings(&self, settings: Arc<Settings>) {
        self.swap(|rules| rules.settings = settings);
    }

    /// Reads the kernel's rules again. `true` if they changed.
    pub(super) fn reread_kernel(&self) -> bool {
        let kernel = KernelRules::read();
        let has_changed = self.now().kernel != kernel;
        if has_changed {
            self.swap(|rules| rules.kernel = kernel);
        }
        has_changed
    }

    /// Changes the exclusions.
    pub(super) fn change_exclusions(&self, change: impl FnOnce(&mut Exclusions)) {
        self.swap(|rules| change(Arc::make_mut(&mut rules.exclusions)));
    }

    fn swap(&self, change: impl FnOnce(&mut Rules)) {
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Readers keep the value that they have: it is copied before it is changed.
        change(Arc::make_mut(&mut now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};
    use crate::domain::exclusion::Exclusion;
    use crate::domain::port::{Port, Protocol};

    #[test]
    fn readers_keep_the_rules_that_they_began_with() {
        let sources = Sources {
            home: Some("/nonexistent".into()),
            ..Sources::default()
        };
        let owner = RulesInForce::new(Arc::new(load(&sources).unwrap().settings));
        let port = Port::new(5000).unwrap();
        let exclusion = Exclusion {
            protocol: Protocol::Tcp,
            port,
            reason: None,
            uid: 0,
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let before = owner.now();
        owner.change_exclusions(|all| all.add_all([exclusion]));
        owner.swap(|rules| rules.kernel.unprivileged_start = u16::MAX);
        assert!(owner.reread_kernel() && !owner.reread_kernel());
        assert!(before.exclusions.get(Protocol::Tcp, port).is_none());
        assert!(owner.now().exclusions.get(Protocol::Tcp, port).is_some());
        assert!(Arc::ptr_eq(&before.settings, &owner.settings()));
    }
}
