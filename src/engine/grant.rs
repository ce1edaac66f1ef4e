//! A request becomes leases: names looked up, ports found, rows committed, gates opened.

use std::sync::Arc;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::allocator::{Found, Search};
use super::occupants::Occupants;
use super::plan::Plan;
use super::refusal::Refusal;
use super::service::{Caller, Mode, Service, lock};
use super::turns::Turn;
use crate::domain::attempt::Attempt;
use crate::domain::event::EventKind;
use crate::domain::explanation::Explanation;
use crate::domain::lease::{
    AllocationId, BootTime, Guard, Handover, Lease, LeaseId, Name, Owner, State,
};
use crate::domain::port::{Port, Protocol};
use crate::domain::request::Request;
use crate::host::hold::Hold;
use crate::host::process;
use crate::store::AllocationRecord;
use crate::telemetry::{propagation, span};

/// What became of a request that was granted.
#[derive(Debug, Clone)]
pub struct Allocated {
    /// The allocation.
    pub id: AllocationId,
    /// Whether anything new was granted; false when every name lived already.
    pub created: bool,
    /// How many candidate ports were tried.
    pub attempt_count: usize,
    /// The leases, in the order of the names.
    pub leases: Vec<Arc<Lease>>,
    /// Why these.
    pub explanation: Explanation,
    /// The attempts that were refused on the way, with who was in the way.
    pub conflicts: Vec<Attempt>,
    /// The trace, when it was sampled.
    pub trace_id: Option<String>,
}

/// Everything about one request while it is being answered.
struct Asked<'a> {
    id: AllocationId,
    caller: &'a Caller,
    request: &'a Request,
    plan: &'a Plan,
    owner: Option<Owner>,
    start: BootTime,
    trace_id: Option<String>,
    /// The turn of its names, until the books know them.
    turn: Arc<Turn>,
}

impl Service {
    /// Answers a request for ports. What is returned is committed; what is refused is on record
    /// with its attempts.
    pub async fn allocate(&self, caller: &Caller, request: &Request) -> Result<Allocated, Refusal> {
        match request.wait {
            Some(limit) => self.allocate_in_turn(caller, request, limit).await,
            None => self.allocate_now(caller, request).await,
        }
    }

