//! etcd as the engine, over its v3 API.
//!
//! Each call has one second at one address, and then goes to the next. Calls that change something are
//! tried elsewhere only if it is certain that they were not done.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{
    Client, Compare as EtcdCompare, CompareOp, Error, GetOptions, KeyValue, LeaseKeepAliveStream,
    LeaseKeeper, PutOptions, ResponseHeader, Txn, TxnOp, TxnOpResponse,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::engine::{
    Answer, Compare, Condition, Engine, EngineError, Entry, Outcome, Page, Renewed, SessionId, Step,
};
use super::etcd_error::{is_absent, is_gone, told};
use super::scheme;
use super::watching::{EtcdWatch, Watches};

/// Limit on one call at one address.
const LIMIT: Duration = Duration::from_secs(1);

/// Connections to the members of one etcd.
#[derive(Clone)]
pub struct Etcd(Arc<Members>);

struct Members {
    links: Vec<Link>,
    /// Index of the member that answered last.
    current: AtomicUsize,
    /// Stream of renewals. `None` before the first one, and after each failure: a stream that failed once
    /// is dead.
    keeping: Mutex<Option<Keeping>>,
}

/// A connection to one member.
#[derive(Clone)]
struct Link {
    address: Arc<str>,
    /// Whether it has answered since the start: its address has the right scheme then.
    has_answered: Arc<AtomicBool>,
    client: Client,
    watches: Watches,
}

struct Keeping {
    id: SessionId,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
}

impl Etcd {
    /// Returns connections of these clients, at least one, each to one member at an address.
    pub fn of(clients: Vec<(String, Client)>) -> Self {
        let link = |(address, client): (String, Client)| Link {
            address: address.into(),
            has_answered: Arc::default(),
            client,
            watches: Watches::default(),
        };
        Self(Arc::new(Members {
            links: clients.into_iter().map(link).collect(),
            current: AtomicUsize::new(0),
            keeping: Mutex::new(None),
        }))
    }

