//! The order of precedence as a property: for random settings, books and occupants the answer is the
//! first admissible port in the order written down, and each port before it has its true reason.
//!
//! On real sockets, at a loopback address of this process's own.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::subsequence;
use tempfile::TempDir;

use crate::config::{self, Sources};
use crate::domain::explanation::Explanation;
use crate::domain::lease::State;
use crate::domain::port::{Port, PortSet, Protocols};
use crate::domain::precedence::Step;
use crate::domain::reason::Reason;
use crate::domain::request::Request;
use crate::engine::caller::{Caller, Mode};
use crate::engine::{Allocated, keeper::ending, refusal::Refusal, service::Service};
use crate::host::clock::Clock;
use crate::host::process;
use crate::store::{Store, StoreOptions};

/// The first of the ports in play, and their number: below what other tests and the kernel take.
const FIRST: u16 = 9301;
const COUNT: u16 = 10;

const NAME: &str = "web";

/// One world, each set as numbers above [`FIRST`].
#[derive(Debug, Clone)]
struct World {
    ranges: BTreeSet<u16>,
    exclude: BTreeSet<u16>,
    by_hand: BTreeSet<u16>,
    static_band: BTreeSet<u16>,
    leased: BTreeSet<u16>,
    reserved: BTreeSet<u16>,
    occupied: BTreeSet<u16>,
    prefer: Option<u16>,
    span: u16,
    last: Option<u16>,
    /// The ranges of the request.
    bounds: Option<BTreeSet<u16>>,
}

fn some_ports(most: usize) -> impl Strategy<Value = BTreeSet<u16>> {
    let all: Vec<u16> = (0..COUNT).collect();
    subsequence(all, 0..=most).prop_map(|ports| ports.into_iter().collect())
}

fn worlds() -> impl Strategy<Value = World> {
    let rules = (
        some_ports(10).prop_map(|mut ranges| {
            ranges.insert(0);
            ranges
        }),
        some_ports(2),
        some_ports(2),
        some_ports(2),
    );
    let books = (some_ports(3), some_ports(2), some_ports(3));
    let request = (
        proptest::option::of(0..COUNT),
        0..COUNT,
        proptest::option::of(0..COUNT),
        proptest::option::weighted(0.3, some_ports(6)),
    );
    (rules, books, request).prop_map(|(rules, books, request)| {
        let (ranges, mut exclude, by_hand, static_band) = rules;
        if ranges.is_subset(&exclude) {
            // The configuration refuses a pool of which nothing is left.
            exclude.clear();
        }
        let (leased, reserved, occupied) = books;
        let (prefer, span, last, bounds) = request;
        // A port is leased, reserved or occupied, and no two of these.
        let reserved: BTreeSet<u16> = reserved.difference(&leased).copied().collect();
        let busy: BTreeSet<u16> = leased.union(&reserved).copied().collect();
        World {
            ranges,
            exclude,
            by_hand,
            static_band,
            occupied: occupied.difference(&busy).copied().collect(),
            leased,
            reserved,
            prefer,
            span,
            last,
            bounds: bounds.filter(|bounds| !bounds.is_empty()),
        }
    })
}

fn port(above: u16) -> Port {
    Port::new(FIRST + above).unwrap()
}

fn set(ports: &BTreeSet<u16>) -> PortSet {
    ports.iter().copied().map(port).collect()
}

impl World {
    /// The ranges that are searched.
    fn searched(&self) -> &BTreeSet<u16> {
        self.bounds.as_ref().unwrap_or(&self.ranges)
    }

    /// The numbers above the preferred port that are tried.
    fn upwards(&self) -> Vec<u16> {
        let Some(prefer) = self.prefer else {
            return Vec::new();
        };
        let last = prefer + self.span;
        let within = |above: &u16| self.bounds.as_ref().is_none_or(|all| all.contains(above));
        ((prefer + 1)..=last).filter(within).collect()
    }

    /// The ports of the pool in the order of the strategy `ordered`.
    fn pool(&self) -> Vec<u16> {
        let all = self.searched();
        let start = self
            .prefer
            .filter(|prefer| all.contains(prefer))
            .unwrap_or(0);
        all.range(start..)
            .chain(all.range(..start))
            .copied()
            .collect()
    }

