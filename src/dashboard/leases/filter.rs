//! The filter and the order of the list of leases.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;

use crate::answers::document::LeaseDocument;
use crate::answers::leases;
use crate::api::problem::{Code, Problem};
use crate::dashboard::frame::Params;
use crate::dashboard::part::badge::Badge;
use crate::dashboard::part::form::{Choice, Field};
use crate::dashboard::part::lease::urgency;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{LeaseId, State};

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
    /// Whether ended leases are listed.
    pub(super) ended: bool,
    /// The end state asked for; `None` for all of them.
    pub(super) end_state: Option<State>,
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
            ends: ends.map_err(|error| wrong(format!("ends: {error}")))?,
            after: after.map_err(|_| wrong("after: this is not the id of a lease".into()))?,
            ended: is_any_end || end_state.is_some(),
            end_state,
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

    /// Whether a lease passes, as its viewer sees it.
    pub(super) fn matches(&self, lease: &LeaseDocument, now: Timestamp) -> bool {
        let passes = |key: &str, matches: &dyn Fn(&str) -> bool| self.get(key).is_none_or(matches);
        let name = lease.name.as_ref().map_or("", |name| name.as_str());
        let pid = lease.owner.as_ref().map(|owner| owner.pid.to_string());
        passes("name", &|wanted| wanted == name)
            && passes("pool", &|wanted| wanted == lease.pool)
            && (self.ended || passes("state", &|wanted| wanted == lease.state.as_str()))
            && passes("protocol", &|wanted| wanted == lease.protocol.as_str())
            && passes("pid", &|wanted| pid.as_deref() == Some(wanted))
            && passes("interface", &|wanted| {
                lease.interfaces.iter().any(|name| name == wanted)
            })
            && passes("label", &|wanted| leases::labelled(lease, wanted))
            && passes("q", &|words| says(lease, words))
            && self
                .ends
                .is_none_or(|within| ends_within(lease, within, now))
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
    pub(super) fn sort(&self, leases: &mut [LeaseDocument]) {
        let sort = self.text("sort");
        let (column, descending) = match sort.strip_prefix('-') {
            Some(column) => (column, true),
            None => (sort, false),
        };
        leases.sort_by(|one, other| {
            let order = by(column, one, other);
            let order = if descending { order.reverse() } else { order };
            order.then_with(|| default_order(one, other))
        });
    }

    /// Index of the first row of the page: behind the last row of the page before.
    pub(super) fn begin(&self, sorted: &[LeaseDocument]) -> usize {
        // The record has left out the rows before.
        if self.ended {
            return 0;
        }
        let Some(after) = self.after else { return 0 };
        let last = sorted.iter().position(|lease| lease.id == after);
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
            let params = self.params.without("after").without("row");
            Column {
                label,
                href: Some(params.with("sort", next).link("/leases")),
                order,
            }
        };
        COLUMNS.map(head).into()
    }
}

fn default_order(one: &LeaseDocument, other: &LeaseDocument) -> Ordering {
    let key = |lease: &LeaseDocument| (urgency(lease.state), Reverse(lease.id));
    key(one).cmp(&key(other))
}

fn by(column: &str, one: &LeaseDocument, other: &LeaseDocument) -> Ordering {
    // Leases without an end, a name or an owner come last.
    let owner = |lease: &LeaseDocument| lease.owner.as_ref().map(|owner| owner.command.clone());
    match column {
        "port" => (one.port, one.protocol).cmp(&(other.port, other.protocol)),
        "name" => none_last(one.name.as_ref(), other.name.as_ref()),
        "state" => one.state.as_str().cmp(other.state.as_str()),
        "owner" => none_last(owner(one), owner(other)),
        "pool" => one.pool.cmp(&other.pool),
        "granted" => one.granted_at.cmp(&other.granted_at),
        "ends" => none_last(ends(one), ends(other)),
        _ => Ordering::Equal,
    }
}

/// The first deadline of a lease.
fn ends(lease: &LeaseDocument) -> Option<Timestamp> {
    let deadlines = [lease.claim_by, lease.expires_at];
    deadlines.into_iter().flatten().min()
}

fn ends_within(lease: &LeaseDocument, within: HumanDuration, now: Timestamp) -> bool {
    let last = now.saturating_add(within.0).unwrap_or(Timestamp::MAX);
    ends(lease).is_some_and(|end| end <= last)
}

