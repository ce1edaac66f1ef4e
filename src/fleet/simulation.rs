//! Hosts of a fleet that can stop at every step: a disk, a book, a clock a host, and an oracle that knows
//! all of them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use uuid::Uuid;

use super::claim::{Claimant, Intent, Unclaimed};
use super::engine::{Answer, EngineError, Renewed};
use super::ground::{Ground, Seen, Tended, is_held};
use super::key::Keys;
use super::permit::{FenceError, Permits};
use super::session::{Identity, JoinError, Session};
use super::shaky::{Shaky, lock, pause, poll_once};
use super::sim_kernel::{Kernels, RECLAIM, SimFence, has_fence};
use super::sweep::{Last, Sweep, Sweeper};
use crate::domain::claim::{Claim, ClaimStage, Number};
use crate::domain::lease::{BootTime, LeaseId};
use crate::engine::claims::{ClaimBook, ClaimTicket};
use crate::host::clock::Clock;
use crate::store::FleetRecord;

/// Length of a session.
const TTL: Duration = Duration::from_secs(30);

/// Limit on a claim, on the host's clock.
const PATIENCE: Duration = Duration::from_secs(5);

pub const PREFIX: &str = "/f/";

/// All that outlives a crash of a host.
#[derive(Default)]
pub struct Disk {
    pub claims: BTreeMap<String, Claim>,
    pub leases: BTreeMap<LeaseId, Number>,
    pub record: Option<FleetRecord>,
}

/// Hosts that were told that they have a number. A claim counts from the record of its lease to its end.
#[derive(Default)]
pub struct Oracle {
    pub holders: BTreeMap<Number, usize>,
    /// Hosts whose fence was shut when they were granted a number that another one had in the books. Each loses it
    /// soon, or has it if that one loses it.
    late: BTreeMap<Number, usize>,
    pub granted: usize,
    pub lost: Vec<(usize, Number, Option<String>)>,
}

impl Oracle {
    fn lose(&mut self, host: usize, number: Number, by: Option<String>) {
        self.give_up(host, number);
        self.lost.push((host, number, by));
    }

    fn give_up(&mut self, host: usize, number: Number) {
        if self.late.get(&number) == Some(&host) {
            self.late.remove(&number);
        }
        if self.holders.get(&number) == Some(&host) {
            self.holders.remove(&number);
            if let Some(late) = self.late.remove(&number) {
                self.holders.insert(number, late);
            }
        }
    }

    /// A host without a fence keeps its number until it gives it back. Of one with a fence the kernel
    /// alone says whether it has it still.
    fn grant(&mut self, host: usize, number: Number, kernels: &Kernels) {
        self.granted += 1;
        let kernels = lock(kernels);
        let is_open = |index: usize| SimFence::is_open(&kernels[index], number);
        if has_fence(host) && !is_open(host) && self.holders.contains_key(&number) {
            // It stood still for so long that its answer is worth nothing until its fence is open again.
            self.late.insert(number, host);
            return;
        }
        let mut others = (0..kernels.len()).filter(|index| *index != host);
        assert!(!others.any(is_open), "{number} is open elsewhere");
        let before = self.holders.insert(number, host);
        let before = before.filter(|before| *before == host || !has_fence(*before));
        assert_eq!(before, None, "{number} is granted to host {host} as well");
    }
}

/// What a host has in memory and on its disk.
#[derive(Clone)]
pub struct SimGround {
    pub index: usize,
    pub clock: Clock,
    pub book: Arc<ClaimBook>,
    pub disk: Arc<Mutex<Disk>>,
    pub oracle: Arc<Mutex<Oracle>>,
    pub kernels: Kernels,
    /// `None` if the host has no fence.
    pub permits: Option<Permits>,
}

impl SimGround {
    /// The permits of a process that starts.
    pub fn permits(index: usize, kernels: &Kernels, clock: &Clock) -> Option<Permits> {
        let kernels = Arc::clone(kernels);
        let fence = SimFence { index, kernels };
        has_fence(index).then(|| Permits::new(Arc::new(fence), clock.clone(), Arc::default()))
    }

