//! The filter and the order of the list of leases.

use super::group::{By, Heads};
use super::order::{self, ends};
use super::paging;
use crate::answers::leases::{Seen, labelled};
use crate::api::problem::{Code, Problem};
use crate::dashboard::frame::Params;
use crate::dashboard::part::badge::Badge;
use crate::dashboard::part::form::{Choice, Field};
use crate::dashboard::part::rows;
use crate::domain::address::with_port;
use crate::domain::attempt::printable;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{BootTime, LeaseId, Name, State};
use crate::domain::words::grouped;

/// States of living leases, in the order of the choices.
const LIVING: [State; 5] = [
    State::Active,
    State::Handed,
    State::Reserved,
    State::Degraded,
    State::Lost,
];

/// States of ended leases, in the order of the choices.
const ENDED: [State; 4] = [
    State::Released,
    State::Expired,
    State::Unclaimed,
    State::OwnerGone,
];

/// Usual times within which leases end: the word in the address, and the label.
const ENDS: [(&str, &str); 3] = [("10m", "10 minutes"), ("1h", "an hour"), ("1d", "a day")];

/// The columns of the table, with the key to sort by; `None` if the table cannot be sorted by it.
const COLUMNS: [(&str, Option<&str>); 9] = [
    ("Port", Some("port")),
    ("Name", Some("name")),
    ("State", Some("state")),
    ("Owner", Some("owner")),
    ("Addresses", None),
    ("Guard", None),
    ("Pool", Some("pool")),
    ("Granted", Some("granted")),
    ("Ends", Some("ends")),
];

/// The filter and the order in the address. A condition that the address does not have lets every
/// lease pass.
#[derive(Debug, Default)]
pub(super) struct Filter {
    params: Params,
    /// Maximum time until the lease or its wait for an owner ends.
    ends: Option<HumanDuration>,
    /// The row before the first.
    pub(super) after: Option<LeaseId>,
    /// Maximum number of rows on a page.
    pub(super) rows: usize,
    /// Whether ended leases are listed.
    pub(super) ended: bool,
    /// The end state asked for; `None` for all of them.
    pub(super) end_state: Option<State>,
    /// The groups asked for. `None` if the list is one table.
    pub(super) by: Option<By>,
}

/// The states to choose from with their meanings; `ended` is any end state.
pub(super) fn states(params: &Params) -> Vec<Choice> {
    let told = |state: &State| {
        let (badge, means) = (Badge::lease(*state), state.describe());
        (state.as_str(), format!("{}: {means}", badge.word))
    };
    let any_end = ("ended", "ended, for any reason".to_owned());
    let living = LIVING.iter().map(told);
    let known = living.chain([any_end]).chain(ENDED.iter().map(told));
    Field::choice(params, "state", "State", "living", known).choices
}

/// The pools to choose from.
pub(super) fn pools<'a>(params: &Params, names: impl Iterator<Item = &'a String>) -> Vec<Choice> {
    let known = names.map(|name| (name, name));
    Field::choice(params, "pool", "Pool", "any", known).choices
}

/// The head of a column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) label: &'static str,
    /// The list sorted by this column. `None` if it cannot be.
    pub(super) href: Option<String>,
    /// `ascending` or `descending` if the list is sorted by this column.
    pub(super) order: Option<&'static str>,
}

impl Filter {
    /// Reads the filter from an address.
    pub(super) fn of(params: &Params) -> Result<Self, Problem> {
        let wrong = |what: String| Problem::new(Code::InvalidRequest, what);
        let state = params.get("state");
        let is_any_end = state == Some("ended");
        let known: Option<State> = state
            .filter(|_| !is_any_end)
            .map(str::parse)
            .transpose()
            .map_err(|error| wrong(format!("state: {error}")))?;
        let end_state = known.filter(|state| state.is_ended());
        let ends = params.get("ends").map(str::parse).transpose();
        let after = params.get("after").map(str::parse).transpose();
        Ok(Self {
            params: params.clone(),
            rows: rows::size(params),
            ends: ends.map_err(|error| wrong(format!("ends: {error}")))?,
            after: after.map_err(|_| wrong("after: this is not the id of a lease".into()))?,
            ended: is_any_end || end_state.is_some(),
            end_state,
            by: By::of(params)?,
        })
    }