    pub(super) async fn allocate_now(
        &self,
        caller: &Caller,
        request: &Request,
    ) -> Result<Allocated, Refusal> {
        if caller.elsewhere {
            return Err(Refusal::OtherNetworkNamespace(caller.pid.unwrap_or(0)));
        }
        let pool = request.pool.as_deref().unwrap_or("default");
        let allocating = span::allocate(pool);
        let trace_id = propagation::current_trace_id(&allocating);
        let answer = self.answer(caller, request, trace_id);
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
        trace_id: Option<String>,
    ) -> Result<Allocated, Refusal> {
        let plan = self.plan(request)?;
        let rules = self.kernel_rules();
        plan.check_privilege(caller.uid, rules.unprivileged_start)?;
        let names = request.names.iter();
        let names = names.map(|name| (caller.uid, &request.scope, name));
        let turn = Arc::new(self.names.take(names).await);
        let asked = Asked {
            id: AllocationId(self.new_id()),
            owner: self.owner(caller, request.owner_pid)?,
            start: self.clock.boot(),
            caller,
            request,
            plan: &plan,
            trace_id,
            turn,
        };
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
        let plan = Plan::of(request, &self.settings(), &host)?;
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
    fn owner(&self, caller: &Caller, pid: Option<u32>) -> Result<Option<Owner>, Refusal> {
        let Some(pid) = pid else { return Ok(None) };
        if caller.foreign_pids {
            return Err(Refusal::InvalidRequest(format!(
                "owner_pid {pid}: your process ids are of another pid namespace and name nobody \
                 here; give the lease a ttl instead"
            )));
        }
        let owner = process::owner(pid)
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
        Ok(Some(owner))
    }

    /// For each name its living leases, and how many names have none.
    async fn living(
        &self,
        asked: &Asked<'_>,
    ) -> Result<(Vec<Option<Vec<Arc<Lease>>>>, usize), Refusal> {
        let mut living = Vec::with_capacity(asked.request.names.len());
        for name in &asked.request.names {
            let mut leases = self.leases_named(asked, name).await;
            let unseen = |lease: &Arc<Lease>| {
                lease.state == State::Handed && self.hold_of(lease.id).is_none()
            };
            if leases.iter().any(unseen) {
                // Its first listener may have come since the last look.
                self.observe().await;
                leases = self.leases_named(asked, name).await;
            }
            let lost = match leases.first() {
                Some(first) => !self.is_still_ours(asked, first).await?,
                None => false,
            };
            if lost && !asked.request.dry_run {
                // The port went to an outsider: the name moves on.
                for lease in &leases {
                    let why = "lost to an outsider";
                    self.end(lease.id, State::Released, why, |_| true).await?;
                }
            }
            if leases.is_empty() || lost {
                living.push(None);
                continue;
            }
            fits(asked, name, &leases)?;
            living.push(Some(leases));
        }
        let missing = living.iter().filter(|lives| lives.is_none()).count();
        if asked.request.names.is_empty() {
            return Ok((living, asked.request.port_count()));
        }
        if asked.request.block.is_some() && missing != 0 && missing != living.len() {
            return Err(Refusal::InvalidRequest(
                "a block's names must all be new: some of these have a port already".to_owned(),
            ));
        }
        Ok((living, missing))
    }

    /// The living leases of a name. One that is ending is waited for, so that its port is free
    /// again when the name asks for it.
    async fn leases_named(&self, asked: &Asked<'_>, name: &Name) -> Vec<Arc<Lease>> {
        let known = self.known_as(asked, name);
        for lease in known.iter().filter(|lease| lease.state.is_ended()) {
            drop(self.turn(lease.id).await);
        }
        let mut living = self.known_as(asked, name);
        living.retain(|lease| !lease.state.is_ended());
        living
    }

    fn known_as(&self, asked: &Asked<'_>, name: &Name) -> Vec<Arc<Lease>> {
        let books = lock(&self.books);
        [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .filter_map(|protocol| {
                let scope = asked.request.scope.clone();
                books.named(&(asked.caller.uid, scope, name.clone(), protocol))
            })
            .cloned()
            .collect()
    }

    /// Whether a name's port can still be handed out: held, in its owner's hands, or to be had.
    async fn is_still_ours(&self, asked: &Asked<'_>, lease: &Lease) -> Result<bool, Refusal> {
        let _turn = self.turn(lease.id).await;
        let Some(lease) = self.living_lease(lease.id) else {
            return Ok(true);
        };
        let in_use = lease.owner.as_ref().is_some_and(process::is_running);
        let ours = lease.state != State::Lost
            && (in_use || self.hold_of(lease.id).is_some() || self.hold_again(&lease).is_some());
        if !ours && asked.request.strict {
            let mut occupants = Occupants::default();
            let mut attempts = Vec::new();
            let mut note = |mut attempt: Attempt, _: &tracing::Span| {
                attempt.occupant = occupants.of(&attempt);
                attempts.push(attempt);
            };
            let (group, clock) = (&lease.addresses, &self.clock);
            let port = lease.port;
            // Once more, for the name of whoever is in the way.
            let how = crate::host::hold::Take::Strictly;
            drop(Hold::take(
                how,
                group,
                lease.protocol,
                port,
                clock,
                &mut note,
            ));
            return Err(Refusal::PortInUse { port, attempts });
        }
        Ok(ours)
    }

    /// The ports that the missing names had before, if any.
    async fn last_ports(
        &self,
        asked: &Asked<'_>,
        living: &[Option<Vec<Arc<Lease>>>],
    ) -> Result<Vec<Option<Port>>, Refusal> {
        let mut ports = Vec::new();
        for (name, lives) in asked.request.names.iter().zip(living) {
            if lives.is_some() {
                continue;
            }
            let protocol = asked.plan.protocols.each()[0];
            let scope = &asked.request.scope;
            let uid = asked.caller.uid;
            let last = self.store.last_of_name(uid, scope, name, protocol).await?;
            // A port of another pool or of ranges since narrowed is no port to return to.
            let port = last
                .filter(|last| last.lease.pool == asked.plan.pool.name)
                .map(|last| last.lease.port)
                .filter(|port| asked.plan.ranges.contains(*port));
            ports.push(port);
        }
        Ok(ports)
    }

    async fn search_and_grant(
        &self,
        asked: &Asked<'_>,
        living: Vec<Option<Vec<Arc<Lease>>>>,
        missing: usize,
        sticky: &[Option<Port>],
    ) -> Result<Allocated, Refusal> {
        self.check_descriptors(asked, missing)?;
        let rules = self.kernel_rules();
        let mut occupants = Occupants::default();
        let mut rng = lock(&self.rng).fork();
        let choosing = span::choose();
        let (result, attempts, explanation) = choosing.in_scope(|| {
            let mut search = Search::new(
                asked.plan,
                &self.books,
                &self.clock,
                &rules,
                &mut occupants,
                asked.caller.uid,
            );
            let result = match asked.request.block.map(|block| u16::try_from(block.get())) {
                Some(Ok(length)) => search.find_block(length, &mut rng),
                _ => search.find(missing, sticky, &mut rng),
            };
            (result, search.attempts, search.explanation)
        });
        span::chosen(&choosing, explanation.tried.len());
        drop(choosing);
        let found = match result {
            Ok(found) => found,
            Err(refusal) => {
                return Err(self.refused(asked, refusal, attempts, explanation).await);
            }
        };
        if asked.request.dry_run {
            return Ok(self.dry(asked, found, attempts, explanation));
        }
        self.grant(asked, living, found, attempts, explanation)
            .await
    }

    /// Refuses before descriptors run out: what is left is needed for clients and files.
    fn check_descriptors(&self, asked: &Asked<'_>, missing: usize) -> Result<(), Refusal> {
        let each = asked.plan.group.addresses().len() * asked.plan.protocols.each().len();
        // And one to watch its owner with.
        let each = each + 1;
        let (held, wanted) = (self.held_descriptors(), each * missing);
        let budget = self.descriptor_budget();
        if held + wanted <= budget {
            return Ok(());
        }
        Err(Refusal::QuotaExceeded(format!(
            "holding this needs {wanted} descriptors beside the {held} in use, and the limit \
             allows {budget} (RLIMIT_NOFILE): ask for fewer ports, release leases, or raise \
             LimitNOFILE of the service"
        )))
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
        refusal.set_attempts(attempts.clone());
        let record = AllocationRecord {
            refusal: Some(refusal.code().to_owned()),
            detail: Some(refusal.to_string()),
            ..self.record(asked, explanation)
        };
        let pool = &asked.plan.pool.name;
        let batch = self.store.batch().allocation(&record).attempts(
            asked.id,
            pool,
            asked.trace_id.as_deref(),
            &attempts,
        );
        if let Err(error) = self.store.commit(batch).await {
            tracing::warn!(%error, "a refusal could not be recorded");
        }
        tracing::info!(allocation = %asked.id, code = refusal.code(), "refused: {refusal}");
        let uid = Some(asked.caller.uid);
        self.journal
            .other(EventKind::Refused, uid, refusal.to_string());
        refusal
    }

    fn record(&self, asked: &Asked<'_>, explanation: Explanation) -> AllocationRecord {
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
            trace_id: asked.trace_id.clone(),
        }
    }

    /// What would have been granted, let go of again.
    fn dry(
        &self,
        asked: &Asked<'_>,
        found: Vec<Found>,
        attempts: Vec<Attempt>,
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
            for protocol in asked.plan.protocols.each() {
                lock(&self.books).cancel(&asked.plan.group, *protocol, found.port);
            }
        }
        Allocated {
            id: asked.id,
            created: false,
            attempt_count: explanation.tried.len(),
            leases,
            explanation,
            conflicts: conflicts(attempts),
            trace_id: asked.trace_id.clone(),
        }
    }