    /// The steps in the order of precedence, as it is written down.
    fn order(&self) -> Vec<(Step, u16)> {
        let one = |step, at: Option<u16>| at.map(|at| (step, at));
        let last = self.last.filter(|last| self.prefer != Some(*last));
        let upwards = self.upwards().into_iter().map(|at| (Step::Upwards, at));
        let pool = self.pool().into_iter().map(|at| (Step::Pool, at));
        one(Step::Preferred, self.prefer)
            .into_iter()
            .chain(one(Step::Last, last))
            .chain(upwards)
            .chain(pool)
            .collect()
    }

    /// The first reason why a port is not granted in a step; `None` if it is.
    fn against(&self, step: Step, at: u16) -> Option<Reason> {
        self.all_against(step, at).first().copied()
    }

    /// Every reason why a port is not granted in a step.
    fn all_against(&self, step: Step, at: u16) -> Vec<Reason> {
        let outside = match step {
            Step::Preferred => self.bounds.as_ref().is_some_and(|all| !all.contains(&at)),
            Step::Last => {
                let wished = self.prefer == Some(at) || self.upwards().contains(&at);
                let allowed = wished && self.bounds.is_none();
                !(allowed || self.searched().contains(&at))
            }
            _ => false,
        };
        let banded = matches!(step, Step::Upwards | Step::Pool) && self.static_band.contains(&at);
        [
            (outside, Reason::OutsideRange),
            (self.exclude.contains(&at), Reason::Configured),
            (self.by_hand.contains(&at), Reason::ByHand),
            (self.leased.contains(&at), Reason::Leased),
            (self.reserved.contains(&at), Reason::Reserved),
            (banded, Reason::StaticBand),
            (self.occupied.contains(&at), Reason::InUse),
        ]
        .into_iter()
        .filter_map(|(counts, reason)| counts.then_some(reason))
        .collect()
    }

    fn request(&self) -> Request {
        Request {
            names: vec![NAME.parse().unwrap()],
            prefer: self.prefer.map(port),
            prefer_span: self.prefer.map(|_| self.span),
            ranges: self.bounds.as_ref().map(set),
            ..Request::default()
        }
    }
}

/// A service in such a world, and what keeps the world as it is.
struct Place {
    service: Service,
    _occupants: Vec<TcpListener>,
    _folder: TempDir,
}

const ME: Caller = Caller::user(0);

/// An address that no other process uses.
fn own_address() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 100 + (high & 63), low, 1)
}

async fn service(world: &World, folder: &TempDir, seed: u64) -> Service {
    let sources = Sources {
        home: Some(folder.path().to_owned()),
        environment: [
            ("RANGES", set(&world.ranges).to_string()),
            ("EXCLUDE", set(&world.exclude).to_string()),
            ("STATIC_BAND", set(&world.static_band).to_string()),
            ("INTERFACES", own_address().to_string()),
            ("STRATEGY", "ordered".to_owned()),
        ]
        .map(|(key, value)| (format!("PORTBOOK_POOLS__DEFAULT__{key}"), value))
        .to_vec(),
        ..Sources::default()
    };
    let settings = config::load(&sources).unwrap_or_else(|error| panic!("{error}: {world:?}"));
    let options = StoreOptions {
        boot_id: process::boot_id().unwrap(),
        machine_id: None,
        batch_max: 16,
        checkpoint_interval: None,
    };
    let file = folder.path().join("portbook.db");
    let (store, _) = Store::open(&file, options).await.unwrap();
    let rng = fastrand::Rng::with_seed(seed);
    let settings = Arc::new(settings.settings);
    Service::new(Mode::Serving, settings, store, Clock::manual(), rng)
}

impl Place {
    async fn of(world: &World) -> Self {
        // The name's last port and the leases are there before the rules that speak against them.
        let unruled = World {
            exclude: BTreeSet::new(),
            static_band: BTreeSet::new(),
            ..world.clone()
        };
        let folder = TempDir::new().unwrap();
        let before = service(&unruled, &folder, 1).await;
        before.had_before(world.last).await;
        for at in &world.leased {
            before.grant_number(&format!("l{at}"), *at, false).await;
        }
        for at in &world.reserved {
            before.grant_number(&format!("r{at}"), *at, true).await;
        }
        let leases = before.leases();
        drop(before);
        let after = service(world, &folder, 2).await;
        after.restore().await.unwrap();
        assert_eq!(after.leases().len(), leases.len());
        if !world.by_hand.is_empty() {
            let ports = set(&world.by_hand);
            after
                .exclude(&ME, Protocols::Tcp, &ports, None)
                .await
                .unwrap();
        }
        let listen = |at: &u16| TcpListener::bind((own_address(), FIRST + at)).unwrap();
        Self {
            service: after,
            _occupants: world.occupied.iter().map(listen).collect(),
            _folder: folder,
        }
    }
}

