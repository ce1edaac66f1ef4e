//! Whether ports can be handed over by `bind`, and why not.

use std::sync::Arc;

use crate::answers::document::StatusDocument;
use crate::config::Pool;
use crate::domain::lease::Handover;
use crate::host::bpf;

/// Name of the check of a service (`engine::health`).
const CHECK: &str = "hand-over";

/// The ways in which the running service hands ports over; without a service those that this user's would have.
pub(super) fn ways(running: Option<&StatusDocument>) -> String {
    let checks = running.map(|service| &service.checks);
    let told = checks.and_then(|checks| checks.iter().find(|check| check.name == CHECK));
    match told {
        Some(check) => format!("the service has {}", check.detail),
        None => match bpf::obstacle() {
            None => "a service of this user would have gate, fd, release and bind".to_owned(),
            Some(obstacle) => format!(
                "a service of this user would have gate, fd and release; bind falls back to gate: {obstacle}"
            ),
        },
    }
}

/// Pools that ask for `bind`, if it falls back.
pub(super) fn unmet(pools: &[Arc<Pool>], ways: &str) -> Vec<(String, String)> {
    if !ways.contains("falls back") {
        return Vec::new();
    }
    let asking = pools.iter().filter(|pool| pool.handover == Handover::Bind);
    let found = asking.map(|pool| {
        let message = format!("pool {} hands over by bind, and {ways}", pool.name);
        (message, "sudo portbook serve".to_owned())
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(handover: &str) -> Vec<Arc<Pool>> {
        let variable = "PORTBOOK_POOLS__DEFAULT__HANDOVER";
        let loaded = crate::config::load(&crate::config::Sources {
            environment: vec![(variable.into(), handover.into())],
            home: Some("/home/me".into()),
            ..Default::default()
        });
        vec![Arc::clone(&loaded.unwrap().settings.pools["default"])]
    }

    #[test]
    fn only_a_pool_that_asks_for_bind_finds_it_missing() {
        let missing = "the service has gate; bind falls back to gate: no privilege";
        assert!(unmet(&pools("gate"), missing).is_empty());
        assert_eq!(unmet(&pools("bind"), missing).len(), 1);
        assert!(unmet(&pools("bind"), "the service has gate and bind").is_empty());
    }
}
