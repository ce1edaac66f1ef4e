//! The hold: a key that keeps all hosts from new claims after the engine has lost changes. It ends by itself after
//! [`HOLD`], with a session of the engine that no host renews.
//!
//! One that stays was made otherwise, as by a hostile host or by hand, and would stop all claims for ever. A host that
//! sweeps deletes it once it has seen it unchanged for [`STUCK`]. That is safe whatever its value is: a hold promises
//! two minutes, in which the hosts claim again what they had, and one that stood for twice as long has kept that
//! promise. The clock that counts is that of the host that looks, which may be a third wrong. A hold that was put
//! again meanwhile has another revision, so that its time begins anew and the commit is refused; and a host whose
//! engine was restored has no session for a moment, and forgets what it saw.

use std::time::Duration;

use super::engine::{Answer, Compare, Engine, Entry, Outcome, Step};
use super::key::Keys;
use super::sweep::Sweeper;
use crate::domain::attempt::printable;
use crate::domain::fleet::HostName;
use crate::domain::lease::BootTime;

/// Time for which no host claims a number after the engine has lost changes. Each host notices within a
/// third of its session, and claims again what it had.
pub(super) const HOLD: Duration = Duration::from_mins(2);

/// Time after which an unchanged hold is deleted.
pub(super) const STUCK: Duration = Duration::from_mins(4);

/// End of a value that a host writes.
const WRITTEN: &str = " claims again what it had";

/// Maximum number of characters of a value that are told.
const LONGEST: usize = 60;

/// A hold as it was seen first.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeenHold {
    created: u64,
    modified: u64,
    since: BootTime,
}

/// Returns the value of a hold of this host.
pub(super) fn value(host: &HostName) -> String {
    format!("{host}{WRITTEN}")
}

/// Tells in words why no number is claimed while this hold is there.
pub(super) fn told(keys: &Keys, hold: &Entry) -> String {
    let text = String::from_utf8_lossy(&hold.value);
    let host = text.strip_suffix(WRITTEN);
    if host.is_some_and(|host| host.parse::<HostName>().is_ok()) {
        return "etcd was restored, and hosts claim again what they had; new numbers are granted after that, in two minutes".to_owned();
    }
    let (key, shown) = (keys.hold(), text.chars().take(LONGEST).collect::<String>());
    format!(
        "the key {key} in etcd keeps all hosts from new claims, and its value is none of a host: \"{}\"; it is deleted within about five minutes, or at once by `etcdctl del {key}`",
        printable(&shown)
    )
}

impl<E: Engine> Sweeper<E> {
    /// Looks for a hold, and deletes one that would stay. Returns the reason for which no number is claimed.
    pub(super) async fn look_at_hold(
        &self,
        seen: &mut Option<SeenHold>,
        now: BootTime,
    ) -> Answer<Option<String>> {
        let key = self.keys.hold();
        let page = self.engine.list(&key, None, 1).await?;
        let Some(hold) = page.entries.into_iter().find(|entry| entry.key == key) else {
            *seen = None;
            return Ok(None);
        };
        let is_same =
            |seen: &SeenHold| (seen.created, seen.modified) == (hold.created, hold.modified);
        let first = seen.filter(is_same).unwrap_or(SeenHold {
            created: hold.created,
            modified: hold.modified,
            since: now,
        });
        *seen = Some(first);
        if now.since(first.since) < STUCK {
            return Ok(Some(told(&self.keys, &hold)));
        }
        let compare = vec![Compare::unchanged(key.clone(), hold.modified)];
        match self
            .engine
            .commit(compare, vec![Step::Delete { key }])
            .await?
        {
            Outcome::Done { .. } => {
                *seen = None;
                tracing::warn!(value = %printable(&String::from_utf8_lossy(&hold.value)), "deleted a key that kept all hosts from new claims and did not end by itself");
                Ok(None)
            }
            // It was put again: its time begins anew.
            Outcome::Refused { .. } => Ok(Some(told(&self.keys, &hold))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::memory::Memory;
    use crate::host::clock::Clock;

    const KEY: &str = "/f/hold";

    fn sweeper(clock: &Clock) -> Sweeper<Memory> {
        Sweeper {
            engine: Memory::new(clock.clone()),
            keys: Keys::new("/f/"),
            host: "one".parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn hold_that_stays_is_deleted_and_one_that_is_put_again_is_not() {
        let clock = Clock::manual();
        let sweeper = sweeper(&clock);
        let mut seen = None;
        assert_eq!(
            sweeper.look_at_hold(&mut seen, clock.boot()).await,
            Ok(None)
        );
        sweeper.engine.put(KEY, "not json");
        for round in 0..3 {
            let why = sweeper.look_at_hold(&mut seen, clock.boot()).await;
            let why = why.unwrap().unwrap();
            assert!(why.contains("etcdctl del /f/hold"), "{why}");
            clock.advance(STUCK.mul_f64(0.75));
            if round < 2 {
                sweeper.engine.put(KEY, "not json");
            }
        }
        assert!(sweeper.engine.entries().contains_key(KEY));
        clock.advance(STUCK / 4);
        assert_eq!(
            sweeper.look_at_hold(&mut seen, clock.boot()).await,
            Ok(None)
        );
        assert!(!sweeper.engine.entries().contains_key(KEY));
    }

    #[test]
    fn value_of_a_host_is_told_as_a_restore() {
        let entry = |text: String| Entry {
            key: KEY.into(),
            value: text.into(),
            created: 1,
            modified: 1,
        };
        let told = |text: String| told(&Keys::new("/f/"), &entry(text));
        assert!(told(value(&"one".parse().unwrap())).contains("restored"));
        let strange = told(format!("\u{1b}[2J {}", "x".repeat(5000)));
        assert!(
            strange.len() < 400 && !strange.contains('\u{1b}'),
            "{strange}"
        );
    }
}