    /// Time of reclaim of its claims in seconds. 0 without a fence.
    fn fence_s(&self) -> u64 {
        self.permits.as_ref().map_or(0, |_| RECLAIM.as_secs())
    }

    /// Puts claims on the disk.
    fn record(&self, claims: &[Claim]) {
        let claims = claims.iter().map(|one| (one.nonce.clone(), one.clone()));
        lock(&self.disk).claims.extend(claims);
    }

    /// Notes a renewal, and prolongs the permits of living leases.
    async fn prolong(&self, session: &str, sent: Option<BootTime>) {
        let Some(permits) = &self.permits else { return };
        if let Some(sent) = sent {
            permits.renewed(session, sent);
        }
        let fenced = self.tended(is_held);
        let claims: Vec<Claim> = fenced.iter().map(Tended::claim).collect();
        drop(permits.shut_late().await);
        drop(permits.grant(&claims).await);
    }
}

impl Ground for SimGround {
    type Guard = ();

    fn lives(&self, lease: LeaseId) -> bool {
        lock(&self.disk).leases.contains_key(&lease)
    }

    fn now(&self) -> BootTime {
        self.clock.boot()
    }

    async fn pause(&self) {
        pause().await;
    }

    fn tended(&self, wanted: impl Fn(Seen<'_>) -> bool) -> Vec<Tended> {
        let disk = lock(&self.disk);
        let entered = self.book.all().into_iter();
        let wanted = entered.filter(|one| {
            wanted(Seen {
                claim: &one.claim,
                is_in_hand: one.is_in_hand,
                is_living: disk.leases.contains_key(&one.claim.lease),
            })
        });
        let tended = wanted.map(|entered| Tended {
            is_living: disk.leases.contains_key(&entered.claim.lease),
            since: entered.since,
            intent: Intent {
                claim: Claim::clone(&entered.claim),
                pool: "edge".into(),
                name: None,
            },
        });
        tended.collect()
    }

    async fn note(&self, claims: &[Claim]) {
        self.book.note(claims);
        pause().await;
        let mut disk = lock(&self.disk);
        for claim in claims {
            if let Some(known) = disk.claims.get_mut(&claim.nonce) {
                *known = claim.clone();
            }
        }
    }

    fn remember(&self, claims: &[Claim]) {
        self.book.note(claims);
    }

    async fn forget(&self, claims: &[Claim]) {
        pause().await;
        for claim in claims {
            lock(&self.disk).claims.remove(&claim.nonce);
        }
        self.book.remove(claims);
    }

    fn let_go(&self, claims: &[Claim]) {
        self.book.let_all_go(claims, self.now());
    }

    fn reclaim_s(&self, _: &Claim) -> u64 {
        self.fence_s()
    }

    async fn guard(&self, claim: &Claim) -> Answer<Option<()>> {
        // Without a fence there is no program that could be reached.
        self.shut(std::slice::from_ref(claim)).await.map(Some)
    }

    async fn permit(&self, claims: &[Claim]) -> Result<(), FenceError> {
        match &self.permits {
            Some(permits) => permits.grant(claims).await,
            None => Ok(()),
        }
    }

    async fn shut(&self, claims: &[Claim]) -> Answer<()> {
        if let Some(permits) = &self.permits {
            let shut = permits.shut(claims).await;
            shut.map_err(|error| EngineError::Fault(error.to_string()))?;
        }
        Ok(())
    }

    async fn lose(&self, claim: &Claim, by: Option<&str>) -> Answer<()> {
        self.shut(std::slice::from_ref(claim)).await?;
        // Its owner gives up.
        lock(&self.disk).leases.remove(&claim.lease);
        let by = by.map(str::to_owned);
        lock(&self.oracle).lose(self.index, claim.number, by);
        let lost = Claim {
            stage: ClaimStage::Lost,
            ..claim.clone()
        };
        self.note(&[lost]).await;
        Ok(())
    }
}

/// Something that a host is doing.
pub type Doing = Pin<Box<dyn Future<Output = ()>>>;

/// One host.
pub struct SimHost {
    pub ground: SimGround,
    pub engine: Shaky,
    pub boot: u32,
    pub is_paused: bool,
    pub is_down: bool,
    /// Whether it stays paused or down for long.
    pub is_gone: bool,
    /// Requests and tendings under way.
    pub doing: Vec<Doing>,
    /// Whether a tending is under way.
    pub is_keeping: Arc<Mutex<bool>>,
    /// Open session.
    pub session: Arc<Mutex<Option<String>>>,
    pub ids: Arc<Mutex<u128>>,
    /// Speed of its clock.
    pub rate: f64,
}

impl SimHost {
    pub fn claimant(&self) -> Claimant<Shaky, SimGround> {
        Claimant {
            engine: self.engine.clone(),
            keys: Keys::new(PREFIX),
            host: format!("h{}", self.ground.index).parse().unwrap(),
            ground: self.ground.clone(),
        }
    }

