//! Sweeping beside the session loop: one host has the duty, and others watch over it.
//!
//! The duty ends with the session of its host. A host that keeps it and does nothing is noticed by the
//! others: a claim that one of them sees unmarked for [`Rhythm::wait`] is swept by that one as well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::claiming::Open;
use super::counter::Standing;
use super::engine::{Answer, Engine, EngineError};
use super::holding::SeenHold;
use super::sweep::{Last, Sweep, Sweeper, Swept};
use crate::domain::lease::BootTime;
use crate::engine::troubles::{TroubleKind, Troubles};
use crate::host::clock::Clock;

/// Longest session that sweeps keep step with. With longer ones they are as frequent as with this.
const STEADY: Duration = Duration::from_secs(30);

/// Number of hosts that look within [`Rhythm::wait`] whether claims are marked. Each reads every claim, as a sweep
/// does.
const WATCHERS: u32 = 2;

/// Number of sweeps of which one reads all keys. With more pages than that it is one of as many, so that a large
/// fleet is read at a page a sweep.
const ALL: u32 = 20;

/// Intervals of a sweep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rhythm {
    /// Interval of the sweeps of the host that has the duty.
    pub(super) sweep: Duration,
    /// Interval at which the others try to take the duty.
    take: Duration,
    /// Time for which a claim may be unmarked until another host than that with the duty sweeps.
    wait: Duration,
}

impl Rhythm {
    pub(super) fn of(session: Duration) -> Self {
        let session = session.min(STEADY);
        Self {
            sweep: session / 2,
            take: session * 2,
            wait: session * 10,
        }
    }
}

/// The sweep of this host.
pub(super) struct Sweeping<E> {
    pub(super) sweeper: Sweeper<E>,
    pub(super) clock: Clock,
    pub(super) rng: fastrand::Rng,
    rhythm: Rhythm,
    /// Number of sweeps with the duty since the one that read all keys. `None` before that.
    since_all: Option<u32>,
    /// What the last sweep left to the next one.
    last: Last,
    /// Claims that were seen unmarked, by key and revision, with the time of the first look.
    unmarked: BTreeMap<(String, u64), BootTime>,
    /// Time of the next look whether claims are marked. `None` before the number of hosts is known.
    look_at: Option<BootTime>,
    is_denied: bool,
    /// Hold as it was seen first. `None` if none is known of.
    hold: Option<SeenHold>,
    troubles: Arc<Troubles>,
}

impl<E: Engine> Sweeping<E> {
    pub(super) fn new(sweeper: Sweeper<E>, clock: Clock, session: Duration) -> Self {
        Self {
            rhythm: Rhythm::of(session),
            since_all: None,
            last: Last::default(),
            sweeper,
            look_at: None,
            clock,
            rng: fastrand::Rng::new(),
            unmarked: BTreeMap::new(),
            is_denied: false,
            hold: None,
            troubles: Arc::default(),
        }
    }

    /// Has troubles told there.
    pub(super) fn telling(mut self, troubles: Arc<Troubles>) -> Self {
        self.troubles = troubles;
        self
    }