fn none_last<T: Ord>(one: Option<T>, other: Option<T>) -> Ordering {
    (one.is_none(), one).cmp(&(other.is_none(), other))
}

fn says(lease: &LeaseDocument, words: &str) -> bool {
    let words = words.to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&words);
    has(&lease.id.to_string())
        || has(&lease.port.to_string())
        || has(&lease.pool)
        || lease.name.as_ref().is_some_and(|name| has(name.as_str()))
        || lease
            .directory
            .as_ref()
            .is_some_and(|folder| has(&folder.to_string_lossy()))
        || lease
            .owner
            .as_ref()
            .is_some_and(|owner| has(&owner.command))
        || lease
            .labels
            .iter()
            .any(|(key, value)| has(key) || has(value))
        || lease.addresses.iter().any(|address| has(address))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use strum::VariantArray;

    use super::*;
    use crate::domain::lease::tests_support::lease;
    use crate::host::clock::Clock;

    fn documents() -> Vec<LeaseDocument> {
        let mut leases = [20_002, 20_000, 20_001].map(lease);
        leases[2].state = State::Lost;
        leases[1].name = Some("web".parse().unwrap());
        let clock = Clock::manual();
        let after = |seconds| Some(clock.boot().after(Duration::from_secs(seconds)));
        (leases[0].claim_by, leases[0].expires) = (after(600), after(3600));
        leases[2].expires = after(3600);
        leases
            .iter()
            .map(|lease| LeaseDocument::of(lease, &Clock::manual()))
            .collect()
    }

    fn ports(query: &str) -> Vec<u16> {
        let filter = Filter::of(&Params::parse(query)).unwrap();
        let mut found = documents();
        found.retain(|lease| filter.matches(lease, Timestamp::UNIX_EPOCH));
        filter.sort(&mut found);
        found.iter().map(|lease| lease.port.get()).collect()
    }

    #[test]
    fn trouble_comes_first_by_default() {
        assert_eq!(ports("")[0], 20_001);
        assert_eq!(ports("sort=port"), [20_000, 20_001, 20_002]);
        assert_eq!(ports("sort=-port"), [20_002, 20_001, 20_000]);
        assert_eq!(ports("sort=name")[0], 20_000);
    }

    #[test]
    fn each_condition_filters_rows() {
        assert_eq!(ports("name=web"), [20_000]);
        assert_eq!(ports("q=WEB"), [20_000]);
        assert_eq!(ports("state=lost"), [20_001]);
        assert_eq!(ports("q=20002"), [20_002]);
        assert_eq!(ports("pid=1"), [0; 0]);
        assert_eq!(ports("ends=10m"), [20_002]);
        assert_eq!(ports("ends=1h"), [20_001, 20_002]);
        assert_eq!(ports("ends=9m"), [0; 0]);
    }

    #[test]
    fn page_begins_behind_the_last_row() {
        let all = documents();
        let params = Params::parse("").with("after", &all[1].id.to_string());
        assert_eq!(Filter::of(&params).unwrap().begin(&all), 2);
        assert_eq!(Filter::default().begin(&all), 0);
    }

    #[test]
    fn page_after_an_ended_lease_begins_near_it() {
        let all = documents();
        let gone = LeaseId(uuid::Uuid::from_u128(7)).to_string();
        let params = Params::parse("").with("after", &gone).with("row", "2");
        assert_eq!(Filter::of(&params).unwrap().begin(&all), 1);
    }

    #[test]
    fn every_state_is_a_choice_with_its_meaning() {
        let states = states(&Params::parse("state=reserved"));
        for state in State::VARIANTS {
            let is = |choice: &&Choice| choice.value == state.as_str();
            assert!(states.iter().any(|choice| is(&choice)), "no {state:?}");
        }
        let chosen = states.iter().find(|choice| choice.chosen).unwrap();
        let said = "reserved: its owner is away, and the name keeps the port";
        assert_eq!(chosen.label, said);
    }

    #[test]
    fn unreadable_conditions_are_refused() {
        assert!(Filter::of(&Params::parse("ends=soon")).is_err());
        assert!(Filter::of(&Params::parse("state=gone")).is_err());
    }
}