    fn id(ids: &Mutex<u128>) -> u128 {
        let mut ids = lock(ids);
        *ids += 1;
        *ids
    }

    /// Everything in memory is gone.
    pub fn crash(&mut self) {
        self.doing.clear();
        self.is_down = true;
    }

    /// Does all that it is doing, one thing after the other.
    pub fn finish(&mut self) {
        while let Some(mut doing) = self.doing.pop() {
            while poll_once(&mut doing).is_none() {}
        }
    }

    /// Starts from the disk, perhaps after a reboot.
    pub fn start(&mut self, is_reboot: bool) {
        self.is_down = false;
        self.boot += u32::from(is_reboot);
        let claims = lock(&self.ground.disk).claims.values().cloned().collect();
        self.ground.book = Arc::new(ClaimBook::default());
        self.ground.book.restore(claims, self.ground.now());
        if is_reboot {
            lock(&self.ground.kernels)[self.ground.index].1.clear();
        }
        let ground = &self.ground;
        self.ground.permits = SimGround::permits(ground.index, &ground.kernels, &ground.clock);
        self.session = Arc::default();
        self.is_keeping = Arc::default();
    }

    /// Asks for numbers, as a request does that has held them.
    pub fn ask(&mut self, numbers: Vec<Number>) {
        let Some(session) = lock(&self.session).clone() else {
            return;
        };
        let intents = numbers.into_iter().map(|number| Intent {
            claim: Claim {
                number,
                lease: LeaseId(Uuid::from_u128(Self::id(&self.ids))),
                nonce: format!("n{}", Self::id(&self.ids)),
                session: session.clone(),
                stage: ClaimStage::Asked,
                revision: 0,
                token: 0,
                reclaim_s: self.ground.fence_s(),
                is_doubtful: true,
            },
            pool: "edge".into(),
            name: None,
        });
        let intents: Vec<Intent> = intents.collect();
        let (ground, claimant) = (self.ground.clone(), self.claimant());
        self.doing
            .push(Box::pin(request(ground, claimant, session, intents)));
    }

    /// Ends a lease: from now on another host may have its number.
    pub fn release(&mut self, index: usize) {
        let mut disk = lock(&self.ground.disk);
        let Some((lease, number)) = disk.leases.iter().nth(index).map(|(id, it)| (*id, *it)) else {
            return;
        };
        disk.leases.remove(&lease);
        lock(&self.ground.oracle).give_up(self.ground.index, number);
    }

    /// Marks and frees what ended sessions had. Two hosts may do so at once.
    pub fn sweep(&mut self) {
        let Claimant {
            engine, keys, host, ..
        } = self.claimant();
        let sweeper = Sweeper { engine, keys, host };
        self.doing.push(Box::pin(async move {
            // A failure is tried again by the next one.
            drop(sweeper.sweep(Sweep::All, &mut Last::default()).await);
        }));
    }

    /// Looks for claims of this host that it knows nothing of.
    pub fn look_for_strays(&mut self) {
        let claimant = self.claimant();
        self.doing.push(Box::pin(async move {
            drop(claimant.withdraw_strays().await);
        }));
    }

