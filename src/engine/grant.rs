//! A request becomes leases: names looked up, ports found, rows committed, gates opened.

use std::sync::Arc;

use uuid::Uuid;

use super::allocator::{Found, Search, Wish};
use super::caller::{Caller, Mode};
use super::giveway::Searched;
use super::known::{Fate, Known};
use super::measures::outcome;
use super::plan::Plan;
use super::refusal::Refusal;
use super::service::{Service, lock};
use super::turns::Turn;
use crate::domain::attempt::{Attempt, veiled};
use crate::domain::explanation::Explanation;
use crate::domain::lease::{AllocationId, BootTime, Guard, Lease, Owner, Scope};
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::precedence::Moved;
use crate::domain::request::Request;
use crate::host::process::{self, ProcessError};
use crate::store::AllocationRecord;
use crate::telemetry::propagation::{self, Ids};
use crate::telemetry::{Stopwatch, span};

/// What became of a request that was granted.
#[derive(Debug, Clone)]
pub struct Allocated {
    /// The allocation.
    pub id: AllocationId,
    /// Whether anything new was granted; false when every name lived already.
    pub created: bool,
    /// Whether it was only asked what would be granted.
    pub dry: bool,
    /// How many candidate ports were tried.
    pub attempt_count: usize,
    /// The leases, in the order of the names.
    pub leases: Vec<Arc<Lease>>,
    /// The way to each port that is not the one that was preferred or that its name had.
    pub moves: Vec<Moved>,
    /// Why these.
    pub explanation: Explanation,
    /// The attempts that were refused on the way, with who was in the way.
    pub conflicts: Vec<Attempt>,
    /// Its span, when it was sampled.
    pub trace: Option<Ids>,
}

impl Allocated {
    /// What was granted before, for whoever asks again.
    pub(super) fn again(
        asked: &RequestContext<'_>,
        id: AllocationId,
        leases: Vec<Arc<Lease>>,
    ) -> Self {
        Self {
            id,
            created: false,
            dry: asked.request.dry_run,
            attempt_count: 0,
            leases,
            moves: Vec::new(),
            explanation: asked.plan.explanation(),
            conflicts: Vec::new(),
            trace: asked.trace.clone(),
        }
    }
}

/// Everything about one request while it is being answered.
pub(super) struct RequestContext<'a> {
    pub(super) id: AllocationId,
    pub(super) caller: &'a Caller,
    pub(super) request: &'a Request,
    pub(super) plan: &'a Plan,
    pub(super) owner: Option<Owner>,
    pub(super) start: BootTime,
    pub(super) trace: Option<Ids>,
    /// The turn of its names, until the books know them.
    pub(super) turn: Arc<Turn>,
}

impl RequestContext<'_> {
    pub(super) fn trace_id(&self) -> Option<&str> {
        self.trace.as_ref().map(|trace| &*trace.trace_id)
    }

    pub(super) fn span_id(&self) -> Option<&str> {
        self.trace.as_ref().map(|trace| &*trace.span_id)
    }
}

impl Service {
    /// Answers a request for ports. What is returned is committed; what is refused is on record
    /// with its attempts.
    pub async fn allocate(&self, caller: &Caller, request: &Request) -> Result<Allocated, Refusal> {
        let begun = Stopwatch::start();
        let answer = match request.wait {
            Some(limit) => self.allocate_in_turn(caller, request, limit).await,
            None => self.allocate_now(caller, request).await,
        };
        let outcome = outcome(&answer);
        let strategy = self.strategy(request);
        self.journal.answered(outcome, strategy, begun.elapsed());
        answer
    }

    pub(super) async fn allocate_now(
        &self,
        caller: &Caller,
        request: &Request,
    ) -> Result<Allocated, Refusal> {
        if caller.elsewhere {
            return Err(Refusal::OtherNetworkNamespace(caller.pid.unwrap_or(0)));
        }
        let pool = request.pool.as_deref().unwrap_or(DEFAULT_POOL);
        let allocating = span::allocate(pool);
        let trace = propagation::ids(&allocating);
        let answer = self.answer(caller, request, trace);
        let answer = tracing::Instrument::instrument(answer, allocating.clone()).await;
        match &answer {
            Ok(done) => {
                if let Some(lease) = done.leases.first() {
                    span::granted(&allocating, done.id, lease.port, done.attempt_count);
                }
            }
            Err(refusal) => span::failed(&allocating, refusal.code()),
        }
        answer
    }

