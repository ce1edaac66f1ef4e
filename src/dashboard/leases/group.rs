//! Groups of the list of leases: by project, user, pool or a label.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::paging;
use crate::answers::leases::Seen;
use crate::api::problem::{Code, Problem};
use crate::dashboard::frame::Params;
use crate::dashboard::part::form::{Choice, Field};
use crate::dashboard::part::lease::{LeaseRow, is_urgent};
use crate::dashboard::part::user;
use crate::domain::attempt::printable;
use crate::domain::words::grouped;

/// Key of the address that chooses the groups.
const KEY: &str = "group";

/// Prefix of a choice that groups by the values of a label.
const LABEL: &str = "label:";

/// Groups of a page with at most this many leases begin unfolded.
const UNFOLDED: usize = 25;

/// A property by which leases are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum By {
    /// Directory tree that the name belongs to.
    Project,
    /// User that the lease belongs to.
    User,
    Pool,
    /// Value of the label with this key, which is written as pages show it.
    Label(String),
}

impl By {
    /// Reads the choice from an address. `None` if the list is one table.
    pub(super) fn of(params: &Params) -> Result<Option<Self>, Problem> {
        let by = match params.get(KEY).unwrap_or_default() {
            "" => return Ok(None),
            "project" => Self::Project,
            "user" => Self::User,
            "pool" => Self::Pool,
            other => {
                let key = other.strip_prefix(LABEL).ok_or_else(|| unknown(other))?;
                Self::Label(printable(key))
            }
        };
        Ok(Some(by))
    }

    /// The choices; `labels` are the keys of labels that some lease has.
    pub(super) fn choices(params: &Params, labels: &BTreeSet<String>) -> Vec<Choice> {
        let plain = ["project", "user", "pool"].map(|word| (word.to_owned(), word.to_owned()));
        let labels = labels
            .iter()
            .map(|key| (format!("{LABEL}{key}"), format!("label {key}")));
        let known = plain.into_iter().chain(labels);
        Field::choice(params, KEY, "Group by", "nothing", known).choices
    }

    /// The value of a lease. `None` for one without the property.
    fn value(&self, seen: &Seen) -> Option<String> {
        match self {
            Self::Project => Some(seen.directory()?.display().to_string()),
            Self::User => Some(seen.lease().uid.to_string()),
            Self::Pool => Some(seen.lease().pool.to_string()),
            Self::Label(key) => {
                let mut labels = seen.labels().iter();
                let (_, value) = labels.find(|(known, _)| printable(known) == *key)?;
                Some(value.clone())
            }
        }
    }

    /// The name of a group for its head.
    fn title(&self, value: Option<&str>) -> String {
        match (self, value) {
            (Self::User, Some(uid)) => uid.parse().map_or_else(|_| printable(uid), user::called),
            (Self::Label(key), Some(value)) => format!("{key}={}", printable(value)),
            (_, Some(value)) => printable(value),
            (Self::Project, None) => "in no project".to_owned(),
            (Self::Label(key), None) => format!("without the label {key}"),
            (Self::User | Self::Pool, None) => "others".to_owned(),
        }
    }

    /// The list with the leases of one group alone. `None` for the leases without the property, and for a
    /// value that an address does not have unchanged.
    fn link(&self, value: Option<&str>, params: &Params) -> Option<String> {
        let value = value.filter(|value| printable(value) == **value)?;
        let ungrouped = paging::first(params).without(KEY);
        let only = match self {
            Self::Project => ungrouped.with("directory", value),
            Self::User => ungrouped.with("uid", value),
            Self::Pool => ungrouped.with("pool", value),
            Self::Label(key) => ungrouped.with("label", &format!("{key}={value}")),
        };
        Some(only.link("/leases"))
    }

    /// Puts the leases of a group beside each other, in the order that they have: groups in trouble
    /// first, then the largest, then by name. Those without the property come last.
    pub(super) fn arrange(&self, leases: &mut [Seen]) -> Heads {
        let mut heads: BTreeMap<Option<String>, Head> = BTreeMap::new();
        for lease in leases.iter() {
            let head = heads.entry(self.value(lease)).or_default();
            head.count += 1;
            head.in_trouble += usize::from(is_urgent(lease.lease().state));
        }
        leases.sort_by_cached_key(|lease| {
            let value = self.value(lease);
            let head = heads.get(&value).cloned().unwrap_or_default();
            (
                value.is_none(),
                Reverse(head.in_trouble),
                Reverse(head.count),
                value,
            )
        });
        Heads(heads)
    }
}

fn unknown(group: &str) -> Problem {
    let group = printable(group);
    let why = format!("group: \"{group}\" is none of project, user, pool, label:KEY");
    Problem::new(Code::InvalidRequest, why)
}

/// Keys of all labels of these leases, as pages show them.
pub(super) fn label_keys(leases: &[Seen]) -> BTreeSet<String> {
    let keys: BTreeSet<&String> = leases
        .iter()
        .flat_map(|seen| seen.labels().keys())
        .collect();
    keys.into_iter().map(|key| printable(key)).collect()
}

/// Numbers of the leases of one group, on all pages of the list.
#[derive(Debug, Default, Clone)]
struct Head {
    count: usize,
    in_trouble: usize,
}

/// Heads of the groups, by their value.
#[derive(Debug, Default)]
pub(super) struct Heads(BTreeMap<Option<String>, Head>);

/// A group of rows on a page.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) title: String,
    /// "12 leases, 1 in trouble".
    pub(super) says: String,
    pub(super) in_trouble: bool,
    /// The list with this group alone.
    pub(super) href: Option<String>,
    /// Tells the group from others when the page is loaded again.
    pub(super) class: String,
    pub(super) unfolded: bool,
    pub(super) rows: Vec<LeaseRow>,
}

