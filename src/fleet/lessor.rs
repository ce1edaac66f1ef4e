//! The leases of a service, as far as numbers that are reserved on every host need them.
//!
//! What others are told of an objection names a program at most: leases that are not published, settings and
//! users stay on this host.

use std::collections::BTreeMap;

use super::everywhere::Lessor;
use crate::domain::claim::Number;
use crate::domain::everywhere::Kept;
use crate::domain::lease::{CONSOLE_NAME, Name};
use crate::engine::refusal::Refusal;
use crate::engine::service::Service;

/// A service that keeps reserved numbers.
#[derive(Debug, Clone)]
pub(super) struct HostLessor(pub(super) Service);

impl Lessor for HostLessor {
    async fn check(&self, number: Number, name: &Name) -> Result<(), String> {
        if name.as_str() == CONSOLE_NAME {
            return Err("the name of the console".to_owned());
        }
        if self.0.fenced_pool(number.port).is_some() {
            return Err("the range of a pool with a fence".to_owned());
        }
        let checked = self.0.check_everywhere(number, name).await;
        checked.map_err(|refusal| objection(&refusal))
    }

    async fn keep(&self, number: Number, name: &Name) -> Result<(), String> {
        self.check(number, name).await?;
        let kept = self.0.keep_everywhere(number, name).await;
        kept.map_err(|refusal| objection(&refusal))
    }

    async fn let_go(&self, number: Number, name: Option<&Name>) -> Result<(), String> {
        let let_go = self.0.let_everywhere_go(number, name).await;
        let_go.map_err(|refusal| refusal.to_string())
    }

    fn tell(&self, numbers: &BTreeMap<Number, Kept>) {
        let known = self.0.fleet().kept();
        if *known == *numbers {
            return;
        }
        self.0.fleet().set_kept(numbers.clone());
        let gone = known.keys().filter(|number| !numbers.contains_key(number));
        for number in gone {
            self.0.journal().everywhere(*number, None);
        }
        for (number, kept) in numbers {
            if known.get(number) != Some(kept) {
                self.0.journal().everywhere(*number, Some(kept));
            }
        }
    }
}

/// Reason for which a number is not kept, as others are told it.
fn objection(refusal: &Refusal) -> String {
    let why = match refusal {
        Refusal::PortInUse { attempts, .. } => {
            let mut occupants = attempts
                .iter()
                .filter_map(|attempt| attempt.occupant.as_ref());
            let program = occupants.find_map(|occupant| occupant.command.clone());
            return program.unwrap_or_else(|| "a program".to_owned());
        }
        Refusal::PortLeased { .. } => "another lease",
        Refusal::NameTaken { .. } => "a program runs under its name on another port",
        Refusal::PortExcluded { .. } => "excluded on that host",
        Refusal::PrivilegedPort { .. } => "a port for root there",
        Refusal::QuotaExceeded(_) => "a limit of that host",
        other => other.code(),
    };
    why.to_owned()
}