impl Service {
    /// Grants a port by number.
    async fn grant_number(&self, name: &str, at: u16, reserve: bool) {
        let request = Request {
            names: vec![name.parse().unwrap()],
            port: Some(port(at)),
            reserve,
            ..Request::default()
        };
        self.allocate(&ME, &request).await.unwrap();
    }

    /// Gives the name a past on a port.
    async fn had_before(&self, last: Option<u16>) {
        if let Some(last) = last {
            self.grant_number(NAME, last, false).await;
            let lease = self.leases().pop().unwrap();
            let ended = ending::end(&self.0, lease.id, State::Expired, "in the past", |_| true);
            ended.await.unwrap();
        }
    }
}

/// Returns the recorded reason why a port was not granted.
fn told(explanation: &Explanation, step: Step, at: u16) -> Option<Reason> {
    let at = port(at);
    if let Some(skipped) = explanation.why_skipped(at) {
        return Some(skipped.reason);
    }
    let of_pool = explanation
        .excluded
        .iter()
        .find(|it| it.which.contains(&at));
    match of_pool {
        Some(excluded) => Some(excluded.reason),
        None if step == Step::Pool && explanation.tried.contains(&at) => Some(Reason::InUse),
        None => None,
    }
}

/// The pool's sums count what is reserved with what is leased.
const IN_THE_POOL: (Reason, Reason) = (Reason::Reserved, Reason::Leased);

fn check(world: &World, answer: Result<Allocated, Refusal>) -> Result<(), TestCaseError> {
    let order = world.order();
    let wanted = order
        .iter()
        .find(|(step, at)| world.against(*step, *at).is_none());
    let Some((step, wanted)) = wanted else {
        let refusal = answer.expect_err("a port where none is admissible");
        prop_assert_eq!(refusal.code(), "pool_exhausted", "{}", refusal);
        return Ok(());
    };
    let granted = match answer {
        Ok(granted) => granted,
        Err(refusal) => {
            prop_assert!(false, "{refusal} in {world:?}");
            return Ok(());
        }
    };
    let explanation = &granted.explanation;
    let got = granted.leases[0].port;
    prop_assert_eq!(got, port(*wanted), "{:?}: {:?}", world, explanation);
    prop_assert_eq!(&explanation.steps, &[*step], "{:?}", world);
    for (step, at) in order.iter().take_while(|(_, at)| at != wanted) {
        let told = told(explanation, *step, *at);
        // A port that several steps come to, or several rules speak against, has one of the reasons.
        let steps = [Step::Preferred, Step::Last, Step::Upwards, Step::Pool];
        let mut all = steps.iter().flat_map(|step| world.all_against(*step, *at));
        let is_true = |told| all.any(|one| one == told || (one, told) == IN_THE_POOL);
        prop_assert!(
            told.is_some_and(is_true),
            "{at} {step:?}: told {told:?}\n{world:?}\n{explanation:?}"
        );
    }
    // A name that goes back to its preferred port comes from the last one.
    let missed = world.prefer.filter(|prefer| port(*prefer) != got);
    let from = missed.or(world.last).map(port).filter(|from| *from != got);
    let moved = granted.moves.first();
    prop_assert_eq!(
        moved.map(|moved| moved.to),
        from.map(|_| got),
        "{:?}",
        world
    );
    if let (Some(moved), Some(prefer)) = (moved, world.prefer.filter(|at| port(*at) != got)) {
        prop_assert_eq!(moved.from, port(prefer));
        prop_assert_eq!(Some(moved.reason), world.against(Step::Preferred, prefer));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_is_the_first_admissible_port_in_the_order_of_precedence(world in worlds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::of(&world).await;
            let answer = place.service.allocate(&ME, &world.request()).await;
            check(&world, answer)
        })?;
    }
}