    async fn grant(
        &self,
        asked: &Asked<'_>,
        living: Vec<Option<Vec<Arc<Lease>>>>,
        found: Vec<Found>,
        attempts: Vec<Attempt>,
        explanation: Explanation,
    ) -> Result<Allocated, Refusal> {
        let mut fresh: Vec<(Lease, Option<Hold>)> = Vec::with_capacity(found.len());
        let mut names = asked.request.names.iter().zip(&living);
        for found in found {
            let name = names.by_ref().find(|(_, lives)| lives.is_none());
            for hold in found.holds {
                let name = name.map(|(name, _)| name);
                let lease = self.new_lease(asked, name, found.port, hold.protocol());
                let released = lease.handover == Handover::Release;
                fresh.push((lease, (!released).then_some(hold)));
            }
        }
        let record = self.record(asked, explanation);
        let pool = &asked.plan.pool.name;
        let mut batch = self.store.batch().allocation(&record).attempts(
            asked.id,
            pool,
            asked.trace_id.as_deref(),
            &attempts,
        );
        for (lease, _) in &fresh {
            batch = batch.lease(lease);
        }
        let granted = self.commit_fresh(asked, batch, fresh).await?;
        let leases = self.in_order(asked, living, granted).await?;
        Ok(Allocated {
            id: asked.id,
            created: true,
            attempt_count: record.explanation.tried.len(),
            leases,
            explanation: record.explanation,
            conflicts: conflicts(attempts),
            trace_id: record.trace_id,
        })
    }

