//! Reading the fleet: hosts, names, and whether the session behind a name lives.
//!
//! Names are read before the sessions. A session that is absent then stays absent, since no id comes
//! twice; so a name is never told as live longer than its host.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::{Answer, Engine, Entry};
use super::key::Keys;
use super::value::{self, EverywhereValue, StandValue};
use crate::domain::claim::{FleetClaim, Number};
use crate::domain::everywhere::{EVERYWHERE, EverywhereHost, EverywhereNumber, Stand};
use crate::domain::fleet::{FleetHost, FleetName, FleetView, HostName, Question};
use crate::domain::lease::Name;

/// Number of entries of one page.
const PAGE: usize = 500;

/// Number of keys of one page without values.
const KEYS_PAGE: usize = 2_000;

/// Maximum number of entries of one answer.
pub const MOST_ENTRIES: usize = 20_000;

/// Number of hosts up to which their sessions are read one by one.
const FEW_HOSTS: usize = 4;

/// Entries of a prefix.
pub struct Listed {
    pub entries: Vec<Entry>,
    /// Revision of the first page: a watch from there misses nothing.
    pub revision: u64,
    more: bool,
}

/// Reads the answer to a question.
pub async fn read<E: Engine>(
    engine: &E,
    keys: &Keys,
    own: &HostName,
    question: &Question,
) -> Answer<FleetView> {
    match question {
        Question::Hosts => hosts(engine, keys, own).await,
        Question::Names(name) => names(engine, keys, own, name.as_ref()).await,
        Question::Claims => claims(engine, keys, own).await,
        Question::Everywhere => everywhere(engine, keys, own).await,
    }
}

/// Prefixes whose changes can change the answer.
pub fn prefixes(keys: &Keys, question: &Question, view: &FleetView) -> Vec<String> {
    match question {
        Question::Hosts => vec![keys.sessions()],
        Question::Claims => vec![keys.claims(), keys.sessions()],
        Question::Everywhere => vec![keys.everywhere(), keys.hosts(), keys.sessions()],
        Question::Names(name) => {
            let names = name
                .as_ref()
                .map_or(keys.names(), |name| keys.names_of(name));
            let hosts = hosts_of(view.names.iter().map(|name| name.host.as_str()));
            let mut all = vec![names];
            all.extend(sessions_of(keys, &hosts));
            all
        }
    }
}

async fn hosts<E: Engine>(engine: &E, keys: &Keys, own: &HostName) -> Answer<FleetView> {
    let listed = all(engine, &keys.sessions()).await?;
    let entries = listed.entries.iter();
    let mut hosts: Vec<FleetHost> = entries
        .filter_map(|entry| value::host(keys, entry))
        .collect();
    for host in &mut hosts {
        host.own = host.host == own.as_str();
    }
    Ok(FleetView {
        hosts,
        revision: listed.revision,
        more: listed.more,
        ..FleetView::default()
    })
}

async fn names<E: Engine>(
    engine: &E,
    keys: &Keys,
    own: &HostName,
    name: Option<&Name>,
) -> Answer<FleetView> {
    let prefix = name.map_or(keys.names(), |name| keys.names_of(name));
    let listed = all(engine, &prefix).await?;
    let entries = listed.entries.iter();
    let read: Vec<value::Published> = entries
        .filter_map(|entry| value::name(keys, entry))
        .collect();
    let hosts = hosts_of(read.iter().map(|one| one.name.host.as_str()));
    let living = living(engine, keys, &hosts).await?;
    let names = read.into_iter().map(|one| FleetName {
        live: is_live(keys, &living, &one.name.host, &one.session),
        own: one.name.host == own.as_str(),
        ..one.name
    });
    Ok(FleetView {
        names: names.collect(),
        revision: listed.revision,
        more: listed.more,
        ..FleetView::default()
    })
}

/// Reads which numbers are claimed, with their hosts.
pub async fn claimed<E: Engine>(engine: &E, keys: &Keys) -> Answer<Vec<(Number, String)>> {
    let listed = all(engine, &keys.claims()).await?;
    let read = listed.entries.iter().filter_map(|entry| {
        let claim = value::claim(keys, entry)?.claim;
        let number = Number {
            protocol: claim.protocol,
            port: claim.port,
        };
        Some((number, claim.host))
    });
    Ok(read.collect())
}

/// Reads all entries of a prefix, however many they are.
pub async fn entries_of<E: Engine>(engine: &E, prefix: &str) -> Answer<Vec<Entry>> {
    Ok(up_to(engine, prefix, usize::MAX).await?.entries)
}

/// Reads the entries of a prefix, with the revision.
pub async fn listed<E: Engine>(engine: &E, prefix: &str) -> Answer<Listed> {
    all(engine, prefix).await
}

/// Reads all keys of a prefix.
pub async fn keys_of<E: Engine>(engine: &E, prefix: &str) -> Answer<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = engine
            .list_keys(prefix, after.as_deref(), KEYS_PAGE)
            .await?;
        after = page.entries.last().map(|entry| entry.key.clone());
        keys.extend(page.entries.into_iter().map(|entry| entry.key));
        if !page.more || after.is_none() {
            return Ok(keys);
        }
    }
}

async fn claims<E: Engine>(engine: &E, keys: &Keys, own: &HostName) -> Answer<FleetView> {
    let listed = all(engine, &keys.claims()).await?;
    let entries = listed.entries.iter();
    let read: Vec<value::Claimed> = entries
        .filter_map(|entry| value::claim(keys, entry))
        .collect();
    let hosts = hosts_of(read.iter().map(|one| one.claim.host.as_str()));
    let living = living(engine, keys, &hosts).await?;
    let claims = read.into_iter().map(|one| FleetClaim {
        live: one.claim.host == EVERYWHERE || is_live(keys, &living, &one.claim.host, &one.session),
        own: one.claim.host == own.as_str(),
        ..one.claim
    });
    Ok(FleetView {
        claims: claims.collect(),
        revision: listed.revision,
        more: listed.more,
        ..FleetView::default()
    })
}

