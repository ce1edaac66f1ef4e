//! What the rewriter does for a program all of whose ports are mapped, checked on the running kernel.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, ChildStdout, Command, Stdio};

use socket2::Socket;

use super::facts_of_mapping::{held, port};
use super::folder::Folder;
use super::{All, Mappings, Rewriter, Spare, Taken, obstacle};
use crate::domain::address::{AddressGroup, BindAddress};
use crate::domain::port::Port;

/// For a line with a port binds that, and prints the port that it has, or the error's number. For several it does so at
/// one moment in a process for each. `to PORT` prints the port that a connect reaches.
const PROGRAM: &str = r"
import os, socket, sys, time
kept = []
def bind(port):
    s = socket.socket()
    kept.append(s)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(('127.0.0.1', port))
        s.listen()
        return s.getsockname()[1]
    except OSError as error:
        return error.errno
def at_once(ports):
    reader, writer = os.pipe()
    start = time.monotonic() + 0.01
    for port in ports:
        if os.fork() == 0:
            while time.monotonic() < start:
                pass
            os.write(writer, b'%d ' % bind(port))
            os._exit(0)
    for _ in ports:
        os.wait()
    os.close(writer)
    with os.fdopen(reader) as told:
        return told.read().strip()
def to(port):
    s = socket.socket()
    try:
        s.connect(('127.0.0.1', port))
        return s.getpeername()[1]
    except OSError as error:
        return error.errno
def udp(port):
    s = socket.socket(type=socket.SOCK_DGRAM)
    kept.append(s)
    s.bind(('127.0.0.1', port))
    return s.getsockname()[1]
known = {'to': to, 'udp': udp, 'become': os.setuid}
for line in sys.stdin:
    words = line.split()
    if words[0] in known:
        print(known[words[0]](int(words[1])), flush=True)
    elif len(words) == 1:
        print(bind(int(words[0])), flush=True)
    else:
        print(at_once([int(word) for word in words]), flush=True)
";

/// A program in a cgroup of its own, and numbers that this process holds alone.
struct Place {
    program: Child,
    stdout: BufReader<ChildStdout>,
    folder: Folder,
    rewriter: Option<Rewriter>,
    /// Spares, whose gates are open, and numbers that the program asks for.
    spares: Vec<Socket>,
    asked: Vec<Socket>,
}

impl Place {
    fn with(spares: usize, asked: usize) -> Option<Self> {
        if let Some(obstacle) = obstacle() {
            eprintln!("SKIPPED: no hand-over by bind here: {obstacle}");
            return None;
        }
        let mut program = Command::new("python3");
        program.args(["-c", PROGRAM]);
        program.stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut program) = program.spawn() else {
            eprintln!("SKIPPED: no python3");
            return None;
        };
        let name = format!("portbook-fact-{}", program.id());
        let folder = Folder::below_that_of(program.id(), &name).unwrap();
        folder.take_in(program.id()).unwrap();
        let spare = || {
            let socket = held();
            socket.set_reuse_address(true).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket
        };
        Some(Self {
            stdout: BufReader::new(program.stdout.take().unwrap()),
            program,
            folder,
            rewriter: None,
            spares: (0..spares).map(|_| spare()).collect(),
            asked: (0..asked).map(|_| held()).collect(),
        })
    }

    /// Puts these spares in force, and lets these ports pass.
    fn offer(&mut self, spares: impl IntoIterator<Item = usize>, passing: &[Port], uid: u32) {
        let spares = spares.into_iter().map(|index| Spare {
            to: self.spare(index),
            group: AddressGroup::new(
                [
                    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    Ipv6Addr::UNSPECIFIED.into(),
                ]
                .map(|ip| BindAddress {
                    interface: "lo".into(),
                    ip,
                    scope: 0,
                }),
            ),
        });
        let all = All {
            uid,
            spares: spares.collect(),
            passing: passing.to_vec(),
        };
        let mappings = Mappings {
            known: Vec::new(),
            all: Some(all),
        };
        match &mut self.rewriter {
            Some(rewriter) => rewriter.change_to(&mappings).unwrap(),
            None => self.rewriter = Some(Rewriter::on(&self.folder, &mappings).unwrap()),
        }
    }

    fn spare(&self, index: usize) -> Port {
        port(&self.spares[index])
    }

    fn asked(&self, index: usize) -> Port {
        port(&self.asked[index])
    }

    fn say(&mut self, line: &str) -> String {
        writeln!(self.program.stdin.as_ref().unwrap(), "{line}").unwrap();
        let mut said = String::new();
        self.stdout.read_line(&mut said).unwrap();
        said.trim().to_owned()
    }

    fn bind(&mut self, port: Port) -> String {
        self.say(&port.to_string())
    }

    fn taken(&mut self) -> Vec<Taken> {
        self.rewriter.as_mut().unwrap().taken().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.rewriter = None;
        let _ = self.program.kill();
        let _ = self.program.wait();
        let _ = self.folder.remove();
    }
}