    /// Calls one member after the other, beginning with the one that answered last, until one answers.
    /// `again`: whether a call without an answer may be repeated.
    async fn call<T, F>(&self, again: bool, call: impl Fn(Client) -> F) -> Answer<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.call_over(again, |link| call(link.client)).await
    }

    async fn call_over<T, F>(&self, again: bool, call: impl Fn(Link) -> F) -> Answer<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let members = &self.0;
        let first = members.current.load(Ordering::Relaxed);
        let count = members.links.len();
        let mut failure = EngineError::Away("it has no address".into());
        for step in 0..count {
            let index = (first + step) % count;
            let Some(link) = members.links.get(index) else {
                continue;
            };
            failure = match timeout(LIMIT, call(link.clone())).await {
                Ok(Ok(done)) => {
                    members.current.store(index, Ordering::Relaxed);
                    link.has_answered.store(true, Ordering::Relaxed);
                    return Ok(done);
                }
                Ok(Err(error)) => link.explained(told(&error)).await,
                Err(_) => EngineError::Unknown("nothing came within a second".into()),
            };
            let may_go_on = match failure {
                // Done nowhere.
                EngineError::Away(_) => true,
                EngineError::Unknown(_) => again,
                _ => false,
            };
            if !may_go_on {
                break;
            }
        }
        members
            .current
            .store((first + 1) % count.max(1), Ordering::Relaxed);
        Err(failure)
    }

    /// Renews over the stream that is there, or a new one.
    async fn keep(&self, id: SessionId) -> Answer<Renewed> {
        let mut slot = self.0.keeping.lock().await;
        let kept = slot.take().filter(|kept| kept.id == id);
        let mut kept = match kept {
            Some(kept) => kept,
            None => match self.begin_keeping(id).await? {
                Some(kept) => kept,
                None => return Ok(Renewed::Gone),
            },
        };
        let renewing = async {
            kept.keeper.keep_alive().await?;
            kept.answers.message().await
        };
        let answered = timeout(LIMIT, renewing).await;
        let unknown = || EngineError::Unknown("nothing came within a second".into());
        let answer = answered.map_err(|_| unknown())?;
        let Some(answer) = answer.map_err(|error| told(&error))? else {
            return Err(EngineError::Unknown("the stream of renewals ended".into()));
        };
        if answer.ttl() <= 0 {
            return Ok(Renewed::Gone);
        }
        *slot = Some(kept);
        Ok(Renewed::Alive {
            revision: revision(answer.header()),
        })
    }

    /// Lists keys, with these options beside the range and the limit.
    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        options: GetOptions,
    ) -> Answer<Page> {
        // The least key behind another one is that with a zero byte at its end.
        let from = after.map_or_else(
            || prefix.as_bytes().to_vec(),
            |after| [after.as_bytes(), &[0]].concat(),
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let options = options.with_range(end_of(prefix)).with_limit(limit);
        let found = self.call(true, |client| {
            let (from, options) = (from.clone(), options.clone());
            async move { client.kv_client().get(from, Some(options)).await }
        });
        let found = found.await?;
        Ok(Page {
            entries: found.kvs().iter().filter_map(entry).collect(),
            revision: revision(found.header()),
            more: found.more(),
            total: usize::try_from(found.count()).unwrap_or_default(),
        })
    }

    async fn begin_keeping(&self, id: SessionId) -> Answer<Option<Keeping>> {
        let number = id.0.cast_signed();
        let begun = self.call(true, |client| async move {
            match client.lease_client().keep_alive(number).await {
                Ok(pair) => Ok(Some(pair)),
                Err(error) if is_gone(&error) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let keeping = |(keeper, answers)| Keeping {
            id,
            keeper,
            answers,
        };
        Ok(begun.await?.map(keeping))
    }
}

impl Link {
    /// Adds to a failure that the scheme of the address is the wrong one, if that is so.
    async fn explained(&self, error: EngineError) -> EngineError {
        let EngineError::Unknown(reason) = &error else {
            return error;
        };
        if self.has_answered.load(Ordering::Relaxed) {
            return error;
        }
        match scheme::mismatch(&self.address).await {
            Some(mismatch) => EngineError::Unknown(format!("{reason}: {mismatch}")),
            None => error,
        }
    }
}

fn revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| header.revision().unsigned_abs())
}

impl Engine for Etcd {
    type Watch = EtcdWatch;

    async fn session(&self, ttl: Duration) -> Answer<SessionId> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        // A second session that no host knows of ends by itself.
        let granted = self.call(true, |client| async move {
            client.lease_client().grant(seconds, None).await
        });
        Ok(SessionId(granted.await?.id().cast_unsigned()))
    }

    async fn renew(&self, id: SessionId) -> Answer<Renewed> {
        match self.keep(id).await {
            // The stream was that of a member that has gone: once more, over a new one.
            Err(error) if error.may_pass() => self.keep(id).await,
            renewed => renewed,
        }
    }

    async fn end(&self, id: SessionId) -> Answer<()> {
        let number = id.0.cast_signed();
        let revoked = self.call(true, |client| async move {
            match client.lease_client().revoke(number).await {
                Err(error) if !is_absent(&error) => Err(error),
                _ => Ok(()),
            }
        });
        revoked.await
    }

    async fn commit(&self, compare: Vec<Compare>, steps: Vec<Step>) -> Answer<Outcome> {
        let keys = compare.iter().map(|compare| compare.key.clone());
        let looks: Vec<TxnOp> = keys.map(|key| TxnOp::get(key, None)).collect();
        let compare: Vec<EtcdCompare> = compare.into_iter().map(compared).collect();
        let steps: Vec<TxnOp> = steps.into_iter().map(step).collect();
        let txn = Txn::new().when(compare).and_then(steps).or_else(looks);
        let done = self.call(false, |client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        });
        let done = done.await?;
        let revision = revision(done.header());
        if done.succeeded() {
            Ok(Outcome::Done { revision })
        } else {
            let looks = done.op_responses().into_iter().map(|look| match look {
                TxnOpResponse::Get(found) => found.kvs().first().and_then(entry),
                _ => None,
            });
            let found = looks.collect();
            Ok(Outcome::Refused { revision, found })
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Answer<Page> {
        self.range(prefix, after, limit, GetOptions::new()).await
    }

    async fn list_keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Answer<Page> {
        let keys_only = GetOptions::new().with_keys_only();
        self.range(prefix, after, limit, keys_only).await
    }

    async fn watch(&self, prefix: &str, from: u64) -> Answer<EtcdWatch> {
        // Clients are large.
        let watch = self.call_over(true, |link| {
            Box::pin(async move { link.watches.watch(link.client, prefix, from).await })
        });
        watch.await
    }
}

/// A key with its value. `None` if the key is no text.
fn entry(pair: &KeyValue) -> Option<Entry> {
    Some(Entry {
        key: pair.key_str().ok()?.to_owned(),
        value: pair.value().to_vec(),
        created: pair.create_revision().unsigned_abs(),
        modified: pair.mod_revision().unsigned_abs(),
    })
}

/// End of the range of keys that begin with `prefix`, which is ASCII.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

fn compared(compare: Compare) -> EtcdCompare {
    match compare.is {
        Condition::Absent => EtcdCompare::create_revision(compare.key, CompareOp::Equal, 0),
        Condition::Present => EtcdCompare::create_revision(compare.key, CompareOp::Greater, 0),
        Condition::Revision(revision) => {
            EtcdCompare::mod_revision(compare.key, CompareOp::Equal, revision.cast_signed())
        }
    }
}

fn step(step: Step) -> TxnOp {
    match step {
        Step::Put {
            key,
            value,
            session,
        } => {
            let bound = session.map(|id| PutOptions::new().with_lease(id.0.cast_signed()));
            TxnOp::put(key, value, bound)
        }
        Step::Delete { key } => TxnOp::delete(key, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_behind_the_last_key_of_their_prefix() {
        assert_eq!(end_of("/f/name/"), b"/f/name0");
        assert!(b"/f/name/\xff".to_vec() < end_of("/f/name/"));
    }
}
