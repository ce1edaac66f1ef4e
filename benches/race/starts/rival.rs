//! The rival: a process that binds one port as often as it can.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use socket2::{Domain, Socket, Type};

use super::server::SERVER_UID;
use crate::common::role;

/// Options of a rival's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// SO_REUSEADDR.
    ReuseAddress,
    /// SO_REUSEPORT and SO_REUSEADDR, by the server's own user, and the server sets both too: the kernel lets
    /// sockets of one user share a port that way.
    ReusePort,
    /// None.
    Strict,
    /// SO_REUSEADDR, on one interface (SO_BINDTODEVICE).
    Device,
}

impl Kind {
    /// Name in the report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ReuseAddress => "`SO_REUSEADDR`",
            Self::ReusePort => "`SO_REUSEPORT`, the server's own user",
            Self::Strict => "no option",
            Self::Device => "`SO_BINDTODEVICE`",
        }
    }

    /// User of such a rival.
    const fn uid(self) -> u32 {
        match self {
            Self::ReusePort => SERVER_UID,
            _ => SERVER_UID + 1,
        }
    }

    fn take(self, port: u16) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(self != Self::Strict)?;
        if self == Self::ReusePort {
            socket.set_reuse_port(true)?;
        }
        if self == Self::Device {
            socket.bind_device(Some(b"lo"))?;
        }
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        socket.listen(16)?;
        Ok(socket)
    }
}

/// Interval between the tries of a rival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pace {
    /// None at all.
    Tight,
    /// A millisecond.
    Ms1,
    /// Ten milliseconds.
    Ms10,
}

impl Pace {
    /// Name in the report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tight => "in a tight loop",
            Self::Ms1 => "each ms",
            Self::Ms10 => "each 10 ms",
        }
    }

    fn rest(self) {
        match self {
            Self::Tight => {}
            Self::Ms1 => std::thread::sleep(Duration::from_millis(1)),
            Self::Ms10 => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Time that a rival keeps the port: longer than a server takes to bind.
const KEEPS: Duration = Duration::from_millis(5);

/// Word that has a rival let go of the port.
pub const YIELD: &str = "yield";

/// Task of a rival.
#[derive(Debug, Args)]
pub struct Attack {
    kind: Kind,
    pace: Pace,
    port: u16,
}

impl Attack {
    /// Starts one.
    pub fn start(kind: Kind, pace: Pace, port: u16) -> Result<role::Role> {
        let word = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        let (kind_word, pace) = (
            word(kind.to_possible_value()),
            word(pace.to_possible_value()),
        );
        let mut command = role::command(&["attack", &kind_word, &pace, &port.to_string()]);
        role::Role::start(command.uid(kind.uid()))
    }

    /// Tries until dismissed, and says how often it tried and how often it got in. Told `yield` it lets go of the
    /// port and rests until the next line.
    pub fn run(&self) -> Result<()> {
        static TRIED: AtomicU64 = AtomicU64::new(0);
        static WON: AtomicU64 = AtomicU64::new(0);
        static RESTS: AtomicBool = AtomicBool::new(false);
        let Self { kind, pace, port } = *self;
        std::thread::spawn(move || {
            loop {
                if RESTS.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_micros(100));
                    continue;
                }
                TRIED.fetch_add(1, Ordering::Relaxed);
                if let Ok(_kept) = kind.take(port) {
                    WON.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(KEEPS);
                }
                pace.rest();
            }
        });
        role::ready();
        for line in std::io::stdin().lines() {
            RESTS.store(line? == YIELD, Ordering::Relaxed);
        }
        let (tried, won) = (TRIED.load(Ordering::Relaxed), WON.load(Ordering::Relaxed));
        println!("{tried} {won}");
        Ok(())
    }
}
