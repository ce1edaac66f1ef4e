//! Which leases a page shows, and in which order.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;

use crate::api::document::LeaseDocument;
use crate::api::leases;
use crate::api::problem::{Code, Problem};
use crate::dashboard::frame::Params;
use crate::dashboard::part::badge::Badge;
use crate::dashboard::part::form::{Choice, Field};
use crate::dashboard::part::lease::urgency;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{LeaseId, State};

/// The states of leases that live, in the order of the choices.
const LIVING: [State; 5] = [
    State::Active,
    State::Handed,
    State::Reserved,
    State::Degraded,
    State::Lost,
];

/// The ends, in the same way.
const ENDED: [State; 4] = [
    State::Released,
    State::Expired,
    State::Unclaimed,
    State::OwnerGone,
];

/// The columns of the table, with the word to sort by where it can be.
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

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) name: Option<String>,
    pub(super) pool: Option<String>,
    pub(super) state: Option<String>,
    pub(super) label: Option<String>,
    pub(super) interface: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) pid: Option<String>,
    /// Its end or the end of its wait for an owner is so near.
    pub(super) ends: Option<HumanDuration>,
    /// Anything that is written on a row.
    pub(super) q: Option<String>,
    /// The row before the first.
    pub(super) after: Option<LeaseId>,
    /// Number of rows before the first, for a list whose row `after` has gone.
    row: usize,
    /// Ended leases are wanted, perhaps in one end state.
    pub(super) ended: bool,
    pub(super) end_state: Option<State>,
    sort: Option<String>,
}

/// What a reader can ask for as a state, each with what it means; `ended` is any end.
pub(super) fn states(params: &Params) -> Vec<Choice> {
    let told = |state: &State| {
        let (badge, means) = (Badge::lease(*state), state.describe());
        (state.as_str(), format!("{}: {means}", badge.word))
    };
    let any_end = ("ended", "ended, however it was".to_owned());
    let living = LIVING.iter().map(told);
    let known = living.chain([any_end]).chain(ENDED.iter().map(told));
    Field::choice(params, "state", "State", "living", known).choices
}

/// The head of a column.
#[derive(Debug)]
pub(super) struct Column {
    /// What it says.
    pub(super) label: &'static str,
    /// Where a click leads; none where nothing is sorted by it.
    pub(super) href: Option<String>,
    /// `ascending` or `descending`, where the rows are in this order now.
    pub(super) order: Option<&'static str>,
}

impl Filter {
    /// What an address asks for.
    pub(super) fn of(params: &Params) -> Result<Self, Problem> {
        let text = |key: &str| params.get(key).map(str::to_owned);
        let wrong = |what: String| Problem::new(Code::InvalidRequest, what);
        let state = text("state");
        let end_state = match state.as_deref() {
            None | Some("ended") => None,
            Some(word) => {
                let state: State = word
                    .parse()
                    .map_err(|error| wrong(format!("state: {error}")))?;
                state.is_ended().then_some(state)
            }
        };
        let after = params.get("after").map(str::parse).transpose();
        let ends = params
            .get("ends")
            .map(str::parse::<HumanDuration>)
            .transpose();
        Ok(Self {
            name: text("name"),
            pool: text("pool"),
            label: text("label"),
            interface: text("interface"),
            protocol: text("protocol"),
            pid: text("pid"),
            ends: ends.map_err(|error| wrong(format!("ends: {error}")))?,
            q: text("q"),
            after: after.map_err(|_| wrong("after: this is no lease's id".into()))?,
            row: params
                .get("row")
                .and_then(|row| row.parse().ok())
                .unwrap_or(0),
            sort: text("sort"),
            ended: end_state.is_some() || state.as_deref() == Some("ended"),
            end_state,
            state,
        })
    }

    /// Whether a lease, as its viewer sees it, is asked for.
    pub(super) fn matches(&self, lease: &LeaseDocument, now: Timestamp) -> bool {
        let same =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let name = lease.name.as_ref().map_or("", |name| name.as_str());
        let pid = lease.owner.as_ref().map(|owner| owner.pid.to_string());
        same(&self.name, name)
            && same(&self.pool, &lease.pool)
            && (self.ended || same(&self.state, lease.state.as_str()))
            && same(&self.protocol, lease.protocol.as_str())
            && same(&self.pid, pid.as_deref().unwrap_or_default())
            && self
                .interface
                .as_ref()
                .is_none_or(|name| lease.interfaces.contains(name))
            && self
                .label
                .as_deref()
                .is_none_or(|label| leases::labelled(lease, label))
            && self
                .ends
                .is_none_or(|within| ends_within(lease, within, now))
            && self.q.as_deref().is_none_or(|words| says(lease, words))
    }

    /// Puts the rows in order: what is in trouble first, then the newest, unless a column is asked for.
    pub(super) fn sort(&self, leases: &mut [LeaseDocument]) {
        let sort = self.sort.as_deref().unwrap_or_default();
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

    /// Where the page begins: behind the row that the last page ended with.
    pub(super) fn begin(&self, sorted: &[LeaseDocument]) -> usize {
        // The record has left out what came before.
        if self.ended {
            return 0;
        }
        let Some(after) = self.after else { return 0 };
        let last = sorted.iter().position(|lease| lease.id == after);
        // It ended meanwhile: the page begins about there, not at the first row again.
        last.map_or(self.row.saturating_sub(1), |last| last + 1)
    }

    /// The heads of the columns, which lead to the same rows in another order.
    pub(super) fn columns(&self, params: &Params) -> Vec<Column> {
        let now = self.sort.as_deref().unwrap_or_default();
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
            let params = params.without("after").without("row");
            Column {
                label,
                href: Some(format!("/leases{}", params.with("sort", next).query())),
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
    // What has no end, no name or no owner comes last.
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

/// When it ends unless somebody does something.
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
    fn trouble_comes_first_unless_a_column_is_asked_for() {
        assert_eq!(ports("")[0], 20_001);
        assert_eq!(ports("sort=port"), [20_000, 20_001, 20_002]);
        assert_eq!(ports("sort=-port"), [20_002, 20_001, 20_000]);
        assert_eq!(ports("sort=name")[0], 20_000);
    }

    #[test]
    fn rows_can_be_asked_for() {
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
    fn a_page_begins_behind_the_last_row() {
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
    fn every_state_can_be_chosen_and_says_what_it_means() {
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
    fn what_cannot_be_read_is_refused() {
        assert!(Filter::of(&Params::parse("ends=soon")).is_err());
        assert!(Filter::of(&Params::parse("state=gone")).is_err());
    }
}
