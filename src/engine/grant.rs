//! A request becomes leases: names looked up, ports found, rows committed, gates opened.

use std::sync::Arc;

use uuid::Uuid;

use super::allocator::{Found, Search};
use super::measures::outcome;
use super::plan::Plan;
use super::refusal::Refusal;
use super::service::{Caller, Mode, Service, lock};
use super::turns::Turn;
use crate::domain::attempt::{Attempt, veiled};
use crate::domain::event::EventKind;
use crate::domain::explanation::Explanation;
use crate::domain::lease::{AllocationId, BootTime, Guard, Lease, Owner, Scope};
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::port::Port;
use crate::domain::request::Request;
use crate::host::process;
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
    /// Why these.
    pub explanation: Explanation,
    /// The attempts that were refused on the way, with who was in the way.
    pub conflicts: Vec<Attempt>,
    /// Its span, when it was sampled.
    pub trace: Option<Ids>,
}

impl Allocated {
    /// What was granted before, for whoever asks again.
    pub(super) fn again(asked: &Asked<'_>, id: AllocationId, leases: Vec<Arc<Lease>>) -> Self {
        Self {
            id,
            created: false,
            dry: asked.request.dry_run,
            attempt_count: 0,
            leases,
            explanation: asked.plan.explanation(),
            conflicts: Vec::new(),
            trace: asked.trace.clone(),
        }
    }
}

/// Everything about one request while it is being answered.
pub(super) struct Asked<'a> {
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

impl Asked<'_> {
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
        self.metrics.allocated(outcome, strategy, begun.elapsed());
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
            Err(refusal) => span::refused(&allocating, refusal.code()),
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
        let rules = self.kernel_rules();
        plan.check_privilege(request, caller.uid, rules.unprivileged_start)?;
        let names = request.names.iter();
        let names = names.map(|name| (caller.uid, &request.scope, name.as_str()));
        // A key is the user's alone, whatever scope names would have.
        let key = request.repeated_by();
        let key = key.map(|key| (caller.uid, &Scope::User, key.as_str()));
        let turn = Arc::new(self.names.take(names.chain(key)).await);
        let asked = Asked {
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
        let (living, missing) = self.living(&asked).await?;
        if missing == 0 && !living.is_empty() {
            return self.hand_again(&asked, living).await;
        }
        let sticky = self.last_ports(&asked, &living).await?;
        self.search_and_grant(&asked, living, missing, &sticky)
            .await
    }

    fn plan(&self, request: &Request) -> Result<Plan, Refusal> {
        let selecting = span::select_interfaces();
        let _entered = selecting.enter();
        let host = self.interfaces.current().map_err(|error| {
            Refusal::InvalidRequest(format!("the host's interfaces cannot be read: {error}"))
        })?;
        let plan = Plan::of(request, &self.settings(), &host)?.without(self.exclusions());
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
        let mut owner = process::owner(pid)
            .map_err(|error| Refusal::InvalidRequest(format!("owner_pid {pid}: {error}")))?;
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
        asked: &Asked<'_>,
        living: Vec<Option<Vec<Arc<Lease>>>>,
        missing: usize,
        sticky: &[Option<Port>],
    ) -> Result<Allocated, Refusal> {
        let _admission = self.admit(asked, missing)?;
        let rules = self.kernel_rules();
        let mut occupants = self.occupants();
        let mut rng = lock(&self.rng).fork();
        let choosing = span::choose();
        let (result, attempts, explanation) = choosing.in_scope(|| {
            let mut search = Search::new(
                asked.plan,
                &self.books,
                &self.history,
                &self.clock,
                &rules,
                &mut occupants,
                asked.caller.uid,
            );
            if asked.request.dry_run {
                search = search.without_marks();
            }
            let result = match asked.request.block.map(|block| u16::try_from(block.get())) {
                Some(Ok(length)) => search.find_block(length, sticky, &mut rng),
                _ => search.find(missing, sticky, &mut rng),
            };
            (result, search.attempts, search.explanation)
        });
        span::chosen(&choosing, explanation.tried.len());
        drop(choosing);
        if !asked.request.dry_run {
            self.learn(&attempts);
        }
        self.measure(&attempts, explanation.tried.len());
        let found = match result {
            Ok(found) => found,
            Err(refusal) => {
                return Err(self.refused(asked, refusal, attempts, explanation).await);
            }
        };
        if asked.request.dry_run {
            return Ok(self.dry(asked, found, &attempts, explanation));
        }
        self.grant(asked, living, found, attempts, explanation)
            .await
    }

    /// Records a refusal and gives it its attempts.
    async fn refused(
        &self,
        asked: &Asked<'_>,
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
        // What is on record in words is for everybody who may see this user's requests.
        refusal.set_attempts(veiled(&attempts, |uid| uid == caller.uid));
        let said = refusal.to_string();
        refusal.set_attempts(veiled(&attempts, |uid| caller.may_act_for(uid)));
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
            tracing::warn!(%error, "a refusal could not be recorded");
        }
        tracing::info!(allocation = %asked.id, code = refusal.code(), "refused: {refusal}");
        self.journal
            .other(EventKind::Refused, Some(caller.uid), said);
        refusal
    }

    pub(super) fn record(&self, asked: &Asked<'_>, explanation: Explanation) -> AllocationRecord {
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
        }
    }

    /// What would have been granted, let go of again.
    fn dry(
        &self,
        asked: &Asked<'_>,
        found: Vec<Found>,
        attempts: &[Attempt],
        explanation: Explanation,
    ) -> Allocated {
        let mut leases = Vec::new();
        for (index, found) in found.into_iter().enumerate() {
            for protocol in asked.plan.protocols.each() {
                let name = asked.request.names.get(index);
                let mut lease = self.new_lease(asked, name, found.port, *protocol);
                lease.guard = Guard::None;
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
            explanation,
            conflicts: conflicts(asked, attempts),
            trace: asked.trace.clone(),
        }
    }
}

/// The attempts that were refused, as the asker may see them.
pub(super) fn conflicts(asked: &Asked<'_>, attempts: &[Attempt]) -> Vec<Attempt> {
    let mut refused = veiled(attempts, |uid| asked.caller.may_act_for(uid));
    refused.retain(|attempt| !attempt.outcome.is_success());
    refused
}