    /// The value of a condition.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.params.get(key)
    }

    /// The value of a condition, for a field of the form.
    pub(super) fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// Whether a lease passes, as its viewer sees it. `now` is on the clock of deadlines.
    pub(super) fn matches(&self, seen: &Seen, now: BootTime) -> bool {
        let lease = seen.lease();
        let passes = |key: &str, matches: &dyn Fn(&str) -> bool| self.get(key).is_none_or(matches);
        let name = seen.name().map_or("", Name::as_str);
        passes("name", &|wanted| wanted == name)
            && passes("pool", &|wanted| wanted == &*lease.pool)
            && (self.ended || passes("state", &|wanted| wanted == lease.state.as_str()))
            && passes("protocol", &|wanted| wanted == lease.protocol.as_str())
            && passes("pid", &|wanted| {
                seen.owner()
                    .is_some_and(|owner| owner.pid.to_string() == wanted)
            })
            && passes("interface", &|wanted| {
                let mut addresses = lease.addresses.addresses().iter();
                addresses.any(|address| &*address.interface == wanted)
            })
            && passes("directory", &|wanted| is_of(seen, wanted))
            && passes("uid", &|wanted| wanted == lease.uid.to_string())
            && passes("label", &|wanted| labelled(seen.labels(), wanted))
            && passes("q", &|words| says(seen, words))
            && self
                .ends
                .is_none_or(|within| ends_within(seen, within, now))
    }

    /// Number of rows and their order in words; `all` is the number of living leases.
    pub(super) fn says(&self, total: usize, all: usize) -> String {
        let count = match (self.ended, total == all) {
            (true, _) => format!("{} ended on this page", grouped(total)),
            (false, true) => format!("{} living", grouped(total)),
            (false, false) => format!("{} of {} living", grouped(total), grouped(all)),
        };
        format!("{count}, {}", self.order())
    }

    fn order(&self) -> String {
        let sort = self.text("sort");
        let key = sort.trim_start_matches('-');
        let mut columns = COLUMNS.iter();
        let column = columns.find(|(_, known)| *known == Some(key));
        let downwards = if sort.starts_with('-') {
            ", descending"
        } else {
            ""
        };
        match (column, self.ended) {
            (Some((label, _)), _) => format!("by {}{downwards}", label.to_lowercase()),
            (None, true) => "newest first".to_owned(),
            (None, false) if self.by.is_some() => "in groups, those in trouble first".to_owned(),
            (None, false) => "those in trouble first".to_owned(),
        }
    }

    /// The times to choose from. A time from the address that is written in another way is a choice too.
    pub(super) fn ends_choices(&self) -> Vec<Choice> {
        let usual = ENDS.iter().find(|(word, _)| word.parse().ok() == self.ends);
        let word = usual.map(|(word, _)| (*word).to_owned());
        let params = match word.or_else(|| self.ends.map(|within| within.to_string())) {
            Some(word) => self.params.with("ends", &word),
            None => self.params.without("ends"),
        };
        Field::choice(&params, "ends", "Ends within", "any time", ENDS).choices
    }

    /// Sorts by the column asked for, else by trouble and then the newest first.
    fn sort(&self, leases: &mut [Seen]) {
        let sort = self.text("sort");
        let (column, descending) = match sort.strip_prefix('-') {
            Some(column) => (column, true),
            None => (sort, false),
        };
        order::sort(leases, column, descending);
        if let (true, Some(words)) = (column.is_empty(), self.get("q")) {
            // The order of the others stays.
            leases.sort_by_key(|seen| !is_meant(seen, words));
        }
    }

    /// Sorts the leases, and puts those of a group beside each other. Returns the heads of the groups.
    pub(super) fn arrange(&self, leases: &mut [Seen]) -> Heads {
        self.sort(leases);
        let by = self.by.as_ref();
        by.map(|by| by.arrange(leases)).unwrap_or_default()
    }

    /// Index of the first row of the page: behind the last row of the page before.
    pub(super) fn begin(&self, sorted: &[Seen]) -> usize {
        // The record has left out the rows before.
        if self.ended {
            return 0;
        }
        let Some(after) = self.after else {
            let page: usize = self.text("page").parse().unwrap_or(1);
            // A list that became shorter ends with the page that is its last one now.
            let last = sorted.len().saturating_sub(1) / self.rows.max(1);
            return page.saturating_sub(1).min(last) * self.rows;
        };
        let last = sorted.iter().position(|seen| seen.lease().id == after);
        // If that row ended meanwhile, the page begins near its old index.
        let row: usize = self.text("row").parse().unwrap_or(0);
        last.map_or(row.saturating_sub(1), |last| last + 1)
    }

    /// The heads of the columns, which link to the list in another order.
    pub(super) fn columns(&self) -> Vec<Column> {
        let now = self.text("sort");
        let head = |(label, key): (&'static str, Option<&str>)| {
            let Some(key) = key else {
                return Column {
                    label,
                    href: None,
                    order: None,
                };
            };
            let reversed = format!("-{key}");
            let (order, next) = if now == key {
                (Some("ascending"), &*reversed)
            } else {
                ((now == reversed).then_some("descending"), key)
            };
            let params = paging::first(&self.params);
            Column {
                label,
                href: Some(params.with("sort", next).link("/leases")),
                order,
            }
        };
        COLUMNS.map(head).into()
    }
}

/// Whether the lease's name belongs to a directory, which is written as pages show it.
fn is_of(seen: &Seen, wanted: &str) -> bool {
    let directory = seen.directory();
    directory.is_some_and(|directory| printable(&directory.display().to_string()) == wanted)
}

fn ends_within(seen: &Seen, within: HumanDuration, now: BootTime) -> bool {
    ends(seen.lease()).is_some_and(|end| end <= now.after(within.0))
}

/// Whether the search text is the lease's name or port.
fn is_meant(seen: &Seen, words: &str) -> bool {
    let mut name = seen.name().into_iter();
    name.any(|name| name.as_str().eq_ignore_ascii_case(words))
        || seen.lease().port.to_string() == words
}

fn says(seen: &Seen, words: &str) -> bool {
    let words = words.to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&words);
    let lease = seen.lease();
    let (mut name, mut directory) = (seen.name().into_iter(), seen.directory().into_iter());
    let mut labels = seen.labels().iter();
    let mut addresses = lease.addresses.addresses().iter();
    has(&lease.id.to_string())
        || has(&lease.port.to_string())
        || has(&lease.pool)
        || name.any(|name| has(name.as_str()))
        || directory.any(|folder| has(&folder.to_string_lossy()))
        || labels.any(|(key, value)| has(key) || has(value))
        || addresses.any(|address| has(&with_port(address, lease.port)))
        // Last, since the kernel is asked for it.
        || seen.command().is_some_and(|command| has(&command))
}

#[cfg(test)]
mod tests;
