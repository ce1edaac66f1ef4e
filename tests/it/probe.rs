//! Binds of another process, which show the kernel's view of a port.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::tools::eventually;

/// Ways to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Without any option: refused if anything at all is on the port.
    Strictly,
    /// With SO_REUSEADDR, as most servers do: let in by an open gate only.
    AsServersDo,
}

/// Binds the addresses that it reads, closes them, and answers with the kernel's error number or 0.
const PROBE: &str = r#"
import socket, sys
for line in sys.stdin:
    address, port, reuse = line.split()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    result = 0
    with socket.socket(family, socket.SOCK_STREAM) as s:
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        try:
            s.bind((address, int(port)))
            if int(reuse):
                s.listen()
        except OSError as error:
            result = error.errno
    print(result, flush=True)
"#;

/// The process that binds. It is not this one, because tests beside this one start programs: each
/// of them has copies of all of this process's sockets between its fork and its exec, and would
/// keep a port for that moment.
struct Prober {
    process: Child,
    answers: BufReader<ChildStdout>,
}

static PROBER: LazyLock<Mutex<Prober>> = LazyLock::new(|| {
    let mut process = Command::new("python3")
        .args(["-c", PROBE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let answers = BufReader::new(process.stdout.take().unwrap());
    Mutex::new(Prober { process, answers })
});

/// Binds and lets go again, as a process that has nothing to do with the service.
pub fn bind(ip: IpAddr, port: u16, how: How) -> io::Result<()> {
    let mut prober = PROBER.lock().unwrap_or_else(PoisonError::into_inner);
    let reuse = u8::from(how == How::AsServersDo);
    let questions = prober.process.stdin.as_mut().unwrap();
    writeln!(questions, "{ip} {port} {reuse}").unwrap();
    let mut answer = String::new();
    prober.answers.read_line(&mut answer).unwrap();
    match answer.trim().parse().unwrap() {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// The addresses that a lease on `any` must be refused on: wildcards and loopbacks.
pub const EVERYWHERE: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Whether strict binds are refused on every address, as they are while a lease on `any` lives.
pub fn is_kept(port: u16) -> bool {
    EVERYWHERE.iter().all(|ip| is_refused(*ip, port))
}

/// Whether strict binds succeed on every address.
pub fn is_free(port: u16) -> bool {
    EVERYWHERE.iter().all(|ip| !is_refused(*ip, port))
}

/// Waits until strict binds succeed on every address: a lease reads as ended a moment before its
/// hold is closed.
pub fn until_free(port: u16) {
    let free = || is_free(port).then_some(());
    eventually(&format!("port {port} is free"), free);
}

fn is_refused(ip: IpAddr, port: u16) -> bool {
    match bind(ip, port, How::Strictly) {
        Ok(()) => false,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => true,
        Err(error) => panic!("binding {ip} port {port}: {error}"),
    }
}
