//! Excluding ports by hand: for everybody, until it is taken back. A lease that lives on the port
//! lives on.

use std::sync::{Arc, PoisonError};

use super::refusal::Refusal;
use super::service::{Caller, Service};
use crate::domain::event::EventKind;
use crate::domain::exclusion::{Exclusion, Exclusions, LONGEST_REASON};
use crate::domain::port::{Port, Protocol};
use crate::store::StoreError;

impl Service {
    /// The ports that are excluded by hand.
    pub fn exclusions(&self) -> Arc<Exclusions> {
        let exclusions = self.exclusions.read();
        Arc::clone(&exclusions.unwrap_or_else(PoisonError::into_inner))
    }

    /// Excludes a port; whether it was not excluded before.
    pub async fn exclude(
        &self,
        caller: &Caller,
        protocol: Protocol,
        port: Port,
        reason: Option<&str>,
    ) -> Result<(Exclusion, bool), Refusal> {
        check_administrator(caller)?;
        let exclusion = Exclusion {
            protocol,
            port,
            reason: checked(reason)?,
            uid: caller.uid,
            at: self.clock.now(),
        };
        self.store.exclude(exclusion.clone()).await?;
        let is_new = self.exclusions().get(protocol, port).is_none();
        self.change_exclusions(|all| all.add(exclusion.clone()));
        let detail = format!("excluded by {exclusion}");
        self.journal
            .port(EventKind::Excluded, protocol, port, detail);
        tracing::info!(%port, %protocol, uid = caller.uid, "excluded by hand");
        Ok((exclusion, is_new))
    }

    /// Takes an exclusion back.
    pub async fn include(
        &self,
        caller: &Caller,
        protocol: Protocol,
        port: Port,
    ) -> Result<(), Refusal> {
        check_administrator(caller)?;
        if self.exclusions().get(protocol, port).is_none() {
            return Err(Refusal::NotExcluded(port, protocol));
        }
        self.store.include(protocol, port).await?;
        self.change_exclusions(|all| all.remove(protocol, port));
        self.journal
            .port(EventKind::Included, protocol, port, "included again");
        self.queue.tell_freed();
        tracing::info!(%port, %protocol, uid = caller.uid, "included again");
        Ok(())
    }

    /// Reads what is on record.
    pub(super) async fn take_up_exclusions(&self) -> Result<(), StoreError> {
        for exclusion in self.store.exclusions().await? {
            self.change_exclusions(|all| all.add(exclusion));
        }
        Ok(())
    }

    fn change_exclusions(&self, change: impl FnOnce(&mut Exclusions)) {
        let exclusions = self.exclusions.write();
        change(Arc::make_mut(
            &mut exclusions.unwrap_or_else(PoisonError::into_inner),
        ));
    }
}

/// It is for everybody, so only who runs the service may.
fn check_administrator(caller: &Caller) -> Result<(), Refusal> {
    let owner = rustix::process::geteuid().as_raw();
    if caller.may_act_for(owner) {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!(
        "what is excluded is so for everybody: only uid {owner}, which portbook runs as, or root \
         may change it"
    )))
}

fn checked(reason: Option<&str>) -> Result<Option<String>, Refusal> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.chars().count() > LONGEST_REASON) {
        let detail = format!("reason: at most {LONGEST_REASON} characters");
        return Err(Refusal::InvalidRequest(detail));
    }
    Ok(reason.map(str::to_owned))
}