    /// Commits, opens gates and enters the books, on a task of its own: whoever asked may hang up
    /// meanwhile. If so, what has no name is given back at once, since nobody knows of it.
    async fn commit_fresh(
        &self,
        asked: &Asked<'_>,
        batch: crate::store::Batch,
        fresh: Vec<(Lease, Option<Hold>)>,
    ) -> Result<Vec<Arc<Lease>>, Refusal> {
        let (answer, answered) = oneshot::channel();
        let service = self.clone();
        // Kept until the books know the names, whether or not the asker waits for that.
        let turn = Arc::clone(&asked.turn);
        let committing = span::commit();
        let task = async move {
            let start = service.clock.boot();
            let committed = service.store.commit(batch).await;
            match &committed {
                Ok(done) => {
                    let waited = service.clock.boot().since(start);
                    span::committed(&tracing::Span::current(), done.batch_size, waited);
                }
                Err(_) => span::commit_failed(&tracing::Span::current(), "store_unavailable"),
            }
            let result = match committed {
                Ok(_) => Ok(service.enter(fresh)),
                Err(error) => {
                    service.forget(fresh);
                    Err(Refusal::from(error))
                }
            };
            drop(turn);
            if let Err(Ok(unheard)) = answer.send(result) {
                service.give_back(unheard).await;
            }
        };
        tokio::spawn(tracing::Instrument::instrument(task, committing));
        answered
            .await
            .unwrap_or(Err(Refusal::Store(crate::store::StoreError::Closed)))
    }

    fn enter(&self, fresh: Vec<(Lease, Option<Hold>)>) -> Vec<Arc<Lease>> {
        let mut granted = Vec::with_capacity(fresh.len());
        for (lease, hold) in fresh {
            let lease = Arc::new(lease);
            if let Some(hold) = hold {
                if let Err(error) = hold.open_gate() {
                    tracing::error!(%error, port = %lease.port, "a gate could not be opened");
                }
                lock(&self.holds).insert(lease.id, Arc::new(hold));
            }
            if lock(&self.books).enter(Arc::clone(&lease)) {
                self.deadlines_moved.notify_one();
            }
            self.watch(&lease);
            self.journal
                .lease(EventKind::Granted, &lease, lease.pool.to_string());
            granted.push(lease);
        }
        granted
    }