impl Group {
    /// Name of its table for screen readers.
    pub(super) fn region(&self) -> String {
        format!("Leases: {}", self.title)
    }
}

impl Heads {
    /// The groups of a page's leases, which [`By::arrange`] has put beside each other; `rows` are the same leases.
    pub(super) fn groups(
        &self,
        by: &By,
        leases: &[Seen],
        rows: Vec<LeaseRow>,
        params: &Params,
    ) -> Vec<Group> {
        let unfolded = rows.len() <= UNFOLDED;
        let mut groups: Vec<(Option<String>, Group)> = Vec::new();
        for (seen, row) in leases.iter().zip(rows) {
            let value = by.value(seen);
            if let Some((_, group)) = groups.last_mut().filter(|(last, _)| *last == value) {
                group.rows.push(row);
                continue;
            }
            let group = Group {
                unfolded,
                rows: vec![row],
                ..self.group(by, value.as_deref(), params)
            };
            groups.push((value, group));
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    fn group(&self, by: &By, value: Option<&str>, params: &Params) -> Group {
        let head = self.0.get(&value.map(str::to_owned));
        let head = head.cloned().unwrap_or_default();
        let noun = if head.count == 1 { "lease" } else { "leases" };
        let all = format!("{} {noun}", grouped(head.count));
        let says = match head.in_trouble {
            0 => all,
            number => format!("{all}, {} in trouble", grouped(number)),
        };
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Group {
            title: by.title(value),
            says,
            in_trouble: head.in_trouble > 0,
            href: by.link(value, params),
            class: format!("group-{:x}", hasher.finish()),
            unfolded: false,
            rows: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access::Viewer;
    use crate::dashboard::part::lease::tests_support::row;
    use crate::domain::lease::tests_support::lease;
    use crate::domain::lease::{Lease, Scope, State};

    /// Leases of two projects and of none; the label `agent` on some.
    fn leases() -> Vec<Lease> {
        let of = |port, folder: Option<&str>, agent: Option<&str>| {
            let mut lease = lease(port);
            lease.scope = folder.map_or(Scope::User, |folder| Scope::Dir(folder.into()));
            let label = agent.map(|agent| ("agent".to_owned(), agent.to_owned()));
            lease.labels = label.into_iter().collect();
            lease
        };
        vec![
            of(20_000, None, None),
            of(20_001, Some("/home/me/b"), Some("two")),
            of(20_002, Some("/home/me/a"), Some("one")),
            of(20_003, Some("/home/me/a"), None),
        ]
    }

    fn seen(leases: Vec<Lease>) -> Vec<Seen> {
        let seen = |lease: Lease| {
            let viewer = Viewer::Reader { of: lease.uid };
            Seen::new(Arc::new(lease), &viewer)
        };
        leases.into_iter().map(seen).collect()
    }

    fn grouped_by(query: &str, leases: Vec<Lease>) -> Vec<Group> {
        let params = Params::parse(query);
        let by = By::of(&params).unwrap().unwrap();
        let mut leases = seen(leases);
        let heads = by.arrange(&mut leases);
        let rows = leases.iter().map(|seen| row(seen.lease())).collect();
        heads.groups(&by, &leases, rows, &params)
    }

    fn titles(groups: &[Group]) -> Vec<&str> {
        groups.iter().map(|group| group.title.as_str()).collect()
    }

    #[test]
    fn largest_group_comes_first_and_leases_without_one_last() {
        let groups = grouped_by("group=project&sort=port", leases());
        assert_eq!(
            titles(&groups),
            ["/home/me/a", "/home/me/b", "in no project"]
        );
        assert_eq!(groups[0].says, "2 leases");
        let ports: Vec<u16> = groups[0]
            .rows
            .iter()
            .map(|row| row.lease.port.get())
            .collect();
        assert_eq!(ports, [20_002, 20_003], "the order within a group stays");
        assert_eq!(
            groups[0].href.as_deref(),
            Some("/leases?sort=port&directory=%2Fhome%2Fme%2Fa")
        );
        assert_eq!(groups[2].href, None);
    }

    #[test]
    fn group_in_trouble_comes_before_larger_ones() {
        let mut leases = leases();
        leases[1].state = State::Lost;
        let groups = grouped_by("group=project", leases);
        assert_eq!(titles(&groups)[0], "/home/me/b");
        assert_eq!(groups[0].says, "1 lease, 1 in trouble");
    }

    #[test]
    fn leases_are_grouped_by_user_pool_and_label() {
        assert_eq!(titles(&grouped_by("group=pool", leases())), ["default"]);
        let of_label = grouped_by("group=label:agent", leases());
        let all = ["agent=one", "agent=two", "without the label agent"];
        assert_eq!(titles(&of_label), all);
        assert_eq!(
            of_label[0].href.as_deref(),
            Some("/leases?label=agent%3Done")
        );
        let of_user = grouped_by("group=user", leases());
        assert_eq!(of_user.len(), 1);
        assert!(
            of_user[0]
                .href
                .as_ref()
                .unwrap()
                .starts_with("/leases?uid=")
        );
    }

    #[test]
    fn choices_have_the_labels_that_leases_have() {
        let params = Params::parse("group=label:agent");
        let choices = By::choices(&params, &label_keys(&seen(leases())));
        let values: Vec<&str> = choices.iter().map(|choice| &*choice.value).collect();
        assert_eq!(values, ["", "project", "user", "pool", "label:agent"]);
        assert!(choices[4].chosen);
    }

    #[test]
    fn unknown_group_is_refused() {
        assert!(By::of(&Params::parse("group=colour")).is_err());
        assert_eq!(By::of(&Params::parse("group=")).unwrap(), None);
    }
}