    /// Renews the session or joins, and tends the claims.
    pub fn keep(&mut self) {
        if std::mem::replace(&mut *lock(&self.is_keeping), true) {
            return;
        }
        let identity = Identity {
            host: self.claimant().host,
            boot: format!("boot-{}", self.boot),
            addresses: Vec::new(),
            is_fenced: true,
        };
        let record = lock(&self.ground.disk).record.clone();
        let record = record.unwrap_or_else(|| FleetRecord {
            instance: format!("i{}", self.ground.index),
            session: None,
            engine_session: None,
            boot: identity.boot.clone(),
            revision: 0,
        });
        let keys = Keys::new(PREFIX);
        let session = Session::on_record(self.engine.clone(), keys, identity, TTL, record);
        let id = format!("s{}", Self::id(&self.ids));
        let claimant = self.claimant();
        let open = Arc::clone(&self.session);
        let is_keeping = Arc::clone(&self.is_keeping);
        self.doing.push(Box::pin(async move {
            // A failure is tried again by the next one.
            drop(kept(claimant, session, &open, id).await);
            *lock(&is_keeping) = false;
        }));
    }
}

/// One request: claims, on record before the next try if an answer is missing; then claims and leases on
/// record together; answer.
async fn request(
    ground: SimGround,
    claimant: Claimant<Shaky, SimGround>,
    session: String,
    intents: Vec<Intent>,
) {
    let claims: Vec<Claim> = intents.iter().map(|intent| intent.claim.clone()).collect();
    if ground.book.enter(&claims, ground.now()).is_err() {
        return;
    }
    pause().await;
    let asked = claimant.ask_together(&session, &intents, &[]).await;
    pause().await;
    let taken_up = match asked {
        Ok(revision) => claimant.take_up(&session, &intents, revision).await,
        Err(unclaimed) => Err(unclaimed),
    };
    let until = ground.now().after(PATIENCE);
    let held = match taken_up {
        Ok(held) => held,
        Err(before) => {
            if before.may_be_done {
                ground.record(&claims);
                pause().await;
            }
            claimed_alone(&claimant, &session, &intents, until, &before).await
        }
    };
    let ticket =
        |claim: &Claim| ClaimTicket::of(claim, Arc::clone(&ground.book), ground.clock.clone());
    let tickets: Vec<ClaimTicket> = held.iter().map(ticket).collect();
    pause().await;
    ground.record(&held);
    for claim in &held {
        lock(&ground.oracle).grant(ground.index, claim.number, &ground.kernels);
        lock(&ground.disk).leases.insert(claim.lease, claim.number);
    }
    pause().await;
    drop(tickets);
}

/// Claims again what was asked for together: each number as if it were a request.
async fn claimed_alone(
    claimant: &Claimant<Shaky, SimGround>,
    session: &str,
    intents: &[Intent],
    until: BootTime,
    before: &Unclaimed,
) -> Vec<Claim> {
    let mut held = Vec::new();
    for one in intents.chunks(1) {
        let is_taken = |(number, _): &(Number, String)| *number == one[0].claim.number;
        if before.failure.is_some() || before.taken.iter().any(is_taken) {
            claimant.give_up(one, before.may_be_done).await;
            continue;
        }
        let alone = claimant.claim(session, one, until, before.may_be_done);
        held.extend(alone.await.unwrap_or_default());
    }
    held
}

async fn kept(
    claimant: Claimant<Shaky, SimGround>,
    mut session: Session<Shaky>,
    open: &Mutex<Option<String>>,
    id: String,
) -> Result<(), JoinError> {
    let record = |session: &Session<Shaky>| {
        lock(&claimant.ground.disk).record = Some(session.record().clone());
    };
    let ground = claimant.ground.clone();
    let sent = ground.now();
    let is_open = lock(open).is_some();
    if is_open && session.renew().await? == Renewed::Gone {
        *lock(open) = None;
        session.forget();
        record(&session);
    }
    if lock(open).is_none() {
        if !session.resume(1).await? {
            session.open(id).await?;
            record(&session);
            session.enter(1).await?;
        }
        record(&session);
        if let Some(session) = session.id() {
            ground.prolong(session, Some(sent)).await;
        }
        *lock(open) = session.id().map(str::to_owned);
    }
    if let Some(session) = session.id() {
        ground.prolong(session, Some(sent)).await;
        claimant.tend(session, false).await?;
        let is_missing = claimant.look(session).await?;
        assert!(
            !is_missing || ground.permits.is_some(),
            "nothing is missing"
        );
        ground.prolong(session, None).await;
    }
    Ok(())
}
