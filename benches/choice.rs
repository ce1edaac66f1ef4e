//! Time of one choice in a pool of 64,000 ports, at any fill: `cargo bench --bench choice`.

use std::hint::black_box;

use portbook::choice::bits::PortBits;
use portbook::choice::history::{HALF_LIFE, History};
use portbook::choice::policy::Penalties;
use portbook::choice::strategy::Order;
use portbook::choice::weigh::Weigher;
use portbook::domain::address::{AddressGroup, BindAddress, Family};
use portbook::domain::pool::Strategy;
use portbook::domain::port::{Port, PortSet, Protocol};
use portbook::domain::sighting::Sighting;

const POOL: u32 = 64_000;
const FIRST: u16 = 1_500;
const ROUNDS: u32 = 20_000;

/// Longest time of one choice.
const AIM_US: f64 = 10.0;

/// Processor time of this thread in microseconds: what others do meanwhile does not count.
fn now_us() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "a run of seconds")]
    let (seconds, nanos) = (time.tv_sec as f64, time.tv_nsec as f64);
    seconds * 1e6 + nanos / 1e3
}

fn group() -> AddressGroup {
    AddressGroup::new([Family::Ipv4, Family::Ipv6].map(BindAddress::wildcard))
}

fn pool() -> Vec<Port> {
    (FIRST..=u16::MAX)
        .take(POOL as usize)
        .filter_map(Port::new)
        .collect()
}

fn seen(port: Port) -> Sighting {
    Sighting {
        protocol: Protocol::Tcp,
        port,
        local: Family::Ipv4.wildcard(),
        scope: 0,
        dual: false,
    }
}

/// A history in which every port of the pool was bound, refused and seen before.
fn history(busy: &[Port]) -> History {
    let mut history = History::new(HALF_LIFE);
    let address = BindAddress::wildcard(Family::Ipv4);
    for port in pool() {
        history.bound(&group(), Protocol::Tcp, port, 0);
        history.refused(&address, Protocol::Tcp, port, Some("node"), 1);
    }
    let all: Vec<Sighting> = pool().into_iter().map(seen).collect();
    history.snapshot(&all, 2);
    let busy: Vec<Sighting> = busy.iter().copied().map(seen).collect();
    history.snapshot(&busy, 3);
    history
}

fn bits(ports: &[Port]) -> PortBits {
    let mut bits = PortBits::default();
    for port in ports {
        bits.insert(*port);
    }
    bits
}

/// Microseconds a choice.
fn measure(strategy: Strategy, history: &History, eligible: &PortBits) -> f64 {
    let mut rng = fastrand::Rng::with_seed(7);
    let ephemeral = PortSet::EMPTY;
    let begin = now_us();
    for _ in 0..ROUNDS {
        let penalties = Penalties {
            ephemeral: &ephemeral,
            rests_ms: 60_000,
        };
        let protocols = [Protocol::Tcp];
        let weigher = Weigher::new(history, &group(), &protocols, penalties, 4);
        black_box(Order::new(strategy, None).next(eligible, &weigher, &mut rng));
    }
    (now_us() - begin) / f64::from(ROUNDS)
}

fn main() {
    // `cargo test --all-targets` starts this too; a measurement is no test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!(
        "Microseconds of processor time a choice in a pool of {POOL} ports, of each of which something is known"
    );
    println!(
        "{:<28} {:>8} {:>8} {:>8}",
        "", "learned", "ordered", "random"
    );
    let mut worst: f64 = 0.0;
    let mut rng = fastrand::Rng::with_seed(3);
    for free in [POOL, POOL / 2, POOL / 10, POOL / 100, 10, 1] {
        let mut ports = pool();
        rng.shuffle(&mut ports);
        let (left, gone) = ports.split_at(free as usize);
        // The missing ports are leased, or busy in the latest snapshot.
        for (what, history, eligible) in [
            ("leased", history(&[]), bits(left)),
            ("busy", history(gone), bits(&ports)),
        ] {
            let times = [Strategy::Learned, Strategy::Ordered, Strategy::Random]
                .map(|strategy| measure(strategy, &history, &eligible));
            worst = worst.max(times[0]);
            let label = format!("{free} free, the rest {what}");
            println!(
                "{label:<28} {:>8.2} {:>8.2} {:>8.2}",
                times[0], times[1], times[2]
            );
        }
    }
    let verdict = if worst <= AIM_US { "met" } else { "MISSED" };
    println!("learned at worst {worst:.2} µs; aim {AIM_US} µs: {verdict}");
}