/// Reads the numbers that are reserved on every host, then what hosts say of them, then which hosts live.
async fn everywhere<E: Engine>(engine: &E, keys: &Keys, own: &HostName) -> Answer<FleetView> {
    let listed = all(engine, &keys.everywhere()).await?;
    let entries = listed.entries.iter();
    let reserved: Vec<(Number, EverywhereValue, u64)> = entries
        .filter_map(|entry| {
            let (number, value) = value::everywhere(keys, entry)?;
            Some((number, value, entry.created))
        })
        .collect();
    let mut view = FleetView {
        revision: listed.revision,
        more: listed.more,
        ..FleetView::default()
    };
    if reserved.is_empty() {
        return Ok(view);
    }
    let said = entries_of(engine, &keys.hosts()).await?;
    let said: Vec<Said> = said
        .iter()
        .filter_map(|entry| Said::of(keys, entry))
        .collect();
    let sessions = keys_of(engine, &keys.sessions()).await?;
    let living = sessions.iter().filter_map(|key| keys.read_session(key));
    let living: BTreeSet<HostName> = living.map(|(host, _)| host).collect();
    view.everywhere = reserved
        .into_iter()
        .map(|(number, value, since)| EverywhereNumber {
            port: number.port,
            protocol: number.protocol,
            name: value.name.to_string(),
            since_ms: value.since_ms,
            hosts: stands(&said_since(&said, number, since), &living, own),
        })
        .collect();
    Ok(view)
}

/// Answer of a host to a reservation of a number.
struct Said {
    host: HostName,
    number: Number,
    value: StandValue,
    /// Revision of the answer.
    at: u64,
}

impl Said {
    fn of(keys: &Keys, entry: &Entry) -> Option<Self> {
        let (host, number, value) = value::stand(keys, entry)?;
        Some(Self {
            host,
            number,
            value,
            at: entry.modified,
        })
    }
}

/// Answers to the reservation of a number that was made at this revision. Earlier ones are to another.
fn said_since(said: &[Said], number: Number, since: u64) -> BTreeMap<&HostName, &StandValue> {
    let said = said
        .iter()
        .filter(|said| said.number == number && said.at >= since);
    said.map(|said| (&said.host, &said.value)).collect()
}

/// Every host that lives, or has said something of a number, with its answer.
fn stands(
    said: &BTreeMap<&HostName, &StandValue>,
    living: &BTreeSet<HostName>,
    own: &HostName,
) -> Vec<EverywhereHost> {
    let hosts: BTreeSet<&HostName> = living.iter().chain(said.keys().copied()).collect();
    let host = |host: &HostName| {
        let live = living.contains(host);
        let (state, why) = match said.get(host).filter(|_| live) {
            Some(StandValue::Held) => (Stand::Held, None),
            Some(StandValue::Busy(why)) => (Stand::Busy, Some(why.clone())),
            Some(StandValue::Taking(_)) | None => (Stand::Away, None),
        };
        EverywhereHost {
            host: host.to_string(),
            state,
            why,
            live,
            own: host == own,
        }
    };
    hosts.into_iter().map(host).collect()
}

/// Keys of the living sessions of these hosts.
async fn living<E: Engine>(
    engine: &E,
    keys: &Keys,
    hosts: &BTreeSet<HostName>,
) -> Answer<BTreeSet<String>> {
    let mut living = BTreeSet::new();
    for prefix in sessions_of(keys, hosts) {
        living.extend(keys_of(engine, &prefix).await?);
    }
    Ok(living)
}

fn is_live(keys: &Keys, living: &BTreeSet<String>, host: &str, session: &str) -> bool {
    let host = host.parse::<HostName>();
    host.is_ok_and(|host| living.contains(&keys.session(&host, session)))
}

fn hosts_of<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<HostName> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// Prefixes of the sessions of these hosts: one each, or that of all where there are many.
fn sessions_of(keys: &Keys, hosts: &BTreeSet<HostName>) -> Vec<String> {
    if hosts.len() > FEW_HOSTS {
        return vec![keys.sessions()];
    }
    hosts.iter().map(|host| keys.sessions_of(host)).collect()
}

/// Lists a prefix, up to [`MOST_ENTRIES`].
async fn all<E: Engine>(engine: &E, prefix: &str) -> Answer<Listed> {
    up_to(engine, prefix, MOST_ENTRIES).await
}

/// Lists a prefix page by page, until there are `most` entries.
async fn up_to<E: Engine>(engine: &E, prefix: &str, most: usize) -> Answer<Listed> {
    let mut listed: Option<Listed> = None;
    loop {
        let last = listed.as_ref().and_then(|listed| listed.entries.last());
        let after = last.map(|entry| entry.key.clone());
        let page = engine.list(prefix, after.as_deref(), PAGE).await?;
        let is_last = !page.more || page.entries.is_empty();
        let so_far = listed.get_or_insert(Listed {
            entries: Vec::new(),
            revision: page.revision,
            more: false,
        });
        so_far.entries.extend(page.entries);
        so_far.more = !is_last;
        if is_last || so_far.entries.len() >= most {
            break;
        }
    }
    Ok(listed.unwrap_or(Listed {
        entries: Vec::new(),
        revision: 0,
        more: false,
    }))
}
