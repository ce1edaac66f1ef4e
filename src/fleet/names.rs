//! Names of this host in the engine: a difference between what should be there and what is known to be.
//!
//! Nothing is queued: each commit is made from the leases of that moment, so the last state of each
//! lease is what arrives, however long the engine was away.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::engine::{MOST_STEPS, Step};
use super::key::Keys;
use super::value::{MOST_BYTES, NameValue};
use crate::domain::address::BindAddress;
use crate::domain::fleet::Publish;
use crate::domain::lease::{Lease, Name};
use crate::domain::note;

use super::session::Identity;

/// Keys with their values, as they should be.
pub type Wanted = BTreeMap<String, String>;

/// Returns the keys that the fleet should have of these leases. The console's own lease is never one: it
/// refuses other hosts.
pub fn wanted(
    leases: &[Arc<Lease>],
    publish: Publish,
    keys: &Keys,
    identity: &Identity,
    session: &str,
) -> Wanted {
    // A number that this host has lost is shut, and another host's by now or soon.
    let is_out =
        |lease: &Lease| lease.state.is_ended() || lease.is_console() || lease.has_lost_claim();
    let published = leases.iter().filter(|lease| !is_out(lease));
    let named = published.filter_map(|lease| Some((name(lease, publish)?, lease)));
    named
        .map(|(name, lease)| {
            let key = keys.name(&name, &identity.host, &lease.id.to_string());
            (key, value(lease, identity, session))
        })
        .collect()
}

fn name(lease: &Lease, publish: Publish) -> Option<Name> {
    match (publish, &lease.name) {
        (Publish::Nothing, _) | (Publish::Named, None) => None,
        (_, Some(name)) => Some(name.clone()),
        (Publish::All, None) => lease.id.to_string().parse().ok(),
    }
}

fn value(lease: &Lease, identity: &Identity, session: &str) -> String {
    let mut value = NameValue {
        session: session.to_owned(),
        protocol: lease.protocol,
        port: lease.port,
        addresses: addresses(lease, identity),
        state: lease.state.as_str().to_owned(),
        labels: note::without(&lease.labels),
        since_ms: lease.granted_at.as_millisecond(),
    };
    let text = serde_json::to_string(&value).unwrap_or_default();
    if text.len() <= MOST_BYTES {
        return text;
    }
    // Labels alone have no bound of their own.
    value.labels.clear();
    serde_json::to_string(&value).unwrap_or_default()
}

/// Addresses at which other hosts reach a lease: those of this host where it is held on all, else its own
/// ones, but for loopback.
fn addresses(lease: &Lease, identity: &Identity) -> Vec<String> {
    let held = lease.addresses.addresses();
    let reachable = identity.addresses.iter().filter(|ip| {
        held.iter().any(|held: &BindAddress| {
            held.ip == **ip || (held.is_wildcard() && held.ip.is_ipv4() == ip.is_ipv4())
        })
    });
    reachable.map(ToString::to_string).collect()
}

/// Keys of this host that the engine has, as far as it is known.
#[derive(Debug, Default)]
pub struct Published {
    /// `None` if the key may be there, with an unknown value.
    keys: BTreeMap<String, Option<String>>,
    /// Epoch of the session ([`super::epoch`]). `None` if a new one is to begin before the next commit.
    epoch: Option<u64>,
}

impl Published {
    /// Starts with keys that an earlier run of this host may have put.
    pub fn on_record(keys: impl IntoIterator<Item = String>) -> Self {
        Self {
            keys: keys.into_iter().map(|key| (key, None)).collect(),
            epoch: None,
        }
    }

    /// Number of keys that the engine has for certain.
    pub fn count(&self) -> usize {
        self.keys.values().flatten().count()
    }

    /// Epoch in which the next commit is sent. `None` if a new one is to begin.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// Forgets all values: each is put again, in this epoch, or in a new one.
    pub fn doubt_all(&mut self, epoch: Option<u64>) {
        self.epoch = epoch;
        self.keys.values_mut().for_each(|value| *value = None);
    }

    /// Number of keys that differ from what is wanted.
    pub fn pending(&self, wanted: &Wanted) -> usize {
        self.puts(wanted).count() + self.deletes(wanted).count()
    }

    /// Returns the steps of the next commit: [`MOST_STEPS`] at most, none if all is there.
    pub fn next_steps(&self, wanted: &Wanted) -> Vec<Step> {
        let puts = self.puts(wanted).map(|(key, value)| Step::Put {
            key: key.clone(),
            value: value.clone().into(),
            session: None,
        });
        let deletes = self
            .deletes(wanted)
            .map(|key| Step::Delete { key: key.clone() });
        // What is no longer true goes first.
        deletes.chain(puts).take(MOST_STEPS).collect()
    }

    /// Notes that steps are about to be sent: whether they are done is unknown until [`Self::done`].
    pub fn sent(&mut self, steps: &[Step]) {
        self.epoch = None;
        for step in steps {
            self.keys.insert(step.key().to_owned(), None);
        }
    }