    fn forget(&self, fresh: Vec<(Lease, Option<Hold>)>) {
        for (lease, hold) in fresh {
            drop(hold);
            lock(&self.books).cancel(&lease.addresses, lease.protocol, lease.port);
        }
    }

    async fn give_back(&self, leases: Vec<Arc<Lease>>) {
        for lease in leases.iter().filter(|lease| lease.name.is_none()) {
            let why = "the answer could not be delivered";
            let ended = self.end(lease.id, State::Released, why, |_| true).await;
            if let Err(error) = ended {
                tracing::warn!(%error, lease = %lease.id, "an unheard lease waits to be claimed");
            }
        }
    }

    fn new_lease(
        &self,
        asked: &Asked<'_>,
        name: Option<&Name>,
        port: Port,
        protocol: Protocol,
    ) -> Lease {
        let now = self.clock.boot();
        let handover = asked.plan.handover.for_protocol(protocol);
        Lease {
            id: LeaseId(self.new_id()),
            allocation: asked.id,
            name: name.cloned(),
            scope: asked.request.scope.clone(),
            pool: Arc::clone(&asked.plan.pool.name),
            protocol,
            port,
            addresses: asked.plan.group.clone(),
            uid: asked.caller.uid,
            claim_by: asked
                .owner
                .is_none()
                .then(|| now.after(asked.plan.claim_within)),
            owner: asked.owner.clone(),
            handover,
            guard: self.first_guard(asked, handover),
            state: State::Handed,
            granted_at: self.clock.now(),
            ended_at: None,
            expires: asked.plan.ttl.map(|ttl| now.after(ttl)),
            ttl: asked.plan.ttl,
            labels: asked.request.labels.clone(),
            trace_id: asked.trace_id.clone(),
            revision: 0,
        }
    }

    /// A command that exits can hold nothing afterwards, unless its program inherits the hold.
    fn first_guard(&self, asked: &Asked<'_>, handover: Handover) -> Guard {
        let outlives = self.mode == Mode::Serving || asked.owner.is_some();
        match handover {
            Handover::Gate if outlives => Guard::Hold,
            _ => Guard::None,
        }
    }

    /// Every name lives already: the same leases, in the asker's hands once more.
    async fn hand_again(
        &self,
        asked: &Asked<'_>,
        living: Vec<Option<Vec<Arc<Lease>>>>,
    ) -> Result<Allocated, Refusal> {
        let leases = self.in_order(asked, living, Vec::new()).await?;
        Ok(Allocated {
            id: leases.first().map_or(asked.id, |lease| lease.allocation),
            created: false,
            attempt_count: 0,
            leases,
            explanation: asked.plan.explanation(),
            conflicts: Vec::new(),
            trace_id: asked.trace_id.clone(),
        })
    }

    /// Living and fresh leases in the order of the names; the living ones are handed again.
    async fn in_order(
        &self,
        asked: &Asked<'_>,
        living: Vec<Option<Vec<Arc<Lease>>>>,
        fresh: Vec<Arc<Lease>>,
    ) -> Result<Vec<Arc<Lease>>, Refusal> {
        if living.is_empty() {
            return Ok(fresh);
        }
        let each = asked.plan.protocols.each().len();
        let mut fresh = fresh.into_iter();
        let mut leases = Vec::new();
        for lives in living {
            match lives {
                None => leases.extend(fresh.by_ref().take(each)),
                Some(known) => {
                    for lease in known {
                        leases.push(self.hand(asked, &lease).await?);
                    }
                }
            }
        }
        Ok(leases)
    }

