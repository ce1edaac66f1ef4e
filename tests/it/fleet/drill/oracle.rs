//! The outside prober, and what its sightings prove.
//!
//! It connects to every number of every host at once, again and again. A number that answers on one host in
//! three rounds in a row, and on another one in the second of them, has two owners: no lease of the drill is
//! shorter than [`SHORTEST`], so that no honest owner comes and goes between the first and the third.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::host::Host;
use crate::tools::Running;

/// Shortest time between a grant and its release.
pub const SHORTEST: Duration = Duration::from_secs(2);

/// Connects to all hosts and ports, which it is told with commas between. Prints a line for each round: the
/// seconds since its start, and the indices of those that answered.
const PROBE: &str = "
import select, socket, struct, sys, time
hosts, ports = sys.argv[1].split(','), [int(port) for port in sys.argv[2].split(',')]
targets = [(host, port) for host in hosts for port in ports]
start = time.monotonic()
while True:
    poll, waiting, answered = select.poll(), {}, []
    begin = time.monotonic()
    for index, target in enumerate(targets):
        probe = socket.socket()
        probe.setblocking(False)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        probe.connect_ex(target)
        poll.register(probe, select.POLLOUT)
        waiting[probe.fileno()] = (index, probe)
    while waiting and (left := begin + 0.06 - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            index, probe = waiting.pop(descriptor)
            poll.unregister(descriptor)
            if probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                answered.append(index)
            probe.close()
    for _, probe in waiting.values():
        probe.close()
    print(begin - start, *answered, flush=True)
";

/// A prober that runs.
pub struct Prober {
    running: Running,
    numbers: usize,
    hosts: usize,
}

impl Prober {
    /// Starts one on `hub` against these addresses and ports.
    pub fn start(hub: &Host, addresses: &[String], ports: &[u16]) -> Self {
        let texts: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut command = Command::new("python3");
        command.args(["-c", PROBE, &addresses.join(","), &texts.join(",")]);
        let mut command = hub.enter(&command);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdout(Stdio::piped());
        Self {
            running: Running::start(command),
            numbers: ports.len(),
            hosts: addresses.len(),
        }
    }

    /// Returns the rounds, for as long as the prober runs.
    pub fn rounds(&mut self) -> impl Iterator<Item = Round> + use<> {
        let lines = BufReader::new(self.running.0.stdout.take().unwrap()).lines();
        let (numbers, hosts) = (self.numbers, self.hosts);
        lines.map_while(move |line| Round::read(&line.ok()?, numbers, hosts))
    }

    /// Ends it, and with it the rounds.
    pub fn stop(&mut self) {
        let _ = self.running.0.kill();
    }
}

/// What one round saw.
#[derive(Debug, Clone)]
pub struct Round {
    at: Duration,
    /// Whether a number answered on a host, by number and host.
    answered: Vec<Vec<bool>>,
}

impl Round {
    fn read(line: &str, numbers: usize, hosts: usize) -> Option<Self> {
        let mut words = line.split(' ');
        let at = Duration::from_secs_f64(words.next()?.parse().ok()?);
        let mut answered = vec![vec![false; hosts]; numbers];
        for word in words {
            let index: usize = word.parse().ok()?;
            answered[index % numbers][index / numbers] = true;
        }
        Some(Self { at, answered })
    }
}

/// What all rounds together prove.
#[derive(Debug, Default)]
pub struct Oracle {
    pub probes: usize,
    /// Changes of a number from host to host.
    pub moves: usize,
    /// Sightings that prove two owners of a number.
    pub overlaps: usize,
    /// The first of them: number, both hosts, and time.
    pub first: Option<(usize, [usize; 2], Duration)>,
    /// The two rounds before.
    last: Vec<Round>,
    owner: BTreeMap<usize, usize>,
}

impl Oracle {
    pub fn see(&mut self, round: Round) {
        for (number, hosts) in round.answered.iter().enumerate() {
            self.probes += hosts.len();
            let answers = (0..hosts.len()).filter(|host| hosts[*host]);
            for host in answers {
                let before = self.owner.insert(number, host);
                self.moves += usize::from(before.is_some_and(|before| before != host));
            }
        }
        self.last.push(round);
        if self.last.len() == 3 {
            self.prove();
            self.last.remove(0);
        }
    }

    fn prove(&mut self) {
        let [before, now, after] = &self.last[..] else {
            return;
        };
        if after.at >= before.at + SHORTEST {
            return;
        }
        for (number, hosts) in now.answered.iter().enumerate() {
            let lasts = |host: &usize| {
                let rounds = [before, now, after];
                rounds.iter().all(|round| round.answered[number][*host])
            };
            for owner in (0..hosts.len()).filter(lasts) {
                let other = (0..hosts.len()).find(|other| *other != owner && hosts[*other]);
                if let Some(other) = other {
                    self.overlaps += 1;
                    self.first.get_or_insert((number, [owner, other], now.at));
                }
            }
        }
    }
}

#[test]
fn two_owners_at_once_are_seen_and_a_move_is_none() {
    let seen = |rounds: &[(f64, &[usize])]| {
        let mut oracle = Oracle::default();
        for (at, answered) in rounds {
            let words: Vec<String> = answered.iter().map(usize::to_string).collect();
            let line = format!("{at} {}", words.join(" "));
            oracle.see(Round::read(line.trim_end(), 2, 2).unwrap());
        }
        (oracle.moves, oracle.overlaps, oracle.probes)
    };
    // Number 1 moves from host 0 to host 1; the round of its move sees both.
    let moved: &[(f64, &[usize])] = &[(0.0, &[1]), (0.1, &[1, 3]), (0.2, &[3])];
    assert_eq!(seen(moved), (1, 0, 12));
    let both: &[(f64, &[usize])] = &[(0.0, &[1]), (0.1, &[1, 3]), (0.2, &[1])];
    assert_eq!(seen(both), (2, 1, 12));
    // The prober slept between: an honest owner may have come and gone.
    let slow: &[(f64, &[usize])] = &[(0.0, &[1]), (0.1, &[1, 3]), (2.1, &[1])];
    assert_eq!(seen(slow), (2, 0, 12));
}