    /// Notes that steps are done in an epoch.
    pub fn done(&mut self, steps: &[Step], epoch: u64) {
        self.epoch = Some(epoch);
        for step in steps {
            match step {
                Step::Put { key, value, .. } => {
                    let value = String::from_utf8(value.clone());
                    self.keys.insert(key.clone(), value.ok());
                }
                Step::Delete { key } => {
                    self.keys.remove(key);
                }
            }
        }
    }

    fn puts<'w>(&self, wanted: &'w Wanted) -> impl Iterator<Item = (&'w String, &'w String)> {
        wanted.iter().filter(|(key, value)| {
            let known = self.keys.get(*key).and_then(Option::as_ref);
            known != Some(*value)
        })
    }

    fn deletes(&self, wanted: &Wanted) -> impl Iterator<Item = &String> {
        self.keys.keys().filter(|key| !wanted.contains_key(*key))
    }
}

/// Keys that these steps put.
pub fn put_keys(steps: &[Step]) -> Vec<String> {
    let puts = steps.iter().filter(|step| matches!(step, Step::Put { .. }));
    puts.map(|step| step.key().to_owned()).collect()
}

/// Keys that these steps delete.
pub fn deleted_keys(steps: &[Step]) -> Vec<String> {
    let deletes = steps
        .iter()
        .filter(|step| matches!(step, Step::Delete { .. }));
    deletes.map(|step| step.key().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support::lease;
    use crate::domain::lease::{CONSOLE_NAME, State};

    fn identity() -> Identity {
        Identity {
            host: "h".parse().unwrap(),
            boot: "b".into(),
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            is_fenced: false,
        }
    }

    fn named(port: u16, name: &str) -> Lease {
        let mut lease = lease(port);
        lease.name = Some(name.parse().unwrap());
        lease
    }

    fn of(leases: Vec<Lease>, publish: Publish) -> Wanted {
        let leases: Vec<Arc<Lease>> = leases.into_iter().map(Arc::new).collect();
        wanted(&leases, publish, &Keys::new("/f/"), &identity(), "s")
    }

    #[test]
    fn named_leases_are_published_and_the_console_never() {
        let leases = || {
            let mut ended = named(3, "old");
            ended.state = State::Released;
            vec![named(1, "web"), lease(2), ended, named(4, CONSOLE_NAME)]
        };
        assert_eq!(of(leases(), Publish::Nothing).len(), 0);
        assert_eq!(of(leases(), Publish::All).len(), 2);
        let named = of(leases(), Publish::Named);
        let (key, _) = named.first_key_value().unwrap();
        assert!(
            named.len() == 1 && key.starts_with("/f/name/web/h/"),
            "{key}"
        );
    }

    #[test]
    fn note_stays_on_its_host() {
        let mut web = named(1, "web");
        web.labels.insert("team".into(), "shop".into());
        note::write(&mut web.labels, "ask Anna");
        let all = of(vec![web], Publish::Named);
        let text = all.first_key_value().unwrap().1;
        assert!(text.contains("shop") && !text.contains("Anna"), "{text}");
    }

    #[test]
    fn long_labels_are_left_out_and_loopback_has_no_address() {
        let mut web = named(1, "web");
        web.labels.insert("k".into(), "v".repeat(MOST_BYTES));
        let all = of(vec![web], Publish::Named);
        let text = all.first_key_value().unwrap().1;
        assert!(
            text.len() <= MOST_BYTES && text.contains("\"labels\":{}"),
            "{text}"
        );
    }

    #[test]
    fn commits_carry_the_last_state_in_batches() {
        let leases: Vec<Lease> = (1..=100)
            .map(|port| named(port, &format!("n{port}")))
            .collect();
        let all = of(leases, Publish::Named);
        let mut published = Published::default();
        let first = published.next_steps(&all);
        assert_eq!((first.len(), published.pending(&all)), (MOST_STEPS, 100));
        published.sent(&first);
        assert_eq!(
            published.next_steps(&all).len(),
            MOST_STEPS,
            "no answer yet"
        );
        published.done(&first, 1);
        let second = published.next_steps(&all);
        assert_eq!(second.len(), 100 - MOST_STEPS);
        published.done(&second, 1);
        assert_eq!(published.next_steps(&all), []);
        let gone = published.next_steps(&Wanted::new());
        assert!(gone.iter().all(|step| matches!(step, Step::Delete { .. })));
        published.doubt_all(None);
        assert_eq!((published.pending(&all), published.count()), (100, 0));
    }

    #[test]
    fn keys_of_an_earlier_run_are_put_again_or_deleted() {
        let all = of(vec![named(1, "web")], Publish::Named);
        let web = all.first_key_value().unwrap().0.clone();
        let published = Published::on_record([web.clone(), "/f/name/old/h/l".into()]);
        let steps = published.next_steps(&all);
        assert_eq!(deleted_keys(&steps), ["/f/name/old/h/l"]);
        assert_eq!(put_keys(&steps), [web]);
    }
}