    /// Hands a living lease out once more. On a task of its own: whoever asked may hang up, but an
    /// owner is not noted without its gate.
    async fn hand(&self, asked: &Asked<'_>, lease: &Lease) -> Result<Arc<Lease>, Refusal> {
        let owner_lives = lease.owner.as_ref().is_some_and(process::is_running);
        let at_work = owner_lives && asked.owner.is_none();
        if at_work || asked.request.dry_run {
            // Nothing changes hands.
            return self.lease(lease.id).ok_or(Refusal::NotFound);
        }
        let now = self.clock.boot();
        let terms = Terms {
            owner: asked.owner.clone(),
            claim_by: asked
                .owner
                .is_none()
                .then(|| now.after(asked.plan.claim_within)),
            ttl: asked.request.ttl.or(lease.ttl),
            handover: asked.request.handover,
            labels: asked.request.labels.clone(),
        };
        let (service, id) = (self.clone(), lease.id);
        let handing = async move {
            let _turn = service.turn(id).await;
            let changed = service.change(id, |lease| terms.apply(lease, now)).await?;
            service.hand_over(&changed)?;
            service.watch(&changed);
            service.lease(id).ok_or(Refusal::NotFound)
        };
        let handed = tokio::spawn(handing).await;
        handed.unwrap_or(Err(Refusal::Store(crate::store::StoreError::Closed)))
    }
}

/// What a name is handed out with once more.
struct Terms {
    owner: Option<Owner>,
    claim_by: Option<BootTime>,
    ttl: Option<std::time::Duration>,
    handover: Option<Handover>,
    labels: std::collections::BTreeMap<String, String>,
}

impl Terms {
    fn apply(self, lease: &mut Lease, now: BootTime) {
        lease.state = State::Handed;
        lease.owner = self.owner;
        lease.claim_by = self.claim_by;
        lease.ttl = self.ttl;
        lease.expires = self.ttl.map(|ttl| now.after(ttl));
        if let Some(handover) = self.handover {
            lease.handover = handover.for_protocol(lease.protocol);
        }
        if !self.labels.is_empty() {
            lease.labels = self.labels;
        }
    }
}

fn conflicts(mut attempts: Vec<Attempt>) -> Vec<Attempt> {
    attempts.retain(|attempt| !attempt.outcome.is_success());
    attempts
}

/// Whether the living leases of a name are what is asked for under it.
fn fits(asked: &Asked<'_>, name: &Name, leases: &[Arc<Lease>]) -> Result<(), Refusal> {
    let taken = |why: String| {
        Err(Refusal::NameTaken {
            name: name.clone(),
            why,
        })
    };
    let protocols: Vec<Protocol> = leases.iter().map(|lease| lease.protocol).collect();
    let wanted = asked.request.protocol;
    if wanted.is_some_and(|wanted| wanted.each() != protocols) {
        let words: Vec<&str> = protocols.iter().map(|protocol| protocol.as_str()).collect();
        return taken(format!(
            "it is leased for {}; release it first",
            words.join(" and ")
        ));
    }
    for lease in leases {
        if let Some(why) = unfit(asked, lease) {
            return taken(why);
        }
    }
    Ok(())
}

fn unfit(asked: &Asked<'_>, lease: &Lease) -> Option<String> {
    if asked.request.port.is_some_and(|port| port != lease.port) {
        return Some(format!("it has port {}; release it first", lease.port));
    }
    if asked.request.pool.is_some() && lease.pool != asked.plan.pool.name {
        return Some(format!("it is of pool {}; release it first", lease.pool));
    }
    if !asked.request.interfaces.is_empty() && lease.addresses != asked.plan.group {
        return Some("it is held on other addresses; release it first".to_owned());
    }
    let (Some(wanted), Some(owner)) = (&asked.owner, &lease.owner) else {
        return None;
    };
    (!wanted.is(owner) && process::is_running(owner))
        .then(|| format!("its owner, pid {}, lives", owner.pid))
}
