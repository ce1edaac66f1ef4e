//! Claims under all faults at once, as a property; and the single cases that a fleet meets in time.

use std::time::Duration;

use proptest::prelude::*;

use super::claim::Claimant;
use super::ground::Ground;
use super::key::Keys;
use super::memory::Trouble;
use super::shaky::{Shaky, lock};
use super::sim_kernel::{RECLAIM, SimFence};
use super::simulation::{PREFIX, SimGround};
use super::world::{World, number};
use crate::domain::claim::{Claim, ClaimStage};
use crate::domain::lease::LeaseId;

/// Number of steps of one case.
const STEPS: usize = 20_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is lost, late, crashed or paused: no two hosts have an acknowledged claim on one number at
    /// one time, each is on record, and in the end nothing is left over.
    #[test]
    fn no_number_is_granted_twice_and_nothing_leaks(seed: u64, count in 3..=6_usize) {
        let mut world = World::new(seed, count);
        for _ in 0..STEPS {
            world.step();
        }
        world.calm();
        world.check();
    }
}

#[test]
fn simulation_grants_often_enough_to_mean_something() {
    let (mut granted, mut lost) = (0, 0);
    for seed in 7..10 {
        let mut world = World::new(seed, 4);
        for _ in 0..STEPS * 2 {
            world.step();
        }
        world.calm();
        world.check();
        granted += lock(&world.oracle).granted;
        lost += lock(&world.oracle).lost.len();
    }
    assert!(
        lost > 1,
        "{lost} claims were freed by time and missed by their hosts"
    );
    assert!(granted > 150, "{granted} claims were granted");
}

/// Two hosts that have joined, without faults.
fn pair() -> World {
    let mut world = World::new(3, 2);
    *lock(&world.engine.has_faults) = false;
    for host in &mut world.hosts {
        host.ground.permits = None;
    }
    keep_all(&mut world);
    world
}

/// Two hosts that have joined, whose kernels have a fence, without faults.
fn fenced_pair(rate: f64) -> World {
    let mut world = World::new(3, 2);
    *lock(&world.engine.has_faults) = false;
    world.hosts[0].rate = rate;
    keep_all(&mut world);
    world
}

fn is_open(world: &World, host: usize, index: u16) -> bool {
    let kernels = lock(&world.hosts[0].ground.kernels);
    SimFence::is_open(&kernels[host], number(index))
}

/// Time until another host gets the number of one that was killed, and until its kernel shuts it.
fn times_of_a_death(rate: f64) -> (Duration, Duration) {
    let mut world = fenced_pair(rate);
    assert!(ask(&mut world, 0, 0));
    world.hosts[0].crash();
    let step = Duration::from_secs(5);
    let (mut now, mut shut) = (Duration::ZERO, None);
    loop {
        world.hosts[1].keep();
        world.hosts[1].sweep();
        world.hosts[1].finish();
        if !is_open(&world, 0, 0) {
            shut.get_or_insert(now);
        }
        if ask(&mut world, 1, 0) {
            return (now, shut.unwrap());
        }
        assert!(now < RECLAIM * 2, "it is never freed");
        now += step;
        world.advance(step);
    }
}

#[test]
fn claim_that_a_restore_brought_back_is_withdrawn_and_a_living_one_is_kept() {
    let mut world = fenced_pair(1.0);
    let key = |index| Keys::new(PREFIX).claim(number(index));
    assert!(ask(&mut world, 0, 0) && ask(&mut world, 0, 1));
    let before = world.engine.memory.entries()[&key(0)].clone();
    world.hosts[0].release(0);
    keep_all(&mut world);
    world.engine.memory.put(&key(0), &before);
    for index in [1, 0] {
        assert!(!ask(&mut world, 1, 0));
        world.hosts[index].look_for_strays();
        world.hosts[index].finish();
    }
    assert!(ask(&mut world, 1, 0));
    assert!(world.engine.memory.entries().contains_key(&key(1)));
    world.check();
}

