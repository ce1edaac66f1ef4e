//! A port asked for by number: strict, never another.

use super::{Found, Search};
use crate::choice::assigned::browser_blocked;
use crate::domain::port::Port;
use crate::domain::precedence::Step;
use crate::engine::refusal::Refusal;

impl Search<'_> {
    pub(super) async fn explicit(&mut self, port: Port) -> Result<Found, Refusal> {
        self.check_rules(port)?;
        // That another host had the number a moment ago does not count: there is no other one to try, and it
        // may be released since.
        if self.holder_in_books(port).is_none()
            && let Some(holder) = self.unsettled(port)
        {
            return Err(Refusal::PortLeased {
                port,
                protocol: self.plan.protocols.each()[0],
                holder,
                whose: None,
            });
        }
        match self.try_candidate(port).await? {
            Some(found) => Ok(found),
            None => Err(self.why_not(port)),
        }
    }

    fn check_rules(&mut self, port: Port) -> Result<(), Refusal> {
        let excluded = |rule: String| Err(Refusal::PortExcluded { port, rule });
        if self.plan.exclude.contains(port) {
            return excluded(self.by_configuration());
        }
        let protocols = self.plan.protocols.each();
        if let Some(exclusion) = self.plan.exclusions.against(protocols, port) {
            return excluded(exclusion.to_string());
        }
        if self.plan.pool.browser_safe && browser_blocked().contains(port) {
            let pool = &self.plan.pool.name;
            return excluded(format!(
                "pool {pool} (browser_safe): browsers refuse to open it"
            ));
        }
        let start = self.rules.unprivileged_start;
        if self.plan.needs_privilege(port, self.caller.uid, start) {
            let pool = Some(self.plan.pool.name.to_string());
            return Err(Refusal::PrivilegedPort { port, start, pool });
        }
        if self.is_over_ephemeral_budget(port) {
            return Err(Refusal::QuotaExceeded(format!(
                "port {port} lies in the ephemeral range, of which portbook already holds {} ports, \
                 all that it may: choose one outside {}",
                self.rules.ephemeral_budget(),
                self.rules.ephemeral
            )));
        }
        Ok(())
    }

    /// The reason why a port could not be had that may not be replaced by another.
    pub(super) fn why_not(&mut self, port: Port) -> Refusal {
        if self.attempts.iter().any(|attempt| attempt.port == port) {
            return Refusal::PortInUse {
                port,
                attempts: Vec::new(),
            };
        }
        let protocol = self.plan.protocols.each()[0];
        if let Some((_, holder, whose)) = self.holder_in_books(port) {
            return Refusal::PortLeased {
                port,
                protocol,
                holder,
                whose,
            };
        }
        match self.ruled_out(port, Step::Last) {
            Some(why) => Refusal::PortExcluded {
                port,
                rule: why.by.unwrap_or_else(|| why.reason.describe().to_owned()),
            },
            None => Refusal::PortLeased {
                port,
                protocol,
                holder: "another request that is being answered right now".to_owned(),
                whose: None,
            },
        }
    }
}