    async fn answer(
        &self,
        caller: &Caller,
        request: &Request,
        trace: Option<Ids>,
    ) -> Result<Allocated, Refusal> {
        let plan = self.plan(request)?;
        let names = request.names.iter();
        let names = names.map(|name| (caller.uid, &request.scope, name.as_str()));
        // A key is the user's alone, whatever scope names would have.
        let key = request.repeated_by();
        let key = key.map(|key| (caller.uid, &Scope::User, key.as_str()));
        let turn = Arc::new(self.names.take(names.chain(key)).await);
        let asked = RequestContext {
            id: AllocationId(self.new_id()),
            owner: self.owner(caller, request)?,
            start: self.clock.boot(),
            caller,
            request,
            plan: &plan,
            trace,
            turn,
        };
        if let Some(again) = self.granted_before(&asked).await? {
            return Ok(again);
        }
        let mut known = self.look_up_names(&asked).await?;
        if request.block.is_some() {
            known = self.whole_row(&asked, known).await?;
        }
        let all_stay = known
            .iter()
            .all(|known| matches!(known.fate, Fate::Stays(_)));
        if all_stay && !known.is_empty() {
            return self.reissue(&asked, &known).await;
        }
        self.search_and_grant(&asked, known).await
    }

    fn plan(&self, request: &Request) -> Result<Plan, Refusal> {
        let selecting = span::select_interfaces();
        let _entered = selecting.enter();
        let host = self.interfaces.current().map_err(|error| {
            Refusal::InvalidRequest(format!("the host's interfaces cannot be read: {error}"))
        })?;
        let plan = Plan::of(request, &self.rules.now(), &host)?;
        span::selected(&selecting, plan.group.addresses().len());
        Ok(plan)
    }

    pub(super) fn new_id(&self) -> Uuid {
        let mut random = [0; 10];
        lock(&self.rng).fill(&mut random);
        let ms = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    }

    /// The process that is to own what is granted. Only a process of the caller's own user.
    fn owner(&self, caller: &Caller, request: &Request) -> Result<Option<Owner>, Refusal> {
        let Some(pid) = request.owner_pid else {
            return Ok(None);
        };
        if caller.foreign_pids {
            return Err(Refusal::InvalidRequest(format!(
                "owner_pid {pid}: your process ids are of another pid namespace and name nobody \
                 here; give the lease a ttl instead"
            )));
        }
        let mut owner = process::owner(pid).map_err(|error| match error {
            ProcessError::Unreadable { .. } => Refusal::Process(error),
            _ => Refusal::InvalidRequest(format!("owner_pid {pid}: {error}")),
        })?;
        if !caller.may_act_for(owner.uid) {
            return Err(Refusal::Forbidden(format!(
                "process {pid} belongs to uid {}: name one of your own",
                owner.uid
            )));
        }
        if self.mode == Mode::Serving && !process::same_net_namespace(pid).unwrap_or(true) {
            return Err(Refusal::OtherNetworkNamespace(pid));
        }
        owner.until_reaped = request.until_reaped;
        Ok(Some(owner))
    }

    async fn search_and_grant(
        &self,
        asked: &RequestContext<'_>,
        known: Vec<Known>,
    ) -> Result<Allocated, Refusal> {
        let wishes = wishes(asked.request, &known);
        let ending = ending(asked, &known);
        let (_admission, notes) = if wishes.iter().all(|wish| wish.keeps) {
            // To go back to a preferred port is no reason to refuse, or to make others give way.
            match self.admit(asked, wishes.len(), ending) {
                Ok(admission) => (admission, Vec::new()),
                Err(_) => return self.reissue(asked, &known).await,
            }
        } else {
            self.admit_with_room(asked, wishes.len(), ending).await?
        };
        let Searched {
            result,
            attempts,
            explanation,
        } = self.search_with_room(asked, &wishes, notes).await;
        if !asked.request.dry_run {
            self.learning.learn(&attempts);
        }
        self.journal.tried(&attempts, explanation.tried.len());
        let found = match result {
            Ok(found) => found,
            Err(refusal) => {
                return Err(self.refused(asked, refusal, attempts, explanation).await);
            }
        };
        let outcome = Outcome {
            slots: slots(known, found),
            attempts,
            explanation,
        };
        if asked.request.dry_run {
            return Ok(self.dry(asked, outcome));
        }
        self.grant(asked, outcome).await
    }

