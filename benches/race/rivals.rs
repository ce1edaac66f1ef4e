//! Those who take ports without asking portbook: a process and a user each, so that a loser can
//! tell from the kernel's tables who won.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use socket2::{Domain, Socket, Type};

use crate::POOL;
use crate::common::{now, role};

/// Way of a rival to take ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Binds port 0 and listens on what the kernel chose.
    Any,
    /// Connects, from a port that the kernel chose.
    Connect,
    /// Binds ports of the pool strictly and listens.
    Strict,
    /// Looks for a port of the pool by binding it, closes it, and binds it strictly a moment later.
    CheckCloseBind,
    /// Binds ports of the pool with SO_REUSEADDR, listens, and stays.
    Aimed,
}

impl Kind {
    /// Those who do not aim at ports that others have.
    pub const NOT_AIMED: [Self; 4] = [Self::Any, Self::Connect, Self::Strict, Self::CheckCloseBind];

    /// The user that one of this kind runs as.
    const fn uid(self) -> u32 {
        61_000 + self as u32
    }

    /// Rival with this uid.
    pub fn of_uid(uid: u32) -> Option<Self> {
        let mut kinds = Self::value_variants().iter().copied();
        kinds.find(|kind| kind.uid() == uid)
    }

    /// Name in the report.
    pub fn word(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Starts one.
    pub fn start(self, clients: u16) -> Result<role::Role> {
        let mut command = role::command(&["rival", &self.word(), &clients.to_string()]);
        role::Role::start(command.uid(self.uid()))
    }

    /// Interval between two acts.
    const fn pause(self) -> Duration {
        match self {
            // Each of its ports is gone for long.
            Self::Aimed => Duration::from_millis(10),
            _ => Duration::from_micros(400),
        }
    }

    /// Time that it keeps a port. A rival that aims at leased ports stays.
    const fn keeps(self) -> Duration {
        match self {
            Self::Aimed => Duration::from_millis(2_500),
            _ => Duration::from_millis(5),
        }
    }
}

/// Target of the connections: a port that no rival chooses.
const TARGET: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9_100);

/// Socket that a rival keeps for a moment.
type Taken = (Instant, Box<dyn Send>);

/// Takes ports until dismissed, and says how many it got.
pub fn take_ports(kind: Kind, ephemeral: &RangeInclusive<u16>) -> Result<()> {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    static REFUSED: AtomicU64 = AtomicU64::new(0);
    if kind == Kind::Connect {
        let target = TcpListener::bind(TARGET)?;
        std::thread::spawn(move || accept(&target));
    }
    debug_assert!(ephemeral.contains(POOL.start()) && ephemeral.contains(POOL.end()));
    std::thread::spawn(move || {
        let mut kept: VecDeque<Taken> = VecDeque::new();
        loop {
            while kept
                .front()
                .is_some_and(|(since, _)| since.elapsed() > kind.keeps())
            {
                kept.pop_front();
            }
            match take(kind) {
                Ok(taken) => {
                    TAKEN.fetch_add(1, Ordering::Relaxed);
                    kept.push_back((now(), taken));
                }
                Err(_) => drop(REFUSED.fetch_add(1, Ordering::Relaxed)),
            }
            std::thread::sleep(kind.pause());
        }
    });
    role::ready();
    role::until_dismissed();
    let (taken, refused) = (
        TAKEN.load(Ordering::Relaxed),
        REFUSED.load(Ordering::Relaxed),
    );
    println!("{taken} {refused}");
    Ok(())
}

fn take(kind: Kind) -> io::Result<Box<dyn Send>> {
    let pool_port = || fastrand::u16(POOL);
    Ok(match kind {
        Kind::Any => Box::new(listen(0, false)?),
        Kind::Connect => Box::new(connect()?),
        Kind::Strict => Box::new(listen(pool_port(), false)?),
        Kind::CheckCloseBind => {
            let port = pool_port();
            drop(listen(port, false)?);
            std::thread::sleep(Duration::from_micros(fastrand::u64(100..3_000)));
            Box::new(listen(port, false)?)
        }
        Kind::Aimed => Box::new(listen(pool_port(), true)?),
    })
}

/// Listens on the wildcard, as most programs do.
pub fn listen(port: u16, reuse_address: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(reuse_address)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.listen(16)?;
    Ok(socket)
}

/// A connection that leaves nothing behind when it is closed, or its port would be gone for a minute.
fn connect() -> io::Result<Socket> {
    let stream = Socket::from(TcpStream::connect(TARGET)?);
    stream.set_linger(Some(Duration::ZERO))?;
    Ok(stream)
}

fn accept(target: &TcpListener) {
    let mut kept = VecDeque::new();
    for stream in target.incoming() {
        kept.push_back(stream);
        if kept.len() > 256 {
            kept.pop_front();
        }
    }
}