const NOT_PERMITTED: &str = "1";

#[test]
fn each_port_gets_a_spare_of_its_own_until_none_is_left() {
    let Some(mut place) = Place::with(3, 3) else {
        return;
    };
    place.offer(0..2, &[], 0);
    let (first, second, third) = (place.asked(0), place.asked(1), place.asked(2));
    for _ in 0..2 {
        assert_eq!(place.bind(first), place.spare(0).to_string());
    }
    assert_eq!(place.bind(second), place.spare(1).to_string());
    assert_eq!(
        place.say(&format!("to {first}")),
        place.spare(0).to_string()
    );
    assert_eq!(place.bind(third), NOT_PERMITTED);
    // A port of the kernel's choice is none that the program asks for.
    assert!(place.say("0").parse::<u16>().unwrap() > 1);
    let mut taken = place.taken();
    taken.sort_by_key(|taken| taken.to != place.spare(0));
    let pair = |from, to| Taken { from, to };
    assert_eq!(
        taken,
        [pair(first, place.spare(0)), pair(second, place.spare(1))]
    );
    place.offer(2..3, &[], 0);
    assert_eq!(place.bind(third), place.spare(2).to_string());
    assert_eq!(place.bind(first), place.spare(0).to_string());
}

#[test]
fn processes_that_ask_for_one_port_at_once_get_one_spare() {
    const ROUNDS: usize = 40;
    let Some(mut place) = Place::with(50, 51) else {
        return;
    };
    place.offer(0..50, &[], 0);
    for round in 0..ROUNDS {
        let asked = place.asked(round);
        let had = place.say(&format!("{asked} {asked}"));
        let (one, other) = had.split_once(' ').unwrap();
        assert_eq!(one, other);
        assert_ne!(one, NOT_PERMITTED);
    }
    assert_eq!(place.taken().len(), ROUNDS);
    // Those that were one too many are in the stock again.
    for index in ROUNDS..50 {
        let asked = place.asked(index);
        assert_ne!(place.bind(asked), NOT_PERMITTED, "{index}");
    }
    let last = place.asked(50);
    assert_eq!(place.bind(last), NOT_PERMITTED);
}

#[test]
fn leased_ports_udp_and_other_users_are_left_alone() {
    let Some(mut place) = Place::with(2, 2) else {
        return;
    };
    let (spare, asked) = (place.spare(0), place.asked(0));
    place.offer(0..1, &[spare], 0);
    assert_eq!(place.bind(spare), spare.to_string());
    assert_eq!(place.say(&format!("udp {asked}")), asked.to_string());
    assert_eq!(place.taken(), []);
    place.rewriter = None;
    let other = rustix::process::getuid().as_raw() + 1;
    place.offer(0..1, &[], other);
    assert_eq!(place.bind(asked), nix::libc::EADDRINUSE.to_string());
    assert_eq!(place.taken(), []);
}

#[test]
fn spare_that_is_withdrawn_is_not_taken() {
    let Some(mut place) = Place::with(3, 2) else {
        return;
    };
    place.offer(0..3, &[], 0);
    place.offer(2..3, &[], 0);
    let (first, second) = (place.asked(0), place.asked(1));
    assert_eq!(place.bind(first), place.spare(2).to_string());
    assert_eq!(place.bind(second), NOT_PERMITTED);
    // The lease of a mapping has ended before its mapping was known.
    place.rewriter.as_mut().unwrap().forget(first).unwrap();
    assert_eq!(place.bind(first), NOT_PERMITTED);
}

/// A user without rights.
const PLAIN: u32 = 65_534;

#[test]
fn privileged_ports_of_plain_users_are_mapped_for_binds_alone() {
    let Some(mut place) = Place::with(2, 1) else {
        return;
    };
    place.say(&format!("become {PLAIN}"));
    place.offer(0..2, &[], PLAIN);
    // Assigned to no service (IANA), so that nothing listens there.
    let privileged = Port::new(1023).unwrap();
    assert_eq!(place.bind(privileged), place.spare(0).to_string());
    let refused = place.say(&format!("to {privileged}"));
    assert_eq!(refused, nix::libc::ECONNREFUSED.to_string());
    let plain = place.asked(0);
    assert_eq!(place.bind(plain), place.spare(1).to_string());
    assert_eq!(
        place.say(&format!("to {plain}")),
        place.spare(1).to_string()
    );
}