    /// Looks for the ports that are sought, once.
    pub(super) fn search(&self, asked: &RequestContext<'_>, wishes: &[Wish]) -> Searched {
        let rules = self.rules.now();
        let mut occupants = self.learning.occupants();
        let mut rng = lock(&self.rng).fork();
        let choosing = span::choose();
        let searched = choosing.in_scope(|| {
            let mut search = Search::new(
                asked.plan,
                &self.books,
                &self.learning,
                &self.clock,
                &rules.kernel,
                &mut occupants,
                asked.caller,
            );
            if asked.request.dry_run {
                search = search.without_marks();
            }
            let result = match asked.request.block.map(|block| u16::try_from(block.get())) {
                Some(Ok(length)) => {
                    let block = search.find_block(length, wishes, &mut rng);
                    block.map(|found| found.into_iter().map(Some).collect())
                }
                _ => search.find(wishes, &mut rng),
            };
            Searched {
                result,
                attempts: search.attempts,
                explanation: search.explanation,
            }
        });
        span::chosen(&choosing, searched.explanation.tried.len());
        searched
    }

    /// Records a refusal and gives it its attempts.
    async fn refused(
        &self,
        asked: &RequestContext<'_>,
        mut refusal: Refusal,
        attempts: Vec<Attempt>,
        explanation: Explanation,
    ) -> Refusal {
        if asked.request.wait.is_some() && attempts.is_empty() {
            // One look of many while it waits: nothing was tried, so there is nothing to record.
            return refusal;
        }
        let caller = asked.caller;
        if asked.request.dry_run {
            // Only a question, which leaves nothing.
            refusal.set_attempts(veiled(&attempts, |uid| caller.may_act_for(uid)));
            return refusal;
        }
        refusal.set_attempts(veiled(&attempts, |uid| caller.may_act_for(uid)));
        let said = refusal.for_readers(caller.uid);
        let record = AllocationRecord {
            refusal: Some(refusal.code().to_owned()),
            detail: Some(said.clone()),
            ..self.record(asked, explanation)
        };
        let batch = self
            .store
            .batch()
            .allocation(&record)
            .attempts(&record, &attempts);
        if let Err(error) = self.store.commit(batch).await {
            tracing::warn!(%error, "could not record a refusal; it is missing from history");
        }
        self.journal.refused(asked.id, caller.uid, &refusal, said);
        refusal
    }

    pub(super) fn record(
        &self,
        asked: &RequestContext<'_>,
        mut explanation: Explanation,
    ) -> AllocationRecord {
        explanation.veil_skipped(|uid| uid == asked.caller.uid);
        let spent = self.clock.boot().since(asked.start);
        AllocationRecord {
            id: asked.id,
            at: self.clock.now(),
            uid: asked.caller.uid,
            pool: asked.plan.pool.name.to_string(),
            refusal: None,
            detail: None,
            attempt_count: u32::try_from(explanation.tried.len()).unwrap_or(u32::MAX),
            duration_us: u64::try_from(spent.as_micros()).unwrap_or(u64::MAX),
            explanation,
            trace_id: asked.trace_id().map(str::to_owned),
            span_id: asked.span_id().map(str::to_owned),
            retry_key: asked.request.repeated_by().map(ToString::to_string),
            story: String::new(),
            attempts: Vec::new(),
        }
    }

    /// What would have been granted, let go of again.
    fn dry(&self, asked: &RequestContext<'_>, outcome: Outcome) -> Allocated {
        let Outcome {
            slots,
            attempts,
            mut explanation,
        } = outcome;
        if !asked.caller.sees_unknown_users() {
            explanation.veil();
        }
        let (mut leases, mut moves) = (Vec::new(), Vec::new());
        for (index, slot) in slots.into_iter().enumerate() {
            let way = slot.moved(asked, &explanation);
            moves.extend(way.clone());
            let Some(found) = slot.found else {
                leases.extend(slot.known.into_iter().flat_map(|known| known.leases));
                continue;
            };
            for protocol in asked.plan.protocols.each() {
                let name = asked.request.names.get(index);
                let mut lease = self.new_lease(asked, name, found.port, *protocol);
                lease.guard = Guard::None;
                lease.moved.clone_from(&way);
                leases.push(Arc::new(lease));
            }
            // First the sockets, then the books, so that nobody meets what is about to close.
            drop(found.holds);
            let (group, protocols) = (&asked.plan.group, asked.plan.protocols);
            lock(&self.books).cancel(group, protocols, found.port, found.ticket);
        }
        Allocated {
            id: asked.id,
            created: false,
            dry: true,
            attempt_count: explanation.tried.len(),
            leases,
            moves,
            explanation,
            conflicts: conflicts(asked, &attempts),
            trace: asked.trace.clone(),
        }
    }
}