    /// Sweeps while a session is open, for as long as it is polled.
    pub(super) async fn serve(mut self, mut standing: watch::Receiver<Standing>) {
        loop {
            let now = standing.borrow_and_update().clone();
            let wait = match now {
                Standing::In(open) => self.round(&open).await,
                Standing::Joining | Standing::Out => {
                    self.hold = None;
                    Duration::MAX
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = standing.changed() => if changed.is_err() {
                    return;
                }
            }
        }
    }

    /// Does what is due. Returns the time until the next round.
    async fn round(&mut self, open: &Open) -> Duration {
        match self.act(open).await {
            Ok(true) => self.rhythm.sweep,
            Ok(false) => self.about(self.rhythm.take),
            Err(error) => {
                self.report(&error);
                self.about(self.rhythm.take)
            }
        }
    }

    /// Sweeps if this host has the duty, or nobody else seems to do it. `true` if it has the duty.
    async fn act(&mut self, open: &Open) -> Answer<bool> {
        if self.sweeper.take_duty(&open.session, open.id).await? {
            self.unmarked.clear();
            self.look_at_hold().await?;
            let what = self.turn();
            let swept = self.sweeper.sweep(what, &mut self.last).await?;
            self.since_all = Some(match what {
                Sweep::All => 0,
                Sweep::Claims => self.since_all.map_or(0, |sweeps| sweeps + 1),
            });
            told(swept);
            return Ok(true);
        }
        // Another host sweeps meanwhile.
        (self.since_all, self.last) = (None, Last::default());
        // A host that was kept from a claim looks as well: the one that has the duty may do nothing.
        if self.troubles.has(TroubleKind::Hold) {
            self.look_at_hold().await?;
        }
        if self.is_look_due().await? && self.look().await? {
            let mut last = Last::default();
            told(self.sweeper.sweep(Sweep::All, &mut last).await?);
        }
        Ok(false)
    }

    async fn look_at_hold(&mut self) -> Answer<()> {
        let now = self.clock.boot();
        let why = self.sweeper.look_at_hold(&mut self.hold, now).await?;
        self.troubles.set(TroubleKind::Hold, why);
        Ok(())
    }

    /// What is swept this time: all keys first, and then with one of so many sweeps.
    fn turn(&self) -> Sweep {
        let wait = sweeps_of_one(self.last.pages);
        match self.since_all {
            Some(sweeps) if sweeps + 1 < wait => Sweep::Claims,
            _ => Sweep::All,
        }
    }

    /// Whether it is time for a look. Each reads every claim, so that not all hosts of a large fleet that has just
    /// started look at once.
    async fn is_look_due(&mut self) -> Answer<bool> {
        let now = self.clock.boot();
        if let Some(at) = self.look_at {
            return Ok(at <= now);
        }
        let share = share(self.sweeper.count_sessions().await?);
        if share == 1 {
            return Ok(true);
        }
        let longest = self.rhythm.wait.saturating_mul(share);
        self.look_at = Some(now.after(longest.mul_f64(self.rng.f64())));
        Ok(false)
    }

    /// Looks whether claims stay unmarked. `true` if one did for long enough.
    async fn look(&mut self) -> Answer<bool> {
        let (unmarked, sessions) = self.sweeper.unmarked().await?;
        let now = self.clock.boot();
        self.unmarked.retain(|key, _| unmarked.contains(key));
        for key in unmarked {
            self.unmarked.entry(key).or_insert(now);
        }
        // Of many hosts a few look; one that has seen something looks again.
        let share = if self.unmarked.is_empty() {
            share(sessions)
        } else {
            1
        };
        let wait = self.about(self.rhythm.wait.saturating_mul(share));
        self.look_at = Some(now.after(wait));
        let is_over = |since: &BootTime| now.since(*since) >= self.rhythm.wait;
        Ok(self.unmarked.values().any(is_over))
    }

    /// This time, or up to a quarter more, so that hosts do not beat in step.
    fn about(&mut self, time: Duration) -> Duration {
        time.mul_f64(1.0 + self.rng.f64() / 4.0)
    }

    fn report(&mut self, error: &EngineError) {
        // A host with rights of an earlier version is told once.
        let is_denied = matches!(error, EngineError::Denied(_));
        if !(is_denied && self.is_denied) {
            tracing::warn!(%error, "could not sweep what hosts that are gone had; that is tried again within minutes");
        }
        self.is_denied = is_denied;
    }
}

/// Number of sweeps of which one reads all keys, which have this number of pages.
pub(super) fn sweeps_of_one(pages: u32) -> u32 {
    ALL.max(pages)
}

/// Number of hosts of which one looks within [`Rhythm::wait`].
fn share(hosts: usize) -> u32 {
    let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
    (hosts / WATCHERS).max(1)
}

fn told(swept: Swept) {
    let Swept {
        marked,
        freed,
        names,
        ..
    } = swept;
    if marked + freed + names > 0 {
        tracing::info!(
            marked,
            freed,
            names,
            "swept claims and names of hosts that are gone"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::engine::{Compare, Step};
    use crate::fleet::key::Keys;
    use crate::fleet::memory::Memory;

    const CLAIM: &str = "/f/claim/tcp/9100";

    struct Fleet {
        clock: Clock,
        engine: Memory,
    }

    async fn host(fleet: &Fleet, name: &str) -> (Sweeping<Memory>, Open) {
        let keys = Keys::new("/f/");
        let host = name.parse().unwrap();
        let id = fleet.engine.session(Duration::from_hours(1)).await.unwrap();
        let session = format!("s-{name}");
        let key = keys.session(&host, &session);
        let put = Step::Put {
            key: key.clone(),
            value: "{}".into(),
            session: Some(id),
        };
        let absent = vec![Compare::absent(key)];
        fleet.engine.commit(absent, vec![put]).await.unwrap();
        let engine = fleet.engine.clone();
        let sweeper = Sweeper { engine, keys, host };
        let open = Open { session, id };
        (Sweeping::new(sweeper, fleet.clock.clone(), STEADY), open)
    }

    fn fleet() -> Fleet {
        let clock = Clock::manual();
        Fleet {
            engine: Memory::new(clock.clone()),
            clock,
        }
    }

    #[tokio::test]
    async fn duty_has_one_host_until_its_session_ends() {
        let fleet = fleet();
        let (mut one, first) = host(&fleet, "one").await;
        let (mut two, second) = host(&fleet, "two").await;
        assert_eq!(one.act(&first).await, Ok(true));
        let commits = fleet.engine.commits();
        assert_eq!(one.act(&first).await, Ok(true));
        assert_eq!(two.act(&second).await, Ok(false));
        assert_eq!(fleet.engine.commits(), commits, "a question is no commit");
        fleet.engine.end(first.id).await.unwrap();
        assert_eq!(one.act(&first).await, Ok(false));
        assert_eq!(two.act(&second).await, Ok(true));
    }

    #[tokio::test]
    async fn few_hosts_of_a_large_fleet_look_within_the_same_time() {
        // Every host looks within this number of waits.
        const LONGEST: u32 = 40;
        let fleet = fleet();
        let mut hosts = Vec::new();
        for number in 0..80 {
            let (mut sweeping, open) = host(&fleet, &format!("h{number}")).await;
            sweeping.rng = fastrand::Rng::with_seed(number);
            hosts.push((sweeping, open));
        }
        fleet.engine.put("/f/duty/sweep", "s-of-an-idle-host");
        fleet
            .engine
            .put(CLAIM, r#"{"host":"gone","session":"s-9"}"#);
        for (sweeping, open) in &mut hosts {
            assert_eq!(sweeping.act(open).await, Ok(false));
        }
        let looked = hosts.iter().filter(|(one, _)| !one.unmarked.is_empty());
        assert!(looked.count() < 20, "most wait for a time of their own");
        let wait = hosts[0].0.rhythm.wait;
        let is_marked = || fleet.engine.entries()[CLAIM].contains("away");
        for _ in 0..LONGEST {
            fleet.clock.advance(wait);
            for (sweeping, open) in &mut hosts {
                assert_eq!(sweeping.act(open).await, Ok(false));
            }
        }
        assert!(is_marked(), "the first to look twice sweeps");
    }

    #[tokio::test]
    async fn sweeps_of_all_keys_are_rarer_where_there_are_many() {
        let fleet = fleet();
        let (mut one, open) = host(&fleet, "one").await;
        let mut sweeps = async |count: usize| {
            let mut all = 0;
            for _ in 0..count {
                all += usize::from(one.turn() == Sweep::All);
                assert_eq!(one.act(&open).await, Ok(true));
            }
            all
        };
        assert_eq!(sweeps(40).await, 2);
        for number in 0..20_000 {
            fleet.engine.put(&format!("/f/name/n{number}/h/l"), "{}");
        }
        // Two more find that there are 40 pages of names, and one of claims.
        assert_eq!(sweeps(1).await, 1);
        assert_eq!(sweeps(41).await, 1);
    }

    #[tokio::test]
    async fn claim_that_stays_unmarked_is_swept_by_another_host() {
        let fleet = fleet();
        let (mut two, open) = host(&fleet, "two").await;
        fleet.engine.put("/f/duty/sweep", "s-of-an-idle-host");
        fleet
            .engine
            .put(CLAIM, r#"{"host":"gone","session":"s-9","later":7}"#);
        let marked = || fleet.engine.entries()[CLAIM].contains("away");
        assert_eq!(two.act(&open).await, Ok(false));
        assert!(!marked());
        fleet.clock.advance(two.rhythm.wait.mul_f64(1.3));
        assert_eq!(two.act(&open).await, Ok(false));
        assert!(marked());
        let value = &fleet.engine.entries()[CLAIM];
        assert!(value.contains(r#""later":7"#), "{value}");
    }
}
