//! Numbers that are reserved on every host of the fleet, on the side of the session loop: it has this host
//! keep them, and let go of them.

use std::sync::Arc;

use super::caller::Caller;
use super::engine::Engine;
use super::everywhere::service_uid;
use super::keeper::ending;
use super::queue;
use super::refusal::Refusal;
use crate::config::Pool;
use crate::domain::claim::Number;
use crate::domain::lease::{Guard, Lease, Name, State};
use crate::domain::pool::DEFAULT_POOL;
use crate::domain::port::{Port, PortSet, Protocol};
use crate::domain::request::Request;

/// Looks whether a number could be kept for a name. Nothing is changed, nor on record.
pub(super) async fn check(
    engine: &Arc<Engine>,
    number: Number,
    name: &Name,
) -> Result<(), Refusal> {
    let known = leases_on(engine, number, Some(name));
    if known.iter().any(|lease| is_kept(lease)) {
        return Ok(());
    }
    let caller = Caller::user(service_uid());
    let request = request(engine, number, name, true);
    queue::allocate(engine, &caller, &request).await.map(drop)
}

/// Keeps a number for a name, once [`check`] has found nothing against it.
pub(super) async fn keep(engine: &Arc<Engine>, number: Number, name: &Name) -> Result<(), Refusal> {
    if keep_known(engine, number, name).await? {
        return Ok(());
    }
    let caller = Caller::user(service_uid());
    let request = request(engine, number, name, false);
    match queue::allocate(engine, &caller, &request).await {
        Ok(_) => Ok(()),
        // It may have passed to a user meanwhile.
        Err(_) if keep_known(engine, number, name).await? => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

fn request(engine: &Engine, number: Number, name: &Name, dry_run: bool) -> Request {
    Request {
        port: Some(number.port),
        protocol: Some(number.protocol.into()),
        names: vec![name.clone()],
        pool: local_pool(engine),
        reserve: true,
        dry_run,
        ..Request::default()
    }
}

/// Whether a lease keeps its number from other programs.
fn is_kept(lease: &Lease) -> bool {
    let is_guarded = lease.owner.is_some() || lease.guard != Guard::None;
    lease.state != State::Lost && is_guarded
}

/// Has the lease that a name has on its number never give way. `false` if there is none.
async fn keep_known(engine: &Arc<Engine>, number: Number, name: &Name) -> Result<bool, Refusal> {
    for lease in leases_on(engine, number, Some(name)) {
        let _turn = engine.leases.turn(lease.id).await;
        let Some(lease) = engine.leases.living(lease.id) else {
            continue;
        };
        if !is_kept(&lease) {
            continue;
        }
        if !lease.by_hand {
            let change = engine.leases.change(lease.id, |lease| lease.by_hand = true);
            change.await?;
        }
        return Ok(true);
    }
    Ok(false)
}

/// Ends what was kept for a name on a number, unless a program uses it: that lease is one like others then.
pub(super) async fn let_go(
    engine: &Arc<Engine>,
    number: Number,
    name: Option<&Name>,
) -> Result<(), Refusal> {
    let mut leases = leases_on(engine, number, name);
    leases.retain(|lease| lease.by_hand);
    for lease in leases {
        let why = "its reservation was taken back in the fleet";
        let ended = ending::end(engine, lease.id, State::Released, why, Lease::is_idle);
        match ended.await {
            Ok(()) | Err(Refusal::NotFound) => {}
            Err(refusal) => return Err(refusal),
        }
        let _turn = engine.leases.turn(lease.id).await;
        if engine.leases.living(lease.id).is_some() {
            let change = engine
                .leases
                .change(lease.id, |lease| lease.by_hand = false);
            change.await?;
        }
    }
    Ok(())
}

fn leases_on(engine: &Engine, number: Number, name: Option<&Name>) -> Vec<Arc<Lease>> {
    let mut leases = engine.leases.on_port(number.protocol, number.port);
    leases.retain(|lease| {
        let is_named = name.is_none() || lease.name.as_ref() == name;
        is_named && lease.name.is_some() && !lease.state.is_ended()
    });
    leases
}

/// Chooses a number for a name as if it were asked for on this host, without the ports in `taken`.
pub(super) async fn choose(
    engine: &Arc<Engine>,
    pool: Option<&str>,
    name: &Name,
    protocol: Protocol,
    taken: &PortSet,
) -> Result<Port, Refusal> {
    let pool = pool.map(str::to_owned).or_else(|| local_pool(engine));
    let settings = engine.settings();
    let of_pool = settings.pools.get(pool.as_deref().unwrap_or(DEFAULT_POOL));
    if let Some(pool) = of_pool.filter(|pool| pool.is_unique()) {
        return Err(Refusal::InvalidRequest(format!(
            "the numbers of pool {} are for one host each: name another pool, or a port",
            pool.name
        )));
    }
    let ranges = of_pool.map(|pool| pool.ranges.without(taken));
    if ranges.as_ref().is_some_and(PortSet::is_empty) {
        return Err(Refusal::InvalidRequest(
            "every number of the pool is claimed in the fleet: name another pool, or a port"
                .to_owned(),
        ));
    }
    let request = Request {
        ranges,
        protocol: Some(protocol.into()),
        names: vec![name.clone()],
        pool,
        dry_run: true,
        ..Request::default()
    };
    let caller = Caller::user(service_uid());
    let chosen = queue::allocate(engine, &caller, &request).await?;
    let lease = chosen.leases.first().ok_or(Refusal::NotFound)?;
    Ok(lease.port)
}

/// Name of the pool whose fence shuts a number of this host to all that have no claim on it. `None` if none does.
pub(super) fn fenced_pool(engine: &Engine, port: Port) -> Option<String> {
    if engine.fleet.status().has_fence != Some(true) {
        return None;
    }
    let settings = engine.settings();
    let mut pools = settings.pools.values();
    let fenced = pools.find(|pool| pool.is_fenced() && pool.ranges.contains(port));
    fenced.map(|pool| pool.name.to_string())
}

/// Name of the pool that would grant a number as a unique one, and leaves it out while it is reserved on every host.
/// `None` if none would.
pub(super) fn unique_pool(engine: &Engine, port: Port) -> Option<String> {
    let settings = engine.settings();
    let mut pools = settings.pools.values();
    let unique = pools.find(|pool| pool.is_unique() && pool.ranges.contains(port));
    unique.map(|pool| pool.name.to_string())
}

/// The pool that reserved numbers are leases of: the default one, else the first whose numbers need not be
/// unique. `None` for the default one.
fn local_pool(engine: &Engine) -> Option<String> {
    let settings = engine.settings();
    let is_local = |pool: &&Arc<Pool>| !pool.is_unique();
    if settings
        .pools
        .get(DEFAULT_POOL)
        .as_ref()
        .is_some_and(is_local)
    {
        return None;
    }
    let first = settings.pools.values().find(is_local)?;
    Some(first.name.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::everywhere::Kept;
    use crate::domain::lease::Scope;
    use crate::domain::port::{Port, PortSet, Protocol};
    use crate::engine::keeper::tests::{Place, named, place};

    /// A user of the host that is not the service's.
    const USER: Caller = Caller::user(54321);
    const OTHER: Caller = Caller::user(54322);

    fn number(port: u16) -> Number {
        Number {
            protocol: Protocol::Tcp,
            port: Port::new(port).unwrap(),
        }
    }

    fn name() -> Name {
        "node-exporter".parse().unwrap()
    }

    /// A free port of a range that no other test uses.
    async fn free(place: &Place, ranges: &str) -> Number {
        let dry = Request {
            dry_run: true,
            ranges: Some(ranges.parse().unwrap()),
            ..Request::default()
        };
        let found = place.service.allocate(&USER, &dry).await.unwrap();
        number(found.leases[0].port.get())
    }

    /// Keeps a number as the session loop does.
    async fn keep(place: &Place, number: Number) -> Result<(), Refusal> {
        place.service.check_everywhere(number, &name()).await?;
        place.service.keep_everywhere(number, &name()).await?;
        let kept = Kept {
            name: name(),
            busy: None,
        };
        let numbers = BTreeMap::from([(number, kept)]);
        place.service.fleet().set_kept(numbers);
        Ok(())
    }

    fn on(place: &Place, number: Number) -> Vec<Arc<Lease>> {
        place.service.leases_on(number.protocol, number.port)
    }

    #[tokio::test]
    async fn kept_number_is_held_and_passes_to_the_first_user_of_its_name() {
        let place = place().await;
        let number = free(&place, "25100-25119").await;
        keep(&place, number).await.unwrap();
        let lease = on(&place, number).remove(0);
        assert_eq!((lease.uid, lease.state), (service_uid(), State::Reserved));
        assert!(lease.by_hand && lease.guard == Guard::Hold);
        let request = named("node-exporter");
        let granted = place.service.allocate(&USER, &request).await.unwrap();
        assert_eq!(granted.leases[0].port, number.port);
        assert_eq!(on(&place, number)[0].uid, USER.uid);
        // It is kept under that user from now on, and another user gets another number.
        keep(&place, number).await.unwrap();
        assert!(on(&place, number)[0].by_hand);
        let other = place.service.allocate(&OTHER, &request).await.unwrap();
        assert_ne!(other.leases[0].port, number.port);
        let again = place.service.allocate(&USER, &request).await.unwrap();
        assert_eq!(again.leases[0].port, number.port);
    }

    #[tokio::test]
    async fn requests_for_something_else_leave_a_kept_number_alone() {
        let place = place().await;
        let number = free(&place, "25120-25139").await;
        keep(&place, number).await.unwrap();
        let elsewhere = Request {
            ranges: Some("25011-25012".parse::<PortSet>().unwrap()),
            ..named("node-exporter")
        };
        let in_folder = Request {
            scope: Scope::Dir("/tmp".into()),
            ..named("node-exporter")
        };
        let dry = Request {
            dry_run: true,
            ..named("node-exporter")
        };
        for request in [named("other"), elsewhere, in_folder, dry] {
            let granted = place.service.allocate(&USER, &request).await.unwrap();
            assert_ne!(granted.leases[0].port, number.port, "{request:?}");
        }
        assert_eq!(on(&place, number)[0].uid, service_uid());
    }

    #[tokio::test]
    async fn kept_number_is_let_go_unless_it_is_in_use() {
        let place = place().await;
        let number = free(&place, "25140-25159").await;
        keep(&place, number).await.unwrap();
        let let_go = || place.service.let_everywhere_go(number, None);
        let_go().await.unwrap();
        assert!(on(&place, number).is_empty());
        let_go().await.unwrap();
        keep(&place, number).await.unwrap();
        let granted = place.service.allocate(&USER, &named("node-exporter")).await;
        let id = granted.unwrap().leases[0].id;
        keep(&place, number).await.unwrap();
        let_go().await.unwrap();
        let lease = place.service.lease(id).unwrap();
        assert!(!lease.by_hand, "it is one like others");
    }

    #[tokio::test]
    async fn number_of_another_lease_is_refused_without_a_record() {
        let place = place().await;
        let granted = place.service.allocate(&USER, &named("db")).await.unwrap();
        let taken = number(granted.leases[0].port.get());
        let refused = keep(&place, taken).await.unwrap_err();
        assert!(matches!(refused, Refusal::PortLeased { .. }), "{refused}");
        let events = place.service.journal().latest(usize::MAX);
        let is_refused = |event: &crate::domain::event::Event| {
            event.kind == crate::domain::event::EventKind::Refused
        };
        assert!(!events.iter().any(is_refused), "{events:?}");
    }

    #[tokio::test]
    async fn chosen_number_is_none_of_those_that_are_taken() {
        let place = place().await;
        let (service, name) = (&place.service, name());
        let choose = async |taken: PortSet| {
            let chosen = service.choose_everywhere(None, &name, Protocol::Tcp, &taken);
            chosen.await
        };
        let one = choose(PortSet::EMPTY).await.unwrap();
        let all: PortSet = "1-65535".parse().unwrap();
        let others = all.without(&PortSet::single(one));
        assert_eq!(choose(others).await.unwrap(), one);
        let none = choose(all).await.unwrap_err().to_string();
        assert!(none.contains("claimed in the fleet"), "{none}");
        assert!(service.leases().is_empty());
    }
}