#[test]
fn number_of_a_killed_host_is_shut_long_before_it_is_freed() {
    for rate in [0.7, 1.0, 1.3] {
        let (freed, shut) = times_of_a_death(rate);
        let limit = RECLAIM + Duration::from_secs(31 + 16);
        assert!(freed >= RECLAIM && freed <= limit, "{rate}: {freed:?}");
        let half = (RECLAIM / 2).div_f64(rate) + Duration::from_secs(5);
        assert!(shut <= half, "{rate}: {shut:?}");
    }
}

#[test]
fn permit_lasts_through_a_restart_and_ends_with_its_lease() {
    let mut world = fenced_pair(1.0);
    assert!(ask(&mut world, 0, 0));
    world.hosts[0].crash();
    world.advance(Duration::from_secs(20));
    world.hosts[0].start(false);
    assert!(is_open(&world, 0, 0));
    keep_all(&mut world);
    world.hosts[0].release(0);
    keep_all(&mut world);
    assert!(!is_open(&world, 0, 0));
    assert!(ask(&mut world, 1, 0), "it is free at once");
    assert!(!ask(&mut world, 0, 0) && is_open(&world, 1, 0));
}

#[test]
fn renewals_of_another_session_prolong_nothing() {
    let world = fenced_pair(1.0);
    let permits = world.hosts[0].ground.permits.clone().unwrap();
    let mut claim = Claim {
        number: number(0),
        lease: LeaseId(uuid::Uuid::nil()),
        nonce: "n".into(),
        session: "before".into(),
        stage: ClaimStage::Held,
        revision: 1,
        token: 1,
        reclaim_s: RECLAIM.as_secs(),
        is_doubtful: false,
    };
    let sent = world.hosts[0].ground.clock.boot();
    permits.renewed("now", sent);
    assert_eq!(permits.end(&claim), None);
    claim.session = "now".into();
    assert_eq!(permits.end(&claim), Some(sent.after(RECLAIM / 2)));
}

fn keep_all(world: &mut World) {
    for host in &mut world.hosts {
        host.keep();
        host.finish();
    }
}

fn ask(world: &mut World, host: usize, index: u16) -> bool {
    let before = lock(&world.oracle).granted;
    world.hosts[host].ask(vec![number(index)]);
    world.hosts[host].finish();
    lock(&world.oracle).granted > before
}

#[test]
fn lost_answer_is_found_again_and_swapped() {
    let mut world = pair();
    world.engine.memory.trouble(&[Trouble::AnswerLost]);
    let before = world.engine.memory.commits().len();
    assert!(ask(&mut world, 0, 0));
    // The claim, the same again, and the swap.
    assert_eq!(world.engine.memory.commits().len() - before, 3);
    let claim = world.hosts[0].ground.book.all().remove(0).claim;
    assert!(claim.revision > claim.token && claim.is_doubtful);
    world.calm();
    world.check();
}

#[test]
fn denied_claim_leaves_nothing_behind() {
    let mut world = pair();
    world.engine.memory.trouble(&[Trouble::Denied]);
    assert!(!ask(&mut world, 0, 0));
    assert_eq!(world.hosts[0].ground.book.all().len(), 0);
    assert!(ask(&mut world, 1, 0));
}

#[test]
fn number_that_an_operator_gave_away_is_lost_to_its_new_host() {
    let mut world = pair();
    assert!(ask(&mut world, 0, 0));
    assert!(!ask(&mut world, 1, 0));
    world.engine.memory.delete("/f/claim/tcp/9100");
    lock(&world.oracle).holders.clear();
    assert!(ask(&mut world, 1, 0));
    keep_all(&mut world);
    let lost = lock(&world.oracle).lost.clone();
    assert_eq!(lost, [(0, number(0), Some("h1".to_owned()))]);
    // Its release does not touch the claim of the other.
    world.hosts[0].release(0);
    keep_all(&mut world);
    assert_eq!(world.hosts[0].ground.book.all().len(), 0);
    let entries = world.engine.memory.entries();
    assert!(entries.contains_key("/f/claim/tcp/9100"));
}

