//! The system calls beneath portbook alone: socket, bind, close on two families.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use socket2::{Domain, Socket, Type};

use crate::common::{figure, now};

/// Ports a second that one thread binds and closes on both wildcards.
pub fn rate(ports: std::ops::Range<u16>, length: Duration) -> f64 {
    let (begin, mut count) = (now(), 0);
    for port in ports.cycle() {
        // An occupied port is no failure of the loop.
        drop(take(port));
        count += 1;
        if count % 64 == 0 && begin.elapsed() >= length {
            break;
        }
    }
    figure::approximately(count) / begin.elapsed().as_secs_f64()
}

fn take(port: u16) -> Result<(Socket, Socket)> {
    let four = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    four.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    let six = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    six.set_only_v6(true)?;
    six.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    Ok((four, six))
}
