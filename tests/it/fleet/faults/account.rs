//! The account of everything that clients of all hosts were told.

use std::collections::BTreeMap;

use serde_json::Value;

/// A lease that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub host: String,
    pub lease: String,
    pub port: u64,
    /// Fencing token. `None` for a number of a local pool.
    pub token: Option<u64>,
    pub name: Option<String>,
}

impl Grant {
    /// Reads the lease of an answer. `None` if a part is missing.
    pub fn read(host: &str, lease: &Value) -> Option<Self> {
        Some(Self {
            host: host.to_owned(),
            lease: lease["id"].as_str()?.to_owned(),
            port: lease["port"].as_u64()?,
            token: lease["fence_token"].as_u64(),
            name: lease["name"].as_str().map(str::to_owned),
        })
    }
}

/// Grants and releases of all hosts, in the order in which they were told.
#[derive(Debug, Default)]
pub struct Account {
    /// Grants by lease for which no release was asked.
    held: BTreeMap<String, Grant>,
    /// Lease and last token of each unique number.
    owners: BTreeMap<u64, (Option<String>, u64)>,
    /// Number of unique numbers that were granted.
    pub granted: usize,
    pub released: usize,
    /// Number of grants with a name, of all pools.
    pub named: usize,
    /// Number of refusals by code.
    pub refused: BTreeMap<String, usize>,
    /// Number of grants of a number that another lease had.
    pub doubled: usize,
    /// Number of grants that were told and are not there.
    pub lost: usize,
    /// Everything that must not be.
    pub wrongs: Vec<String>,
}

impl Account {
    /// Notes a grant.
    pub fn grant(&mut self, grant: Grant) {
        self.named += usize::from(grant.name.is_some());
        if let Some(token) = grant.token {
            self.granted += 1;
            let now = (Some(grant.lease.clone()), token);
            if let Some((owner, last)) = self.owners.insert(grant.port, now) {
                if let Some(owner) = owner {
                    self.doubled += 1;
                    self.wrongs
                        .push(format!("{grant:?} was granted while {owner} had it"));
                }
                if last >= token {
                    self.wrongs
                        .push(format!("{grant:?} has no greater token than {last}"));
                }
            }
        }
        self.held.insert(grant.lease.clone(), grant);
    }

    /// Notes that a release is about to be asked: from then on another host may have the number.
    pub fn ask_release(&mut self, lease: &str) {
        let Some(grant) = self.held.remove(lease) else {
            return;
        };
        let owner = self.owners.get_mut(&grant.port);
        if let Some((owner, _)) = owner.filter(|_| grant.token.is_some()) {
            *owner = None;
        }
    }

    /// Notes a refusal.
    pub fn refuse(&mut self, code: &str) {
        *self.refused.entry(code.to_owned()).or_default() += 1;
    }

    /// Notes grants that are not there.
    pub fn lose(&mut self, missing: Vec<String>) {
        self.lost += missing.len();
        self.wrongs.extend(missing);
    }

    /// Grants for which no release was asked.
    pub fn held(&self) -> Vec<Grant> {
        self.held.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(lease: &str, port: u64, token: u64) -> Grant {
        Grant {
            host: "one".to_owned(),
            lease: lease.to_owned(),
            port,
            token: Some(token),
            name: None,
        }
    }

    #[test]
    fn number_that_is_granted_after_its_release_is_no_wrong() {
        let mut account = Account::default();
        account.grant(grant("a", 80, 5));
        account.grant(grant("b", 81, 6));
        account.ask_release("a");
        account.grant(grant("c", 80, 7));
        assert_eq!((account.doubled, account.granted), (0, 3));
        assert_eq!((account.held().len(), account.wrongs.len()), (2, 0));
    }

    #[test]
    fn number_in_two_hands_and_token_that_does_not_grow_are_wrongs() {
        let mut account = Account::default();
        account.grant(grant("a", 80, 5));
        account.grant(grant("b", 80, 6));
        assert_eq!((account.doubled, account.wrongs.len()), (1, 1));
        account.ask_release("b");
        account.grant(grant("c", 80, 6));
        assert_eq!((account.doubled, account.wrongs.len()), (1, 2));
    }
}