#[test]
fn claim_that_is_gone_with_the_session_is_lost() {
    let mut world = pair();
    assert!(ask(&mut world, 0, 0));
    world.engine.memory.end_sessions();
    world.engine.memory.delete("/f/claim/tcp/9100");
    keep_all(&mut world);
    assert_eq!(lock(&world.oracle).lost.len(), 1);
}

#[test]
fn restored_engine_gets_the_claims_that_no_other_host_took() {
    let mut world = pair();
    let copy = world.engine.memory.copy();
    assert!(ask(&mut world, 0, 0) && ask(&mut world, 0, 1));
    world.engine.memory.restore(copy);
    lock(&world.oracle).holders.remove(&number(1));
    assert!(ask(&mut world, 1, 1));
    let claimant = world.hosts[0].claimant();
    let session = lock(&world.hosts[0].session).clone().unwrap();
    world.hosts[0].doing.push(Box::pin(async move {
        let is_missing = claimant.look(&session).await;
        assert_eq!(is_missing, Ok(true));
        claimant.tend(&session, true).await.unwrap();
    }));
    world.hosts[0].finish();
    let entries = world.engine.memory.entries();
    assert!(entries["/f/claim/tcp/9100"].contains("h0"));
    let lost = lock(&world.oracle).lost.clone();
    assert_eq!(lost, [(0, number(1), Some("h1".to_owned()))]);
}

/// Has a host do something with its claims in its session.
fn with_claims<F>(world: &mut World, doing: impl FnOnce(Claimant<Shaky, SimGround>, String) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let claimant = world.hosts[0].claimant();
    let session = lock(&world.hosts[0].session).clone().unwrap();
    world.hosts[0]
        .doing
        .push(Box::pin(doing(claimant, session)));
    world.hosts[0].finish();
}

#[test]
fn emptied_engine_gets_all_claims_of_a_host_in_one_commit() {
    let mut world = pair();
    let copy = world.engine.memory.copy();
    assert!((0..3).all(|index| ask(&mut world, 0, index)));
    world.engine.memory.restore(copy);
    let before = world.engine.memory.commits().len();
    with_claims(&mut world, |claimant, session| async move {
        claimant.tend(&session, true).await.unwrap();
    });
    // One looks, and finds that they are not there.
    assert_eq!(world.engine.memory.commits()[before..], [0, 3]);
    world.check();
}

#[test]
fn claims_that_change_while_they_are_claimed_again_are_claimed_one_by_one() {
    let mut world = pair();
    assert!(ask(&mut world, 0, 0) && ask(&mut world, 0, 1));
    let before = world.engine.memory.commits().len();
    with_claims(&mut world, |claimant, session| async move {
        let tended = claimant.ground.tended(|_| true).into_iter();
        // They were not there when they were looked at.
        let seen = tended.map(|one| (one.intent, None)).collect();
        claimant.regain(&session, seen, true).await.unwrap();
        assert_eq!(claimant.look(&session).await, Ok(false));
    });
    let commits = world.engine.memory.commits();
    // All at once, each alone, and the look.
    assert_eq!(commits[before..], [2, 1, 1, 0]);
    world.check();
}

#[test]
fn hold_keeps_every_host_from_new_claims() {
    let mut world = pair();
    assert!(ask(&mut world, 0, 0));
    world.engine.memory.put("/f/hold", "restored");
    assert!(!ask(&mut world, 1, 1));
    world.hosts[0].release(0);
    keep_all(&mut world);
    let entries = world.engine.memory.entries();
    assert!(!entries.contains_key("/f/claim/tcp/9100"));
    world.engine.memory.delete("/f/hold");
    assert!(ask(&mut world, 1, 1));
}
