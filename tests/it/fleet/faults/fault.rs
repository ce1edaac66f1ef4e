//! Faults of the members of etcd, and of the connections to them.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::links::{Cut, Links};
use super::members::{Console, MEMBERS, Members};
use crate::tools::eventually;

/// A fault of the engine, as a host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    LeaderKilled,
    FollowerKilled,
    MajorityStopped,
    AllKilled,
    LeaderMoved,
    Defragmented,
    CutBefore,
    AnswerLost,
    CutInAnswer,
    DoneLate,
    Stalled,
    Refused,
    Compacted,
}

/// Faults of members.
pub const OF_MEMBERS: [Fault; 6] = [
    Fault::LeaderKilled,
    Fault::FollowerKilled,
    Fault::MajorityStopped,
    Fault::AllKilled,
    Fault::LeaderMoved,
    Fault::Defragmented,
];

/// Faults of connections.
pub const OF_LINKS: [Fault; 7] = [
    Fault::CutBefore,
    Fault::AnswerLost,
    Fault::CutInAnswer,
    Fault::DoneLate,
    Fault::Stalled,
    Fault::Refused,
    Fault::Compacted,
];

/// Texts of requests: claims, claims and withdrawals, and names.
const TEXTS: [&str; 3] = [
    "/portbook/v1/hold",
    "/portbook/v1/claim/tcp/",
    "/portbook/v1/name/",
];

/// All of some faults in an order of chance, again and again.
pub struct Deck {
    faults: &'static [Fault],
    longest: Duration,
    rest: Vec<Fault>,
    pub rng: fastrand::Rng,
}

impl Deck {
    pub fn new(faults: &'static [Fault], longest: Duration, rng: fastrand::Rng) -> Self {
        Self {
            faults,
            longest,
            rest: Vec::new(),
            rng,
        }
    }

    pub fn draw(&mut self) -> Fault {
        if self.rest.is_empty() {
            self.rest = self.faults.to_vec();
            self.rng.shuffle(&mut self.rest);
        }
        self.rest.pop().expect("a deck is never empty")
    }

    /// Time for which a fault lasts.
    fn time(&mut self) -> Duration {
        let tenth = self.longest / 10;
        tenth + (self.longest * 9 / 10).mul_f64(self.rng.f64())
    }

    /// Time until the next fault.
    pub fn pause(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(..500))
    }
}

/// Does a fault of members, and ends it.
pub fn harm_members(members: &mut Members, fault: Fault, deck: &mut Deck) {
    let leader = members.console.leader();
    let follower = (leader + 1) % MEMBERS;
    let time = deck.time();
    match fault {
        Fault::LeaderKilled => kill(members, &[leader], time),
        Fault::FollowerKilled => kill(members, &[follower], time),
        Fault::AllKilled => kill(members, &[0, 1, 2], time),
        Fault::MajorityStopped => {
            let stopped = [leader, follower];
            let signal = |signal| stopped.iter().for_each(|one| members.signal(*one, signal));
            signal(Signal::STOP);
            thread::sleep(time);
            signal(Signal::CONT);
        }
        Fault::LeaderMoved => eventually("the leader moves", || {
            let leader = members.console.leader();
            members.console.move_leader(leader, (leader + 1) % MEMBERS)
        }),
        Fault::Defragmented => eventually("a member is defragmented", || {
            members.console.defragment(leader)
        }),
        other => unreachable!("{other:?} is no fault of members"),
    }
    members.console.wait();
}

fn kill(members: &mut Members, killed: &[usize], time: Duration) {
    killed.iter().for_each(|member| members.kill(*member));
    thread::sleep(time);
    killed
        .iter()
        .for_each(|member| members.start_again(*member));
}

/// Does a fault of a host's connections, and ends it.
pub fn harm_links(links: &mut Links, console: &Console, fault: Fault, deck: &mut Deck) {
    let time = deck.time();
    match fault {
        Fault::CutBefore => cut(links, Cut::Before, deck),
        Fault::AnswerLost => cut(links, Cut::Answer, deck),
        Fault::CutInAnswer => cut(links, Cut::InAnswer, deck),
        // A call has a second.
        Fault::DoneLate => cut(links, Cut::Late(Duration::from_secs(1) + time), deck),
        Fault::Stalled => links.stall(time),
        Fault::Refused => links.refuse(|| thread::sleep(time)),
        // Watches of this host begin again at a revision that is not there any more.
        Fault::Compacted => links.refuse(|| {
            thread::sleep(time);
            eventually("the engine is compacted", || console.compact());
        }),
        other => unreachable!("{other:?} is no fault of links"),
    }
}

fn cut(links: &Links, cut: Cut, deck: &mut Deck) {
    eventually("a request is cut", || {
        let text = deck.rng.choice(&TEXTS).unwrap();
        links.cut_at(cut, text).then_some(())
    });
}
