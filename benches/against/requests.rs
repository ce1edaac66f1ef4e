//! Clients of the port server's protocol: one request a connection, a process id and a newline; the
//! answer is a port and a newline, then the end.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};

use crate::common::figure::approximately;
use crate::common::now;

/// Number of ports that each owner gets before it ends.
const EACH_OWNER: u64 = 500;

/// A process that ports are asked for; it is gone when this is dropped, and its ports are free.
struct Owner(Child);

impl Owner {
    fn new() -> Result<Self> {
        let mut cat = Command::new("cat");
        let piped = cat.stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self(piped.spawn()?))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Asks for one port; an error if no server answers.
pub fn one(address: &str) -> Result<()> {
    let owner = Owner::new()?;
    let name = SocketAddr::from_abstract_name(address)?;
    hear(ask(&name, owner.0.id())?)
}

/// Asks for ports over this number of connections at once. Gives ports a second.
pub fn rate(address: &str, connections: usize, length: Duration) -> Result<f64> {
    let name = SocketAddr::from_abstract_name(address)?;
    let (begin, mut granted) = (now(), 0);
    let mut owner = Owner::new()?;
    let mut open = Vec::new();
    while begin.elapsed() < length {
        while open.len() < connections {
            open.push(ask(&name, owner.0.id())?);
        }
        let mut polled: Vec<PollFd> = open.iter().map(|s| PollFd::new(s, PollFlags::IN)).collect();
        poll(&mut polled, None)?;
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        for index in (0..ready.len()).rev().filter(|&index| ready[index]) {
            hear(open.swap_remove(index))?;
            granted += 1;
            if granted % EACH_OWNER == 0 {
                // The answers under way are for the owner before.
                open.drain(..).try_for_each(hear)?;
                owner = Owner::new()?;
                break;
            }
        }
    }
    open.into_iter().try_for_each(hear)?;
    Ok(approximately(granted) / begin.elapsed().as_secs_f64())
}

fn ask(name: &SocketAddr, owner: u32) -> Result<UnixStream> {
    let mut stream = UnixStream::connect_addr(name)?;
    stream.write_all(format!("{owner}\n").as_bytes())?;
    Ok(stream)
}

/// Reads a port, to the end of the connection.
fn hear(mut stream: UnixStream) -> Result<()> {
    let mut port = String::new();
    stream.read_to_string(&mut port)?;
    ensure!(port.trim_end().parse::<u16>().is_ok(), "no port: {port:?}");
    Ok(())
}
