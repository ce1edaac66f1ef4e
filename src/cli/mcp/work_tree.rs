//! The work tree that the tools work in. They change nothing outside of it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::outside::without_nulls;
use crate::answers::document::LeaseDocument;
use crate::answers::problem::{Code, Problem};
use crate::cli::{Failure, folder, named, project};
use crate::domain::port::Protocol;

/// A folder of a user, to which names belong.
#[derive(Debug, Clone)]
pub(super) struct WorkTree {
    folder: PathBuf,
    uid: u32,
}

impl WorkTree {
    /// Work tree around the current directory.
    pub(super) fn now() -> Result<Self, Failure> {
        Ok(Self {
            folder: project::scope()?,
            uid: rustix::process::geteuid().as_raw(),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a lease belongs to this work tree.
    pub(super) fn has(&self, lease: &LeaseDocument) -> bool {
        lease.uid == self.uid && lease.directory.as_deref() == Some(&self.folder)
    }

    /// Picks the leases of this work tree.
    pub(super) fn own(&self, living: &[LeaseDocument]) -> Vec<LeaseDocument> {
        living
            .iter()
            .filter(|lease| self.has(lease))
            .cloned()
            .collect()
    }

    /// Finds the leases of this work tree that a name, port or id means. Those of others are refused, not
    /// passed over, so that the reason is clear.
    pub(super) fn find(
        &self,
        living: &[LeaseDocument],
        word: &str,
    ) -> Result<Vec<LeaseDocument>, Failure> {
        let (own, others): (Vec<_>, Vec<_>) = living.iter().partition(|lease| self.has(lease));
        let (own, others) = (meant(&own, word), meant(&others, word));
        match (&own[..], &others[..]) {
            ([], []) => Err(Failure::not_found(format!(
                "no living lease of this work tree has the name, port or id \"{word}\""
            ))),
            ([], [other, ..]) => Err(self.refusal(other)),
            (own, _) => Ok(self.with_rows(living, own)),
        }
    }

    /// These leases, and the other ports of their names.
    fn with_rows(&self, living: &[LeaseDocument], own: &[&LeaseDocument]) -> Vec<LeaseDocument> {
        let in_row = |lease: &&LeaseDocument| {
            own.iter().any(|first| named::is_in_row_of(lease, first)) && self.has(lease)
        };
        let rows = living.iter().filter(in_row);
        own.iter().copied().chain(rows).cloned().collect()
    }

    fn refusal(&self, other: &LeaseDocument) -> Failure {
        let (port, here) = (other.port, folder::shown(&self.folder));
        let belongs = match &other.directory {
            _ if other.uid != self.uid => format!("belongs to another user, uid {}", other.uid),
            Some(directory) => format!("belongs to the work tree {}", folder::shown(directory)),
            None => "belongs to the user, not to one work tree".to_owned(),
        };
        let detail =
            format!("the lease on port {port} {belongs}; this server works for {here} alone");
        Problem::new(Code::Forbidden, detail).into()
    }

    /// A lease in short.
    pub(super) fn brief(&self, lease: &LeaseDocument) -> Value {
        let outsiders = lease.outsiders.iter();
        let outsiders: Vec<String> = outsiders.map(ToString::to_string).collect();
        let owner = lease.owner.as_ref();
        without_nulls(json!({
            "id": lease.id,
            "name": lease.name,
            "port": lease.port,
            "protocol": lease.protocol,
            "host": lease.host,
            "url": (lease.protocol == Protocol::Tcp).then_some(&lease.url),
            "state": lease.state,
            "meaning": lease.state.describe(),
            "guard": lease.guard,
            "of_this_work_tree": self.has(lease),
            "work_tree": lease.directory,
            "uid": (lease.uid != self.uid).then_some(lease.uid),
            "program": owner.map(|owner| &owner.command),
            "pid": owner.map(|owner| owner.pid),
            "claim_by": lease.claim_by,
            "expires_at": lease.expires_at,
            "hint": lease.hint.as_ref().map(|hint| &hint.says),
            "outsiders": (!outsiders.is_empty()).then_some(outsiders),
        }))
    }

    /// Several leases in short.
    pub(super) fn briefs(&self, leases: &[LeaseDocument]) -> Value {
        leases.iter().map(|lease| self.brief(lease)).collect()
    }
}

/// Leases that a word means, in the order of the command line: one by its id, else those on a port,
/// else those of a name.
fn meant<'a>(leases: &[&'a LeaseDocument], word: &str) -> Vec<&'a LeaseDocument> {
    let readings: [fn(&LeaseDocument, &str) -> bool; 3] = [
        |lease, word| lease.id.to_string() == word,
        |lease, word| lease.port.to_string() == word,
        named::is_named,
    ];
    let by = |is_meant: &fn(&LeaseDocument, &str) -> bool| {
        let found = leases.iter().copied().filter(|lease| is_meant(lease, word));
        found.collect::<Vec<_>>()
    };
    let mut found = readings.iter().map(by);
    found.find(|found| !found.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support;
    use crate::host::clock::Clock;

    fn tree() -> WorkTree {
        WorkTree {
            folder: "/srv/a".into(),
            uid: 1000,
        }
    }

    fn lease(port: u16, uid: u32, directory: Option<&str>) -> LeaseDocument {
        let lease = tests_support::lease(port);
        LeaseDocument {
            name: Some("web".parse().unwrap()),
            uid,
            directory: directory.map(PathBuf::from),
            ..LeaseDocument::of(&lease, &Clock::manual())
        }
    }

    #[test]
    fn only_leases_of_folder_and_user_are_found() {
        let own = lease(3000, 1000, Some("/srv/a"));
        let others = [
            lease(3001, 1000, Some("/srv/b")),
            lease(3002, 1000, None),
            lease(3003, 1001, Some("/srv/a")),
            // A folder within is a work tree of its own.
            lease(3004, 1000, Some("/srv/a/b")),
        ];
        let all = [&others[..], std::slice::from_ref(&own)].concat();
        let own = vec![own];
        assert_eq!(tree().find(&all, "web").unwrap(), own);
        assert_eq!(tree().own(&all), own);
        for other in others {
            let word = other.port.to_string();
            let refused = tree().find(&all, &word).unwrap_err().problem().unwrap();
            assert_eq!(refused.code, "forbidden", "{refused}");
        }
    }

    #[test]
    fn number_is_a_port_of_a_lease_before_it_is_a_name() {
        let on_port = lease(3000, 1000, Some("/srv/a"));
        let mut called = lease(3001, 1000, Some("/srv/a"));
        called.name = "3000".parse().ok();
        let both = [called.clone(), on_port.clone()];
        assert_eq!(tree().find(&both, "3000").unwrap(), [on_port]);
        assert_eq!(tree().find(&both[..1], "3000").unwrap(), [called]);
    }

    #[test]
    fn refusal_names_the_owner_of_the_lease() {
        let told = |lease| {
            let refused = tree().find(&[lease], "web").unwrap_err();
            refused.problem().unwrap().detail
        };
        assert!(told(lease(1, 1000, Some("/srv/b"))).contains("work tree /srv/b; "));
        assert!(told(lease(1, 1000, None)).contains("to the user"));
        // The folder of another user is not shown.
        let of_another = told(lease(1, 7, Some("/srv/b")));
        assert!(
            of_another.contains("uid 7") && !of_another.contains("/srv/b"),
            "{of_another}"
        );
    }

    #[test]
    fn unknown_words_are_not_found() {
        let unknown = tree().find(&[], "web").unwrap_err();
        assert_eq!(unknown.problem().unwrap().code, "not_found");
    }
}