/// A search that found what was asked for.
pub(super) struct Outcome {
    /// One for each name, or for each port where there are no names.
    pub(super) slots: Vec<Slot>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) explanation: Explanation,
}

/// One port of an answer: what was known under its name, and what was found for it. Nothing was
/// found for a name that keeps its leases.
pub(super) struct Slot {
    pub(super) known: Option<Known>,
    pub(super) found: Option<Found>,
    /// Whether it is the first of the answer, which alone has the preference.
    is_first: bool,
}

impl Slot {
    /// The way to the port from the one that was preferred or that the name had.
    pub(super) fn moved(
        &self,
        asked: &RequestContext<'_>,
        explanation: &Explanation,
    ) -> Option<Moved> {
        let why = |port| explanation.why_skipped(port).cloned();
        match (&self.known, &self.found) {
            (Some(known), Some(found)) => known.moved(asked, why, found.port),
            (Some(known), None) => {
                let (port, wanted) = (known.leases.first()?.port, asked.request.prefer?);
                match known.fate {
                    Fate::Seeks { .. } => Some(Moved::past(&why(wanted)?, wanted, port)),
                    Fate::Stays(_) => known.moved(asked, why, port),
                }
            }
            (None, Some(found)) => {
                let wanted = asked.request.prefer.filter(|_| self.is_first);
                let wanted = wanted.filter(|wanted| *wanted != found.port)?;
                Some(Moved::past(&why(wanted)?, wanted, found.port))
            }
            (None, None) => None,
        }
    }
}

/// The ports to search for, in the order of the names that seek one.
fn wishes(request: &Request, known: &[Known]) -> Vec<Wish> {
    if known.is_empty() {
        let first = Wish {
            preferred: request.prefer,
            ..Wish::default()
        };
        let others = std::iter::repeat_n(Wish::default(), request.port_count() - 1);
        return std::iter::once(first).chain(others).collect();
    }
    let wish = |known: &Known| match known.fate {
        Fate::Seeks { wish, .. } => Some(wish),
        Fate::Stays(_) => None,
    };
    known.iter().filter_map(wish).collect()
}

/// The number of leases of the pool that end when what is sought is found. Those of another pool make
/// no room in this one.
fn ending(asked: &RequestContext<'_>, known: &[Known]) -> usize {
    let seeking = known
        .iter()
        .filter(|known| matches!(known.fate, Fate::Seeks { .. }));
    let ending = seeking.flat_map(|known| &known.leases);
    ending
        .filter(|lease| lease.pool == asked.plan.pool.name)
        .count()
}

/// What was found, beside what was known under each name.
fn slots(known: Vec<Known>, found: Vec<Option<Found>>) -> Vec<Slot> {
    let mut found = found.into_iter();
    if known.is_empty() {
        let slot = |(index, found)| Slot {
            known: None,
            found,
            is_first: index == 0,
        };
        return found.enumerate().map(slot).collect();
    }
    let slot = |(index, known): (usize, Known)| Slot {
        found: match known.fate {
            Fate::Seeks { .. } => found.next().flatten(),
            Fate::Stays(_) => None,
        },
        known: Some(known),
        is_first: index == 0,
    };
    known.into_iter().enumerate().map(slot).collect()
}

/// The attempts that were refused, as the asker may see them.
pub(super) fn conflicts(asked: &RequestContext<'_>, attempts: &[Attempt]) -> Vec<Attempt> {
    let mut refused = veiled(attempts, |uid| asked.caller.may_act_for(uid));
    refused.retain(|attempt| !attempt.outcome.is_success());
    refused
}
