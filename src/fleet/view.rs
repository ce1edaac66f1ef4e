//! Reading the fleet: hosts, names, and whether the session behind a name lives.
//!
//! Names are read before the sessions. A session that is absent then stays absent, since no id comes
//! twice; so a name is never told as live longer than its host.

use std::collections::BTreeSet;

use super::engine::{Answer, Engine, Entry};
use super::key::Keys;
use super::value;
use crate::domain::fleet::{FleetHost, FleetName, FleetView, HostName, Question};
use crate::domain::lease::Name;

/// Number of entries of one page.
const PAGE: usize = 500;

/// Maximum number of entries of one answer.
pub const MOST_ENTRIES: usize = 20_000;

/// Number of hosts up to which their sessions are read one by one.
const FEW_HOSTS: usize = 4;

/// Entries of a prefix.
struct Listed {
    entries: Vec<Entry>,
    /// Revision of the first page: a watch from there misses nothing.
    revision: u64,
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
        Question::Names(name) => names(engine, keys, name.as_ref()).await,
    }
}

/// Prefixes whose changes can change the answer.
pub fn prefixes(keys: &Keys, question: &Question, view: &FleetView) -> Vec<String> {
    match question {
        Question::Hosts => vec![keys.sessions()],
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

async fn names<E: Engine>(engine: &E, keys: &Keys, name: Option<&Name>) -> Answer<FleetView> {
    let prefix = name.map_or(keys.names(), |name| keys.names_of(name));
    let listed = all(engine, &prefix).await?;
    let entries = listed.entries.iter();
    let read: Vec<value::Published> = entries
        .filter_map(|entry| value::name(keys, entry))
        .collect();
    let hosts = hosts_of(read.iter().map(|one| one.name.host.as_str()));
    let mut living = BTreeSet::new();
    for prefix in sessions_of(keys, &hosts) {
        let sessions = all(engine, &prefix).await?;
        living.extend(sessions.entries.into_iter().map(|entry| entry.key));
    }
    let names = read.into_iter().map(|one| FleetName {
        live: one
            .name
            .host
            .parse()
            .is_ok_and(|host| living.contains(&keys.session(&host, &one.session))),
        ..one.name
    });
    Ok(FleetView {
        names: names.collect(),
        revision: listed.revision,
        more: listed.more,
        ..FleetView::default()
    })
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

/// Lists a prefix page by page.
async fn all<E: Engine>(engine: &E, prefix: &str) -> Answer<Listed> {
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
        if is_last || so_far.entries.len() >= MOST_ENTRIES {
            break;
        }
    }
    Ok(listed.unwrap_or(Listed {
        entries: Vec::new(),
        revision: 0,
        more: false,
    }))
}
